"""The tensors of a checkpoint's model.safetensors by our names: checked against config.json, read when asked for."""

from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from models import layout
from models.gpt import GPTConfig
from models.layout import StoredTensor
from models.precision import Precision

WEIGHTS = "model.safetensors"
PICKLES = ("pytorch_model.bin", "model.pt", "pytorch_model.bin.index.json")


class WeightFile:
    """A weights file whose names, shapes and types are those its config.json asks for.

    Raises ValueError if they are not. A tensor read is a copy: the file is mapped for no longer than that takes, so a
    model that is loaded neither counts twice in memory nor minds what becomes of its file.
    """

    def __init__(self, folder: Path, config: GPTConfig, precision: Precision | None) -> None:
        """The file of a checkpoint with float weights or, given a `precision`, with what that stores."""
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
        """Our names of the tensors."""
        yield from self._keys

    def read(self, name: str) -> Tensor | None:
        """A tensor, our way round; None if there is none. ValueError if it holds anything but finite numbers."""
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


def _check_header(key: str, tensor: StoredTensor, header: object) -> None:
    shape, kind = tuple(header.get_shape()), header.get_dtype()  # type: ignore[attr-defined]
    if shape != tensor.shape:
        raise ValueError(f"{key} in {WEIGHTS} has the shape {shape}, config.json asks for {tensor.shape}")
    if kind not in tensor.kinds:
        raise ValueError(f"{key} in {WEIGHTS} is of the type {kind}, not one of {tensor.kinds}")


def _why_no_weights(path: Path) -> str:
    if (path / f"{WEIGHTS}.index.json").exists():
        return f"its weights are split into several files; save it again as one {WEIGHTS}"
    if any((path / name).exists() for name in PICKLES):
        return f"it has no {WEIGHTS}, only a pickle, which could run any code; convert it with safetensors first"
    return f"{WEIGHTS} is missing"
