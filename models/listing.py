"""What is told of a model before it is loaded, and whether its folder has changed."""

import re
from dataclasses import dataclass
from pathlib import Path

from models.checkpoint import Checkpoint
from models.precision import PRECISIONS

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
NAME_RULE = (
    "a model's name has up to 80 letters, digits, dots, dashes and underscores, and starts with one of the first two"
)

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


def describe(name: str, path: Path) -> ModelInfo:
    """Look through a checkpoint folder; what is wrong with it becomes the `problem`."""
    try:
        if not NAME.fullmatch(name):
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
