"""Quantized cache: copies of models at other precisions, made on first use and kept until the original changes."""

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
from models.precision import PRECISIONS, Precision
from models.signature import signature_of
from models.special_ids import read_documents
from models.tokenizer import Tokenizer

log = logging.getLogger(__name__)

COPY = re.compile(rf"(?P<of>(?P<name>.+)-(?:{'|'.join(PRECISIONS)}))-[0-9a-f]{{12}}")
DIGEST = 13  # characters of a dash and the digest at the end of a copy's name


class QuantizedCache:
    """The copies in `folder`, each named by its model, its precision and a digest of the original's signature."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._making = threading.Lock()

    def find(self, name: str, original: Path, precision: Precision) -> Path | None:
        """Return the copy of model `name`, whose folder is `original`, as that is now; None if there is none."""
        path = self._path(name, original, precision)
        return path if path.is_dir() else None

    def make(
        self, name: str, original: Checkpoint, precision: Precision, *, tokenizer: Tokenizer, names: Collection[str]
    ) -> Path:
        """Return the copy, written if there is none; delete copies of its older self and of models not in `names`.

        Raises ValueError if the original cannot be used or the disk refuses.
        """
        with self._making:
            if path := self.find(name, original.path, precision):
                return path
            path = self._path(name, original.path, precision)
            try:
                save_quantized(path, original, precision, tokenizer=tokenizer)
            except OSError as error:
                reason = error.strerror or error
                raise ValueError(f"the copy of {name} at {precision.name} cannot be written: {reason}") from error
            self._remove_outdated(path, names)
            return path

    def remove(self, path: Path) -> None:
        """Delete a copy that is damaged."""
        log.warning("the copy %s is damaged and was deleted; it is made anew when it is wanted", path)
        with suppress(OSError):
            shutil.rmtree(path)

    def precisions(self, name: str, original: Path) -> list[str]:
        """Return the precisions of the copies there are of model `name`, whose folder is `original`, as that is now."""
        return [precision.name for precision in PRECISIONS.values() if self.find(name, original, precision)]

    def remove_all(self, name: str) -> None:
        """Delete every copy of model `name`, which has been renamed or removed."""
        with suppress(OSError):  # no copy was ever made
            for path in storage.folders(self._folder):
                if (copy := COPY.fullmatch(path.name)) and copy["name"] == name:
                    shutil.rmtree(path, ignore_errors=True)

    def _path(self, name: str, original: Path, precision: Precision) -> Path:
        """Return the folder of a copy made of the original as it is now, whether it exists or not.

        It has another name where an earlier version made a copy that does not say what ends a text: that is outdated.
        """
        made_of = str(original.absolute()), signature_of(original)
        first, renewed = (
            self._folder / f"{name}-{precision.name}-{hashlib.sha256(repr(key).encode()).hexdigest()[:12]}"
            for key in (made_of, (*made_of, "with ids"))
        )
        is_outdated = first.is_dir() and not _names_end(first) and _names_end(original)
        return renewed if is_outdated or renewed.is_dir() else first

    def _remove_outdated(self, path: Path, names: Collection[str]) -> None:
        """Delete other copies of the model and precision of `path`, and all copies of models not in `names`."""
        for other in storage.folders(self._folder):
            copy = COPY.fullmatch(other.name)
            if other != path and copy and (copy["of"] == path.name[:-DIGEST] or copy["name"] not in names):
                shutil.rmtree(other, ignore_errors=True)


def _names_end(folder: Path) -> bool:
    """Return whether the documents of a folder say which id ends a text; True if damaged, which opening reports."""
    try:
        return any(data.get("eos_token_id") is not None for data in read_documents(folder).values())
    except ValueError:
        return True
