"""Measure what each setting of gptdesk/system/environment.py is worth: `python -m benchmarks.environment`.

For each setting two processes hold the same network, one with the setting and one without. They read a prompt and
decode in turn, many times, so that whatever else the computer does meets both alike. Settings of memory are measured
in seconds of CPU with one thread, those of threads by the clock. Prints a Markdown table; a ratio is the time without
the setting over the time with it, above 1 where the setting pays.
"""

import argparse
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO

from benchmarks.command import exit_code
from benchmarks.decode import busy_program, machine, random_checkpoint
from benchmarks.speed import clock
from gptdesk.bench import Case, prepared
from gptdesk.bench.__main__ import PlainTokenizer, peak_bytes
from gptdesk.generation import GenerationRequest, GenerationStep, generate
from gptdesk.settings import load_settings
from gptdesk.system.environment import lacking, threads
from models.engine import get_device
from models.gpt import PRESETS
from models.library import ModelKey, ModelLibrary
from models.manager import ModelManager
from models.precision import PRECISIONS
from models.prefix import PrefixCache
from samplers import Chain, build

log = logging.getLogger("benchmarks")

PROMPT, NEW = 32, 8  # tokens of one measurement
THREADS = ("OMP_NUM_THREADS", "GOMP_SPINCOUNT")  # settings of threads; the others are of memory
HEAD = (
    "setting",
    "precision",
    "prompt",
    "lowest and highest quarter",
    "decode",
    "lowest and highest quarter",
    "peak, MB",
)

Pair = tuple[float, float]  # seconds to the first token, and from there to the last


@dataclass(frozen=True)
class Variant:
    """Setting, and the environments with it and without it."""

    name: str
    given: dict[str, str]
    without: dict[str, str]


def variants(names: Sequence[str]) -> Iterator[Variant]:
    """Yield the settings of these names that the desk makes on this computer; without names, all of them."""
    settings = lacking(os.environ)
    for name in settings:
        if names and name not in names:
            continue
        given = os.environ | settings
        if name not in THREADS:
            given["OMP_NUM_THREADS"] = "1"
        without = {key: value for key, value in given.items() if key != name}
        if name == "OMP_NUM_THREADS":
            # torch counts the CPUs that it sees: where a quota gives a container half of them, it starts twice as many
            without[name] = str(2 * threads())
        yield Variant(name, given, without)


class Process:
    """Process with a loaded network, which measures when asked to."""

    def __init__(self, case: Case, environment: dict[str, str]) -> None:
        command = [sys.executable, "-m", __spec__.name, "--case", json.dumps(asdict(case))]
        self._process = subprocess.Popen(
            command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.measure()  # the first one warms up

    def measure(self) -> tuple[Pair, float]:
        """Return the times of one measurement, and the peak memory in MB."""
        questions, answers = self._process.stdin, self._process.stdout
        assert questions is not None
        assert answers is not None
        questions.write("\n")
        questions.flush()
        first, decode, peak = map(float, answers.readline().split())
        return (first, decode), peak

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


def answer(case: Case, *, questions: IO[str]) -> None:
    """Load the network of a case, and print the times of one measurement for each line that is read."""
    folder = Path(case.folder)
    library = ModelLibrary(folder / "none", cache_folder=Path(case.vocabularies), bundled=[folder])
    manager = ModelManager(library, device=get_device("cpu"))
    with manager.lend(ModelKey(case.name, case.precision)) as lent:
        loaded = replace(lent, tokenizer=PlainTokenizer(lent.config.vocab_size))
        greedy = Chain(samplers=(build("greedy"),))
        prompt = loaded.tokenizer.decode(range(case.prompt))
        request = GenerationRequest(prompt=prompt, chain=greedy, max_new_tokens=case.new + 1, seed=0)
        for _ in questions:
            started = clock()
            events = generate(replace(loaded, prefixes=PrefixCache()), request)
            times = [clock() for event in events if isinstance(event, GenerationStep)]
            print(times[0] - started, times[-1] - times[0], peak_bytes() / 1e6, flush=True)


def compare(case: Case, variant: Variant, *, rounds: int) -> str:
    """Return the line of the table for one setting."""
    with ExitStack() as stack:
        both = [Process(case, environment) for environment in (variant.given, variant.without)]
        for one in both:
            stack.callback(one.close)
        prompts, decodes, peaks = [], [], (0.0, 0.0)
        for i in range(rounds):
            order = both if i % 2 else both[::-1]
            measured = {one: one.measure() for one in order}
            (given, peak), (without, other_peak) = (measured[one] for one in both)
            prompts.append(without[0] / given[0])
            decodes.append(without[1] / given[1])
            peaks = peak, other_peak
    shares = (f"{statistics.median(ratios):.3f} | {_quarters(ratios)}" for ratios in (prompts, decodes))
    return f"| {variant.name} | {case.precision} | {' | '.join(shares)} | {peaks[0]:.0f}, without {peaks[1]:.0f} |"


def _quarters(ratios: list[float]) -> str:
    low, _, high = statistics.quantiles(ratios, n=4)
    return f"{low:.3f} to {high:.3f}"


def run_all(given: argparse.Namespace) -> None:
    """Measure and print."""
    settings = load_settings()
    with tempfile.TemporaryDirectory(prefix="gptdesk-bench-") as temporary:
        folder = random_checkpoint(given.preset, Path(temporary))
        with prepared(
            folder,
            given.precision,
            vocabularies=settings.vocabularies,
            device="cpu",
            prompts=(PROMPT,),
            sequences=(1,),
        ) as cases:
            program = "one other program computes meanwhile" if given.busy else "nothing else is started"
            print(f"On {machine()}; {given.rounds} rounds; {program}.\n")
            print(f"| {' | '.join(HEAD)} |\n|---|---|{'--:|' * (len(HEAD) - 2)}", flush=True)
            for case in cases:
                for variant in variants(given.setting):
                    with busy_program(given.busy):
                        print(compare(replace(case, new=NEW), variant, rounds=given.rounds), flush=True)


def main() -> int:
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    parser = argparse.ArgumentParser(prog="python -m benchmarks.environment", description=__doc__)
    parser.add_argument("--preset", choices=PRESETS, default="gpt2", help="shape of the network (default: %(default)s)")
    parser.add_argument("--precision", nargs="+", default=["float32", "int8"], choices=PRECISIONS)
    parser.add_argument("--setting", nargs="+", default=[], metavar="NAME", help="default: all of them")
    parser.add_argument("--rounds", type=int, default=40, help="measurements of each process (default: %(default)s)")
    parser.add_argument("--busy", action="store_true", help="let another program keep one CPU busy meanwhile")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.case:
        answer(Case(**json.loads(given.case)), questions=sys.stdin)
        return 0
    return exit_code(lambda: run_all(given))


if __name__ == "__main__":
    sys.exit(main())
