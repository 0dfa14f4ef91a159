"""States of a run: those that status.json holds, those that are derived from it, and each in words."""

from typing import Literal

StoredState = Literal["new", "preparing", "training", "paused", "stopped", "finished", "failed"]
State = StoredState | Literal["interrupted", "broken"]  # whose process was killed, whose folder cannot be read

ACTIVE: frozenset[State] = frozenset(("preparing", "training", "paused"))  # a process works on the run
ENDED_EARLY: frozenset[State] = frozenset(("new", "stopped", "failed", "interrupted"))  # a new process can resume it
RESUMABLE: frozenset[State] = frozenset((*ENDED_EARLY, "paused"))
IN_WORDS: dict[State, str] = {
    "new": "has not started",
    "preparing": "is being prepared",
    "training": "trains",
    "paused": "is paused",
    "stopped": "was stopped",
    "finished": "is finished",
    "failed": "has failed",
    "interrupted": "was interrupted",
    "broken": "cannot be read",
}
