"""Sides of a comparison: models with their generation requests.

The first side is the reference; the others are candidates, each compared with it.
"""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from gptdesk.generation import GenerationRequest, draw_seed
from models.manager import ModelKey, ModelManager
from models.weights_hash import weights_hash

MOST_SIDES = 3
MOST_NAMED = 3  # options that differ, of which the name of a side consists


@dataclass(frozen=True)
class Side:
    """A model with its generation request."""

    name: str  # unique among the sides
    key: ModelKey
    request: GenerationRequest  # of one sequence

    def __post_init__(self) -> None:
        assert self.request.n == 1, "sides are compared by one sequence each"


@dataclass(frozen=True)
class Stage:
    """Progress: the current step, and the share of the work that is done (0 to 1; None: unknown)."""

    text: str
    done: float | None = None


def side_names(keys: Sequence[ModelKey]) -> list[str]:
    """Return the shortest names that are unique among these models; the same model twice gets a number."""
    if len({key.name for key in keys}) == 1 and len({key.precision for key in keys}) == len(keys):
        return [key.precision for key in keys]
    if len({key.precision for key in keys}) == 1 and len({key.name for key in keys}) == len(keys):
        return [key.name for key in keys]
    names = [str(key) for key in keys]
    return [f"{name} ({i})" if names.count(name) > 1 else name for i, name in enumerate(names, 1)]


def names_by_difference(keys: Sequence[ModelKey], requests: Sequence[GenerationRequest]) -> list[str]:
    """Return unique names of sides by what differs between them: models, precisions, seeds, options of samplers."""
    options = [_options(request) for request in requests]
    differing = [
        name
        for name in dict.fromkeys(name for one in options for name in one)
        if len({one.get(name) for one in options}) > 1
    ]
    words = [
        ", ".join(
            f"{name.replace('_', ' ')} {one[name]}" if name in one else f"no {name.replace('_', ' ')}"
            for name in differing
        )
        for one in options
    ]
    if len(differing) > MOST_NAMED or not differing:
        return side_names(keys)
    models = [""] * len(keys) if len(set(keys)) == 1 else [f"{name}, " for name in side_names(keys)]
    names = [f"{model}{word}" for model, word in zip(models, words, strict=True)]
    return names if len(set(names)) == len(names) else side_names(keys)


def _options(request: GenerationRequest) -> dict[str, object]:
    """Return the seed and every option of the samplers, whose names are unique."""
    links = (link.model_dump() or {link.name: ""} for link in request.chain.samplers)
    return {"seed": request.seed} | {name: value for link in links for name, value in link.items()}


def with_seed(request: GenerationRequest) -> GenerationRequest:
    """Return the request with a seed, drawn if it has none, so that all sides draw with the same one."""
    return request if request.seed is not None else request.model_copy(update={"seed": draw_seed()})


def prepare(manager: ModelManager, keys: Sequence[ModelKey], *, stop: threading.Event | None = None) -> Iterator[Stage]:
    """Quantize the models that the quantized cache lacks, until `stop` is set; ValueError as `ModelLibrary.copy`."""
    for key in dict.fromkeys(keys):
        if stop is not None and stop.is_set():
            return
        if not manager.library.has_copy(key):
            yield Stage(f"quantizing {key.name} to {key.precision}, once")
        manager.library.copy(key)


def weights_of(manager: ModelManager, sides: Sequence[Side]) -> tuple[str | None, ...]:
    """Return the SHA-256 of the weights of each side's model; None where they cannot be read."""

    @cache
    def weights(name: str) -> str | None:
        try:
            return weights_hash(manager.library.checkpoint(name).path)
        except OSError:
            return None

    return tuple(weights(side.key.name) for side in sides)


def in_turn_note(manager: ModelManager, keys: Sequence[ModelKey]) -> str | None:
    """Return the reason why these models do not fit in memory together; None if they do."""
    if manager.fit(keys):
        return None
    budget = f"{(manager.memory_budget or 0) / 1e6:,.0f} MB"
    return f"they do not fit the memory budget of {budget} together, so they were loaded in turn"
