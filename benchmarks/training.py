"""Measure how fast and how well we train: `python -m benchmarks.training PART`, where PART says against what.

published: the losses of a published log, by its recipe. Prints Markdown.
"""

import argparse
import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.decode import machine
from benchmarks.goals import Goal
from gptdesk.settings import load_settings
from gptdesk.training import Trainer, TrainingOptions
from gptdesk.training.estimate import probe
from gptdesk.training.loader import StreamRows
from models.gpt import GPT, PRESETS
from models.tokenizer import gpt2_tokenizer

log = logging.getLogger("benchmarks")

TEXT = Path(__file__).parents[1] / "../shared/data/tinyshakespeare.txt"
PUBLISHED = {0: 10.95, 50: 8.34, 100: 6.35}  # step, counted from 0: training loss of GPT-2 124M on TEXT
NEAR = 0.5  # nats per token by which a loss may differ
RECIPE = TrainingOptions(
    steps=5000, batch_size=8, learning_rate=3e-4, warmup_steps=500, beta2=0.999, weight_decay=0.01, clip=1.0
)
BLOCK = 256


def published(text: Path, vocabularies: Path) -> Iterator[str]:
    """The lines of the Markdown on the first steps of a published run, done again."""
    tokens = np.array(gpt2_tokenizer(vocabularies).encode(text.read_text(encoding="utf-8")), dtype=np.int64)
    torch.manual_seed(RECIPE.seed)
    model, rows = GPT(PRESETS["gpt2"]), StreamRows(tokens, BLOCK, seed=RECIPE.seed)
    bfloat16, speed = probe(model, rows, options=RECIPE)
    yield f"On {machine()}, in {'bfloat16' if bfloat16 else 'float32'}; the probe trained at {speed:,.0f} tokens/s."
    yield f"{len(tokens):,} tokens, {RECIPE.batch_size} rows of {BLOCK} a step."
    losses: dict[int, float] = {}
    for step in Trainer(model, rows, options=RECIPE, bfloat16=bfloat16).run():
        losses[step.step - 1] = step.train_loss
        if step.step % 10 == 1:
            log.info("step %d: loss %.4f, rate %.3e", step.step - 1, step.train_loss, step.learning_rate)
        if step.step > max(PUBLISHED):
            break
    yield from ("", "| step | published loss | ours |", "|--:|--:|--:|")
    yield from (f"| {step} | {loss:.2f} | {losses[step]:.2f} |" for step, loss in PUBLISHED.items())
    yield from ("", "| goal | wanted | measured | met |", "|---|--:|--:|---|")
    for step, loss in PUBLISHED.items():
        yield Goal(f"loss of step {step} and {loss}, apart", NEAR, abs(losses[step] - loss), "", at_most=True).line()


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """What to measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("part", choices=["published"])
    parser.add_argument("--text", type=Path, default=TEXT, help="default: ../shared/data/tinyshakespeare.txt")
    return parser.parse_args(given)


def main() -> int:
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    given = arguments()
    try:
        for line in published(given.text, load_settings().vocabularies):
            print(line, flush=True)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
