"""The cache of texts made into tokens: what was used last stays, as much as there is room for, and all in use."""

import logging
import mmap
import os
import sys
from pathlib import Path

from gptdesk.training.lock import take
from models import storage

log = logging.getLogger(__name__)

META = "corpus.json"  # the last file of a folder to be written, and the one that those who use it hold
ROOM = 4_000_000_000  # bytes


def hold(folder: Path) -> mmap.mmap | None:
    """Keep a folder of the cache in use as long as what is returned lives; None if it is not there."""
    try:
        with open(folder / META, "rb") as file:
            if not take(file, shared=True):  # it is being removed
                return None
            os.utime(folder / META)
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # which keeps the lock of its file
    except FileNotFoundError:
        return None


def tidy(cache: Path, *, room: int = ROOM) -> None:
    """Remove the folders used longest ago until the rest takes at most `room` bytes, but none that is held."""
    storage.remove_leftovers(cache)
    used = {folder: folder / META for folder in storage.folders(cache) if (folder / META).exists()}
    for folder in sorted(used, key=lambda folder: used[folder].stat().st_mtime, reverse=True):
        size = sum(path.stat().st_size for path in folder.iterdir())
        if size <= room or not _remove(folder):
            room -= size


def _remove(folder: Path) -> bool:
    try:
        if sys.platform == "win32":
            storage.remove_folder(folder)  # which Windows refuses while a file in it is open
            return True
        with open(folder / META, "rb+") as file:
            if free := take(file):
                storage.remove_folder(folder)
            return free
    except OSError as error:
        log.debug("%s stays in the cache (%s)", folder, error)
        return False
