"""Models side by side: what they write, how fast, how large, and how close one is to the other.

A side is a model and what it is asked. The first side is the reference that the others are compared with.
"""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gptdesk.generation import GenerationRequest, drawn_seed
from models.manager import ModelKey, ModelManager

MOST_SIDES = 3


@dataclass(frozen=True)
class Side:
    """One model and what it is asked to write."""

    name: str  # what tells it from the other sides
    key: ModelKey
    request: GenerationRequest  # of one sequence

    def __post_init__(self) -> None:
        assert self.request.n == 1, "sides are compared by one sequence each"


@dataclass(frozen=True)
class Stage:
    """What is being done now; `done` is the share that is behind us, None if that is unknown."""

    text: str
    done: float | None = None


def side_names(keys: Sequence[ModelKey]) -> list[str]:
    """The shortest names that tell these models apart; the same model twice gets a number."""
    if len({key.name for key in keys}) == 1 and len({key.precision for key in keys}) == len(keys):
        return [key.precision for key in keys]
    if len({key.precision for key in keys}) == 1 and len({key.name for key in keys}) == len(keys):
        return [key.name for key in keys]
    names = [str(key) for key in keys]
    return [f"{name} ({i})" if names.count(name) > 1 else name for i, name in enumerate(names, 1)]


def one_seed(request: GenerationRequest) -> GenerationRequest:
    """The same request with a seed, drawn if it has none: all sides must have the same luck."""
    return request if request.seed is not None else request.model_copy(update={"seed": drawn_seed()})


def prepare(manager: ModelManager, keys: Sequence[ModelKey], *, stop: threading.Event | None = None) -> Iterator[Stage]:
    """Quantize into the cache what is not there yet, until `stop` is set; ValueError as `ModelLibrary.copy`."""
    for key in dict.fromkeys(keys):
        if stop is not None and stop.is_set():
            return
        if not manager.library.has_copy(key):
            yield Stage(f"quantizing {key.name} to {key.precision}, once")
        manager.library.copy(key)


def in_turn_note(manager: ModelManager, keys: Sequence[ModelKey]) -> str | None:
    """Why these models cannot be in memory together, or None if they can."""
    if manager.fit(keys):
        return None
    budget = f"{(manager.memory_budget or 0) / 1e6:,.0f} MB"
    return f"they do not fit the memory budget of {budget} together, so they were loaded in turn"
