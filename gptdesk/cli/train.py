"""`gptdesk train`: trains a new run or resumes one, with a line of progress."""

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
from gptdesk.training import DataOptions, ModelOptions, TrainingOptions, TrainingStep, control, queue
from gptdesk.training.context import RunContext
from gptdesk.training.corpus import CorpusProgress
from gptdesk.training.distributed import join_processes
from gptdesk.training.estimate import Estimate
from gptdesk.training.lock import holder, starting_lock
from gptdesk.training.loop import Note
from gptdesk.training.plan import RunPlan
from gptdesk.training.run_directory import RunDirectory, queued_names
from gptdesk.training.runner import Event, resume
from gptdesk.training.text_input import TextInput
from models.engine import get_device
from samplers.options import Options

log = logging.getLogger(__name__)

DESCRIPTION = (
    "Train a model on your own text, or resume a run. Ctrl-C, SIGTERM and a terminal that is closed (SIGHUP) save a "
    "checkpoint first; under nohup the run outlives its terminal. Progress goes to the standard error, and training "
    "continues when nobody reads it."
)
CLASSICS = "|".join(datasets.CLASSICS)
DATA = f"files and folders; - reads the standard input; or by name: story-world[:COUNT], classic:{CLASSICS}"
SHORT = {"learning_rate": "--lr", "warmup_steps": "--warmup", "evaluate_every": "--eval-every"}
AGAIN = 1.0  # seconds in which another SIGHUP is the same one
NUMBERS = (int, float, int | None, float | None)  # types of options that are numbers
GROUPS: dict[str, type[Options]] = {"model": ModelOptions, "split": DataOptions, "training": TrainingOptions}


def train(desk: Desk, arguments: Sequence[str]) -> int:
    """Train until the end or a signal: Ctrl-C, SIGTERM and SIGHUP save first and return 130, 143 and 129.

    A terminal that takes no more output does not end a run.
    """
    options = _parser().parse_args(arguments)
    terminal.go_on_without_output()
    context = desk.run_context
    device = get_device(desk.settings.device)
    with contextlib.ExitStack() as stack, contextlib.ExitStack() as starting:
        with terminal.handling(signal.SIG_DFL):  # while it waits for other processes no handler would run
            processes = stack.enter_context(join_processes(device, sharded=options.shard))
        leads = processes.rank == 0
        progress = _ProgressLine(silent=options.json or not leads)
        if leads:
            if options.queue and processes.size > 1:
                raise UsageError("--queue starts runs of one process; leave it out under torchrun")
            run = _find_or_create(options, context, progress, starting)
            if options.queue and _queue(run, context, starting):
                _print_queued(run, context, as_json=options.json)
                return 0
            processes.wait()
        else:
            processes.wait()
            run = RunDirectory(context.settings.runs / (options.resume or options.name))
        stop = stack.enter_context(_stop_on_signals())
        accept_changes: bool = options.accept_changes
        try:
            for event in resume(
                run, context=context, device=device, stop=stop.event, processes=processes, accept_changes=accept_changes
            ):
                starting.close()  # the run has the training lock
                progress.show(event)
                if options.json and leads and isinstance(event, Note):  # the JSON has only the state at the end
                    log.warning("%s", event.text)
            progress.end()
        finally:
            starting.close()
            # a signal may be that of a computer that shuts down; a process of torchrun would pass on its environment
            if processes.size == 1 and not stop.event.is_set():
                queue.start_next(context)
    if options.json and leads:
        print(json.dumps(run_as_json(control.info(context, run.name))))
        if isinstance(fault := terminal.output_fault(), terminal.OutputFault):
            log.warning("the run %s has ended, but its JSON could not be printed (%s)", run.name, fault.strerror)
    return 128 + stop.number if stop.number else 0


def _queue(run: RunDirectory, context: RunContext, starting: contextlib.ExitStack) -> bool:
    """Put a run in the queue if another one trains or waits; return whether it is there."""
    busy = holder(context.settings.home) is not None or bool(queued_names(context.settings.runs))
    if busy:
        run.write_queued()
        starting.close()
        queue.start_next(context)
    return busy


def _print_queued(run: RunDirectory, context: RunContext, *, as_json: bool) -> None:
    """Print that a run waits, or that it has been started in a process of its own."""
    place = queue.place(context, run.name)
    if as_json:
        print(json.dumps(run_as_json(control.info(context, run.name))))
    elif place:
        print(f"{run.name} waits in the queue, place {place}; it starts when the runs before it have ended")
    else:
        print(f"{run.name} has started in a process of its own")


def run_as_json(info: control.RunInfo) -> dict[str, object]:
    """Return a run as `--json` prints it."""
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
    parser.add_argument("--name", metavar="NAME", help="name of the run and of its model")
    parser.add_argument("--resume", metavar="RUN", help="resume a run from its newest checkpoint")
    parser.add_argument("--accept-changes", action="store_true", help="resume although the text has changed")
    parser.add_argument("--queue", action="store_true", help="while another run trains, wait in the queue behind it")
    parser.add_argument("--shard", action="store_true", help="under torchrun: divide the model among the processes")
    for options in GROUPS.values():
        for name, field in options.model_fields.items():
            spelled = [SHORT[name], flag(name)] if name in SHORT else [flag(name)]
            default = "automatic" if field.default is None else field.default
            explained = f"{field.description} (default {default})".replace("%", "%%")  # argparse formats it
            parser.add_argument(*spelled, dest=name, metavar="X", help=explained)
    return parser


