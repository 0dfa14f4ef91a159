"""Tensors of a foreign file, each read when it is needed, and the rows and columns of several put together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor


@dataclass(frozen=True)
class Quantizer:
    """Steps of a tensor of whole numbers: value = (number - zero point) * scale, for all or along an axis."""

    scale: Tensor  # () or (N,)
    zero_point: Tensor
    axis: int | None = None
    # of the numbers
    dtype: torch.dtype = torch.int8

    def decode(self, whole: Tensor) -> Tensor:
        """Return the values of whole numbers, in float32."""
        shape = [1] * whole.ndim
        if self.axis is not None:
            shape[self.axis] = -1
        # (N,) along its axis
        scale, zero = self.scale.reshape(shape), self.zero_point.reshape(shape)
        return (whole.to(scale.dtype) - zero.to(scale.dtype)).mul_(scale).float()


@dataclass(frozen=True)
class Stored:
    """One tensor of a file: its shape now, its numbers when `read` is called."""

    shape: tuple[int, ...]
    # of what `load` gives
    dtype: torch.dtype
    # as stored; raises ValueError if the numbers are damaged
    read: Callable[[], Tensor]
    # equal for tensors that are the same numbers in the file
    identity: object
    nbytes: int
    quantizer: Quantizer | None = None

    def load(self) -> Tensor:
        """Return the values; whole numbers only if they are no steps of a quantizer."""
        value = self.read()
        return value if self.quantizer is None else self.quantizer.decode(value)

    @property
    def is_int8_matrix(self) -> bool:
        """True for int8 numbers with one scale or one for each row, and zero as zero: as by quantize_dynamic."""
        quantizer = self.quantizer
        if quantizer is None or len(self.shape) != 2 or quantizer.dtype != torch.int8:
            return False
        return quantizer.axis in (None, 0) and not quantizer.zero_point.any()

    def row_scales(self) -> Tensor:
        """Return the scale of each row (N,) of a quantized matrix in float32."""
        assert self.quantizer is not None
        return self.quantizer.scale.float().reshape(-1).expand(self.shape[0]).clone()

    def transposed(self) -> "Stored":
        """Return the matrix with rows and columns exchanged; it is no longer quantized."""
        return Stored(self.shape[::-1], self.dtype, lambda: self.load().t(), self.identity, self.nbytes)


def of_tensor(tensor: Tensor, *, identity: object) -> Stored:
    """Return a tensor that is in memory."""
    return Stored(tuple(tensor.shape), tensor.dtype, lambda: tensor, identity, tensor.nbytes)


def zeros(*shape: int) -> Stored:
    """Return zeros, which no file has."""
    return Stored(shape, torch.float32, lambda: torch.zeros(shape), None, 0)


def joined(parts: Sequence[Stored]) -> Stored:
    """Return the rows of several tensors one below the other; int8 matrices stay so, with a scale for each row."""
    shape = (sum(part.shape[0] for part in parts), *parts[0].shape[1:])
    identity = tuple(part.identity for part in parts)
    nbytes = sum(part.nbytes for part in parts)
    if all(part.is_int8_matrix for part in parts):
        scale = torch.cat([part.row_scales() for part in parts])
        quantizer = Quantizer(scale, torch.zeros(shape[0], dtype=torch.int64), axis=0)
        whole = partial(_rows, parts)
        return Stored(shape, torch.float32, whole, identity, nbytes, quantizer)
    return Stored(shape, torch.float32, lambda: torch.cat([part.load().float() for part in parts]), identity, nbytes)


def _rows(parts: Sequence[Stored]) -> Tensor:
    """Return the numbers of several tensors as stored, one below the other."""
    return torch.cat([part.read() for part in parts])
