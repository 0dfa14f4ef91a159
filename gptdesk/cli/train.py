"""`gptdesk train`: a new run, or one that goes on, with a line that tells how it goes."""

import argparse
import contextlib
import json
import logging
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from types import FrameType

from gptdesk import datasets
from gptdesk.cli.parsing import Parser, UsageError, flag, number, path, read_standard_input, verb_parser
from gptdesk.datasets import TextProgress
from gptdesk.desk import Desk
from gptdesk.formatting import clock
from gptdesk.system import terminal
from gptdesk.training import DataOptions, ModelOptions, TrainingOptions, TrainingStep, control
from gptdesk.training.context import RunContext
from gptdesk.training.corpus import CorpusProgress
from gptdesk.training.distributed import world
from gptdesk.training.estimate import Estimate
from gptdesk.training.lock import starting_lock
from gptdesk.training.loop import Note
from gptdesk.training.run_directory import RunDirectory, RunPlan
from gptdesk.training.runner import Event, carry_on
from models.engine import get_device
from samplers.options import Options

log = logging.getLogger(__name__)

DESCRIPTION = (
    "Train a model on your own text. Everything can be resumed. Ctrl-C, SIGTERM and a terminal that is closed (SIGHUP) "
    "save first; under nohup the run outlives its terminal. Progress goes to the standard error, and a run goes on "
    "when nobody reads it."
)
DATA = f"files and folders; - reads a text; or by name: story-world[:COUNT], classic:{'|'.join(datasets.CLASSICS)}"
SHORT = {"learning_rate": "--lr", "warmup_steps": "--warmup", "evaluate_every": "--eval-every"}
AGAIN = 1.0  # seconds in which another SIGHUP is the same one
GROUPS: dict[str, type[Options]] = {"model": ModelOptions, "split": DataOptions, "training": TrainingOptions}


def train(desk: Desk, arguments: Sequence[str]) -> int:
    """Train until the end or a signal: Ctrl-C, SIGTERM and SIGHUP save first and end with 130, 143 and 129.

    A terminal that takes no more output does not end a run.
    """
    options = _parser().parse_args(arguments)
    terminal.go_on_without_output()
    places = desk.places
    device = get_device(desk.settings.device)
    with contextlib.ExitStack() as stack, contextlib.ExitStack() as starting:
        with terminal.handling(signal.SIG_DFL):  # while it waits for other processes no handler would run
            here = stack.enter_context(world(device, sharded=options.shard))
        told = _Told(silent=options.json or here.rank > 0)
        if here.rank == 0:
            run = _run(options, places, told, starting)
            here.wait()
        else:
            here.wait()
            run = RunDirectory(places.settings.runs / (options.resume or options.name))
        stop = stack.enter_context(_stop_on_signals())
        for event in carry_on(
            run, places=places, device=device, stop=stop.event, world=here, accept_changes=options.accept_changes
        ):
            starting.close()  # it has the training lock
            told.tell(event)
            if options.json and here.rank == 0 and isinstance(event, Note):  # beside the JSON, which tells the end
                log.warning("%s", event.text)
        told.end()
    if options.json and here.rank == 0:
        print(json.dumps(run_as_json(control.info(places, run.name))))
        if isinstance(fault := terminal.output_fault(), terminal.OutputFault):
            log.warning("the run %s has ended, but its JSON could not be printed (%s)", run.name, fault.strerror)
    return 128 + stop.number if stop.number else 0


def run_as_json(info: control.RunInfo) -> dict[str, object]:
    """A run as `--json` prints it."""
    data = asdict(info)
    return (
        {"name": info.name, "path": str(info.path), "state": info.state}
        | data.pop("status")
        | {
            "state": info.state,
            "last": info.last,
            "problem": info.problem,
        }
    )


def _parser() -> Parser:
    parser = verb_parser("train", DESCRIPTION)
    parser.add_argument("--data", type=path, nargs="+", metavar="FILE", default=[], help=DATA)
    parser.add_argument("--name", metavar="NAME", help="name of the run, and of the model that comes of it")
    parser.add_argument("--resume", metavar="RUN", help="go on with a run where its last save is")
    parser.add_argument("--accept-changes", action="store_true", help="go on although the text has changed")
    parser.add_argument("--shard", action="store_true", help="under torchrun: divide the model among the processes")
    for options in GROUPS.values():
        for name, field in options.model_fields.items():
            spelled = [SHORT[name], flag(name)] if name in SHORT else [flag(name)]
            told = f"{field.description} (default {field.default})".replace("%", "%%")  # argparse formats it
            parser.add_argument(*spelled, dest=name, metavar="X", help=told)
    return parser


