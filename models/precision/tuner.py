"""Which kernel multiplies: the fastest on this computer that computes right, tried once and remembered."""

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

PROBES = 20  # rounds of timing every kernel in turn; the best of each counts, for others may use the computer, too
PATIENCE = 0.5  # seconds of probing, after which it ends with the round
PROBED_ROWS = 32  # of a prompt
PROMPT_WEIGHT = 4  # tokens of a prompt that count as much as one to generate
CLEARLY = 0.75  # a kernel must need less than this share of the preferred one's time to take its place
ERROR_LIMIT = 0.05  # relative, of a product of random numbers: no kernel that works comes near


class KernelTuner:
    """Which kernel to take for an encoding and a width of network: the fastest on this computer that computes right.

    The choice is kept, given a `file` also for the next start, so that a model computes the same bits again and is not
    probed twice.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self.known = {} if file is None else _read(file)

    def take(self, encoding: Encoding, shape: tuple[int, int], *, width: int) -> Kernel:
        """The kernel for a matrix (N, K) of a network of `width` channels; ValueError if this computer has none."""
        probed = 4 * width, width
        able = [k for k in encoding.kernels if k.missing(*shape) is None and k.missing(*probed) is None]
        if not able:
            raise ValueError(f"{encoding.name}: {encoding.kernels[0].missing(*shape)}")
        able = [kernel for kernel in able if not kernel.last_resort] or able
        if len(able) == 1:
            return able[0]
        place = f"{encoding.name}, {width} wide, {_computer()}"
        if place not in self.known and self._file is not None:
            self.known = _read(self._file, quietly=True) | self.known  # another process may have chosen
        known = next((kernel for kernel in able if kernel.name == self.known.get(place)), None)
        if known is None:
            known = _fastest(encoding, able, *probed)
            self.known[place] = known.name
            if self._file is not None:
                _write(self._file, self.known)
        return known


def _read(file: Path, *, quietly: bool = False) -> dict[str, str]:
    """The kernels chosen before; none if the file cannot be used, for then they are chosen again."""
    try:
        data = storage.read_json(file, limit=1_000_000) if file.exists() else {}
    except ValueError as error:
        if not quietly:
            log.warning("%s; the kernels are chosen anew", error)
        return {}
    return {place: kernel for place, kernel in data.items() if isinstance(kernel, str)}


def _write(file: Path, known: dict[str, str]) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        storage.write_file(file, storage.json_bytes(known))
    except (OSError, ValueError) as error:
        log.warning("the choice of kernels cannot be kept in %s: %s", file, error)


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
