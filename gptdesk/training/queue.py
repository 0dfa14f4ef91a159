"""Queue of runs: new, resumed and extended runs that wait while another one trains, and the start of the next.

A run that waits has a file `queued` in its folder, which its process removes once it has the training lock: so the
queue survives the end of every program. The process of a run that ends starts the next one; where that process was
killed or ended by a signal, an open desk starts it, or else the next desk that is opened.
"""

import logging
import threading
from dataclasses import replace

from gptdesk.training import control
from gptdesk.training.context import RunContext
from gptdesk.training.lock import holder, starting_lock
from gptdesk.training.plan import RunPlan
from gptdesk.training.run_directory import QueuedStart, queued_names
from gptdesk.training.text_input import TextInput

log = logging.getLogger(__name__)

INTERVAL = 2.0  # seconds between two looks of an open desk
PATIENCE = 2.0  # seconds to wait for a run that is being started; whoever starts it looks at the queue, too


def begin(context: RunContext, plan: RunPlan, *, text: TextInput) -> int:
    """Create a run and start it, or queue it behind the run that trains; return its place in the queue, 0 if it trains.

    Raises ValueError as `control.begin`, but not because another run trains; then there is no new run.
    """
    if not _must_wait(context, plan.name):
        control.begin(context, plan, text=text)
        return 0
    with starting_lock(context.settings.home):
        control.create_checked(context, plan, text=text).write_queued()
    start_next(context)
    return place(context, plan.name)


def resume(context: RunContext, name: str, *, accept_changes: bool = False) -> int:
    """Resume a run, or queue it behind the run that trains; return its place in the queue, 0 if it trains.

    Raises ValueError as `control.resume`, but not because another run trains.
    """
    control.find(context, name)
    if holder(context.settings.home) == name or not _must_wait(context, name):
        control.resume(context, name, accept_changes=accept_changes)
        return 0
    return _wait(context, name, QueuedStart(accept_changes=accept_changes))


def extend(context: RunContext, name: str, *, steps: int) -> int:
    """Train a run that has ended for so many more steps, or queue that; return its place, 0 if it trains.

    Its plan changes when it starts. Raises ValueError as `control.extend`, but not because another run trains.
    """
    control.check_extendable(context, name)
    if not _must_wait(context, name):
        control.extend(context, name, steps=steps)
        return 0
    return _wait(context, name, QueuedStart(more_steps=steps))


def _must_wait(context: RunContext, name: str) -> bool:
    """Return whether another run than `name` trains, or any waits."""
    return holder(context.settings.home) not in (None, name) or bool(queued_names(context.settings.runs))


def _wait(context: RunContext, name: str, start: QueuedStart) -> int:
    """Put a run at the end of the queue, unless it is there, and return its place; 0 if it could start at once."""
    with starting_lock(context.settings.home):
        if not place(context, name):
            control.find(context, name).write_queued(start)
    start_next(context)
    return place(context, name)


def place(context: RunContext, name: str) -> int:
    """Return the place of a run in the queue, from 1; 0 if it does not wait."""
    names = queued_names(context.settings.runs)
    return names.index(name) + 1 if name in names else 0


def run_before(context: RunContext, name: str) -> str:
    """Return the run that a queued one waits for: the one before it in the queue, or that trains; empty if none."""
    names = queued_names(context.settings.runs)
    at = names.index(name) if name in names else 0
    return names[at - 1] if at else (holder(context.settings.home) or "") if name in names else ""


def start_next(context: RunContext) -> str | None:
    """Start the process of the run that has waited longest, if none trains, and return its name; None if none started.

    A run that cannot be started leaves the queue as failed, with the reason, and the next one is tried.
    """
    while queued_names(context.settings.runs) and holder(context.settings.home) is None:
        try:
            with starting_lock(context.settings.home, patience=PATIENCE):
                names = queued_names(context.settings.runs)
                if names and holder(context.settings.home) is None:
                    return _start(context, names[0])
        except _NotStarted as error:
            log.warning("%s", error)
        except ValueError:
            return None  # another process starts a run just now
    return None


class _NotStarted(Exception):
    """Failure of a queued run, which has left the queue."""


def _start(context: RunContext, name: str) -> str:
    run = control.find(context, name)
    asked = run.queued_start()
    try:
        if asked.more_steps:
            control.extend(context, name, steps=asked.more_steps)
        else:
            control.start(context, name, accept_changes=asked.accept_changes)
    except ValueError as error:
        if (trains := holder(context.settings.home)) and trains != name:
            raise
        run.remove_queued()
        status = run.status()
        if status.state != "failed":
            run.write_status(replace(status, state="failed", message=str(error)))
        raise _NotStarted(str(error)) from None
    return name


class QueueWatcher:
    """Thread of an open desk that starts queued runs which no process that ended has started."""

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._ended = threading.Event()

    def start(self) -> None:
        """Start to look at the queue, now and every INTERVAL seconds."""
        threading.Thread(target=self._watch, name="run queue", daemon=True).start()

    def stop(self) -> None:
        """Start no more runs."""
        self._ended.set()

    def _watch(self) -> None:
        while True:
            try:
                start_next(self._context)
            except OSError as error:  # a full disk must not end the thread
                log.warning("the queue of runs could not be read (%s)", error.strerror)
            if self._ended.wait(INTERVAL):
                return
