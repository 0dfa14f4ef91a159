"""States of a run: those that status.json holds, those that are derived from it, and each in words."""

from typing import Literal

StoredState = Literal["new", "preparing", "training", "paused", "stopped", "finished", "failed"]
State = StoredState | Literal["queued", "interrupted", "broken"]
# queued: waits for another run; interrupted: its process was killed; broken: its folder cannot be read

ACTIVE: frozenset[State] = frozenset(("preparing", "training", "paused"))  # a process works on the run
ENDED: frozenset[State] = frozenset(("finished", "stopped"))  # its models are made
ENDED_EARLY: frozenset[State] = frozenset(("new", "stopped", "failed", "interrupted"))  # a new process can resume it
RESUMABLE: frozenset[State] = frozenset((*ENDED_EARLY, "paused"))
IN_WORDS: dict[State, str] = {
    "new": "has not started",
    "queued": "waits in the queue",
    "preparing": "is being prepared",
    "training": "trains",
    "paused": "is paused",
    "stopped": "was stopped",
    "finished": "is finished",
    "failed": "has failed",
    "interrupted": "was interrupted",
    "broken": "cannot be read",
}
