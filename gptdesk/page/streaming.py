"""Streams that run in a thread and arrive in batches."""

import queue
import threading
import time
from collections.abc import Iterator
from typing import TypeVar

Event = TypeVar("Event")
IDLE = 0.5  # seconds without an event after which a batch is empty: the page may have gone, and Gradio looks only then


def in_batches(stream: Iterator[Event], *, stop: threading.Event, every: float = 0.04) -> Iterator[list[Event]]:
    """Run `stream` in a thread of its own and yield its events in batches, at most one every `every` seconds.

    The reader's pace does not slow the engine down. Without events, an empty batch comes every IDLE seconds. Closing
    this iterator early sets `stop` and waits for the thread; an exception of the stream is raised here.
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
        last, yielded = False, time.monotonic()
        while not last:
            last = done.wait(every)
            if last or not events.empty() or time.monotonic() > yielded + IDLE:
                yield [events.get_nowait() for _ in range(events.qsize())]
                yielded = time.monotonic()
    finally:
        if not done.is_set():
            stop.set()
        worker.join()
    if failure:
        raise failure[0]
