"""Training runs from outside: begin one as a process of its own, watch it, pause it, stop it, list them all."""

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import psutil

from gptdesk.training import saves
from gptdesk.training.context import RunContext
from gptdesk.training.estimate import steps_within
from gptdesk.training.lock import holder, holding_process, starting_lock
from gptdesk.training.options import TrainingOptions
from gptdesk.training.run_directory import TAKEN, Order, RunDirectory, RunPlan, RunStatus
from gptdesk.training.run_models import LATEST
from gptdesk.training.text import encoded
from models import storage
from models.names import check_new_name

LOG = "log.txt"  # what the process of a run has said
PASTED = "text.txt"
FIXED = {"batch_size", "seed", "average", "precision", "dropout", "optimizer"}  # which the saved state depends on
FOLLOWING = {"learning_rate", "warmup_steps", "evaluate_every"}  # options that follow from others, unless chosen
GREETING = 60.0  # seconds that a process may take to its first word
GOODBYE = 10.0  # seconds that a process may take to end after its last word
BUSY = ("preparing", "training", "paused")


@dataclass(frozen=True)
class RunInfo:
    """A run as it is listed. `state` is that of its status, or "interrupted" if its process was killed."""

    name: str
    path: Path
    state: str
    status: RunStatus
    last: dict[str, object]  # its last line of metrics; empty if there is none
    problem: str | None = None  # why the folder cannot be used


def create(places: RunContext, plan: RunPlan, *, text: str | None = None, uploads: Sequence[Path] = ()) -> RunDirectory:
    """A new run that has not begun. It is trained on the files of the plan, on `text` if there is some, and on copies
    of `uploads`, which need not stay where they are.

    Raises ValueError if the name is taken by a run or a model, or cannot be one: see `check_new_name`.
    """
    names = places.names()
    if names.get(plan.name) == "run":
        raise ValueError(TAKEN.format(plan.name))
    check_new_name(plan.name, names)
    path = places.settings.runs / plan.name
    if not plan.data and text is None and not uploads:
        raise ValueError("a run needs a text: files, folders, or one that is pasted")
    data = tuple(str(Path(place).expanduser().absolute()) for place in plan.data)
    if text is None and not uploads:
        return RunDirectory.create(path, plan.model_copy(update={"data": data}))
    pasted = None if text is None else encoded(text, options=plan.split)
    given = places.settings.pasted / plan.name
    copies = {given / f"{i + 1:03} {upload.name}": upload for i, upload in enumerate(uploads)}
    texts = [*copies, *([] if pasted is None else [given / PASTED])]
    data = (*data, *map(str, texts))
    run = RunDirectory.create(path, plan.model_copy(update={"data": data}))  # first: from here on the name is its own
    try:
        with storage.new_folder(given) as folder:
            if pasted is not None:
                storage.write_file(folder / PASTED, pasted)
            for copy, upload in copies.items():
                shutil.copyfile(upload, folder / copy.name)
    except BaseException:
        storage.remove_folder(path)
        raise
    return run


def begin(places: RunContext, plan: RunPlan, *, text: str | None = None, uploads: Sequence[Path] = ()) -> RunDirectory:
    """Create a run and start it; one of that name that never made a step gives way.

    Raises ValueError as `create` and `start`; a run that could not be started is not kept.
    """
    with starting_lock(places.settings.home):
        check_free(places)
        make_way(places, plan.name)
        run = create(places, plan, text=text, uploads=uploads)
        try:
            start(places, plan.name)
        except ValueError:
            remove(places, plan.name)
            raise
        return run


def make_way(places: RunContext, name: str) -> None:
    """Remove the run of this name if it never made a step and is not about to make one."""
    path = places.settings.runs / name
    if (
        name in storage.names(path.parent)
        and holder(places.settings.home) != name
        and not _has_begun(RunDirectory(path))
    ):
        remove(places, name)


