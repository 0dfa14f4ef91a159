"""Weights by our names: the sources to read them from.

A network, an engine and a checkpoint are made of a `WeightSource`: the file of a checkpoint, tensors in memory, or the
reader of a foreign format.
"""

import json
import math
import mmap
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol, TypeAlias

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from models import layout, storage
from models.gpt import GPT, GPTConfig
from models.layout import StoredTensor
from models.precision import Precision

WEIGHTS = "model.safetensors"
INDEX = f"{WEIGHTS}.index.json"  # of weights in several files
INDEX_LIMIT = 10_000_000  # bytes
SIZE_BYTES = 8  # of a safetensors file, with the size of its header
TYPES = {kind: dtype for dtype, kind in layout.KINDS.items()} | {"F64": torch.float64}
FileVersion: TypeAlias = tuple[int, int, int]  # number, size in bytes, time of the last change
FILE_NAME = re.compile(r"\w[\w.-]{0,200}\.safetensors", re.ASCII)
PICKLES = ("pytorch_model.bin", "model.pt", "pytorch_model.bin.index.json")


class WeightSource(Protocol):
    """Weights of a network by our names ("h.0.ln_1.weight"), each read when asked for.

    The shapes are those of `layout.parameter_shapes`, a matrix as (rows out, columns in). A source of encoded weights
    has the parts of each matrix in place of its `.weight`: "h.0.mlp.c_fc.scale".
    """

    def names(self) -> Iterator[str]:
        """Yield the names of all weights."""
        ...

    def read(self, name: str) -> Tensor | None:
        """Return one weight of any type and device, None if there is none of this name.

        Raises ValueError if its values are damaged or not finite.
        """
        ...


@dataclass(frozen=True)
class TensorSource:
    """Weights that are in memory already; their values are not checked."""

    tensors: Mapping[str, Tensor]

    @classmethod
    def of(cls, model: GPT) -> "TensorSource":
        """Return the parameters of `model`, not copied."""
        return cls({name: parameter.detach() for name, parameter in model.named_parameters()})

    def names(self) -> Iterator[str]:
        """Yield the names of all weights."""
        yield from self.tensors

    def read(self, name: str) -> Tensor | None:
        """Return one weight itself, None if there is none of this name."""
        return self.tensors.get(name)


def weight_files(folder: Path) -> list[str]:
    """Return the names of the files that hold a folder's weights: model.safetensors, or an index and those it names.

    Raises ValueError if there are none, or if the index is damaged.
    """
    if (folder / WEIGHTS).is_file():
        return [WEIGHTS]
    if (folder / INDEX).is_file():
        return [INDEX, *_indexed_files(folder)]
    raise ValueError(_why_no_weights(folder))


