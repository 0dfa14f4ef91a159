"""Rebuild the starter model from nothing but this code: `python -m gptdesk.starter`."""

import argparse
import logging
import signal
import sys
import threading
from pathlib import Path

from gptdesk.settings import default_home
from gptdesk.starter import CHECKPOINT
from gptdesk.starter.build import Recipe, build
from gptdesk.training import TrainingOptions


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m gptdesk.starter", description=__doc__)
    parser.add_argument("--steps", type=int, default=4400, help="updates of the weights (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=8, help="stories in each step (default: %(default)s)")
    parser.add_argument("--learning-rate", type=float, default=2.5e-3, help="its peak (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of stories, weights and their order (default: 1)")
    parser.add_argument("--bfloat16", action="store_true", help="much faster on processors with AMX or AVX512-BF16")
    parser.add_argument(
        "--run", type=Path, default=default_home() / "cache" / "starter", help="folder of the saves, to go on from"
    )
    parser.add_argument(
        "--out", type=Path, default=CHECKPOINT, help="folder of the checkpoint (default: the package's)"
    )
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        for _ in build(given.run, given.out, options=_options(given), recipe=Recipe(), stop=stop):
            pass
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def _options(given: argparse.Namespace) -> TrainingOptions:
    return TrainingOptions(
        steps=given.steps,
        batch_size=given.batch_size,
        learning_rate=given.learning_rate,
        schedule="linear",
        warmup_steps=min(100, given.steps // 10),
        evaluate_every=400,
        save_every=200,
        patience=0,
        seed=given.seed,
        precision="bfloat16" if given.bfloat16 else "float32",
    )


if __name__ == "__main__":
    sys.exit(main())
