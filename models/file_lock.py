"""Locks on files between processes, released by the operating system whatever ends a process."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

PATIENCE = 10.0  # seconds to wait for others who hold a lock
FAR = 1 << 30  # the byte that Windows locks, beyond those of any content


def try_lock(file: BinaryIO, *, shared: bool = False) -> bool:
    """Lock an open file until it is closed, and return whether that succeeded; False if another process locks it.

    A shared lock excludes only exclusive ones. Windows needs none: an open file cannot be removed there.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            if not shared:
                file.seek(FAR)
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
                file.seek(0)
        else:
            import fcntl

            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@contextmanager
def locked(path: Path, *, shared: bool = False, busy: str, patience: float = PATIENCE) -> Iterator[None]:
    """Hold the lock of the file `path`, made if need be, while the block runs.

    Raises ValueError with the sentence `busy` if others hold it for longer than `patience` seconds, OSError if the
    file cannot be opened.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "rb+") as file:
        deadline = time.monotonic() + patience
        while not try_lock(file, shared=shared):
            if time.monotonic() > deadline:
                raise ValueError(busy)
            time.sleep(0.02)
        yield
