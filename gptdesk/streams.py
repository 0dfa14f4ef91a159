"""What to do with a stream of generation events: add it up, or run it in a thread of its own."""

import queue
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from gptdesk.generation import FinishReason, GenerationEvent, GenerationStart

Event = TypeVar("Event")


@dataclass
class GenerationResult:
    """What a stream has brought so far: texts, counts and the times the engine took. Lists are per sequence."""

    n: int
    start: GenerationStart | None = None
    texts: list[str] = field(default_factory=list)
    tokens: list[list[int]] = field(default_factory=list)
    finish_reasons: list[FinishReason | None] = field(default_factory=list)
    seconds_to_first_token: float | None = None
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.texts, self.tokens = [""] * self.n, [[] for _ in range(self.n)]
        self.finish_reasons = [None] * self.n

    def add(self, event: GenerationEvent) -> None:
        """Take in one event of the stream."""
        self.seconds = event.seconds
        if isinstance(event, GenerationStart):
            self.start = event
            return
        self.texts[event.row] += event.text
        self.finish_reasons[event.row] = event.finish_reason
        if event.token is not None:
            self.tokens[event.row].append(event.token)
            if self.seconds_to_first_token is None:
                self.seconds_to_first_token = event.seconds

    @property
    def tokens_per_second(self) -> float | None:
        """Tokens of all sequences after each one's first, over the time they took; None before the second."""
        if self.seconds_to_first_token is None or self.seconds <= self.seconds_to_first_token:
            return None
        later = sum(max(0, len(tokens) - 1) for tokens in self.tokens)
        return later / (self.seconds - self.seconds_to_first_token)


def collect(stream: Iterable[GenerationEvent], *, n: int) -> GenerationResult:
    """Run a stream to its end."""
    result = GenerationResult(n)
    for event in stream:
        result.add(event)
    return result


def in_batches(stream: Iterator[Event], *, stop: threading.Event, every: float = 0.04) -> Iterator[list[Event]]:
    """Run `stream` in a thread of its own and yield what came of it at most once every `every` seconds.

    The reader's pace does not slow the engine down. A batch may be empty (so that a reader that has gone is noticed
    while the model loads). Closing this iterator sets `stop` and waits for the thread; an exception of the stream is
    raised here.
    """
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    done = threading.Event()
    failure: list[BaseException] = []

    def run() -> None:
        try:
            for event in stream:
                events.put(event)
        except BaseException as error:  # handed over to the reader below
            failure.append(error)
        finally:
            done.set()

    worker = threading.Thread(target=run, name="generation", daemon=True)
    worker.start()
    try:
        last = False
        while not last:
            last = done.wait(every)
            yield [events.get_nowait() for _ in range(events.qsize())]
    finally:
        stop.set()
        worker.join()
    if failure:
        raise failure[0]
