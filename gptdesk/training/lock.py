"""Lock on training: one run per home, released by the operating system whatever ends the process."""

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import psutil

NAME, STARTING = "training.lock", "starting.lock"
PATIENCE = 10.0  # seconds to wait until another run has started
FAR = 1 << 30  # the byte that Windows locks, beyond those that name the holder


@contextmanager
def training_lock(home: Path, run: str) -> Iterator[None]:
    """Hold the home's lock while the block runs; ValueError names the run that has it already."""
    with open(os.open(home / NAME, os.O_RDWR | os.O_CREAT, 0o644), "rb+") as file:
        if not try_lock(file):
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


@contextmanager
def starting_lock(home: Path) -> Iterator[None]:
    """Let one process at a time make a run in this home; ValueError if another takes longer than PATIENCE for it.

    A caller holds it from the check of the name until the run has the training lock.
    """
    with open(os.open(home / STARTING, os.O_RDWR | os.O_CREAT, 0o644), "rb+") as file:
        deadline = time.monotonic() + PATIENCE
        while not try_lock(file):
            if time.monotonic() > deadline:
                raise ValueError("another run is being started just now; wait until it trains, or stop it first")
            time.sleep(0.02)
        yield


def holder(home: Path) -> str | None:
    """Return the run that trains in this home; None if its process has ended, or its number is that of another now."""
    held = _held(home)
    return held and held[0]


def holding_process(home: Path) -> psutil.Process | None:
    """Return the process that trains in this home."""
    held = _held(home)
    return held and held[1]


def _held(home: Path) -> tuple[str, psutil.Process] | None:
    with (
        suppress(OSError, ValueError, LookupError, TypeError, ArithmeticError, RecursionError, psutil.Error),
        open(home / NAME, "rb+") as file,
    ):
        data = json.loads(file.read())
        process = psutil.Process(data["pid"])
        same = abs(process.create_time() - data["started"]) < 1
        if same or not try_lock(
            file
        ):  # a clock that was set makes a process begin at another time: then the lock decides
            return str(data["run"]), process
    return None


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