def find(places: RunContext, name: str) -> RunDirectory:
    """The run of this name; ValueError lists those there are."""
    runs = [info.name for info in listing(places)]
    if name not in runs:
        raise ValueError(f"there is no run {name[:80]!r}; there is: {', '.join(runs) or 'none yet'}")
    return RunDirectory(places.settings.runs / name)


def amend(places: RunContext, name: str, **changes: object) -> RunDirectory:
    """Change how a run that stands still goes on: its training options by name.

    Those that FIXED names can be changed only while nothing has been saved. Raises ValueError for a run that trains,
    and for what cannot be changed or is no such option.
    """
    run = find(places, name)
    if holder(places.settings.home) == name:
        raise ValueError(f"the run {name} is training; stop it first")
    begun = bool(saves.folders(run.path))
    if begun and (fixed := sorted(FIXED & set(changes))):
        raise ValueError(f"{fixed[0]} cannot be changed once a run has begun; begin a new one with --start {name}")
    plan, known = run.plan(), run.resolved()
    training = _amended(plan.training, changes)
    if not begun:
        run.forget_resolved()
    elif known:
        speed = known.tokens_per_second
        run.write_resolved(replace(known, steps=steps_within(training, block_size=known.block_size, speed=speed)))
    run.write_plan(plan.model_copy(update={"training": training}))
    return run


def _amended(old: TrainingOptions, changes: dict[str, object]) -> TrainingOptions:
    """What follows from other options follows from those that are changed."""
    followed = TrainingOptions(steps=old.steps, optimizer=old.optimizer)
    kept = {
        name: value for name, value in dict(old).items() if name not in FOLLOWING or value != getattr(followed, name)
    }
    return TrainingOptions(**(kept | changes))


def start(places: RunContext, name: str, *, accept_changes: bool = False) -> subprocess.Popen[bytes]:
    """Begin a run or go on with it, in a process that outlives this one; returns when that has taken charge.

    It goes on although its text has changed if that is to be accepted. Raises ValueError if another run trains, or
    with the reason if the process ends before it could begin, or says nothing.
    """
    run = find(places, name)
    check_free(places)
    begun = time.time()
    command = [sys.executable, "-m", "gptdesk", "--home", str(places.settings.home), "train", "--resume", name]
    command += ["--accept-changes"] if accept_changes else []
    with open(run.path / LOG, "ab") as log:
        said = log.tell()
        process = _spawn(command, log)
    threading.Thread(target=process.wait, daemon=True).start()  # so that it leaves no zombie
    patience = time.monotonic() + GREETING
    while (status := run.status()).updated < begun:
        if process.poll() is not None:
            raise ValueError(f"the run {name} could not be started: {_last_said(run, after=said)}")
        if time.monotonic() > patience:
            process.kill()
            process.wait()
            raise ValueError(
                f"the run {name} could not be started: in {GREETING:.0f} s it said nothing; see {run.path / LOG}"
            )
        time.sleep(0.02)
    if status.state == "failed":
        raise ValueError(f"the run {name} could not be started: {status.message}")
    return process


def _spawn(command: list[str], log: BinaryIO) -> subprocess.Popen[bytes]:
    """A process that neither the end of this one nor a Ctrl-C in its terminal reaches."""
    folder, nothing = Path(__file__).parent.parent, subprocess.DEVNULL
    if sys.platform == "win32":
        apart = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
        return subprocess.Popen(command, stdin=nothing, stdout=log, stderr=log, cwd=folder, creationflags=apart)
    return subprocess.Popen(command, stdin=nothing, stdout=log, stderr=log, cwd=folder, start_new_session=True)


def check_free(places: RunContext) -> None:
    """ValueError if a run trains; one that has said that it ended gets a moment to be gone."""
    patience = time.monotonic() + GOODBYE
    while other := holder(places.settings.home):
        ended = RunDirectory(places.settings.runs / other).status().state not in BUSY
        if not ended or time.monotonic() > patience:
            raise ValueError(f"the run {other} is training already; stop it first")
        time.sleep(0.05)


