"""Time of one sampling step: `python -m benchmarks.sampling`, by default on a vocabulary of GPT-2's size."""

import argparse
import statistics
import time
from collections.abc import Callable
from itertools import cycle

import torch

from models.native.compiled import load
from models.native_step import NativeDraw
from samplers import Chain, build, default_chain

VOCABULARY = 50_257
DIFFERENT = 8  # logits used in turn: with the same ones, branch prediction would speed up a sort


def median_ms(call: Callable[[], object], *, steps: int) -> float:
    """Return the median time of one call in milliseconds, after a tenth as many calls that are not counted."""
    times = []
    for step in range(-(steps // 10), steps):
        start = time.perf_counter()
        call()
        if step >= 0:
            times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


def cases(rows: int, vocabulary: int) -> dict[str, Callable[[], object]]:
    """Return the timed functions by description: each call draws, sorts or filters (rows, V) random logits."""
    generator = torch.Generator().manual_seed(0)
    turns = cycle([3 * torch.randn(rows, vocabulary, generator=generator) for _ in range(DIFFERENT)])
    tokens = torch.randint(0, vocabulary, (rows, 256), generator=generator)

    def drawing(*links: tuple[str, dict[str, float]], compiled: bool = False) -> Callable[[], object]:
        chain = Chain(samplers=tuple(build(name, **options) for name, options in links)) if links else default_chain()
        code, steps = load("float32") if compiled else None, chain.steps()
        fast = NativeDraw(code, steps) if code is not None and steps is not None else None
        sampling = chain.start(seed=0, rows=rows, fast=fast)
        return lambda: sampling(next(turns), tokens)

    penalties = ("repetition_penalty", {"repetition_penalty": 1.2}), ("presence_frequency", {"presence_penalty": 0.5})
    return {
        "default chain and draw": drawing(),
        "default chain and draw, compiled": drawing(compiled=True),
        "the same with both penalties": drawing(*penalties, ("temperature", {}), ("top_k", {}), ("top_p", {})),
        "temperature 0": drawing(("temperature", {"temperature": 0.0})),
        "temperature alone": drawing(("temperature", {})),
        "temperature alone, compiled": drawing(("temperature", {}), compiled=True),
        "top-p 0.95 alone": drawing(("top_p", {})),
        "min-p 0.05 alone": drawing(("min_p", {"min_p": 0.05})),
        "typical 0.95 alone": drawing(("typical", {"typical_p": 0.95})),
        "torch.sort": lambda: next(turns).sort(dim=1, descending=True),
        "torch.softmax and multinomial": lambda: torch.multinomial(next(turns).softmax(dim=1), 1),
    }


def main() -> None:
    """Print a line for each case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1, help="sequences in the batch")
    parser.add_argument("--vocabulary", type=int, default=VOCABULARY, help="logits in a row")
    parser.add_argument("--steps", type=int, default=300, help="calls timed for each line")
    parser.add_argument("--threads", type=int, help="torch threads")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    print(f"ms per step, {arguments.rows} x {arguments.vocabulary} logits, torch {torch.__version__} on the CPU")
    for words, call in cases(arguments.rows, arguments.vocabulary).items():
        print(f"{median_ms(call, steps=arguments.steps):8.3f}  {words}")


if __name__ == "__main__":
    main()