def _run(
    options: argparse.Namespace, places: RunContext, told: "_Told", starting: contextlib.ExitStack
) -> RunDirectory:
    """Return the run that is meant, made if it is new; then no other can be made until `starting` is closed."""
    chosen = {group: _given(options, kind) for group, kind in GROUPS.items()}
    if options.resume:
        if options.data or options.name or chosen["model"] or chosen["split"]:
            raise UsageError("--resume goes on with the text and the model of the run; leave out what chooses them")
        changes = chosen["training"]
        return control.amend(places, options.resume, **changes) if changes else control.find(places, options.resume)
    if not options.data or not options.name:
        raise UsageError("a new run needs --data and --name; --resume RUN goes on with one")
    files = _files([place for place in options.data if place != "-"], places.settings.texts, told)
    text = (
        read_standard_input("the text", encoding=DataOptions(**chosen["split"]).encoding)
        if "-" in options.data
        else None
    )
    plan = RunPlan(
        name=options.name,
        data=files,
        **{group: kind(**chosen[group]) for group, kind in GROUPS.items()},
    )
    starting.enter_context(starting_lock(places.settings.home))
    control.check_free(places)
    control.make_way(places, plan.name)
    return control.create(places, plan, text=text)


def _files(places: Sequence[str], texts: Path, told: "_Told") -> tuple[str, ...]:
    """Files and folders, those that are given by name made or fetched; ValueError if one is not there."""
    named = [place for place in places if datasets.is_named(place)]
    missing = next((p for p in places if p not in named and not Path(p).expanduser().exists()), None)
    if missing:
        raise ValueError(f"there is no file {missing}")
    found: tuple[str, ...] = ()
    for event in datasets.obtain(places, texts):
        if isinstance(event, tuple):
            found = event
        else:
            told.tell(event)
    return found


def _given(options: argparse.Namespace, kind: type[Options]) -> dict[str, object]:
    values = {name: getattr(options, name) for name in kind.model_fields}
    return {
        name: number(value) if kind.model_fields[name].annotation in (int, float) else value
        for name, value in values.items()
        if value is not None
    }


class _Stop:
    """Set by the first signal; `number` is that signal's."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.number = 0


@contextlib.contextmanager
def _stop_on_signals() -> Iterator[_Stop]:
    """What the first Ctrl-C, SIGTERM or SIGHUP sets; the second one interrupts at once.

    But for a SIGHUP right after the first: when a terminal is closed, the system and the shell both send one.
    """
    stop = _Stop()
    first = 0.0

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal first
        if not stop.event.is_set():
            first = time.monotonic()
            stop.number = number
            stop.event.set()
        elif number != terminal.HANGUP or time.monotonic() - first > AGAIN:
            terminal.raise_for(number)

    with terminal.handling(interrupt):
        yield stop


class _Told:
    """Tells a terminal how a run goes: one line that changes, and lines that stay."""

    def __init__(self, *, silent: bool) -> None:
        self._silent, self._live = silent, sys.stderr.isatty()
        self._guess: Estimate | None = None
        self._validation: float | None = None
        self._stage = ""

    def tell(self, event: Event | TextProgress) -> None:
        if isinstance(event, TrainingStep):
            self._validation = event.validation_loss or self._validation
            if self._live or event.validation_loss is not None:
                self._show(self._progress(event), stays=not self._live)
        elif isinstance(event, Estimate):
            self._guess = event
            self._show(_expected(event), stays=True)
        elif isinstance(event, Note):
            self._show(event.text, stays=True)
        elif isinstance(event, CorpusProgress) and event.corpus:
            self._show(event.corpus.summary(), stays=True)
        elif isinstance(event, CorpusProgress | TextProgress) and (self._live or event.stage != self._stage):
            self._stage = event.stage
            done = f" {event.done / max(event.total, 1):.0%}" if self._live else ""
            self._show(f"{event.stage}{done}", stays=not self._live)

    def end(self) -> None:
        if self._live and not self._silent:
            sys.stderr.write("\n")

    def _show(self, line: str, *, stays: bool) -> None:
        if not self._silent:
            clear = "\r\033[K" if self._live else ""
            sys.stderr.write(f"{clear}{line}" + ("\n" if stays else ""))
            sys.stderr.flush()

    def _progress(self, step: TrainingStep) -> str:
        assert self._guess is not None
        left = (self._guess.steps - step.step) * step.seconds / step.step
        validation = f"  val {self._validation:.4f}" if self._validation else ""
        return (
            f"step {step.step}/{self._guess.steps}  loss {step.train_loss:.4f}{validation}  lr {step.learning_rate:.2e}"
            f"  {step.tokens_per_second:,.0f} tok/s  {clock(left)} left"
        )


def _expected(guess: Estimate) -> str:
    return (
        f"{guess.steps:,} steps of {guess.tokens // guess.steps:,} tokens: {guess.tokens:,} tokens, "
        f"{guess.epochs:.1f} times the text, about {clock(guess.seconds)} at {guess.tokens_per_second:,.0f} tok/s "
        f"in {'bfloat16' if guess.bfloat16 else 'float32'}, {guess.memory_bytes / 1e9:.1f} GB"
    )
