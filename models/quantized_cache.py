"""Copies of models at other precisions: made when first wanted, kept in a cache folder until the original changes."""

import hashlib
import logging
import re
import shutil
import threading
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from models import storage
from models.checkpoint import Checkpoint, save_quantized
from models.listing import signature_of
from models.precision import PRECISIONS, Precision
from models.tokenizer import Tokenizer

log = logging.getLogger(__name__)

COPY = re.compile(rf"(?P<of>(?P<name>.+)-(?:{'|'.join(PRECISIONS)}))-[0-9a-f]{{12}}")


class QuantizedCache:
    """The copies in `folder`, each named by its model, its precision and what the original was when it was made."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._making = threading.Lock()

    def find(self, name: str, original: Path, precision: Precision) -> Path | None:
        """The copy of model `name`, whose checkpoint folder is `original`, as that is now; None if there is none."""
        path = self._path(name, original, precision)
        return path if path.is_dir() else None

    def make(
        self, name: str, original: Checkpoint, precision: Precision, *, tokenizer: Tokenizer, names: Collection[str]
    ) -> Path:
        """The copy, written if there is none; copies of its older self and of models not in `names` are deleted.

        Raises ValueError if the disk refuses.
        """
        with self._making:
            if found := self.find(name, original.path, precision):
                return found
            path = self._path(name, original.path, precision)
            try:
                save_quantized(path, original, precision, tokenizer=tokenizer)
            except OSError as error:
                reason = error.strerror or error
                raise ValueError(f"the copy of {name} at {precision.name} cannot be written: {reason}") from error
            self._forget_others(path, names)
            return path

    def forget(self, path: Path) -> None:
        """Delete a copy that turned out to be damaged."""
        log.warning("the copy %s is damaged and was deleted; it is made anew when it is wanted", path)
        with suppress(OSError):
            shutil.rmtree(path)

    def _path(self, name: str, original: Path, precision: Precision) -> Path:
        made_of = repr((str(original.absolute()), signature_of(original)))
        return self._folder / f"{name}-{precision.name}-{hashlib.sha256(made_of.encode()).hexdigest()[:12]}"

    def _forget_others(self, path: Path, names: Collection[str]) -> None:
        """What was made of this model before it changed, and of models that are no longer there."""
        for other in storage.folders(self._folder):
            made = COPY.fullmatch(other.name)
            if other != path and made and (made["of"] == path.name[:-13] or made["name"] not in names):
                shutil.rmtree(other, ignore_errors=True)
