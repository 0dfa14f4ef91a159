"""Training speed and quality: `python -m benchmarks.training PART` prints the Markdown of docs/training.md.

published: the first losses of a published run of GPT-2's size, by its recipe. nanogpt: nanoGPT's quick run on a CPU, by
its own program and by ours, in turn. speed: tokens per second of three sizes. Close everything else for the last two.
"""

import argparse
import logging
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks import nanogpt, speed
from benchmarks.command import exit_code
from benchmarks.decode import machine
from benchmarks.goals import Goal
from benchmarks.nanogpt import Trained
from gptdesk.settings import load_settings
from gptdesk.training import Trainer, TrainingOptions
from gptdesk.training.estimate import probe
from gptdesk.training.loader import StreamRows
from models.gpt import GPT, PRESETS
from models.tokenizer import gpt2_tokenizer

log = logging.getLogger("benchmarks")

TEXT = Path(__file__).parents[1] / "../shared/data/tinyshakespeare.txt"
GOALS = ("| goal | wanted | measured | met |", "|---|--:|--:|---|")
PUBLISHED = {0: 10.95, 50: 8.34, 100: 6.35}  # step, counted from 0: training loss of GPT-2 124M on TEXT
NEAR = 0.5  # nats per token by which such a loss may differ
RECIPE = TrainingOptions(
    steps=5000,
    batch_size=8,
    optimizer="adamw",
    learning_rate=3e-4,
    warmup_steps=500,
    beta2=0.999,
    weight_decay=0.01,
    clip=1.0,
)
BLOCK = 256
THEIR_LOSS = 1.8857  # that nanoGPT reports of its quick run, on a part of the text held out
SOON, WHOLE = 550, nanogpt.STEPS  # steps of the defaults: until THEIR_LOSS is reached, and as many as nanoGPT's


def published(text: Path, vocabularies: Path) -> Iterator[str]:
    """Yield the Markdown on the first steps of a published run, repeated."""
    tokens = np.array(gpt2_tokenizer(vocabularies).encode(text.read_text(encoding="utf-8")), dtype=np.int64)
    torch.manual_seed(RECIPE.seed)
    model, rows = GPT(PRESETS["gpt2"]), StreamRows(tokens, BLOCK, seed=RECIPE.seed)
    bfloat16, _ = probe(model, rows, options=RECIPE)
    yield f"On {machine()}, in {'bfloat16' if bfloat16 else 'float32'}."
    losses: dict[int, float] = {}
    for step in Trainer(model, rows, options=RECIPE, bfloat16=bfloat16).run():
        losses[step.step - 1] = step.train_loss
        if step.step % 10 == 1:
            log.info("step %d: loss %.4f, rate %.3e", step.step - 1, step.train_loss, step.learning_rate)
        if step.step > max(PUBLISHED):
            break
    yield from ("", "| step | published loss | ours |", "|--:|--:|--:|")
    yield from (f"| {step} | {loss:.2f} | {losses[step]:.2f} |" for step, loss in PUBLISHED.items())
    yield from ("", *GOALS)
    for step, loss in PUBLISHED.items():
        yield Goal(f"loss of step {step}, from {loss}", NEAR, abs(losses[step] - loss), "", at_most=True).line()


def quick_run(text: Path, clone: Path, rounds: int) -> Iterator[str]:
    """Yield the Markdown on nanoGPT's quick run; the medians of all rounds."""
    found: list[list[Trained]] = []
    for i in range(1, rounds + 1):
        theirs, ours = nanogpt.run_theirs(clone, text), nanogpt.run_ours(text)
        recipes = [nanogpt.run_recipe(text, steps=steps) for steps in (SOON, WHOLE)]
        found.append([theirs, ours, *recipes])
        for one in found[-1]:
            log.info("round %d of %d: %s", i, rounds, one)
    theirs, ours, soon, whole = (middle(runs) for runs in zip(*found, strict=True))
    yield f"On {machine()}."
    yield ""
    yield "| | tokens | tokens/s | whole process, s | processor, s | loss, nats/character |"
    yield "|---|--:|--:|--:|--:|--:|"
    for one in (theirs, ours, soon, whole):
        times = f"{one.tokens_per_second:,.0f} | {one.seconds:.1f} | {one.processor_seconds:.1f}"
        yield f"| {one.name} | {one.tokens:,} | {times} | {one.loss:.4f} |"
    yield from ("", *GOALS)
    ratio, apart = ours.tokens_per_second / theirs.tokens_per_second, abs(ours.loss - theirs.loss)
    yield Goal("the same recipe, tokens/s : nanoGPT's", 1.2, ratio, " x").line()
    used = theirs.processor_seconds / ours.processor_seconds
    yield Goal("the same recipe, tokens a processor's second, whole process : nanoGPT's", 1.2, used, " x").line()
    yield Goal("the same recipe, loss from nanoGPT's", 0.03, apart, "", at_most=True).line()
    yield Goal(f"our defaults, {SOON} steps: loss", THEIR_LOSS, soon.loss, "", at_most=True).line()
    yield Goal(f"our defaults, {SOON} steps: time : nanoGPT's", 0.5, soon.seconds / theirs.seconds, " x", True).line()
    used = soon.processor_seconds / theirs.processor_seconds
    yield Goal(f"our defaults, {SOON} steps: processor time : nanoGPT's", 0.5, used, " x", True).line()
    yield Goal("our defaults, as many tokens: loss", 1.75, whole.loss, "", at_most=True).line()


def middle(runs: Sequence[Trained]) -> Trained:
    """Return the medians of one program's runs."""
    names = ("tokens_per_second", "seconds", "processor_seconds", "loss")
    figures = {name: statistics.median(getattr(run, name) for run in runs) for name in names}
    return replace(runs[0], **figures)


def sizes(precisions: Sequence[str], rounds: int) -> Iterator[str]:
    """Yield the Markdown on the speed of three sizes; the medians of all rounds."""
    cases = [(name, precision) for name in speed.CASES for precision in precisions]
    found = [[speed.run(*case) for case in cases] for _ in range(rounds)]
    yield f"On {machine()}."
    yield ""
    yield from speed.report([speed.median(runs) for runs in zip(*found, strict=True)])


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the arguments."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("part", choices=["published", "nanogpt", "speed"])
    parser.add_argument("--text", type=Path, default=TEXT, help="default: ../shared/data/tinyshakespeare.txt")
    parser.add_argument("--nanogpt", type=Path, metavar="DIR", help="a clone of nanoGPT, for the part of that name")
    parser.add_argument("--precision", nargs="+", choices=["float32", "bfloat16"], default=["float32"])
    parser.add_argument("--rounds", type=int, default=1, help="of which the medians count (default: %(default)s)")
    chosen = parser.parse_args(given)
    if chosen.part == "nanogpt" and chosen.nanogpt is None:
        parser.error("nanogpt needs --nanogpt DIR, a clone of nanoGPT")
    return chosen


def main() -> int:
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    given = arguments()
    return exit_code(lambda: _print_part(given))


def _print_part(given: argparse.Namespace) -> None:
    if given.part == "published":
        lines = published(given.text, load_settings().vocabularies)
    elif given.part == "nanogpt":
        lines = quick_run(given.text, given.nanogpt.resolve(), given.rounds)
    else:
        lines = sizes(given.precision, given.rounds)
    for line in lines:
        print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
