"""Training speed of networks of three sizes, as a share of this computer's rate of matrix products.

L layers, C channels, V vocabulary, T tokens of a row. `python -m benchmarks.speed CASE PRECISION` measures one of them
in this process and prints JSON.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch

from benchmarks.goals import Goal
from gptdesk.system.environment import lacking
from gptdesk.training import Trainer, TrainingOptions
from gptdesk.training.loader import StreamRows
from models.gpt import GPT, PRESETS, GPTConfig

NANO = GPTConfig(vocab_size=65, block_size=64, n_layer=4, n_head=4, n_embd=128, bias=False, activation="gelu_erf")
SHAKESPEARE = GPTConfig(vocab_size=65, block_size=256, n_layer=6, n_head=6, n_embd=384)
SIDE = 2048  # of the matrices whose product is the measure
PRODUCTS = 8


@dataclass(frozen=True)
class Case:
    """Network with its description, the rows of a step, the number of timed steps, and the goal as a share."""

    words: str
    config: GPTConfig
    T: int
    rows: int
    steps: int
    wanted: float

    def flops(self) -> float:
        """Return the operations of a token, forward and backward: 6 per parameter it is multiplied by, and attention.

        Attention counts as if it were over all T tokens, although the causal one needs half of that.
        """
        c = self.config
        C, L = c.n_embd, c.n_layer
        return 6 * (12 * L * C * C + c.vocab_size * C) + 12 * L * C * self.T


CASES = {
    "nano": Case("4 layers x 128, block 64, no biases, erf GELU: nanoGPT's", NANO, 64, 12, 200, 0.50),
    "mini": Case("the same with biases and the tanh GELU", GPTConfig(65, 64, 4, 4, 128), 64, 12, 200, 0.50),
    "shakespeare": Case("6 layers x 384, block 256", SHAKESPEARE, 256, 16, 10, 0.60),
    "gpt2": Case("GPT-2 124M, rows of 256", PRESETS["gpt2"], 256, 8, 3, 0.65),
}


@dataclass(frozen=True)
class Speed:
    """Median measurements of a case; rates in floating-point operations per second."""

    case: str
    precision: str
    tokens_per_second: float
    rate: float
    product_rate: float  # of two square matrices, the best of PRODUCTS

    @property
    def share(self) -> float:
        return self.rate / self.product_rate


def measure(name: str, precision: str) -> Speed:
    """Train for some steps on random tokens."""
    case, bfloat16 = CASES[name], precision == "bfloat16"
    fastest = product_rate(torch.bfloat16 if bfloat16 else torch.float32)
    tokens = np.random.default_rng(0).integers(case.config.vocab_size, size=300_000)
    torch.manual_seed(0)
    taken = max(1, case.steps // 10) + case.steps  # the first few to warm up
    options = TrainingOptions(
        steps=taken, warmup_steps=0, learning_rate=1e-4, batch_size=case.rows, optimizer="adamw", patience=0
    )
    trainer = Trainer(GPT(case.config), StreamRows(tokens, case.T, seed=0), options=options, bfloat16=bfloat16)
    steps, seconds = trainer.run(), []
    for _ in range(taken):
        start = clock()
        next(steps)
        seconds.append(clock() - start)
    speed = case.rows * case.T / statistics.median(seconds[-case.steps :])
    return Speed(name, precision, speed, speed * case.flops(), fastest)


def clock() -> float:
    """Return seconds; of this process alone if it has one thread, so that others may run meanwhile."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def product_rate(dtype: torch.dtype) -> float:
    """Return operations per second in products of square matrices: the best of PRODUCTS."""
    a, b = torch.randn(SIDE, SIDE).to(dtype), torch.randn(SIDE, SIDE).to(dtype)
    seconds = []
    for _ in range(PRODUCTS):
        start = clock()
        _ = a @ b
        seconds.append(clock() - start)
    return 2 * SIDE**3 / min(seconds)


def run(name: str, precision: str) -> Speed:
    """Measure a case in a new process, in the environment that the desk trains in; ValueError if it fails."""
    command = [sys.executable, "-m", "benchmarks.speed", name, precision]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | lacking(os.environ))
    if done.returncode:
        raise ValueError(f"{name} ended with exit code {done.returncode}: {done.stderr.strip()[-300:]}")
    return Speed(**json.loads(done.stdout))


def median(speeds: Sequence[Speed]) -> Speed:
    """Return the median of measurements of one case; the rate of products is the best of all."""
    speed = statistics.median(one.tokens_per_second for one in speeds)
    name, fastest = speeds[0].case, max(one.product_rate for one in speeds)
    return Speed(name, speeds[0].precision, speed, speed * CASES[name].flops(), fastest)


def report(speeds: Sequence[Speed]) -> Iterator[str]:
    """Yield the lines of the Markdown."""
    yield "| network | in | tokens a step | tokens/s | GFLOP/s | of the rate of products |"
    yield "|---|---|--:|--:|--:|--:|"
    for one in speeds:
        case = CASES[one.case]
        speed = (
            f"{one.tokens_per_second:,.0f} | {one.rate / 1e9:,.0f} | {one.share:.0%} of {one.product_rate / 1e9:,.0f}"
        )
        yield f"| {case.words} | {one.precision} | {case.rows * case.T:,} | {speed} |"
    yield from ("", "| goal | wanted | measured | met |", "|---|--:|--:|---|")
    for one in speeds:
        if one.precision == "float32":
            case = CASES[one.case]
            yield Goal(f"{case.words}: share of the rate of products", case.wanted, one.share, "share").line()


if __name__ == "__main__":
    print(json.dumps(asdict(measure(sys.argv[1], sys.argv[2]))))