def _has_begun(run: RunDirectory) -> bool:
    """Whether a run has made a step that can be gone on from, or looked at."""
    return bool(saves.folders(run.path) or run.last_metrics())


def _last_said(run: RunDirectory, *, after: int) -> str:
    """The last line in a run's log beyond its first `after` bytes."""
    with open(run.path / LOG, "rb") as log:
        log.seek(after)
        lines = log.read().decode("utf-8", errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), f"{run.path / LOG} does not say why")
    return last.removeprefix("gptdesk: ")


def order(places: RunContext, name: str, what: Order) -> None:
    """Ask the process of a run to pause, to go on or to stop; one that is not alive is asked nothing."""
    run = find(places, name)
    if holder(places.settings.home) == name:
        run.write_order(what)
    elif what != "stop":
        raise ValueError(f"the run {name} is not training now; resume it first")


def info(places: RunContext, name: str) -> RunInfo:
    """How a run stands."""
    run = RunDirectory(places.settings.runs / name)
    status = run.status()
    state: str = status.state
    if state in BUSY and holder(places.settings.home) != name:
        status = run.status()  # it may have ended since
        state = "interrupted" if status.state in BUSY else status.state
    try:
        run.plan()
        run.resolved()
    except ValueError as error:
        return RunInfo(name, run.path, "broken", status, {}, problem=str(error))
    return RunInfo(name, run.path, state, status, run.last_metrics())


def listing(places: RunContext) -> list[RunInfo]:
    """All runs, by name."""
    if not places.settings.runs.is_dir():
        return []
    storage.remove_leftovers(places.settings.runs)
    return [info(places, folder.name) for folder in storage.folders(places.settings.runs)]


def newest_first(places: RunContext) -> list[RunInfo]:
    """All runs, the one that said something last at the top."""
    return sorted(listing(places), key=lambda info: info.status.updated, reverse=True)


def seconds_left(info: RunInfo) -> float | None:
    """How long a run that trains will go on at its present speed; None if that is not known."""
    step, tokens, speed = (info.last.get(name) for name in ("step", "tokens", "tokens_per_second"))
    if info.state != "training" or not (isinstance(step, int) and isinstance(tokens, int) and isinstance(speed, float)):
        return None
    return (info.status.steps - step) * tokens / max(step, 1) / max(speed, 1e-9)


def memory(places: RunContext, name: str) -> int | None:
    """Bytes that the process of a run takes now; None if it has none."""
    process = holding_process(places.settings.home)
    if process is None or holder(places.settings.home) != name:
        return None
    with suppress(psutil.Error):
        return int(process.memory_info().rss)
    return None


def model_of(places: RunContext, info: RunInfo) -> str:
    """The model of a run: what came of it if it has ended, else its newest save. ValueError if there is none yet."""
    made = info.status.model or info.name
    there = places.settings.models / made in (model.path for model in places.library.available() if not model.problem)
    if there and info.state in ("finished", "stopped") and info.status.saved_step:
        return made
    if not info.status.saved_step:
        raise ValueError(f"the run {info.name} has saved nothing yet; wait a little, or pause it: then it saves")
    return f"{info.name}@{LATEST}"


def watch(places: RunContext, name: str, *, every: float = 0.5) -> Iterator[RunInfo]:
    """How a run stands, again and again, until its process is no more."""
    while True:
        now = info(places, name)
        yield now
        if now.state not in BUSY:
            return
        time.sleep(every)


def remove(places: RunContext, name: str) -> None:
    """Delete a run with all its saves, but not the model that came of it; ValueError while it trains."""
    run = find(places, name)
    if holder(places.settings.home) == name:
        raise ValueError(f"the run {name} is training; stop it first")
    storage.remove_folder(run.path)
    shutil.rmtree(places.settings.pasted / name, ignore_errors=True)