class StoredTensors:
    """The tensors of a folder by the names in its files: model.safetensors, or the files that its index names.

    Values are read, not mapped: a loaded model does not depend on what becomes of its files, and one that another
    program cuts while it is read gives a sentence, where a mapped one would end the process.
    """

    def __init__(self, folder: Path) -> None:
        """Read the headers; ValueError if a file is missing or damaged."""
        self._folder = folder
        names = [name for name in weight_files(folder) if name != INDEX]
        self._files: dict[str, str] = {}  # by the name of a tensor
        self._places: dict[str, tuple[FileVersion, dict[str, tuple[int, int]]]] = {}  # by the name of a file
        self.headers: dict[str, tuple[tuple[int, ...], str]] = {}  # shape and type of each tensor
        for name in names:
            with self._checked(name) as file:
                for key in file.keys():  # noqa: SIM118 - it is no dict
                    header = file.get_slice(key)
                    self.headers[key] = tuple(header.get_shape()), header.get_dtype()
                    self._files[key] = name
        # only the base of a network has names without the prefix
        self.prefix = layout.PREFIX if any(key.startswith(layout.PREFIX) for key in self.headers) else ""

    def read(self, key: str, *, briefly: bool = False) -> Tensor:
        """Return one tensor, in memory of its own; ValueError if the file is damaged, or another one by now.

        Of one that is read `briefly`, to be copied, all memory goes back to the system: a hole in the heap would not
        be filled by the copies, a third of a model.
        """
        name, (shape, kind) = self._files[key], self.headers[key]
        if kind not in TYPES:
            raise ValueError(f"{key} in {name} is of the type {kind}, not one of {', '.join(TYPES)}")
        data = _brief_tensor(shape, TYPES[kind]) if briefly else torch.empty(shape, dtype=TYPES[kind])
        try:
            with open(self._folder / name, "rb") as file:
                begin, end = self._find(file, name).get(key, (0, -1))
                file.seek(begin)
                # numpy knows no bfloat16, and no bytes of a tensor without dimensions
                whole = end - begin == data.nbytes and (
                    file.readinto(data.view(-1).view(torch.uint8).numpy()) == data.nbytes  # type: ignore[arg-type]
                )
        except OSError as error:
            raise _incomplete(name, error) from error
        if not whole:
            raise _incomplete(name, f"it was cut or replaced while {key} was read")
        return data

    def _find(self, file: BinaryIO, name: str) -> dict[str, tuple[int, int]]:
        """Return where the bytes of each tensor of an open file begin and end; ValueError if it is damaged."""
        status = os.fstat(file.fileno())
        version = status.st_ino, status.st_size, status.st_mtime_ns
        known = self._places.get(name)
        if known is None or known[0] != version:
            with self._checked(name):
                size = int.from_bytes(file.read(SIZE_BYTES), "little")
                try:
                    entries: dict[str, dict[str, list[int]]] = json.loads(file.read(size))
                except ValueError as error:
                    raise _incomplete(name, error) from error
            start = SIZE_BYTES + size
            entries.pop("__metadata__", None)
            places = {key: entry["data_offsets"] for key, entry in entries.items()}
            known = version, {key: (start + begin, start + end) for key, (begin, end) in places.items()}
            self._places[name] = known
        return known[1]

    def _checked(self, name: str) -> safe_open:
        """Return a file whose header fits its size, opened for the header alone."""
        try:
            return safe_open(self._folder / name, framework="pt")
        except (SafetensorError, OSError) as error:
            raise _incomplete(name, error) from error


