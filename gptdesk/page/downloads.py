"""Files that the page offers for download, each under a path that cannot be guessed."""

import re
import secrets
from contextlib import suppress
from pathlib import Path

from gradio.utils import get_upload_folder

_TOKEN, _NAME = re.compile("[0-9a-f]{32}"), re.compile(r"[a-z-]+\.[a-z]+")


def hand_out(data: bytes, name: str) -> str:
    """Write a file that the page may offer, and return its path; Gradio deletes it with its other temporary files.

    `name` consists of small letters and hyphens, with one ending. Raises OSError if the disk refuses.
    """
    for emptied in _folder().glob("*/"):
        with suppress(OSError):  # those that hold something stay
            emptied.rmdir()
    folder = _folder() / secrets.token_hex(16)
    folder.mkdir(parents=True)
    path = folder / name
    path.write_bytes(data)
    return str(path)


def is_handed_out(path: str) -> bool:
    """Return whether this is the path of a file that was handed out, spelled as `hand_out` returned it."""
    file = Path(path)
    named = _TOKEN.fullmatch(file.parent.name) and _NAME.fullmatch(file.name)
    return bool(named) and file.parent.parent == _folder() and str(file) == path and file.is_file()


def _folder() -> Path:
    return Path(get_upload_folder()).resolve() / "downloads"
