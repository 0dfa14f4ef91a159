"""Which models there are, what is told of one before it is loaded, and whether its folder has changed."""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from models import storage
from models.checkpoint import Checkpoint
from models.precision import PRECISIONS

log = logging.getLogger(__name__)

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
NAME_RULE = (
    "a model's name has up to 80 letters, digits, dots, dashes and underscores, and starts with one of the first two"
)
KNOWN_AS = re.compile(rf"{NAME.pattern}(@[A-Za-z0-9]{{1,20}})?")  # NAME@STATE: what a model was like at some time

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


class Catalogue:
    """Every model by its name: those in the sub-folders of `folder`, the `bundled` ones, and those from `elsewhere`.

    A folder hides what else has its name.
    """

    def __init__(self, folder: Path, *, bundled: Sequence[Path], elsewhere: Supplier | None) -> None:
        self.folder = folder
        self.bundled = {path.parent.name if path.name == "checkpoint" else path.name: path for path in bundled}
        self._elsewhere = elsewhere
        self._described: dict[tuple[str, Path], tuple[Signature, ModelInfo]] = {}

    def paths(self) -> dict[str, Path]:
        """The folder of each model, in order of their names; those from elsewhere follow in their own order."""
        paths = dict(self.bundled)
        try:
            paths |= {path.name: path for path in storage.folders(self.folder)}
        except FileNotFoundError:
            pass  # nothing was ever saved
        except OSError as error:
            log.warning("the models in %s cannot be listed: %s", self.folder, error)
        others = dict(self._elsewhere()) if self._elsewhere else {}
        return dict(sorted(paths.items())) | {name: path for name, path in others.items() if name not in paths}

    def find(self, name: str) -> Path:
        """The folder of a model; ValueError names those there are."""
        paths = self.paths()
        if name in paths:
            return paths[name]
        of, state, _ = name.partition("@")
        if states := [there for there in paths if state and there.startswith(f"{of}@")]:
            raise ValueError(f"there is no {name!r} now, it may have been replaced; there is: {', '.join(states)}")
        there = ", ".join(name for name in paths if "@" not in name)
        raise ValueError(f"there is no model {name!r}; the models here are: {there or 'none'}")

    def info(self, name: str, path: Path) -> ModelInfo:
        """What is told of the model in a folder, looked up again if that has changed."""
        signature = signature_of(path)
        known = self._described.get((name, path))
        if known is None or known[0] != signature:
            known = self._described[name, path] = (signature, describe(name, path))
        return known[1]


def check_name(name: str, allowed: re.Pattern[str]) -> None:
    """ValueError for what cannot be a model's name."""
    if not allowed.fullmatch(name):
        raise ValueError(f"{name[:100]!r} cannot be a model: {NAME_RULE}")


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
        return ModelInfo(name, path, 0, 0, 0, "", (), 0, str(error))
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


def signature_of(path: Path) -> Signature:
    """What changes when a checkpoint does; empty if it cannot be read."""
    try:
        files = [(file.name, file.stat()) for file in path.iterdir()]
    except OSError:
        return ()
    return tuple(sorted((name, stat.st_ino, stat.st_mtime_ns, stat.st_size) for name, stat in files))
