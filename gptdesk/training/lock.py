"""One training per home: the operating system holds the lock, and lets go of it whatever ends its process."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import psutil

NAME = "training.lock"
FAR = 1 << 30  # the byte that Windows locks, away from those that say who holds it


@contextmanager
def training_lock(home: Path, run: str) -> Iterator[None]:
    """Hold the home's lock while the block runs; ValueError names the run that has it already."""
    with open(os.open(home / NAME, os.O_RDWR | os.O_CREAT, 0o644), "rb+") as file:
        if not _take(file):
            raise ValueError(f"the run {holder(home) or 'of another process'} is training already; stop it first")
        process = psutil.Process()
        data = {"run": run, "pid": process.pid, "started": process.create_time()}
        file.truncate(0)
        file.write(json.dumps(data).encode())
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)
            file.flush()


def holder(home: Path) -> str | None:
    """The run that trains in this home now; None if its process is no more, or another has got its number."""
    with suppress(OSError, ValueError, LookupError, TypeError, psutil.Error):
        data = json.loads((home / NAME).read_bytes())
        if abs(psutil.Process(data["pid"]).create_time() - data["started"]) < 1:
            return str(data["run"])
    return None


def _take(file: BinaryIO) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(FAR)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            file.seek(0)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
