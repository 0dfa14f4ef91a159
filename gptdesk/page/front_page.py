"""HTML of the page as it is sent: kept between visits, compressed, and with links to the files that it loads first."""

import functools
import gzip
import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gptdesk.page.assets import LEVEL, accepts_gzip
from gptdesk.page.languages import choose_language

ADDRESS = ("host", "x-forwarded-host", "x-forwarded-proto", "x-gradio-server")  # of the page, which is written in it
KEPT = 8  # pages: languages and addresses
CONFIGURATION = re.compile(r"<script>window\.gradio_config = .*?</script>", re.DOTALL)

# Svelte wraps plain arrays and objects of the configuration, and each of their values when it is first read, into
# proxies that note who reads them; Gradio looks through all events for each component. It wraps no subclass of Array.
UNWATCHED = """<script>{
class Unwatched extends Array {}
for (const name of ["components", "dependencies"]) Object.setPrototypeOf(gradio_config[name], Unwatched.prototype);
}</script>"""


@dataclass(frozen=True)
class _Page:
    """Page in one language for one address."""

    headers: list[tuple[bytes, bytes]]
    content: bytes

    @functools.cached_property
    def compressed(self) -> bytes:
        return gzip.compress(self.content, LEVEL)


class FrontPage:
    """ASGI middleware that keeps the HTML of the page, which Gradio makes anew at each visit.

    `files` are the names of scripts and style sheets to load at once, `theme` the address of the theme's style sheet.
    """

    def __init__(self, app: ASGIApp, *, files: Sequence[str], theme: str) -> None:
        self._app = app
        self._files = files
        self._theme = theme
        self._pages: OrderedDict[tuple[str, ...], _Page] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != "/" or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        address = [",".join(headers.getlist(name)) for name in ADDRESS]
        key = (choose_language(scope["headers"]), scope["scheme"], *address)
        if key not in self._pages:
            answer = await self._request(scope, receive)
            if answer.status_code != 200 or any(name == b"set-cookie" for name, _ in answer.raw_headers):
                await answer(scope, receive, send)
                return
            page = bytes(answer.body).decode()
            self._pages[key] = _Page(answer.raw_headers, self._with_links(page).encode())
            while len(self._pages) > KEPT:
                self._pages.popitem(last=False)
        self._pages.move_to_end(key)
        await _response(self._pages[key], compressed=accepts_gzip(scope))(scope, receive, send)

    async def _request(self, scope: Scope, receive: Receive) -> Response:
        """Return Gradio's answer, uncompressed."""
        answer = Response()
        body = bytearray()

        async def collect(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer.status_code = message["status"]
                answer.raw_headers = list(message["headers"])
            else:
                body.extend(message.get("body", b""))

        headers = [pair for pair in scope["headers"] if pair[0].lower() != b"accept-encoding"]
        await self._app({**scope, "headers": headers}, receive, collect)
        answer.body = bytes(body)
        return answer

    def _with_links(self, page: str) -> str:
        """Return the page with links to its first files, and with arrays that Svelte does not watch."""
        links = [f'<link rel="preload" as="style" href=".{self._theme}">']
        for name in self._files:
            if name.endswith(".js"):
                links.append(f'<link rel="modulepreload" crossorigin href="./assets/{name}">')
            else:
                links.append(f'<link rel="preload" as="style" crossorigin href="./assets/{name}">')
        page = page.replace("<head>", "<head>" + "".join(links), 1)
        return CONFIGURATION.sub(lambda found: found[0] + UNWATCHED, page, count=1)


def _response(page: _Page, *, compressed: bool) -> Response:
    response = Response(page.compressed if compressed else page.content)
    response.raw_headers = [pair for pair in page.headers if pair[0] != b"content-length"]
    headers = MutableHeaders(raw=response.raw_headers)
    headers["content-length"] = str(len(response.body))
    headers.add_vary_header("Accept-Encoding")
    if compressed:
        headers["content-encoding"] = "gzip"
    return response
