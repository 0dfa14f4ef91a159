"""Files that the page offers for download, each under a path that cannot be guessed."""

import re
import secrets
import unicodedata
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from gradio.utils import get_upload_folder

LONGEST_NAME = 40  # characters of a prompt in the name of a file
_TOKEN, _NAME = re.compile("[0-9a-f]{32}"), re.compile(r"[a-z0-9-]+\.[a-z]+")
# The link of `link_to` is followed as soon as it is there, once, and stays in case the browser asked first.
SAVE_AT_ONCE = """
const save = () => {
  const link = element.querySelector("a[download]");
  window.gptdeskSaved ??= new Set();
  if (!link || gptdeskSaved.has(link.href)) return;
  gptdeskSaved.add(link.href);
  link.click();
};
new MutationObserver(save).observe(element, {childList: true, subtree: true, attributeFilter: ["href"]});
save();
"""


def hand_out(data: bytes, name: str) -> str:
    """Write a file that the page may offer, and return its path; Gradio deletes it with its other temporary files.

    `name` consists of small letters, digits and hyphens, with one ending. Raises OSError if the disk refuses.
    """
    for emptied in _folder().glob("*/"):
        with suppress(OSError):  # those that hold something stay
            emptied.rmdir()
    folder = _folder() / secrets.token_hex(16)
    folder.mkdir(parents=True)
    path = folder / name
    path.write_bytes(data)
    return str(path)


def link_to(data: bytes, name: str) -> str:
    """Write a file as `hand_out`, and return a link to it as HTML, for a gr.HTML with SAVE_AT_ONCE.

    Raises ValueError if the disk refuses.
    """
    try:
        path = hand_out(data, name)
    except OSError as error:
        raise ValueError(f"the file could not be written: {error.strerror or error}") from error
    return f'<a href="gradio_api/file={quote(path)}" download="{name}">{name}</a>'


def file_name(kind: str, prompt: str, *, seed: int, ending: str) -> str:
    """Return a name for `hand_out` with the first letters of a prompt: "recipe-once-upon-a-time-seed-7.json"."""
    letters = unicodedata.normalize("NFKD", prompt[:1_000]).encode("ascii", "ignore").decode().lower()
    words = re.sub("[^a-z0-9]+", "-", letters).strip("-")[:LONGEST_NAME].strip("-")
    return "-".join(filter(None, (kind, words, f"seed-{seed}"))) + f".{ending}"


def is_handed_out(path: str) -> bool:
    """Return whether this is the path of a file that was handed out, spelled as `hand_out` returned it."""
    file = Path(path)
    named = _TOKEN.fullmatch(file.parent.name) and _NAME.fullmatch(file.name)
    return bool(named) and file.parent.parent == _folder() and str(file) == path and file.is_file()


def _folder() -> Path:
    return Path(get_upload_folder()).resolve() / "downloads"
