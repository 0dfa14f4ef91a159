"""Reading of all weights of a checkpoint: progress and stop, verification, sizes by group, histograms by layer."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from models.checkpoint import Checkpoint
from models.layout import PREFIX
from models.precision import PRECISIONS
from models.weights import WeightFile

GROUPS = ("Token table", "Positions", "Attention", "MLP", "Layer norms", "Output head", "Not used")
HEADER_LIMIT = 100_000_000  # bytes, as the safetensors library has it
BINS = 48
SPREAD = 4.0  # a histogram reaches so many standard deviations from zero


class ReadingStopped(Exception):
    """End of a reading that was told to stop."""


@dataclass
class ReadingProgress:
    """Tensors read of all; another thread may look at it, and set `stop`."""

    done: int = 0
    total: int = 0
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def fraction(self) -> float:
        """Part that is done, from 0 to 1."""
        return min(self.done / self.total, 1.0) if self.total else 0.0


class _ObservedWeights:
    """Weights whose reading is counted, and ends with ReadingStopped."""

    def __init__(self, weights: WeightFile, progress: ReadingProgress) -> None:
        self._weights, self._progress = weights, progress
        progress.total = sum(1 for _ in weights.names())

    def __getattr__(self, name: str) -> object:
        return getattr(self._weights, name)

    def read(self, name: str) -> Tensor | None:
        """Return one weight as the file does; raises ReadingStopped."""
        if self._progress.stop.is_set():
            raise ReadingStopped
        self._progress.done += 1
        return self._weights.read(name)


class _ObservedCheckpoint(Checkpoint):
    """Checkpoint whose weights are read with `progress`."""

    progress: ReadingProgress

    def open_weights(self) -> WeightFile:
        """Return the source of its weights, which counts."""
        return cast(WeightFile, _ObservedWeights(super().open_weights(), self.progress))


def observed(checkpoint: Checkpoint, progress: ReadingProgress) -> Checkpoint:
    """Return the same checkpoint, whose reading shows in `progress` and can be stopped."""
    copy = _ObservedCheckpoint(*(getattr(checkpoint, one.name) for one in fields(checkpoint)))
    object.__setattr__(copy, "progress", progress)  # a frozen dataclass has no other way
    return copy


def verify(path: Path, cache_folder: Path, *, progress: ReadingProgress | None = None) -> int:
    """Read every weight of the checkpoint in a folder, and its tokenizer; return the number of tensors.

    Raises ValueError with the first fault: files that are missing or damaged, wrong shapes, values that are not finite;
    ReadingStopped once `progress` is told to stop.
    """
    checkpoint = Checkpoint.open(path)
    try:
        weights = (observed(checkpoint, progress) if progress else checkpoint).open_weights()
        names = list(weights.names())
        for name in names:
            weights.read(name)
    except (ValueError, OSError) as error:
        raise ValueError(f"the checkpoint {path.name} in {path.parent} cannot be used: {error}") from error
    checkpoint.load_tokenizer(cache_folder)
    return len(names)


def group_sizes(path: Path) -> dict[str, int]:
    """Return the bytes on disk of each of GROUPS that a checkpoint has; ValueError if its header cannot be read."""
    sizes = dict.fromkeys(GROUPS, 0)
    for file in sorted(path.glob("*.safetensors")):
        for name, nbytes in _tensors_in(file):
            sizes[group_of(name)] += nbytes
    return {group: size for group, size in sizes.items() if size}


def group_of(stored_name: str) -> str:
    """Return the one of GROUPS that a tensor belongs to."""
    name = stored_name.removeprefix(PREFIX)
    if name.endswith((".attn.bias", ".attn.masked_bias")):  # the causal mask of old files
        return "Not used"
    for start, group in (("wte.", "Token table"), ("wpe.", "Positions"), ("lm_head.", "Output head")):
        if name.startswith(start):
            return group
    if name.startswith("ln_f.") or ".ln_" in name:
        return "Layer norms"
    if ".attn." in name:
        return "Attention"
    return "MLP" if ".mlp." in name else "Not used"


def _tensors_in(file: Path) -> Iterator[tuple[str, int]]:
    """Yield name and bytes of each tensor in a safetensors file."""
    try:
        with open(file, "rb") as opened:
            size = int.from_bytes(opened.read(8), "little")
            header = json.loads(opened.read(min(size, HEADER_LIMIT)))
        for name, tensor in header.items():
            if name != "__metadata__":
                start, end = tensor["data_offsets"]
                yield name, int(end) - int(start)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{file.name} is damaged or incomplete; copy it again") from error


@dataclass(frozen=True)
class LayerHistogram:
    """Distribution of the weights in the matrices of one layer."""

    title: str
    centres: tuple[float, ...]  # of the BINS
    shares: dict[str, tuple[float, ...]]  # by group, of its weights in each bin
    deviation: float  # standard deviation of all
    largest: float  # magnitude


def histograms(checkpoint: Checkpoint) -> Iterator[LayerHistogram]:
    """Yield the histogram of each layer, the tables first, read when it is asked for; quantized weights are decoded.

    Raises ValueError if the weights cannot be read.
    """
    weights, precision = checkpoint.open_weights(), checkpoint.quantized or PRECISIONS["float32"]
    layers: dict[str, list[str]] = {}
    for matrix in precision.matrices(checkpoint.config):
        start, _, rest = matrix.partition(".")
        title = f"Layer {int(rest.partition('.')[0]) + 1}" if start == "h" else "Tables"
        layers.setdefault(title, []).append(matrix)
    for title, matrices in layers.items():
        values: dict[str, list[Tensor]] = {}
        for matrix in matrices:
            values.setdefault(group_of(f"{matrix}.weight"), []).append(_decoded(checkpoint, weights, matrix).flatten())
        yield _histogram(title, {group: torch.cat(parts) for group, parts in values.items()})


def _decoded(checkpoint: Checkpoint, weights: WeightFile, matrix: str) -> Tensor:
    """Return a matrix in float32; ValueError if it is not in the file."""
    if checkpoint.quantized is None:
        value = weights.read(f"{matrix}.weight")
        if value is None:
            raise ValueError(f"the weights lack {matrix}")
        return value.float()
    encoding = checkpoint.quantized.encoding(matrix, checkpoint.config)
    parts = {part: weights.read(f"{matrix}.{part}") for part in encoding.stored(1, 32)}
    return encoding.decode({part: value for part, value in parts.items() if value is not None}).float()


def _histogram(title: str, values: dict[str, Tensor]) -> LayerHistogram:
    """Return the histogram of float values (count,) by group."""
    together = torch.cat(list(values.values()))
    deviation = float(together.std(correction=0)) if len(together) else 0.0
    reach = SPREAD * deviation or 1.0
    width = 2 * reach / BINS
    shares = {
        # what lies beyond the reach is in no bin
        group: tuple((torch.histc(part, BINS, -reach, reach) / max(len(part), 1)).tolist())
        for group, part in values.items()
    }
    centres = tuple(-reach + (i + 0.5) * width for i in range(BINS))
    return LayerHistogram(title, centres, shares, deviation, float(together.abs().max()))
