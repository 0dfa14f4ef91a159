"""Speed and size of a model, in turn with other programs: `python -m benchmarks.decode --peers DIR`.

Prints the Markdown of docs/performance.md. DIR is the folder that the peers' setup.sh has made; without it only we are
measured. Close other programs meanwhile: only ratios within one run are comparable.
"""

import argparse
import json
import logging
import platform
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path

import torch

from benchmarks.command import exit_code
from benchmarks.goals import goals, starter_goals
from benchmarks.peers import PEERS, Peer, median_row
from gptdesk.bench import (
    PROMPTS,
    SEQUENCES,
    Case,
    Measured,
    Row,
    find_folder,
    median,
    prepared,
    run,
    run_bandwidth,
    share_of_limit,
)
from gptdesk.bench.__main__ import PlainTokenizer
from gptdesk.settings import load_settings
from gptdesk.starter import CHECKPOINT as STARTER
from gptdesk.system.environment import threads
from models.checkpoint import About, Checkpoint, save_checkpoint
from models.gpt import GPT, PRESETS
from models.library import ModelLibrary
from models.precision import PRECISIONS
from models.tokenizer import CharacterTokenizer

log = logging.getLogger("benchmarks")

SCRIPT = Path(__file__).parents[1] / "../shared/bench/peers.py"
BUSY = "while True: pass"  # a program that keeps one CPU busy


@dataclass(frozen=True)
class Outcome:
    """Medians of all rounds."""

    ours: list[Measured]
    theirs: list[Row]
    rounds: int
    bandwidth: float  # bytes per second, the best of all rounds
    spread: float  # the most by which a case's fastest round decoded faster than its slowest
    busy: bool  # whether another program kept one CPU busy


@contextmanager
def busy_program(wanted: bool) -> Iterator[None]:
    """Run a program that keeps one CPU busy for as long as the block lasts, if it is wanted."""
    if not wanted:
        yield
        return
    with subprocess.Popen([sys.executable, "-c", BUSY]) as program:
        try:
            yield
        finally:
            program.kill()


def measure(
    cases: Sequence[Case], peers: Sequence[Peer], *, rounds: int, under: Sequence[str] = (), busy: bool = False
) -> Outcome:
    """Run every case and every peer in turn, round after round. A peer that fails is left out, and that is logged."""
    ours: dict[Case, list[Measured]] = {case: [] for case in cases}
    theirs: dict[Peer, list[Row]] = {peer: [] for peer in peers}
    bandwidth = 0.0
    for i in range(1, rounds + 1):
        bandwidth = max(bandwidth, run_bandwidth(under=under))
        for one in in_turn(cases, list(theirs)):
            if isinstance(one, Case):
                try:
                    ours[one].append(run(one, under=under))
                except (ValueError, OSError) as error:  # the rounds that were measured count
                    log.warning("a round is left out: %s", error)
                    continue
                log_row(ours[one][-1].row, f"round {i} of {rounds}")
                continue
            try:
                theirs[one].append(one.run(under=under))
                log_row(theirs[one][-1], f"round {i} of {rounds}")
            except (ValueError, OSError) as error:
                log.warning("left out: %s", error)
                del theirs[one]
    ours = {case: found for case, found in ours.items() if found}
    if not ours:
        raise ValueError("no case of ours could be measured; see above")
    speeds = [[one.row.tokens_per_second for one in found] for found in ours.values()]
    speeds += [[row.tokens_per_second for row in found] for found in theirs.values()]
    spread = max(max(found) / min(found) - 1 for found in speeds)
    return Outcome([*map(median, ours.values())], [*map(median_row, theirs.values())], rounds, bandwidth, spread, busy)


def log_row(row: Row, when: str) -> None:
    """Log a measurement."""
    log.info("%s: %s, prompt %d, n = %d, %.1f tokens/s", when, row.precision, row.prompt, row.n, row.tokens_per_second)


