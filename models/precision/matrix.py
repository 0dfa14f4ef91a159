"""A matrix as stored (an encoding) and as multiplied by (a kernel), and which kernel is best on this computer.

N rows out, K columns in: a product takes (M, K) float32 to (M, N) float32. M counts rows: positions of all sequences.
"""

import logging
import math
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

log = logging.getLogger(__name__)

Parts = dict[str, Tensor]  # the plain tensors one matrix is stored as: {"weight": ..., "scale": ...}
Product = Callable[[Tensor], Tensor]  # (M, K) -> (M, N), with the bias added

PROBES = 20  # rounds of timing every kernel in turn; the best of each counts, for others may use the computer, too
PATIENCE = 0.5  # seconds of probing, after which it ends with the round
PROBED_ROWS = 32  # of a prompt
PROMPT_WEIGHT = 4  # tokens of a prompt that count as much as one to generate
CLEARLY = 0.75  # a kernel must need less than this share of the preferred one's time to take its place
ERROR_LIMIT = 0.05  # relative, of a product of random numbers: no kernel that works comes near


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


class Choices:
    """Which kernel to take for an encoding and a width of network: the fastest on this computer that computes right.

    The choice is kept, so that a model computes the same bits again and is not probed twice; `known` may come from, and
    be written to, a file.
    """

    def __init__(self, known: dict[str, str] | None = None) -> None:
        self.known = dict(known or {})

    def take(self, encoding: Encoding, shape: tuple[int, int], *, width: int) -> Kernel:
        """The kernel for a matrix (N, K) of a network of `width` channels; ValueError if this computer has none."""
        able = [kernel for kernel in encoding.kernels if kernel.missing(*shape) is None]
        if not able:
            raise ValueError(f"{encoding.name}: {encoding.kernels[0].missing(*shape)}")
        able = [kernel for kernel in able if not kernel.last_resort] or able
        if len(able) == 1:
            return able[0]
        place = f"{encoding.name}, {width} wide, {_computer()}"
        known = next((kernel for kernel in able if kernel.name == self.known.get(place)), None)
        if known is None:
            known = _fastest(encoding, able, 4 * width, width)
            self.known[place] = known.name
        return known


def first_missing(encoding: Encoding) -> str | None:
    """Why this computer can multiply by no matrix so encoded, or None."""
    reasons = [kernel.missing(64, 64) for kernel in encoding.kernels]
    return None if None in reasons else reasons[0]


def _computer() -> str:
    """What a kernel's speed depends on, and what may change under a home folder."""
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{platform.machine()} {capability} torch {torch.__version__} threads {torch.get_num_threads()}"


@torch.inference_mode()
def _fastest(encoding: Encoding, kernels: list[Kernel], N: int, K: int) -> Kernel:
    """Time every kernel on a random matrix and check what it computes."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(N, K, generator=generator)
    x = torch.randn(PROBED_ROWS, K, generator=generator)
    parts = encoding.encode(weight)
    expected = x @ encoding.decode(parts).t()
    sound = []
    for kernel in kernels:
        matrix = Matrix(kernel, parts, None, shape=(N, K))
        error = (matrix.all(x) - expected).norm() / expected.norm()
        if error < ERROR_LIMIT:
            sound.append(matrix)
        else:
            log.warning("%s computes %s wrongly on this computer (error %.2g)", kernel.name, encoding.name, error)
    if not sound:
        raise ValueError(f"{encoding.name}: no kernel of this computer computes it right")
    costs = _costs(sound, x)
    cheapest = min(range(len(sound)), key=costs.__getitem__)
    return sound[cheapest if costs[cheapest] < CLEARLY * costs[0] else 0].kernel


def _costs(matrices: list[Matrix], x: Tensor) -> list[float]:
    """Seconds to generate a token and read PROMPT_WEIGHT tokens of a prompt, for each matrix, timed in turn."""
    singles, prompts = ([math.inf] * len(matrices) for _ in range(2))
    started = time.perf_counter()
    for _ in range(PROBES):
        for i, matrix in enumerate(matrices):
            singles[i] = min(singles[i], _seconds(matrix.each, x[: matrix.kernel.rows or 1]))
            prompts[i] = min(prompts[i], _seconds(matrix.all, x))
        if time.perf_counter() - started > PATIENCE:
            break
    return [one + PROMPT_WEIGHT * many / len(x) for one, many in zip(singles, prompts, strict=True)]


def _seconds(product: Product, x: Tensor) -> float:
    start = time.perf_counter()
    product(x)
    return time.perf_counter() - start
