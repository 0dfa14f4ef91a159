"""Times at which models were used last: those of empty files with their names."""

import os
import time
from contextlib import suppress
from pathlib import Path

EVERY = 60.0  # seconds between two records of one model


class LastUse:
    """Record in `folder`, to which several processes may write; it is lost without harm."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._recorded: dict[str, float] = {}  # by name, on the monotonic clock

    def record(self, name: str) -> None:
        """Record that a model is used now, at most once in EVERY seconds; checkpoints of runs come and go, so not."""
        now = time.monotonic()
        if "@" in name or now < self._recorded.get(name, -EVERY) + EVERY:
            return
        self._recorded[name] = now
        with suppress(OSError):  # a full or read-only disk is no reason to refuse a model
            self._folder.mkdir(parents=True, exist_ok=True)
            (self._folder / name).touch()

    def time_of(self, name: str) -> float | None:
        """Return when a model was used last, in seconds since 1970; None if that is not known."""
        try:
            return (self._folder / name).stat().st_mtime
        except (OSError, ValueError):
            return None

    def rename(self, name: str, new: str) -> None:
        """Keep the time of a model that has a new name."""
        self._recorded.pop(name, None)
        with suppress(OSError):
            os.replace(self._folder / name, self._folder / new)

    def remove(self, name: str) -> None:
        """Forget a model."""
        self._recorded.pop(name, None)
        with suppress(OSError):
            os.unlink(self._folder / name)
