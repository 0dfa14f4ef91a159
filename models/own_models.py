"""Changes to the user's models on disk: new names and removal, one process at a time."""

import os
from contextlib import AbstractContextManager
from pathlib import Path

from models import storage
from models.file_lock import PATIENCE, locked
from models.listing import Catalogue
from models.names import check_new_name
from models.trash import discard, empty_trash

BUSY = "another window or program renames, removes, copies or saves a model just now; try again when that is done"

LONG_PATIENCE = 120.0  # seconds, for a model that took long to make


class OwnModels:
    """The models in the folder of a catalogue, which alone can be changed; `lock` is the file that processes lock."""

    def __init__(self, catalogue: Catalogue, *, lock: Path) -> None:
        self._catalogue = catalogue
        self._lock = lock

    def locked(self, *, shared: bool = False, patience: float = PATIENCE) -> AbstractContextManager[None]:
        """Return a context in which no other process renames or removes models; without `shared`, none adds one.

        Entering it raises ValueError if others hold the lock for longer than `patience` seconds.
        """
        return locked(self._lock, shared=shared, busy=BUSY, patience=patience)

    def adding(self) -> AbstractContextManager[None]:
        """Return a context in which to add a finished model, as `locked` with `shared` and patience."""
        return self.locked(shared=True, patience=LONG_PATIENCE)

    def rename(self, name: str, new: str) -> None:
        """Rename the folder of a model. Raises ValueError as `own_folder` and `check_new_name`, OSError."""
        path = self._catalogue.own_folder(name, "renamed")
        if new == path.name:
            raise ValueError(f"{new} is its name already; choose another name")
        check_new_name(new, self._catalogue.names(but=path))  # before the lock: a bad name changes nothing on disk
        with self.locked():
            self._settle(name, path)
            check_new_name(new, self._catalogue.names(but=path))
            storage.move(path, path.with_name(new))

    def remove(self, name: str) -> None:
        """Delete the folder of a model, or the link to it. Raises ValueError as `own_folder`, OSError."""
        path = self._catalogue.own_folder(name, "removed")
        with self.locked():
            self._settle(name, path)
            discard(path)

    def clean_up(self) -> None:
        """Delete what processes that ended early have left."""
        empty_trash(self._catalogue.folder)
        storage.remove_leftovers(self._catalogue.folder)

    def _settle(self, name: str, path: Path) -> None:
        """Finish a save of the model that a crash has interrupted, and delete what it replaced, lest that come back.

        Raises ValueError if the model has gone meanwhile.
        """
        storage.recover(path)
        if not os.path.lexists(path):
            raise ValueError(f"{name} has just been renamed or removed by another window or program")
        if storage.previous(path).exists():
            discard(storage.previous(path))
