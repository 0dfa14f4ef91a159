"""New names of renamed models, by which what was chosen under an old one follows."""

from contextlib import suppress
from pathlib import Path

from models import storage

MOST = 500  # renames, of which the oldest are forgotten
LARGEST = 200_000  # bytes of the file


class Renames:
    """Record in the JSON file `file`, to which several processes may write; it is lost without harm."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def record(self, name: str, new: str) -> None:
        """Record that the model `name` is called `new` from now on."""
        others = {old: to for old, to in self._read().items() if old not in (name, new)}
        kept = dict(list((others | {name: new}).items())[-MOST:])
        with suppress(OSError):  # a full or read-only disk is no reason to refuse a name
            self._file.parent.mkdir(parents=True, exist_ok=True)
            storage.write_file(self._file, storage.json_bytes(kept))

    def follow(self, name: str) -> str:
        """Return the name that a model has now, after any number of renames; `name` itself if it was not renamed."""
        renames, passed = self._read(), {name}
        while (new := renames.get(name)) is not None and new not in passed:
            passed.add(new)
            name = new
        return name

    def _read(self) -> dict[str, str]:
        try:
            saved = storage.read_json(self._file, limit=LARGEST)
        except (ValueError, OSError):
            return {}
        return {old: new for old, new in saved.items() if isinstance(new, str)}
