"""Script files and style sheets of Gradio: which of them the page loads first, and compressed answers with them."""

import gzip
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import anyio.to_thread
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

FOLDER = "/assets/"
HASHED = re.compile(r"[\w.-]+-[\w-]{8,10}\.(js|css)")  # a name with a hash of the content, as Vite gives it
FOREVER = "public, max-age=31536000, immutable"
LEVEL = 6  # of gzip: each content is compressed once, when it is first requested

# Pieces of built scripts: the table of files, an import with places in this table, and the script of a component
_FILES = re.compile(r"m\.f\|\|\(m\.f=(\[[^\]]*\])\)")
_IMPORT = r"import\(`\./([^`]+)`\)[^`]{0,60}?,__vite__mapDeps\(\[([\d,]*)\]\)"
_COMPONENT = rf"\b(\w+):\{{[^{{}}]*?component:\(\)=>\w+\(\(\)=>{_IMPORT}"
_ENTRY = re.compile(r'<script type="module"[^>]* src="\./assets/([^"]+)"')


class Assets:
    """ASGI middleware that answers requests for hashed scripts and style sheets from memory.

    Gradio reads and compresses each file anew at each request, and lets the browser ask again at each visit. Whatever
    is not in `folder` under such a name is left to it. `texts` are style sheets that are no files, by address.
    """

    def __init__(self, app: ASGIApp, *, folder: Path, texts: Mapping[str, str]) -> None:
        self._app = app
        files = {FOLDER + path.name: path for path in folder.glob("*") if HASHED.fullmatch(path.name)}
        self._sources: dict[str, Path | str] = {**files, **texts}
        self._answers: dict[tuple[str, bool], Response] = {}  # by address, compressed or not

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        address = _address(scope) if scope["type"] == "http" and scope["method"] == "GET" else ""
        if address not in self._sources:
            await self._app(scope, receive, send)
            return
        compressed = accepts_gzip(scope)
        if (address, compressed) not in self._answers:
            content = await anyio.to_thread.run_sync(_content, self._sources[address], compressed)
            headers = {"cache-control": FOREVER, "vary": "Accept-Encoding"}
            if compressed:
                headers["content-encoding"] = "gzip"
            kind = "text/javascript" if address.endswith(".js") else "text/css"
            self._answers[address, compressed] = Response(content, media_type=kind, headers=headers)
        await self._answers[address, compressed](scope, receive, send)


def accepts_gzip(scope: Scope) -> bool:
    """Return whether a request accepts compressed answers."""
    accepted = Headers(scope=scope).get("accept-encoding", "").split(",")
    return any(one.strip() == "gzip" for one in accepted)


def first_files(page: str, folder: Path, kinds: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the scripts and style sheets that a page with these kinds of components loads first.

    They are read from Gradio's built scripts, where each import names the files that it needs. `page` is the HTML of
    Gradio's page, `folder` the one of the scripts. Empty if another version of Gradio is built otherwise.
    """
    entry = _ENTRY.search(page)
    if not entry:
        return ()
    start = _imports(folder / entry[1], _IMPORT)
    blocks = [found for name in start for found in _imports(folder / name, _IMPORT).items()]
    layout = [files for name, files in blocks if name.startswith("Blocks-")]
    scripts: dict[str, list[str]] = {}
    for name in start:
        scripts |= _imports(folder / name, _COMPONENT)
    needed = [[entry[1]], *start.values(), *layout, *(scripts[kind] for kind in kinds if kind in scripts)]
    if not (layout and scripts):
        return ()
    names = dict.fromkeys(name for files in needed for name in files)
    return tuple(name for name in names if (folder / name).is_file())


def _imports(script: Path, pattern: str) -> dict[str, list[str]]:
    """Return the files that each import of a script needs, by the first group of the pattern."""
    if script.suffix != ".js" or not script.is_file():
        return {}
    source = script.read_text("utf-8")
    table = _FILES.search(source)
    if not table:
        return {}
    files = [name.removeprefix("./") for name in json.loads(table[1])]
    found = {}
    for match in re.finditer(pattern, source):
        places = [int(place) for place in match.groups()[-1].split(",") if place]
        found[match[1]] = [files[place] for place in places if place < len(files)]
    return found


def _content(source: Path | str, compressed: bool) -> bytes:
    content = source.encode() if isinstance(source, str) else source.read_bytes()
    return gzip.compress(content, LEVEL) if compressed else content


def _address(scope: Scope) -> str:
    query = scope["query_string"].decode("latin-1")
    return f"{scope['path']}?{query}" if query else scope["path"]
