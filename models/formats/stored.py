"""Tensors of a foreign file, each read when it is needed, and the rows and columns of several put together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Quantizer:
    """Steps of a tensor of whole numbers: value = (number - zero point) * scale, for all or along an axis."""

    scale: Tensor  # () or (N,)
    zero_point: Tensor
    axis: int | None = None

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
    def is_whole_matrix(self) -> bool:
        """True for int8 numbers with one scale, as quantize_dynamic makes them by default."""
        quantizer = self.quantizer
        return quantizer is not None and quantizer.axis is None and not quantizer.zero_point.any()

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
    """Return the rows of several tensors one below the other."""
    shape = (sum(part.shape[0] for part in parts), *parts[0].shape[1:])
    identity = tuple(part.identity for part in parts)
    nbytes = sum(part.nbytes for part in parts)
    return Stored(shape, torch.float32, lambda: torch.cat([part.load().float() for part in parts]), identity, nbytes)
