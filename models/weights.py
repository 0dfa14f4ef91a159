"""Weights by our names: sources to read them from, and the tensors that model.safetensors stores.

A network, an engine and a checkpoint are made of a `WeightSource`: the file of a checkpoint, tensors in memory, or the
reader of a foreign format.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from models import layout
from models.gpt import GPT, GPTConfig
from models.layout import StoredTensor
from models.precision import HEAD, WTE, Precision

WEIGHTS = "model.safetensors"
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


class WeightFile:
    """model.safetensors of a checkpoint: a source whose names, shapes and types are those its config.json asks for.

    A tensor read is a copy. The file is mapped for no longer than one read takes, so a loaded model counts once in
    memory and does not depend on what becomes of its file.
    """

    def __init__(self, folder: Path, config: GPTConfig, precision: Precision | None) -> None:
        """Check the header of the file, of float weights or of those that `precision` stores; reads no values.

        Raises ValueError if the file is missing or damaged, or does not hold what config.json asks for.
        """
        self._file = folder / WEIGHTS
        if not self._file.is_file():
            raise ValueError(_why_no_weights(folder))
        wanted = {tensor.stored_name: tensor for tensor in layout.stored_tensors(config, precision)}
        with self._open() as file:
            keys = set(file.keys())
            if not any(key.startswith(layout.PREFIX) for key in keys):
                wanted = {name.removeprefix(layout.PREFIX): tensor for name, tensor in wanted.items()}
            tied_head = config.tied and not (precision and precision.own_head)
            ignored = (*layout.IGNORED, layout.HEAD) if tied_head else layout.IGNORED
            extra = sorted(key for key in keys - wanted.keys() if not key.endswith(ignored))
            if missing := sorted(wanted.keys() - keys):
                raise ValueError(
                    f"{WEIGHTS} lacks {len(missing)} tensors that config.json asks for, {missing[0]} first"
                )
            if extra:
                raise ValueError(f"{WEIGHTS} holds {len(extra)} tensors config.json does not know, {extra[0]} first")
            for key, tensor in wanted.items():
                _check_header(key, tensor, file.get_slice(key))
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
        with self._open() as file:
            value: Tensor = file.get_tensor(key)
            if value.is_floating_point() and not torch.isfinite(value.float()).all():
                raise ValueError(f"{WEIGHTS} holds values that are not finite numbers, in {name}")
            return (value.t() if tensor.transposed else value).clone(memory_format=torch.contiguous_format)

    def _open(self) -> safe_open:
        try:
            return safe_open(self._file, framework="pt")
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{WEIGHTS} is damaged or incomplete ({error}); copy it again") from error


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


def float_tensors(config: GPTConfig, source: WeightSource, dtype: torch.dtype) -> dict[str, Tensor]:
    """Return the tensors of a float checkpoint by their stored names: matrices as `dtype`, all else as float32.

    Biases of a network without them are zeros. Raises ValueError for a value too large for `dtype`.
    """
    tensors = {}
    for tensor in layout.stored_tensors(config):
        if not config.bias and tensor.name.endswith(".bias"):
            tensors[tensor.stored_name] = torch.zeros(tensor.shape)
            continue
        shape = tensor.shape[::-1] if tensor.transposed else tensor.shape
        value = read_weight(source, tensor.name, shape)
        cast = value.to("cpu", dtype if value.ndim == 2 else torch.float32)
        if cast.dtype != value.dtype:
            _check_finite(tensor.name, cast)
        tensors[tensor.stored_name] = (cast.t() if tensor.transposed else cast).contiguous()
    return tensors


@torch.inference_mode()
def encoded_tensors(config: GPTConfig, source: WeightSource, precision: Precision) -> dict[str, Tensor]:
    """Return the tensors of a quantized checkpoint by their stored names, encoded from float weights one by one.

    Raises ValueError for a matrix that the encoding cannot hold.
    """
    stored = {tensor.name: tensor for tensor in layout.stored_tensors(config, precision)}
    tensors = {}
    for matrix, shape in precision.matrices(config).items():
        # the head that a tied network gets at this precision is encoded from the token table
        name = WTE if matrix == HEAD and config.tied else matrix
        weight = read_weight(source, f"{name}.weight", shape)
        for part, value in precision.encoding(matrix, config).encode(weight.float()).items():
            _check_finite(matrix, value)
            tensors[stored.pop(f"{matrix}.{part}").stored_name] = value.contiguous()
    for name, tensor in stored.items():  # layer norms and biases
        tensors[tensor.stored_name] = read_weight(source, name, tensor.shape).float()
    return tensors


def _check_finite(name: str, value: Tensor) -> None:
    if value.is_floating_point() and not torch.isfinite(value).all():
        raise ValueError(f"the weights {name} are too large for this precision")


def _check_header(key: str, tensor: StoredTensor, header: object) -> None:
    """Raise ValueError if the shape or type in the header of a tensor is not the one wanted."""
    shape, kind = tuple(header.get_shape()), header.get_dtype()  # type: ignore[attr-defined]
    if shape != tensor.shape:
        raise ValueError(f"{key} in {WEIGHTS} has the shape {shape}, config.json asks for {tensor.shape}")
    if kind not in tensor.kinds:
        raise ValueError(f"{key} in {WEIGHTS} is of the type {kind}, not one of {tensor.kinds}")


def _why_no_weights(path: Path) -> str:
    """Return the reason why a folder without model.safetensors has no weights to read."""
    if (path / f"{WEIGHTS}.index.json").exists():
        return f"its weights are split into several files; save it again as one {WEIGHTS}"
    if any((path / name).exists() for name in PICKLES):
        return f"it has no {WEIGHTS}, only a pickle, which could run any code; convert it with safetensors first"
    return f"{WEIGHTS} is missing"
