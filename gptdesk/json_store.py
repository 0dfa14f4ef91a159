"""JSON store: named values in a file, written atomically; saved widget state, presets, votes."""

import logging
import threading
from pathlib import Path

from gptdesk.stored_values import warn_once
from models.storage import json_bytes, read_json, write_file

JsonValues = dict[str, object]  # saved values by name
LARGEST_STORE = 16_000_000  # bytes of a JSON store

log = logging.getLogger(__name__)


class JsonStore:
    """JSON object in a file, written atomically. A damaged file is renamed, with a warning, and a new one started."""

    def __init__(self, file: Path, *, writable: bool) -> None:
        self._file = file
        self._writable = writable
        self._lock = threading.Lock()
        self._known: tuple[tuple[int, int, int], JsonValues] | None = None  # the file's signature and its values

    def read(self) -> JsonValues:
        """Return the values there are now; the file is read again only if it has changed."""
        with self._lock:
            return dict(self._values())

    def put(self, name: str, value: object | None) -> None:
        """Set one value, or with None remove it; ValueError if it is too large or cannot be written.

        Does nothing unless the store is writable; a public desk saves nothing of its visitors.
        """
        with self._lock:
            before = self._values()
            values = {other: kept for other, kept in before.items() if other != name}
            if value is not None:
                values[name] = value
            if not self._writable or values == before:
                return
            data = json_bytes(values)
            if len(data) > LARGEST_STORE:
                raise ValueError(f"{len(data) / 1e6:.0f} MB is too much to save in {self._file}; the file is unchanged")
            try:
                write_file(self._file, data)
            except OSError as error:
                raise ValueError(
                    f"cannot write {self._file} ({error.strerror or error}); the file is unchanged"
                ) from None
            self._known = None  # a file written twice within one clock tick has the same signature

    def _values(self) -> JsonValues:
        if not self._writable:
            return {}
        try:
            stat = self._file.stat()
        except OSError:
            return {}
        signature = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        if self._known is None or self._known[0] != signature:
            self._known = (signature, self._read())
        return self._known[1]

    def _read(self) -> JsonValues:
        try:
            return read_json(self._file, limit=LARGEST_STORE)
        except ValueError as error:
            if isinstance(error.__cause__, OSError):  # unreadable for now, not damaged
                raise
            aside = self._file.with_name(f"{self._file.name}.damaged")
            try:
                self._file.replace(aside)
                log.warning("%s; it is kept as %s and begun anew", error, aside)
            except OSError as refused:
                warn_once(f"{error}, and cannot be moved to {aside} ({refused.strerror}); what it held is not known")
            return {}