def in_turn(cases: Sequence[Case], peers: Sequence[Peer]) -> Iterator[Case | Peer]:
    """Yield ours and theirs in turn, so that compared measurements are close in time."""
    for prompt in dict.fromkeys(case.prompt for case in cases):
        mine = sorted((case for case in cases if case.prompt == prompt), key=lambda case: case.n)
        for pair in zip_longest(mine, (peer for peer in peers if peer.prompt == prompt)):
            yield from filter(None, pair)


def report(outcome: Outcome, checkpoint: Checkpoint) -> Iterator[str]:
    """Yield the lines of the Markdown."""
    ours = outcome.ours
    others, empty = max(one.others for one in ours), ours[0].empty_mb
    yield f"On {machine()}, which reads memory at {outcome.bandwidth / 1e9:.1f} GB/s."
    if outcome.rounds > 1:
        yield f"Between {outcome.rounds} rounds, the decode speed of one case differed by up to {outcome.spread:.0%}."
    yield f"While ours was measured, other programs took up to {others:.0%} of the processors."
    if outcome.busy:
        yield "Meanwhile another program kept one CPU busy."
    yield f"Of each peak of ours, {empty:.0f} MB are there before the model: Python, torch, numba and this program."
    for prompt in dict.fromkeys(one.row.prompt for one in ours):
        yield from ("", f"With a prompt, and so a context, of {prompt} tokens:", "")
        yield "| | n | first token, ms | tokens/s | of the limit | load, s | peak, MB | file, MB | kernel |"
        yield "|---|--:|--:|--:|--:|--:|--:|--:|---|"
        lines = [(one.row, f"{share_of_limit(one, outcome.bandwidth):.0%}") for one in ours]
        lines += [(row, "") for row in outcome.theirs]
        yield from (table_line(row, share) for row, share in lines if row.prompt == prompt)
    yield from ("", "What the default chain of samplers costs instead of the greedy one:", "")
    yield "| | context | n | engine, ms a step | chain, ms a step | share of the chain | tokens/s |"
    yield "|---|--:|--:|--:|--:|--:|--:|"
    for one in ours:
        step = f"{one.engine_seconds * 1e3:.2f} | {one.sampler_seconds * 1e3:.2f} | {one.sampler_share:.1%}"
        case = f"{one.row.precision} | {one.row.context} | {one.row.n}"
        yield f"| {case} | {step} | {one.default_tokens_per_second:,.1f} |"
    found = []
    if checkpoint.parameters == PRESETS["gpt2"].parameters():
        found = list(goals(ours, outcome.theirs, busy=outcome.busy))
    elif checkpoint.path == STARTER:
        found = list(starter_goals(ours))
    if found:
        yield from ("", "| goal | wanted | measured | met |", "|---|--:|--:|---|")
        yield from (goal.line() for goal in found)


def table_line(row: Row, share: str) -> str:
    """Return a measurement as a line of the table; ours are bold."""
    name = PEERS[row.precision][0] if row.precision in PEERS else f"**{row.precision}**"
    load = "" if row.load_seconds is None else f"{row.load_seconds:.2f}"
    speed = f"{row.seconds_to_first_token * 1e3:,.1f} | {row.tokens_per_second:,.1f} | {share}"
    return f"| {name} | {row.n} | {speed} | {load} | {row.peak_mb:,.0f} | {row.file_mb:,.1f} | {row.kernel or ''} |"


def machine() -> str:
    """Return a description of this computer."""
    name = platform.processor() or platform.machine()
    cpus = Path("/proc/cpuinfo")
    if cpus.exists():
        lines = [line.partition(":") for line in cpus.read_text().splitlines()]
        found = {key.strip(): value.strip() for key, _, value in reversed(lines)}
        parts = [f"{key} {found[key]}" for key in ("cpu family", "model") if key in found]
        name = " ".join((found.get("model name", name), *parts))
    checks = {"VNNI": "vnni", "BF16": "avx512_bf16", "AMX": "amx_tile"}
    able = [torch.backends.cpu.get_cpu_capability()]
    able += [word for word, check in checks.items() if getattr(torch.cpu, f"_is_{check}_supported", bool)()]
    return f"{name} ({', '.join(able)}), {threads()} threads, {platform.system()}, torch {torch.__version__}"


