"""Streams that run in a thread and arrive in batches."""

import queue
import threading
import time
from collections.abc import Iterator
from typing import TypeVar

Event = TypeVar("Event")
IDLE = 0.5  # seconds without an event after which a batch is empty: the page may have gone, and Gradio looks only then


def in_batches(
    stream: Iterator[Event], *, stop: threading.Event, every: float = 0.04, leaves: bool = False
) -> Iterator[list[Event]]:
    """Run `stream` in a thread of its own and yield its events in batches, at most one every `every` seconds.

    The reader's pace does not slow the engine down. Without events, an empty batch comes every IDLE seconds. Closing
    this iterator early sets `stop` and waits for the thread; an exception of the stream is raised here. With `leaves`,
    it ends as soon as `stop` is set before the first event, and leaves the thread, which may load a model, to itself.
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
    has_begun, is_last, yielded = False, False, time.monotonic()
    try:
        while not is_last:
            is_last = done.wait(every)
            has_begun = has_begun or not events.empty()
            if leaves and not has_begun and stop.is_set():
                return
            if is_last or not events.empty() or time.monotonic() > yielded + IDLE:
                yield [events.get_nowait() for _ in range(events.qsize())]
                yielded = time.monotonic()
    finally:
        if not done.is_set():
            stop.set()
        if has_begun or not leaves:
            worker.join()
    if failure:
        raise failure[0]