def _find_or_create(
    options: argparse.Namespace, context: RunContext, progress: "_ProgressLine", starting: contextlib.ExitStack
) -> RunDirectory:
    """Return the run to resume, or a new one; then no other can be created until `starting` is closed."""
    chosen = {group: _given(options, kind) for group, kind in GROUPS.items()}
    if options.resume:
        if options.data or options.name or chosen["model"] or chosen["split"]:
            raise UsageError("--resume keeps the text and the model of the run; leave out the options that choose them")
        changes = chosen["training"]
        if options.queue and holder(context.settings.home) == options.resume:
            raise ValueError(f"the run {options.resume} is training already")
        return control.amend(context, options.resume, **changes) if changes else control.find(context, options.resume)
    if not options.data or not options.name:
        raise UsageError("a new run needs --data and --name; --resume RUN resumes one")
    files = _files([path for path in options.data if path != "-"], context.settings.texts, progress)
    encoding = DataOptions(**chosen["split"]).encoding
    piped = read_standard_input("the text", encoding=encoding) if "-" in options.data else None
    plan = RunPlan(name=options.name, **{group: kind(**chosen[group]) for group, kind in GROUPS.items()})
    text = TextInput(paths=tuple(map(Path, files)), pasted=piped)
    starting.enter_context(starting_lock(context.settings.home))
    if not options.queue:
        control.check_free(context)
    return control.create_checked(context, plan, text=text)


def _files(paths: Sequence[str], texts: Path, progress: "_ProgressLine") -> tuple[str, ...]:
    """Return files and folders, texts by name generated or downloaded first; ValueError if one does not exist."""
    named = [path for path in paths if datasets.is_named(path)]
    missing = next((path for path in paths if path not in named and not Path(path).expanduser().exists()), None)
    if missing:
        raise ValueError(f"there is no file {missing}")
    files: tuple[str, ...] = ()
    for event in datasets.obtain(paths, texts):
        if isinstance(event, tuple):
            files = event
        else:
            progress.show(event)
    return files


def _given(options: argparse.Namespace, kind: type[Options]) -> dict[str, object]:
    """Return the options of a class that are on the command line, by name."""
    values = {name: getattr(options, name) for name in kind.model_fields}
    return {
        name: number(value) if kind.model_fields[name].annotation in NUMBERS else value
        for name, value in values.items()
        if value is not None
    }


class _Stop:
    """Event that the first signal sets, with its number."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.number = 0


@contextlib.contextmanager
def _stop_on_signals() -> Iterator[_Stop]:
    """Set the result at the first Ctrl-C, SIGTERM or SIGHUP; the second one interrupts at once.

    A SIGHUP right after the first is ignored: when a terminal is closed, the system and the shell both send one.
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


class _ProgressLine:
    """Progress of a run in a terminal: one line that changes, and lines that stay."""

    def __init__(self, *, silent: bool) -> None:
        self._silent, self._live = silent, sys.stderr.isatty()
        self._estimate: Estimate | None = None
        self._validation: float | None = None
        self._stage = ""

    def show(self, event: Event | TextProgress) -> None:
        if isinstance(event, TrainingStep):
            self._validation = event.validation_loss or self._validation
            if self._live or event.validation_loss is not None:
                self._write(self._progress(event), stays=not self._live)
        elif isinstance(event, Estimate):
            self._estimate = event
            self._write(_estimate_line(event), stays=True)
        elif isinstance(event, Note):
            self._write(event.text, stays=True)
        elif isinstance(event, CorpusProgress) and event.corpus:
            self._write(event.corpus.summary(), stays=True)
        elif isinstance(event, CorpusProgress | TextProgress) and (self._live or event.stage != self._stage):
            self._stage = event.stage
            done = f" {event.done / max(event.total, 1):.0%}" if self._live else ""
            self._write(f"{event.stage}{done}", stays=not self._live)

    def end(self) -> None:
        if self._live and not self._silent:
            sys.stderr.write("\n")

    def _write(self, line: str, *, stays: bool) -> None:
        if not self._silent:
            clear = "\r\033[K" if self._live else ""
            sys.stderr.write(f"{clear}{line}" + ("\n" if stays else ""))
            sys.stderr.flush()

    def _progress(self, step: TrainingStep) -> str:
        assert self._estimate is not None
        steps = step.steps or self._estimate.steps
        left = (steps - step.step) * step.seconds / step.step
        validation = f"  val {self._validation:.4f}" if self._validation else ""
        return (
            f"step {step.step}/{steps}  loss {step.train_loss:.4f}{validation}  "
            f"lr {step.learning_rate:.2e}  {step.tokens_per_second:,.0f} tok/s  {clock(left)} left"
        )


def _estimate_line(estimate: Estimate) -> str:
    return (
        f"{estimate.steps:,} steps of {estimate.tokens // estimate.steps:,} tokens: {estimate.tokens:,} tokens, "
        f"{estimate.epochs:.1f} times the text, about {clock(estimate.seconds)} at "
        f"{estimate.tokens_per_second:,.0f} tok/s "
        f"in {'bfloat16' if estimate.bfloat16 else 'float32'}, {estimate.memory_bytes / 1e9:.1f} GB"
    )
