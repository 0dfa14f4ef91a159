"""Control of training runs from outside: create, start, pause, resume, stop, list and remove them."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from gptdesk.training import checkpoints, preparation
from gptdesk.training.context import RunContext
from gptdesk.training.estimate import steps_within
from gptdesk.training.lock import holder, holding_process, starting_lock
from gptdesk.training.options import TrainingOptions
from gptdesk.training.plan import RunPlan
from gptdesk.training.run_directory import NAME_IN_USE, Order, RunDirectory, RunStatus
from gptdesk.training.run_models import LATEST
from gptdesk.training.run_process import END_TIMEOUT, launch
from gptdesk.training.states import ACTIVE, ENDED, State
from gptdesk.training.text_input import TextInput
from models import storage
from models.names import check_new_name

FIXED = {"batch_size", "seed", "average", "precision", "dropout", "optimizer"}  # which the saved state depends on


@dataclass(frozen=True)
class RunInfo:
    """State and last metrics of a run, as it is listed."""

    name: str
    path: Path
    state: State  # of its status, or "interrupted" if its process was killed, or "queued"
    status: RunStatus
    last: dict[str, object]  # its last line of metrics; empty if there is none
    problem: str | None = None  # why the folder cannot be used
    max_minutes: float = 0.0  # its time budget; 0: none

    @property
    def has_ended(self) -> bool:
        """True if its models are made, also while it waits to train longer."""
        return (self.status.state if self.state == "queued" else self.state) in ENDED


def create(context: RunContext, plan: RunPlan, *, text: TextInput) -> RunDirectory:
    """Make the folder of a new run with this text, which the plan then names; it is not started.

    Raises ValueError if the name is that of a run or a model, or cannot be one: see `check_new_name`.
    """
    _check_name(context, plan.name)
    copies = context.settings.pasted / plan.name
    plan = plan.model_copy(update={"data": text.stored_paths(copies), "pasted": text.pasted_path(copies)})
    path = context.settings.runs / plan.name
    run = RunDirectory.create(path, plan)  # before the copies: it reserves the name
    if not text.is_copied:
        return run
    try:
        with storage.new_folder(copies) as folder:
            text.store(folder, encoding=plan.split.encoding)
    except BaseException:
        storage.remove_folder(path)
        raise
    return run


def begin(context: RunContext, plan: RunPlan, *, text: TextInput) -> RunDirectory:
    """Create a run and start it, in place of one of that name that never made a step.

    Raises ValueError as `create`, `check_text` and `start`; a run that could not be started is removed.
    """
    with starting_lock(context.settings.home):
        check_free(context)
        run = create_checked(context, plan, text=text)
        try:
            start(context, plan.name)
        except ValueError:
            remove(context, plan.name)
            raise
        return run


def create_checked(context: RunContext, plan: RunPlan, *, text: TextInput) -> RunDirectory:
    """Create a run in place of one of that name that never made a step, once its name and text have been checked.

    Raises ValueError as `create` and `check_text`; then nothing has changed on disk.
    """
    _check_name(context, plan.name, replaces_unstarted=True)
    preparation.check_text(plan, text=text, context=context)
    remove_unstarted(context, plan.name)
    return create(context, plan, text=text)


def remove_unstarted(context: RunContext, name: str) -> None:
    """Remove the run of this name if it never made a step and has no process that could make one."""
    if _is_unstarted(context, name):
        remove(context, name)


def _is_unstarted(context: RunContext, name: str) -> bool:
    path = context.settings.runs / name
    is_run = name in storage.names(path.parent) and RunDirectory(path).queued_since() is None
    has_steps = is_run and bool(checkpoints.folders(path) or RunDirectory(path).last_metrics())
    return is_run and holder(context.settings.home) != name and not has_steps


def _check_name(context: RunContext, name: str, *, replaces_unstarted: bool = False) -> None:
    """Raise ValueError if a run cannot have this name; that of a run to replace, which never made a step, is free."""
    names = context.names()
    if replaces_unstarted and _is_unstarted(context, name):
        names = {other: kind for other, kind in names.items() if other != name}
    if names.get(name) == "run":
        raise ValueError(NAME_IN_USE.format(name))
    check_new_name(name, names)


def find(context: RunContext, name: str) -> RunDirectory:
    """Return the run of this name; ValueError lists those that exist."""
    runs = [info.name for info in listing(context)]
    if name not in runs:
        raise ValueError(f"there is no run {name[:80]!r}; there is: {', '.join(runs) or 'none yet'}")
    return RunDirectory(context.settings.runs / name)


def amend(context: RunContext, name: str, **changes: object) -> RunDirectory:
    """Change training options, by name, with which a run is resumed.

    Those that FIXED names can be changed only before the first checkpoint. Raises ValueError for a run that trains,
    and for an option that cannot be changed or is unknown.
    """
    run = find(context, name)
    if holder(context.settings.home) == name:
        raise ValueError(f"the run {name} is training; stop it first")
    saved = bool(checkpoints.folders(run.path))
    if saved and (fixed := sorted(FIXED & set(changes))):
        raise ValueError(f"{fixed[0]} cannot be changed once a run has begun; begin a new one with --start {name}")
    plan, resolved = run.plan(), run.resolved()
    training = TrainingOptions(**(dict(plan.training) | changes))
    if not saved:
        run.remove_resolved()
    elif resolved:
        speed = resolved.tokens_per_second
        steps = steps_within(training, block_size=resolved.block_size, speed=speed)
        run.write_resolved(replace(resolved, steps=steps))
    run.write_plan(plan.model_copy(update={"training": training}))
    return run


def check_extendable(context: RunContext, name: str) -> None:
    """Raise ValueError unless there is a run of this name with a checkpoint to train longer from."""
    if not checkpoints.folders(find(context, name).path):
        raise ValueError(f"the run {name} has no checkpoint to train longer from; resume it")


def extend(context: RunContext, name: str, *, steps: int) -> None:
    """Resume a run that has ended for so many more steps, from its newest checkpoint, and start its process.

    Its other limits (minutes, tokens and patience) no longer apply. Raises ValueError as `check_extendable`, `amend`
    and `start`.
    """
    check_extendable(context, name)
    check_free(context)
    run = find(context, name)
    before, resolved = run.plan(), run.resolved()
    longer = checkpoints.step_of(checkpoints.folders(run.path)[-1]) + steps
    amend(context, name, steps=longer, max_minutes=0.0, max_tokens=0, patience=0)
    try:
        start(context, name)
    except ValueError:
        # as it was: the next Resume must not make the steps that did not start
        run.write_plan(before)
        if resolved:
            run.write_resolved(resolved)
        raise


def start(context: RunContext, name: str, *, accept_changes: bool = False) -> subprocess.Popen[bytes]:
    """Start the process of a run, new or resumed; it outlives this one. Return it once it is in charge.

    A text that has changed since the run began is an error unless `accept_changes`. Raises ValueError if another run
    trains, or with the reason if the process ends before it could begin.
    """
    run = find(context, name)
    check_free(context)
    return launch(run, context.settings.home, accept_changes=accept_changes)


def resume(context: RunContext, name: str, *, accept_changes: bool = False) -> None:
    """Resume a run that is paused, or one that has ended, which gets a new process. Raises ValueError as `start`."""
    run = find(context, name)
    if holder(context.settings.home) == name:
        run.write_order("resume")
    else:
        start(context, name, accept_changes=accept_changes)


def order(context: RunContext, name: str, order: Order) -> None:
    """Send an order to the process of a run; without one, "stop" takes it out of the queue, others raise ValueError."""
    run = find(context, name)
    if holder(context.settings.home) == name:
        run.write_order(order)
    elif order == "stop":
        run.remove_queued()
    else:
        raise ValueError(f"the run {name} is not training now; resume it first")


def check_free(context: RunContext) -> None:
    """Raise ValueError if a run trains; one that has written that it ended gets a moment to end."""
    deadline = time.monotonic() + END_TIMEOUT
    while other := holder(context.settings.home):
        ended = RunDirectory(context.settings.runs / other).status().state not in ACTIVE
        if not ended or time.monotonic() > deadline:
            raise ValueError(f"the run {other} is training already; stop it first")
        time.sleep(0.05)


def info(context: RunContext, name: str) -> RunInfo:
    """Return state and last metrics of a run."""
    run = RunDirectory(context.settings.runs / name)
    status = run.status()
    state: State = status.state
    if state in ACTIVE and holder(context.settings.home) != name:
        status = run.status()  # it may have ended since
        state = "interrupted" if status.state in ACTIVE else status.state
    if state not in ACTIVE and run.queued_since() is not None:
        state = "queued"
    try:
        minutes = run.plan().training.max_minutes
        run.resolved()
    except ValueError as error:
        return RunInfo(name, run.path, "broken", status, {}, problem=str(error))
    return RunInfo(name, run.path, state, status, run.last_metrics(), max_minutes=minutes)


def listing(context: RunContext) -> list[RunInfo]:
    """Return all runs, by name."""
    if not context.settings.runs.is_dir():
        return []
    storage.remove_leftovers(context.settings.runs)
    return [info(context, folder.name) for folder in storage.folders(context.settings.runs)]


def newest_first(context: RunContext) -> list[RunInfo]:
    """Return all runs, the one whose status was written last at the top."""
    return sorted(listing(context), key=lambda info: info.status.updated, reverse=True)


def seconds_left(info: RunInfo) -> float | None:
    """Return how long a run that trains still takes, in seconds; None if that is not known.

    That is the time of its steps at the present speed, and at most what its time budget leaves.
    """
    step, tokens, speed = (info.last.get(name) for name in ("step", "tokens", "tokens_per_second"))
    if info.state != "training" or not (isinstance(step, int) and isinstance(tokens, int) and isinstance(speed, float)):
        return None
    left = (info.status.steps - step) * tokens / max(step, 1) / max(speed, 1e-9)
    seconds = info.last.get("seconds")
    if info.max_minutes and isinstance(seconds, int | float):
        left = min(left, max(0.0, info.max_minutes * 60 - seconds))
    return left


def memory(context: RunContext, name: str) -> int | None:
    """Return the bytes that the process of a run takes now; None if it has none."""
    process = holding_process(context.settings.home)
    if process is None or holder(context.settings.home) != name:
        return None
    with suppress(psutil.Error):
        return int(process.memory_info().rss)
    return None


def model_of(context: RunContext, info: RunInfo) -> str:
    """Return the name of a run's model: one made at its end, else its newest checkpoint; ValueError if none yet.

    Of the two models of a short text that is the one closest to it.
    """
    usable = {model.path for model in context.library.available() if not model.problem}
    if info.has_ended and info.status.saved_step:
        for made in (info.status.closest, info.status.model or info.name):
            for name in (made, context.library.renames.follow(made)):
                if name and context.settings.models / name in usable:
                    return name
    if not info.status.saved_step:
        raise ValueError(f"the run {info.name} has no checkpoint yet; wait a little, or pause it: then it saves one")
    return f"{info.name}@{LATEST}"


def watch(context: RunContext, name: str, *, every: float = 0.5) -> Iterator[RunInfo]:
    """Yield state and last metrics of a run every so many seconds, until its process has ended."""
    while True:
        now = info(context, name)
        yield now
        if now.state not in ACTIVE:
            return
        time.sleep(every)


def remove(context: RunContext, name: str) -> None:
    """Delete a run with its checkpoints and text copies, but not its model; ValueError while it trains."""
    run = find(context, name)
    if holder(context.settings.home) == name:
        raise ValueError(f"the run {name} is training; stop it first")
    storage.remove_folder(run.path)
    shutil.rmtree(context.settings.pasted / name, ignore_errors=True)
