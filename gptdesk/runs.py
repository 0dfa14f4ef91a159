"""Training runs from outside: begin one as a process of its own, watch it, pause it, stop it, list them all."""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from gptdesk.training.estimate import steps_within
from gptdesk.training.lock import holder
from gptdesk.training.options import TrainingOptions
from gptdesk.training.run_directory import Order, RunDirectory, RunPlan, RunStatus
from gptdesk.training.session import Places
from gptdesk.training.text import checked
from models import storage

LOG = "log.txt"  # what the process of a run has said
PASTED = "text.txt"
FIXED = {"batch_size", "seed", "average", "precision", "dropout"}  # options that the saved state depends on
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


def create(places: Places, plan: RunPlan, *, text: str | None = None) -> RunDirectory:
    """A new run that has not begun; `text`, if there is some, is trained on besides the files of the plan.

    Raises ValueError if the name is taken by a run or a model.
    """
    if (places.models / plan.name).exists():
        raise ValueError(f"there is a model {plan.name} already; choose another name for the run")
    path = places.runs / plan.name
    if path.exists():
        raise ValueError(f"there is a run {plan.name} already; resume it, or choose another name")
    if not plan.data and text is None:
        raise ValueError("a run needs a text: files, folders, or one that is pasted")
    data = tuple(str(Path(place).expanduser().absolute()) for place in plan.data)
    if text is None:
        return RunDirectory.create(path, plan.model_copy(update={"data": data}))
    with storage.new_folder(places.home / "pasted" / plan.name) as folder:
        storage.write_file(folder / PASTED, checked(text).encode("utf-8"))
    pasted = str(places.home / "pasted" / plan.name / PASTED)
    return RunDirectory.create(path, plan.model_copy(update={"data": (*data, pasted)}))


def find(places: Places, name: str) -> RunDirectory:
    """The run of this name; ValueError lists those there are."""
    runs = [info.name for info in listing(places)]
    if name not in runs:
        raise ValueError(f"there is no run {name[:80]!r}; there is: {', '.join(runs) or 'none yet'}")
    return RunDirectory(places.runs / name)


def amend(places: Places, name: str, **changes: object) -> RunDirectory:
    """Change how a run that stands still goes on: its training options by name, but for those that FIXED names.

    Raises ValueError for a run that trains, and for what cannot be changed or is no such option.
    """
    run = find(places, name)
    if holder(places.home) == name:
        raise ValueError(f"the run {name} is training; stop it first")
    if fixed := sorted(FIXED & set(changes)):
        raise ValueError(f"{fixed[0]} cannot be changed once a run has begun; begin a new one with --start {name}")
    plan, known = run.plan(), run.resolved()
    training = TrainingOptions(**(dict(plan.training) | changes))
    if known:
        speed = known.tokens_per_second
        run.write_resolved(replace(known, steps=steps_within(training, block_size=known.block_size, speed=speed)))
    run.write_plan(plan.model_copy(update={"training": training}))
    return run


def start(places: Places, name: str) -> subprocess.Popen[bytes]:
    """Begin a run or go on with it, in a process that outlives this one; returns when that has taken charge.

    Raises ValueError if another run trains, or if the process ends before it could begin.
    """
    run = find(places, name)
    if other := holder(places.home):
        raise ValueError(f"the run {other} is training already; stop it first")
    begun = time.time()
    command = [sys.executable, "-m", "gptdesk", "--home", str(places.home), "train", "--resume", name]
    with open(run.path / LOG, "ab") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=Path(__file__).parent.parent,
            env={key: value for key, value in os.environ.items() if key != "PYTHONSTARTUP"},
            start_new_session=True,
        )
    threading.Thread(target=process.wait, daemon=True).start()  # so that it leaves no zombie
    while run.status().updated < begun:
        if process.poll() is not None:
            raise ValueError(f"the run {name} could not be started; {run.path / LOG} says why")
        time.sleep(0.02)
    return process


def order(places: Places, name: str, what: Order) -> None:
    """Ask the process of a run to pause, to go on or to stop; one that is not alive is asked nothing."""
    run = find(places, name)
    if holder(places.home) == name:
        run.write_order(what)
    elif what != "stop":
        raise ValueError(f"the run {name} is not training now; resume it first")


def info(places: Places, name: str) -> RunInfo:
    """How a run stands."""
    run = RunDirectory(places.runs / name)
    status = run.status()
    state: str = status.state
    if state in BUSY and holder(places.home) != name:
        state = "interrupted"
    try:
        run.plan()
    except ValueError as error:
        return RunInfo(name, run.path, "broken", status, {}, problem=str(error))
    return RunInfo(name, run.path, state, status, run.last_metrics())


def listing(places: Places) -> list[RunInfo]:
    """All runs, by name."""
    if not places.runs.is_dir():
        return []
    storage.remove_leftovers(places.runs)
    return [info(places, folder.name) for folder in storage.folders(places.runs)]


def watch(places: Places, name: str, *, every: float = 0.5) -> Iterator[RunInfo]:
    """How a run stands, again and again, until its process is no more."""
    while True:
        now = info(places, name)
        yield now
        if now.state not in BUSY:
            return
        time.sleep(every)


def remove(places: Places, name: str) -> None:
    """Delete a run with all its saves, but not the model that came of it; ValueError while it trains."""
    run = find(places, name)
    if holder(places.home) == name:
        raise ValueError(f"the run {name} is training; stop it first")
    storage.remove_folder(run.path)
    shutil.rmtree(places.home / "pasted" / name, ignore_errors=True)
