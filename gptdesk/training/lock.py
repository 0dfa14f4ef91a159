"""Lock on training: one run per home, released by the operating system whatever ends the process."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from models.file_lock import locked, try_lock

NAME, STARTING = "training.lock", "starting.lock"
PATIENCE = 10.0  # seconds to wait until another run has started


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
def starting_lock(home: Path, *, patience: float = PATIENCE) -> Iterator[None]:
    """Let one process at a time make a run in this home; ValueError if another needs more than `patience` seconds.

    A caller holds it from the check of the name until the run has the training lock.
    """
    busy = "another run is being started just now; wait until it trains, or stop it first"
    with locked(home / STARTING, busy=busy, patience=patience):
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