def _brief_tensor(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Return a tensor in pages of its own, outside the heap."""
    count = math.prod(shape)
    if not count:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(mmap.mmap(-1, count * dtype.itemsize), dtype=dtype).view(shape)


def _incomplete(name: str, reason: object) -> ValueError:
    return ValueError(f"{name} is damaged or incomplete ({reason}); copy it again")


def has_own_head(folder: Path) -> bool:
    """Return whether a folder stores an output head with other values than its token table, beside that.

    `transformers` does not tie those, whatever config.json says. Raises ValueError as `StoredTensors`.
    """
    stored = StoredTensors(folder)
    table = f"{stored.prefix}wte.weight"
    if not {layout.HEAD, table} <= stored.headers.keys():
        return False
    head, tokens = stored.read(layout.HEAD), stored.read(table)  # (V, C) each
    if head.dtype != tokens.dtype:
        head, tokens = head.float(), tokens.float()
    return not torch.equal(head, tokens)


class WeightFile:
    """Weights of a checkpoint: a source whose names, shapes and types are those its config.json asks for.

    A tensor read is a copy. `other_heads` are the tensors of other tasks, which are not read.
    """

    def __init__(
        self, folder: Path, config: GPTConfig, precision: Precision | None, *, query_scales: tuple[float, ...] = ()
    ) -> None:
        """Check the headers, of float weights or of those that `precision` stores; reads no values.

        `query_scales` are those of `layout.query_scales`. Raises ValueError if a file is missing or damaged, or if the
        tensors are not those that config.json asks for.
        """
        self._stored = StoredTensors(folder)
        self._query_scales = query_scales
        prefix, keys = self._stored.prefix, self._stored.headers.keys()
        wanted = {tensor.stored_name: tensor for tensor in layout.stored_tensors(config, precision)}
        if not prefix:
            wanted = {name.removeprefix(layout.PREFIX): tensor for name, tensor in wanted.items()}
        table = f"{prefix}wte.weight"
        if config.tied and precision is None and table not in keys and layout.HEAD in keys:
            wanted[layout.HEAD] = wanted.pop(table)
        tied_head = config.tied and not (precision and precision.own_head)
        ignored = (*layout.IGNORED, layout.HEAD) if tied_head else layout.IGNORED
        extra = sorted(key for key in keys - wanted.keys() if not key.endswith(ignored))
        if missing := sorted(wanted.keys() - keys):
            raise ValueError(f"{WEIGHTS} lacks {len(missing)} tensors that config.json asks for, {missing[0]} first")
        own = [key for key in extra if precision is not None or key.startswith(prefix or layout.BASE)]
        if own:
            raise ValueError(f"{WEIGHTS} holds {len(own)} tensors config.json does not know, {own[0]} first")
        self.other_heads = tuple(extra)
        for key, tensor in wanted.items():
            _check_header(key, tensor, self._stored.headers[key])
        self._keys = {tensor.name: (key, tensor) for key, tensor in wanted.items()}

    def names(self) -> Iterator[str]:
        """Yield our names of the tensors."""
        yield from self._keys

    def read(self, name: str) -> Tensor | None:
        """Return a copy of one tensor, a matrix as (rows out, columns in); None if there is none of this name.

        Raises ValueError if it holds anything but finite numbers.
        """
        if name not in self._keys:
            return None
        key, tensor = self._keys[name]
        value = self._stored.read(key, briefly=tensor.transposed)
        # the smallest and the largest, which are NaN if any is: no copies of a large tensor
        if value.is_floating_point() and value.numel() and not torch.stack(value.aminmax()).isfinite().all():
            raise ValueError(f"{WEIGHTS} holds values that are not finite numbers, in {name}")
        value = (value.t() if tensor.transposed else value).contiguous()
        if self._query_scales and ".attn.c_attn." in name:
            # queries, keys and values side by side: the first third of (3C, C), or of the bias (3C,)
            value = value.float()
            value[: len(value) // 3] *= self._query_scales[int(name.split(".")[1])]
        return value


def read_weight(source: WeightSource, name: str, shape: tuple[int, ...]) -> Tensor:
    """Return one weight of the given shape; ValueError if the source lacks it, or has it in another shape."""
    value = source.read(name)
    if value is None:
        raise ValueError(f"the weights lack {name}")
    if value.shape != shape:
        raise ValueError(f"{name} has the shape {tuple(value.shape)}, the network needs {shape}")
    return value


def build_network(config: GPTConfig, source: WeightSource) -> GPT:
    """Return the network to train with float weights from `source`, in float32 on the CPU and set to eval.

    Raises ValueError as `read_weight` and the source.
    """
    with torch.device("meta"):
        model = GPT(config)
    model = model.to_empty(device="cpu").eval()  # skips the initialisation; every weight is read below
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(read_weight(source, name, tuple(parameter.shape)))
    return model


def _check_header(key: str, tensor: StoredTensor, header: tuple[tuple[int, ...], str]) -> None:
    """Raise ValueError if the shape or type in the header of a tensor is not the one wanted."""
    shape, kind = header
    if shape != tensor.shape:
        raise ValueError(f"{key} in {WEIGHTS} has the shape {shape}, config.json asks for {tensor.shape}")
    if kind not in tensor.kinds:
        raise ValueError(f"{key} in {WEIGHTS} is of the type {kind}, not one of {tensor.kinds}")


def _why_no_weights(path: Path) -> str:
    """Return the reason why a folder without model.safetensors has no weights to read."""
    if any((path / name).exists() for name in PICKLES):
        return (
            f"it has no {WEIGHTS}, only a pickle, which could run any code; import it with `gptdesk models import "
            f"{path}`"
        )
    return f"{WEIGHTS} is missing"


def _indexed_files(folder: Path) -> list[str]:
    """Return the names of the files that the index of a folder names; ValueError for any that is not in the folder."""
    files = storage.read_json(folder / INDEX, limit=INDEX_LIMIT).get("weight_map")
    if not isinstance(files, dict) or not files:
        raise ValueError(f"{INDEX} has no weight_map; copy the folder again")
    names = []
    for name in dict.fromkeys(map(repr, files.values())):
        plain = name[1:-1]
        if name[0] != "'" or not FILE_NAME.fullmatch(plain):
            raise ValueError(f"{INDEX} names {name:.80}, which is no file of its folder")
        if not (folder / plain).is_file():
            raise ValueError(f"the folder lacks {plain}, which {INDEX} names; copy it again")
        names.append(plain)
    return names
