"""Streams for a page: events of a stream that runs in a thread, in batches."""

import queue
import threading
from collections.abc import Iterator
from typing import TypeVar

Event = TypeVar("Event")
QUIET = (
    10  # empty batches of which one is yielded: each message costs the browser some work, also one that says nothing
)


def in_batches(stream: Iterator[Event], *, stop: threading.Event, every: float = 0.04) -> Iterator[list[Event]]:
    """Run `stream` in a thread of its own and yield what came of it at most once every `every` seconds.

    The reader's pace does not slow the engine down. While nothing comes, every QUIET-th batch is yielded, which is
    empty (so that a reader that has gone is noticed while the model loads). Closing this iterator sets `stop` and
    waits for the thread; an exception of the stream is raised here.
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
        last, empty = False, 0
        while not last:
            last = done.wait(every)
            batch = [events.get_nowait() for _ in range(events.qsize())]
            empty = 0 if batch else empty + 1
            if batch or last or empty % QUIET == 0:
                yield batch
    finally:
        stop.set()
        worker.join()
    if failure:
        raise failure[0]