def random_checkpoint(preset: str, into: Path, *, characters: int | None = None) -> Path:
    """Save a network of a preset's shape with the same random weights every time; return its folder.

    Its tokenizer knows so many characters, by default one for each id.
    """
    torch.manual_seed(0)
    config = PRESETS[preset]
    plain = PlainTokenizer(config.vocab_size)
    alphabet = plain.decode(range(characters or config.vocab_size))
    model, tokenizer = GPT(config), CharacterTokenizer(alphabet)
    return save_checkpoint(into / f"random-{preset}", model, tokenizer=tokenizer, about=About(source="random")).path


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the arguments."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decode", description=__doc__)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("model", nargs="?", help="folder of a checkpoint, or the name of a model of the desk")
    what.add_argument("--preset", choices=PRESETS, default="gpt2", help="random weights instead (default: %(default)s)")
    parser.add_argument("--precision", nargs="+", default=[], choices=PRECISIONS, help="default: all there are")
    parser.add_argument("--prompts", type=numbers, default=PROMPTS, help="tokens of the prompts (default: 16,700)")
    parser.add_argument("--n", type=numbers, default=SEQUENCES, help="sequences (default: 1,5)")
    parser.add_argument("--peers", type=Path, metavar="DIR", help="folder in which the peers are installed")
    parser.add_argument("--peer", nargs="+", default=list(PEERS), choices=PEERS, help="default: all of them")
    parser.add_argument("--script", type=Path, default=SCRIPT, help="peers.py (default: ../shared/bench/peers.py)")
    parser.add_argument("--rounds", type=int, default=3, help="of which the medians count (default: %(default)s)")
    parser.add_argument("--busy", action="store_true", help="let another program keep one CPU busy meanwhile")
    parser.add_argument("--under", default="", help="words to start each process by, such as 'taskset -c 0,1'")
    parser.add_argument("--json", action="store_true", help="print a list of rows instead of Markdown")
    return parser.parse_args(given)


def numbers(text: str) -> tuple[int, ...]:
    """Parse whole numbers of at least 1 between commas."""
    found = tuple(int(part) for part in text.split(","))
    if min(found) < 1:
        raise ValueError(text)
    return found


def run_all(given: argparse.Namespace) -> None:
    """Measure, and print the result."""
    settings = load_settings()
    library = ModelLibrary(settings.models, bundled=[STARTER], cache_folder=settings.vocabularies)
    with tempfile.TemporaryDirectory(prefix="gptdesk-bench-") as temporary:
        made = given.model is None
        folder = (
            random_checkpoint(given.preset, Path(temporary), characters=1)
            if made
            else find_folder(library, given.model)
        )
        with prepared(
            folder,
            given.precision,
            vocabularies=settings.vocabularies,
            device=settings.device,
            prompts=given.prompts,
            sequences=given.n,
        ) as cases:
            if not cases:
                raise ValueError("nothing is left to measure")
            peers = []
            if given.peers:
                place, script = given.peers.resolve(), given.script.resolve()
                prompts = dict.fromkeys(case.prompt for case in cases)
                peers = [Peer(name, prompt, place, script) for prompt in prompts for name in given.peer]
            under = shlex.split(given.under)
            with busy_program(given.busy):
                outcome = measure(cases, peers, rounds=given.rounds, under=under, busy=given.busy)
        if given.json:
            print(json.dumps([asdict(row) for row in [*(one.row for one in outcome.ours), *outcome.theirs]], indent=1))
        else:
            print("\n".join(report(outcome, Checkpoint.open(folder))))


def main() -> int:
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that nothing temporary is left
    given = arguments()
    return exit_code(lambda: run_all(given))


if __name__ == "__main__":
    sys.exit(main())
