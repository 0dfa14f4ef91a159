"""Rebuild the starter model from this code alone, score a model trained on its stories, or check a story."""

import argparse
import logging
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import torch

from gptdesk.settings import default_home
from gptdesk.starter import CHECKPOINT
from gptdesk.starter.build import Recipe, build
from gptdesk.starter.contradictions import find_contradictions
from gptdesk.starter.judge import Judge, Judgement, judge_both, write_stories
from gptdesk.starter.losses import losses
from gptdesk.starter.rows import StoryRows
from gptdesk.starter.stories import stories
from gptdesk.training import TrainingOptions
from models.checkpoint import Checkpoint
from models.precision import PRECISIONS


def main(arguments: list[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        if given.command == "score":
            _score(given)
        elif given.command == "check":
            _check(given)
        else:
            _build(given)
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m gptdesk.starter", description=__doc__)
    parser.add_argument("--steps", type=int, default=20_000, help="updates of the weights (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=8, help="stories in each step (default: %(default)s)")
    parser.add_argument("--optimizer", choices=["adamw", "muon"], default="muon", help="(default: %(default)s)")
    parser.add_argument("--learning-rate", type=float, default=4e-3, help="its peak (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of stories, weights and their order (default: 1)")
    parser.add_argument("--start", type=Path, help="folder of a model of these stories to train further")
    parser.add_argument("--bfloat16", action="store_true", help="much faster on processors with AMX or AVX512-BF16")
    parser.add_argument(
        "--run",
        type=Path,
        default=default_home() / "cache" / "starter",
        help="folder of the saves, from which a run is resumed",
    )
    parser.add_argument(
        "--out", type=Path, default=CHECKPOINT, help="folder of the checkpoint (default: the package's)"
    )
    commands = parser.add_subparsers(dest="command")
    score = commands.add_parser(
        "score", help="score a model: its loss beside the generator's entropy, its texts beside new stories"
    )
    score.add_argument("model", type=Path, nargs="?", default=CHECKPOINT, help="its folder (default: the package's)")
    score.add_argument("--samples", type=int, default=200, help="texts to generate (default: %(default)s)")
    score.add_argument(
        "--trained-on", type=int, default=1, metavar="SEED", help="seed of the stories it was trained on (default: 1)"
    )
    score.add_argument("--dice", type=int, default=1, metavar="SEED", help="seed of the generated texts (default: 1)")
    check = commands.add_parser("check", help="list the contradictions of a story, and the sentences that they break")
    check.add_argument("file", type=argparse.FileType("r", encoding="utf-8"), help="its text in UTF-8; - for stdin")
    return parser


def _check(given: argparse.Namespace) -> None:
    with given.file as file:
        try:
            check = find_contradictions(file.read())
        except UnicodeDecodeError:
            raise ValueError(f"{file.name} is not a text in UTF-8; save it as one") from None
    if not check.of_the_world:
        raise ValueError("this is not a story of the starter's world: most of its sentences are not known there")
    for one in check.contradictions:
        sys.stdout.write(f"{check.part(one.sentence)}\n  {one.why}\n")
        if one.breaks is not None:
            sys.stdout.write(f"  It breaks: {check.part(one.breaks)}\n")
    sys.stdout.write(f"contradictions: {len(check.contradictions)}\n")


def _build(given: argparse.Namespace) -> None:
    options = TrainingOptions(
        steps=given.steps,
        batch_size=given.batch_size,
        optimizer=given.optimizer,
        learning_rate=given.learning_rate,
        schedule="linear",
        warmup_steps=min(100, given.steps // 10),
        evaluate_every=400,
        save_every=200,
        patience=0,
        seed=given.seed,
        precision="bfloat16" if given.bfloat16 else "float32",
    )
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    start = Checkpoint.open(given.start) if given.start else None
    for _ in build(given.run, given.out, options=options, recipe=Recipe(), start=start, stop=stop):
        pass


def _score(given: argparse.Namespace) -> None:
    if given.samples < 1:
        raise ValueError(f"--samples must be at least 1, not {given.samples}")
    checkpoint = Checkpoint.open(given.model)
    tokenizer, context = checkpoint.load_tokenizer(), checkpoint.config.block_size
    unread = given.trained_on + 2
    for name, loss in losses(checkpoint.load_model(), tokenizer, seed=unread).items():
        print(f"loss on {name}: {loss}", flush=True)
    read = (checkpoint.about.tokens or 0) // context
    rows = StoryRows(tokenizer, given.trained_on, count=max(1, read), block_size=context)
    judge = Judge(tokenizer, rows.take(torch.arange(rows.count), epoch=0))
    engine = checkpoint.load_engine(PRECISIONS["float32"])
    texts = write_stories(engine, tokenizer, count=given.samples, seed=given.dice)
    cut = sum(not text.whole for text in texts)
    print(f"{len(texts)} texts, {cut} of them longer than the context, beside as many new stories")
    for line in _score_table(*judge_both(judge, texts, stories(unread, given.samples))):
        print(line)


def _score_table(model: Judgement, generator: Judgement) -> Iterator[str]:
    yield f"{'':44}{'model':>10}{'generator':>11}"
    for name, value in (
        ("sentences in grammar", lambda j: f"{j.score.in_grammar:.1%}"),
        ("of these not in the training text", lambda j: f"{j.score.unseen:.1%}"),
        ("contradictions per story", lambda j: f"{j.score.contradictions:.2f}"),
        ("different events", lambda j: f"{j.score.events}"),
        ("longest run of training tokens", lambda j: f"{j.novelty.longest_run}"),
        ("95 of 100 texts have none longer than", lambda j: f"{j.novelty.usual_run}"),
        *((f"runs of {n} tokens that are new", lambda j, n=n: f"{j.novelty.unseen[n]:.1%}") for n in (4, 8, 12)),
        ("near-duplicates of training text", lambda j: f"{j.novelty.near_duplicates:.1%}"),
        *((f"distinct-{n}", lambda j, n=n: f"{j.variety.distinct[n]:.3f}") for n in (1, 2, 3)),
        ("bytes after zlib", lambda j: f"{j.variety.packed:.1%}"),
        ("different openings", lambda j: f"{j.variety.openings:.1%}"),
        ("different goals", lambda j: f"{j.variety.plots}"),
    ):
        yield f"{name:44}{value(model):>10}{value(generator):>11}"
    yield f"contradictions by kind: {model.score.kinds or 'none'}"


if __name__ == "__main__":
    sys.exit(main())
