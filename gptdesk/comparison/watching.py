"""Streams of two or three sides at once, to watch; not for timing, as they slow each other down."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from gptdesk.comparison import Side, Stage, in_turn_note, prepare
from gptdesk.comparison.divergence import Divergence, diverge
from gptdesk.generation import GenerationEvent, GenerationResult, generate
from models.manager import LoadedModel, ModelManager


@dataclass(frozen=True)
class SideEvent:
    """Event of one side's stream."""

    side: int
    event: GenerationEvent


@dataclass(frozen=True)
class Divergences:
    """Divergences of the candidates from the reference; the last event. With `stop`, there may be none."""

    divergences: tuple[Divergence, ...]
    note: str | None  # reason why the sides ran one after the other, if they did


WatchEvent = Stage | SideEvent | Divergences


def watch(manager: ModelManager, sides: Sequence[Side], *, stop: threading.Event | None = None) -> Iterator[WatchEvent]:
    """Yield the events of every side, a token of each in turn, or one side after the other where memory is short.

    Raises ValueError as `ModelManager.lend` and `generate`.
    """
    keys = [side.key for side in sides]
    yield from prepare(manager, keys, stop=stop)
    results = [GenerationResult(1) for _ in sides]
    note = in_turn_note(manager, keys)
    groups = [list(range(len(sides)))] if note is None else [[i] for i in range(len(sides))]
    for group in groups:
        if stop is not None and stop.is_set():
            yield Divergences((), note)
            return
        with ExitStack() as stack:
            loaded = []
            for i in group:
                yield Stage(f"loading {sides[i].key}")
                loaded.append(stack.enter_context(manager.lend(sides[i].key, fresh=True)))
            yield Stage("writing")
            for event in _interleaved(group, loaded, sides, stop):
                results[event.side].add(event.event)
                yield event
    yield Divergences(diverge(manager, sides, results), note)


def _interleaved(
    group: Sequence[int], loaded: Sequence[LoadedModel], sides: Sequence[Side], stop: threading.Event | None
) -> Iterator[SideEvent]:
    """Yield one event of each stream in turn, until all have ended."""
    streams = {i: generate(model, sides[i].request, stop=stop) for i, model in zip(group, loaded, strict=True)}
    with ExitStack() as stack:
        for stream in streams.values():
            stack.callback(stream.close)
        while streams:
            for i in list(streams):
                event = next(streams[i], None)
                if event is None:
                    del streams[i]
                else:
                    yield SideEvent(i, event)
