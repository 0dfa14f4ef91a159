"""Trash of a folder: what is removed moves there in one step, and is deleted from there."""

import logging
import os
import shutil
import uuid
from contextlib import suppress
from pathlib import Path

from models import storage

log = logging.getLogger(__name__)

TRASH = ".trash"  # in the folder itself: a rename stays on its disk


def discard(path: Path) -> None:
    """Remove a file, a folder or a link, but not what a link leads to.

    Its name is free at once, also after a power cut; what it held is deleted afterwards, at the latest by `empty_trash`
    at the next start. Raises OSError if it cannot be moved; then it is still there.
    """
    trash = path.parent / TRASH
    if trash.is_symlink():
        raise OSError(f"{trash} leads elsewhere; delete this link")
    trash.mkdir(exist_ok=True)
    moved = trash / uuid.uuid4().hex
    storage.move(path, moved)
    _delete(moved)
    with suppress(OSError):  # it holds what another process deletes
        trash.rmdir()


def empty_trash(folder: Path) -> None:
    """Delete what a process that ended early has left in the trash of `folder`."""
    trash = folder / TRASH
    if trash.is_symlink():
        return
    with suppress(OSError):  # there is none
        for left in list(trash.iterdir()):
            log.info("deleting %s, left by an interrupted removal", left)
            _delete(left)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)  # what is in use on Windows is deleted at a later start
        return
    with suppress(OSError):
        os.unlink(path)
