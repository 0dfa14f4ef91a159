"""A matrix as it is stored (an encoding) and as it is multiplied by (a kernel).

N rows out, K columns in: a product takes (M, K) float32 to (M, N) float32. M counts rows: positions of all sequences.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Parts = dict[str, Tensor]  # the plain tensors one matrix is stored as: {"weight": ..., "scale": ...}
Product = Callable[[Tensor], Tensor]  # (M, K) -> (M, N), with the bias added


@dataclass(frozen=True)
class Kernel:
    """One way to multiply by an encoded matrix.

    `rows` is how many rows it multiplies at a time while tokens come one by one, the rest filled with zeros, so that a
    row's bits do not depend on its neighbours; 0 where they never do.
    """

    name: str
    pack: Callable[[Parts, Tensor | None], Product]  # with the bias (N,); may keep the parts
    missing: Callable[[int, int], str | None]  # why this computer cannot multiply by (N, K) so, or None
    rows: int
    bytes_per_weight: float  # in memory
    last_resort: bool = False  # correct everywhere, but without the gain that the encoding is for


@dataclass(frozen=True)
class Encoding:
    """One way to store a matrix (N, K) of float32."""

    name: str
    stored: Callable[[int, int], dict[str, tuple[tuple[int, ...], torch.dtype]]]  # shape and type of every part
    encode: Callable[[Tensor], Parts]
    decode: Callable[[Parts], Tensor]  # float32
    look_up: Callable[[Parts, Tensor], Tensor]  # some rows, as an embedding does: (B,) -> (B, K) float32
    kernels: tuple[Kernel, ...]  # of a CPU
    elsewhere: Kernel | None = None  # of any other device

    @property
    def most_per_weight(self) -> float:
        """Bytes of memory that a weight takes at most, if it is a kernel with a gain that runs."""
        return max(kernel.bytes_per_weight for kernel in self.kernels if not kernel.last_resort)

    def nbytes(self, N: int, K: int) -> int:
        """Bytes on disk."""
        return sum(torch.Size(shape).numel() * dtype.itemsize for shape, dtype in self.stored(N, K).values())


class Matrix:
    """An encoded matrix, packed for multiplication."""

    __slots__ = ("_product", "kernel", "nbytes")

    def __init__(self, kernel: Kernel, parts: Parts, bias: Tensor | None, *, shape: tuple[int, int]) -> None:
        self.kernel = kernel
        self.nbytes = round(shape[0] * shape[1] * kernel.bytes_per_weight)
        self._product = kernel.pack(parts, bias)

    def all(self, x: Tensor) -> Tensor:
        """Multiply all rows at once: (M, K) -> (M, N)."""
        return self._product(x)

    def each(self, x: Tensor) -> Tensor:
        """Multiply so that a row's bits do not depend on the others; M is a multiple of the kernel's `rows`."""
        rows = self.kernel.rows
        if rows == 0 or len(x) == rows:
            return self._product(x)
        return torch.cat([self._product(part) for part in x.split(rows)])


def first_missing(encoding: Encoding) -> str | None:
    """Why this computer can multiply by no matrix so encoded, or None."""
    reasons = [kernel.missing(64, 64) for kernel in encoding.kernels]
    return None if None in reasons else reasons[0]
