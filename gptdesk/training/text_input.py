"""Text of a new run as a user gives it: paths, uploads and pasted text in one value."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gptdesk.encodings import AUTO, Survey
from models import storage

PASTED_FILE = "text.txt"  # in the run's folder of copies
PREVIEWED = "pasted text"  # the same in a preview, which shows the names of files


@dataclass(frozen=True)
class TextInput:
    """Text to train on: all that is given, in the order of the fields.

    Its encoding is an option of DataOptions, for it holds for the run's whole life. Raises ValueError if nothing is
    given, or a pasted text cannot be trained on.
    """

    paths: tuple[Path, ...] = ()  # files and folders, read where they are
    uploads: tuple[Path, ...] = ()  # files that are copied: they need not stay where they are
    pasted: str | None = None  # from a text box or the standard input

    def __post_init__(self) -> None:
        if not self.paths and not self.uploads and self.pasted is None:
            raise ValueError("a run needs a text; give files or folders, or paste one")
        if self.pasted is not None:
            check_text(self.pasted)

    @property
    def is_copied(self) -> bool:
        """True if some of it must be copied into a folder of the run."""
        return bool(self.uploads) or self.pasted is not None

    def stored_paths(self, folder: Path) -> tuple[str, ...]:
        """Return the absolute paths that a run reads whose copies lie in `folder`."""
        paths = (*map(_absolute, self.paths), *self._copies(folder))
        return tuple(map(str, paths if self.pasted is None else (*paths, folder / PASTED_FILE)))

    def pasted_path(self, folder: Path) -> str:
        """Return the path of the pasted text among the `stored_paths`; empty if nothing was pasted."""
        return "" if self.pasted is None else str(folder / PASTED_FILE)

    def store(self, folder: Path, *, encoding: str) -> None:
        """Copy uploads and pasted text into `folder`, for a run that reads them with that encoding option."""
        if self.pasted is not None:
            storage.write_file(folder / PASTED_FILE, encode_pasted(self.pasted, encoding=encoding))
        for copy, upload in self._copies(folder).items():
            shutil.copyfile(upload, copy)

    @contextmanager
    def temporary_paths(self, cache: Path, *, encoding: str) -> Iterator[tuple[str, ...]]:
        """Yield the paths of all texts while the block runs; only pasted text is copied, into a folder in `cache`."""
        paths = [str(_absolute(path)) for path in (*self.paths, *self.uploads)]
        with tempfile.TemporaryDirectory(prefix="pasted-", dir=cache) as folder:
            if self.pasted is not None:
                paths.append(str(Path(folder) / PREVIEWED))
                storage.write_file(Path(paths[-1]), encode_pasted(self.pasted, encoding=encoding))
            yield tuple(paths)

    def copied_names(self, paths: Sequence[str]) -> dict[Path, str]:
        """Return the file names of those `temporary_paths` that a user has not typed, by path, for messages."""
        return {Path(path): Path(path).name for path in paths[len(self.paths) :]}

    def _copies(self, folder: Path) -> dict[Path, Path]:
        """Return where the copy of each upload lies, numbered so that two may have one name."""
        return {folder / f"{i + 1:03} {upload.name}": upload for i, upload in enumerate(self.uploads)}


def check_text(text: str) -> None:
    """Raise ValueError for a pasted text that cannot be trained on."""
    if not text.strip():
        raise ValueError("the text is empty; paste some, or choose a file")
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("the text holds lone surrogates, which are no characters; paste it again") from None
    survey = Survey("the pasted text", "utf-8")
    survey.add(data)
    survey.reading()  # raises for control characters and the like before a run is made of it


def encode_pasted(text: str, *, encoding: str) -> bytes:
    """Return a pasted text as the bytes of a file that is read with the encoding option of the user's own files."""
    # A byte order mark overrides the encoding that is given for those.
    return text.encode("utf-8" if encoding == AUTO else "utf-8-sig")


def _absolute(path: Path) -> Path:
    # unlike Path.expanduser, this leaves the home of an unknown user as it is
    return Path(os.path.expanduser(path)).absolute()
