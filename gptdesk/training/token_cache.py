"""Token cache: tokenized texts on disk, least recently used removed first, those in use kept."""

import logging
import mmap
import os
import sys
from pathlib import Path

from models import storage
from models.file_lock import try_lock

log = logging.getLogger(__name__)

META = "corpus.json"  # written last into a folder, and locked by those who use the folder
ROOM = 4_000_000_000  # bytes


def hold(folder: Path) -> mmap.mmap | None:
    """Return a hold that keeps a folder of the cache from removal while it lives; None if there is no such folder."""
    try:
        with open(folder / META, "rb") as file:
            if not try_lock(file, shared=True):  # it is being removed
                return None
            os.utime(folder / META)
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # keeps the lock of its file
    except FileNotFoundError:
        return None


def tidy(cache: Path, *, room: int = ROOM) -> None:
    """Remove the least recently used folders until the rest takes at most `room` bytes, but none that is held."""
    storage.remove_leftovers(cache)
    used = {folder: folder / META for folder in storage.folders(cache) if (folder / META).exists()}
    for folder in sorted(used, key=lambda folder: used[folder].stat().st_mtime, reverse=True):
        size = sum(path.stat().st_size for path in folder.iterdir())
        if size <= room or not _remove(folder):
            room -= size


def _remove(folder: Path) -> bool:
    """Remove a folder unless it is held; return whether it is gone."""
    try:
        if sys.platform == "win32":
            storage.remove_folder(folder)  # which Windows refuses while a file in it is open
            return True
        with open(folder / META, "rb+") as file:
            if free := try_lock(file):
                storage.remove_folder(folder)
            return free
    except OSError as error:
        log.debug("%s stays in the cache (%s)", folder, error)
        return False
