"""Kernel tuner: the fastest kernel on this computer that computes right, timed once and stored."""

import logging
import math
import platform
import time
from pathlib import Path

import torch
from torch import Tensor

from models import storage
from models.precision.matrix import Encoding, Kernel, Matrix, Product

log = logging.getLogger(__name__)

# rounds of timing every kernel in turn; the best of each counts, since other programs may be running
ROUNDS = 20
TIME_LIMIT = 0.5  # seconds of timing, after which it ends with the round
# rows of the prompt that is timed
PROMPT_ROWS = 32
# tokens of a prompt that count as much as one to generate
PROMPT_WEIGHT = 4
# share of the preferred kernel's time below which another one takes its place
CLEARLY_FASTER = 0.75
# relative, of a product of random numbers: no kernel that works comes near
ERROR_LIMIT = 0.05


class KernelTuner:
    """Kernels by encoding and width of network: the fastest on this computer that computes right.

    The kernels chosen are kept, given a `file` also for the next start, so that a model computes the same bits again
    and nothing is timed twice.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self.chosen = {} if file is None else _read(file)  # names of kernels

    def kernel_for(self, encoding: Encoding, shape: tuple[int, int], *, width: int) -> Kernel:
        """Return the kernel for a matrix (N, K) of a network of `width` channels; ValueError if this computer has none.

        All matrices of an encoding and a width get the kernel that is fastest for the largest, that of the MLP.
        """
        # (N, K) of the MLP's first matrix
        timed = 4 * width, width
        able = [k for k in encoding.kernels if k.missing(*shape) is None and k.missing(*timed) is None]
        if not able:
            raise ValueError(f"{encoding.name}: {encoding.kernels[0].missing(*shape)}")
        # a fallback loses what the encoding is for, and is not timed against the others
        able = [kernel for kernel in able if not kernel.fallback] or able
        if len(able) == 1:
            return able[0]
        case = f"{encoding.name}, {width} wide, {_computer()}"
        if case not in self.chosen and self._file is not None:
            # another process may have chosen meanwhile
            self.chosen = _read(self._file, quietly=True) | self.chosen
        kernel = next((kernel for kernel in able if kernel.name == self.chosen.get(case)), None)
        if kernel is None:
            kernel = _fastest(encoding, able, *timed)
            self.chosen[case] = kernel.name
            if self._file is not None:
                _write(self._file, self.chosen)
        return kernel


def _read(file: Path, *, quietly: bool = False) -> dict[str, str]:
    """Return the kernels in a file by case; none if it cannot be used, since then they are chosen again."""
    try:
        data = storage.read_json(file, limit=1_000_000) if file.exists() else {}
    except ValueError as error:
        if not quietly:
            log.warning("%s; the kernels are chosen anew", error)
        return {}
    return {case: kernel for case, kernel in data.items() if isinstance(kernel, str)}


def _write(file: Path, chosen: dict[str, str]) -> None:
    """Store the kernels chosen; log a warning if the disk refuses."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        storage.write_file(file, storage.json_bytes(chosen))
    except (OSError, ValueError) as error:
        log.warning("the choice of kernels cannot be kept in %s: %s", file, error)


def _computer() -> str:
    """Return what a kernel's speed depends on, and what may change while a home folder stays."""
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{platform.machine()} {capability} torch {torch.__version__} threads {torch.get_num_threads()}"


@torch.inference_mode()
def _fastest(encoding: Encoding, kernels: list[Kernel], N: int, K: int) -> Kernel:
    """Return the kernel to use after timing each on a random matrix (N, K); ValueError if none computes right.

    The first one is preferred unless another is clearly faster.
    """
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(N, K, generator=generator)
    x = torch.randn(PROMPT_ROWS, K, generator=generator)
    parts = encoding.encode(weight)
    # what a kernel must compute, up to rounding: (PROMPT_ROWS, N)
    expected = x @ encoding.decode(parts).t()
    correct = []
    for kernel in kernels:
        matrix = Matrix(kernel, parts, None, shape=(N, K))
        error = (matrix.all(x) - expected).norm() / expected.norm()
        if error < ERROR_LIMIT:
            correct.append(matrix)
        else:
            log.warning("%s computes %s wrongly on this computer (error %.2g)", kernel.name, encoding.name, error)
    if not correct:
        raise ValueError(f"{encoding.name}: no kernel of this computer computes it right")
    # one matrix of the shape timed stands for all of the network
    costs = _costs(correct, x)
    cheapest = min(range(len(correct)), key=costs.__getitem__)
    # a small gain may be noise, and another kernel computes other bits
    return correct[cheapest if costs[cheapest] < CLEARLY_FASTER * costs[0] else 0].kernel


def _costs(matrices: list[Matrix], x: Tensor) -> list[float]:
    """Return the seconds to generate a token and read PROMPT_WEIGHT tokens of a prompt, for each matrix, in turn."""
    singles, prompts = ([math.inf] * len(matrices) for _ in range(2))
    started = time.perf_counter()
    for _ in range(ROUNDS):
        # in turn, so that other programs slow all of them down alike
        for i, matrix in enumerate(matrices):
            # the best of each: what other programs add is never negative
            singles[i] = min(singles[i], _seconds(matrix.each, x[: matrix.kernel.rows or 1]))
            prompts[i] = min(prompts[i], _seconds(matrix.all, x))
        if time.perf_counter() - started > TIME_LIMIT:
            break
    return [one + PROMPT_WEIGHT * many / len(x) for one, many in zip(singles, prompts, strict=True)]


def _seconds(product: Product, x: Tensor) -> float:
    """Return the seconds that one product takes."""
    start = time.perf_counter()
    product(x)
    return time.perf_counter() - start
