"""Which models there are, what is told of one before it is loaded, and whether its folder has changed."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from models import storage
from models.checkpoint import Checkpoint
from models.names import KNOWN_AS, NAME_RULE, check_new_name, folded
from models.precision import PRECISIONS

log = logging.getLogger(__name__)

Supplier = Callable[[], Mapping[str, Path]]  # checkpoint folders by name, those there are now
Signature = tuple[tuple[str, int, int, int], ...]  # name, inode, time of change and size of each file


@dataclass(frozen=True)
class ModelInfo:
    """One line of the list of models. With a problem, a sentence for the user, the numbers are 0."""

    name: str
    path: Path
    parameters: int
    context: int  # tokens
    vocab_size: int  # logits for each token; the tokenizer may have fewer tokens
    tokenizer: str
    precisions: tuple[str, ...]  # that this computer can run, the one to begin with first
    size_bytes: int  # on disk
    problem: str | None


@dataclass(frozen=True)
class _Entry:
    """The folder of a model, and why it cannot go by its name, if so."""

    path: Path
    clash: str | None = None


class Catalogue:
    """Every model by its name: those in the sub-folders of `folder`, the `bundled` ones, and those from `elsewhere`.

    A folder whose name, but for capitals, is that of a bundled model or of another folder cannot be used: it is listed
    with that as its problem. A folder hides what has its name elsewhere. No model can get one of the names that
    `reserved` gives.
    """

    def __init__(
        self,
        folder: Path,
        *,
        bundled: Sequence[Path],
        elsewhere: Supplier | None,
        reserved: Callable[[], Iterable[str]] | None = None,
    ) -> None:
        self.folder = folder
        self.bundled = {path.parent.name if path.name == "checkpoint" else path.name: path for path in bundled}
        self._elsewhere = elsewhere
        self._reserved = reserved
        self._described: dict[tuple[str, Path], tuple[Signature, ModelInfo]] = {}

    def paths(self) -> dict[str, Path]:
        """Return the folder of each model, in order of their names; those from elsewhere follow in their own order."""
        return {name: entry.path for name, entry in self._entries().items()}

    def find(self, name: str) -> Path:
        """Return the folder of a model; ValueError names those there are, or says why this one cannot be used."""
        entry = self._entry(name)
        if entry.clash:
            raise ValueError(entry.clash)
        return entry.path

    def info(self, name: str) -> ModelInfo:
        """Return one line of the list; ValueError names those there are."""
        return self._info(name, self._entry(name))

    def available(self) -> list[ModelInfo]:
        """Return all models, in the order of `paths`."""
        return [self._info(name, entry) for name, entry in self._entries().items()]

    def names(self) -> dict[str, str]:
        """Return the names that a new model cannot have, each with what has it: see `check_new_name`."""
        others = dict.fromkeys(self._reserved() if self._reserved else (), "run")
        return (
            others | dict.fromkeys(storage.names(self.folder), "model") | dict.fromkeys(self.bundled, "bundled model")
        )

    def check_copy_name(self, name: str, *, precision: str) -> None:
        """Raise ValueError unless a copy at `precision` can have the name: it may replace an older one of its name."""
        names = self.names()
        if names.get(name) == "model" and _is_copy_at(self.folder / name, precision):
            del names[name]
        check_new_name(name, names)

    def _entry(self, name: str) -> _Entry:
        entries = self._entries()
        if name in entries:
            return entries[name]
        of, state, _ = name.partition("@")
        if states := [there for there in entries if state and there.startswith(f"{of}@")]:
            raise ValueError(f"there is no {name!r} now, it may have been replaced; there is: {', '.join(states)}")
        there = ", ".join(name for name, entry in entries.items() if "@" not in name and not entry.clash)
        raise ValueError(f"there is no model {name!r}; the models here are: {there or 'none'}")

    def _entries(self) -> dict[str, _Entry]:
        entries = {name: _Entry(path) for name, path in self.bundled.items()}
        holders = {folded(name): name for name in self.bundled}
        for path in sorted(self._folders(), key=lambda path: (path.name != folded(path.name), path.name)):
            name, holder = path.name, holders.setdefault(folded(path.name), path.name)
            if name in entries:
                clash = f"the folder {path} has the name of a bundled model; rename the folder to use what is in it"
                entries[f"{path.parent.name}/{name}"] = _Entry(path, clash)
            elif name != holder:
                clash = (
                    f"the folder {path} differs from the model {holder} only in capitals; rename the folder to use it"
                )
                entries[name] = _Entry(path, clash)
            else:
                entries[name] = _Entry(path)
        others = self._elsewhere() if self._elsewhere else {}
        return dict(sorted(entries.items())) | {
            name: _Entry(path) for name, path in others.items() if name not in entries
        }

    def _folders(self) -> list[Path]:
        try:
            return storage.folders(self.folder)
        except FileNotFoundError:
            pass  # nothing was ever saved
        except OSError as error:
            log.warning("the models in %s cannot be listed: %s", self.folder, error)
        return []

    def _info(self, name: str, entry: _Entry) -> ModelInfo:
        """Return what is told of a model, looked up again if its folder has changed."""
        if entry.clash:
            return _unusable(name, entry.path, entry.clash)
        signature = signature_of(entry.path)
        known = self._described.get((name, entry.path))
        if known is None or known[0] != signature:
            known = self._described[name, entry.path] = (signature, describe(name, entry.path))
        return known[1]


def describe(name: str, path: Path) -> ModelInfo:
    """Look through a checkpoint folder; what is wrong with it becomes the `problem`."""
    try:
        if not KNOWN_AS.fullmatch(name):
            raise ValueError(f"rename the folder {name!r}: {NAME_RULE}")
        checkpoint = Checkpoint.open(path)
        if checkpoint.tokenizer_kind == "none":
            checkpoint.load_tokenizer()  # raises
        if checkpoint.quantized and (reason := checkpoint.quantized.missing()):
            raise ValueError(f"this computer cannot run {checkpoint.quantized.name}: {reason}")
    except ValueError as error:
        return _unusable(name, path, str(error))
    stored = checkpoint.quantized
    offered = [precision for precision in PRECISIONS.values() if stored in (None, precision)]
    offered.sort(key=lambda precision: not checkpoint.is_copy_at(precision.name))  # what it was made for comes first
    precisions = tuple(precision.name for precision in offered if precision.missing() is None)
    return ModelInfo(
        name,
        path,
        parameters=checkpoint.parameters,
        context=checkpoint.config.block_size,
        vocab_size=checkpoint.config.vocab_size,
        tokenizer=checkpoint.tokenizer_kind,
        precisions=precisions,
        size_bytes=checkpoint.size_bytes,
        problem=None,
    )


def _is_copy_at(path: Path, precision: str) -> bool:
    try:
        return Checkpoint.open(path).is_copy_at(precision)
    except ValueError:
        return False


def _unusable(name: str, path: Path, problem: str) -> ModelInfo:
    return ModelInfo(name, path, 0, 0, 0, "", (), 0, problem)


def signature_of(path: Path) -> Signature:
    """What changes when a checkpoint does; empty if it cannot be read."""
    try:
        files = [(file.name, file.stat()) for file in path.iterdir()]
    except OSError:
        return ()
    return tuple(sorted((name, stat.st_ino, stat.st_mtime_ns, stat.st_size) for name, stat in files))
