"""JSON store: named values in a file, written atomically; saved widget state, presets, votes."""

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from gptdesk.stored_values import warn_once
from models.storage import json_bytes, read_json, write_file

JsonValues = dict[str, object]  # saved values by name
LARGEST_STORE = 16_000_000  # bytes of a JSON store

log = logging.getLogger(__name__)


class JsonStore:
    """JSON object in a file, written atomically. A damaged file is renamed, with a warning, and a new one started."""

    def __init__(self, file: Path, *, writable: bool) -> None:
        self.file = file
        self._writable = writable
        self._lock = threading.Lock()
        self._known: tuple[tuple[int, int, int], JsonValues] | None = None  # the file's signature and its values

    def read(self) -> JsonValues:
        """Return the values there are now; the file is read again only if it has changed."""
        with self._lock:
            return dict(self._values())

    def put(self, name: str, value: object | None) -> None:
        """Set one value, or with None remove it; raises and does nothing as `update`."""

        def change(values: JsonValues) -> JsonValues:
            others = {other: kept for other, kept in values.items() if other != name}
            return others if value is None else others | {name: value}

        self.update(change)

    def update(self, change: Callable[[JsonValues], JsonValues]) -> None:
        """Write what `change` makes of the values there are now; ValueError if it is too large or cannot be written.

        Does nothing unless the store is writable; a public desk saves nothing of its visitors.
        """
        with self._lock:
            before = self._values()
            values = change(before)
            if not self._writable or list(values.items()) == list(before.items()):
                return
            data = json_bytes(values)
            if len(data) > LARGEST_STORE:
                raise ValueError(f"{len(data) / 1e6:.0f} MB is too much to save in {self.file}; the file is unchanged")
            try:
                write_file(self.file, data)
            except OSError as error:
                raise ValueError(
                    f"cannot write {self.file} ({error.strerror or error}); the file is unchanged"
                ) from None
            self._known = None  # a file written twice within one clock tick has the same signature

    def _values(self) -> JsonValues:
        if not self._writable:
            return {}
        try:
            stat = self.file.stat()
        except OSError:
            return {}
        signature = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        if self._known is None or self._known[0] != signature:
            self._known = (signature, self._read())
        return self._known[1]

    def _read(self) -> JsonValues:
        try:
            return read_json(self.file, limit=LARGEST_STORE)
        except ValueError as error:
            if isinstance(error.__cause__, OSError):  # unreadable for now, not damaged
                raise
            aside = self.file.with_name(f"{self.file.name}.damaged")
            try:
                self.file.replace(aside)
                log.warning("%s; it is kept as %s and begun anew", error, aside)
            except OSError as refused:
                warn_once(f"{error}, and cannot be moved to {aside} ({refused.strerror}); what it held is not known")
            return {}
