"""Matrices as stored (encoding) and as multiplied by (kernel).

N rows out, K columns in: a product takes (M, K) float32 to (M, N) float32. M counts rows: positions of all sequences.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

# the plain tensors that one matrix is stored as: {"weight": ..., "scale": ...}
Parts = dict[str, Tensor]
# (M, K) -> (M, N), with the bias added
Product = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Kernel:
    """One way to multiply by an encoded matrix.

    `rows` is the number of rows that it multiplies at a time while tokens come one by one, the rest filled with zeros,
    so that a row's bits do not depend on its neighbours; 0 where they never do.
    """

    name: str
    # (parts, bias (N,)) -> product; may keep the parts
    pack: Callable[[Parts, Tensor | None], Product]
    # (N, K) -> the reason why this computer cannot multiply by such a matrix so, or None
    missing: Callable[[int, int], str | None]
    rows: int
    bytes_per_weight: float  # in memory
    # correct everywhere, but without the gain that the encoding is for
    fallback: bool = False


@dataclass(frozen=True)
class Encoding:
    """One way to store a matrix (N, K) of float32."""

    name: str
    # (N, K) -> shape and type of every part
    stored: Callable[[int, int], dict[str, tuple[tuple[int, ...], torch.dtype]]]
    # float32 (N, K) -> parts, and back
    encode: Callable[[Tensor], Parts]
    decode: Callable[[Parts], Tensor]
    # parts and ids (B,) -> those rows, float32 (B, K), as an embedding gives them
    look_up: Callable[[Parts, Tensor], Tensor]
    # of a CPU, the preferred one first, and of any other device
    kernels: tuple[Kernel, ...]
    device_kernel: Kernel | None = None

    @property
    def most_per_weight(self) -> float:
        """Bytes of memory that a weight takes at most, by any kernel that is no fallback."""
        return max(kernel.bytes_per_weight for kernel in self.kernels if not kernel.fallback)

    def nbytes(self, N: int, K: int) -> int:
        """Return the bytes that a matrix (N, K) takes on disk."""
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
        # kernels add in another order for another number of rows, so it is always the same one
        if rows == 0 or len(x) == rows:
            return self._product(x)
        return torch.cat([self._product(part) for part in x.split(rows)])


def first_missing(encoding: Encoding) -> str | None:
    """Return the reason why this computer can multiply by no matrix so encoded, None if it can."""
    reasons = [kernel.missing(64, 64) for kernel in encoding.kernels]
    return None if None in reasons else reasons[0]
