"""Streams that run in a thread and are read in the event loop, and the end of those whose client has left."""

import asyncio
import contextlib
import queue
import threading
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from typing import TypeVar

from fastapi import Request
from fastapi.sse import EventSourceResponse
from starlette.types import Receive, Scope, Send

Event = TypeVar("Event")


async def in_thread(stream: Iterator[Event], *, stop: threading.Event) -> AsyncIterator[Event]:
    """Run `stream` in a thread of its own and yield its events in the event loop.

    `stop`, which the stream must obey, is set when this iterator is closed. An exception of the stream is raised here.
    """
    loop, arrived, done = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    failure: list[Exception] = []

    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has been closed, and nobody reads any more
            loop.call_soon_threadsafe(arrived.set)

    def run() -> None:
        try:
            for event in stream:
                events.put(event)
                wake()
        except Exception as error:  # handed over to the reader below
            failure.append(error)
        finally:
            done.set()
            wake()

    threading.Thread(target=run, name="api", daemon=True).start()
    try:
        last = False
        while not last:
            await arrived.wait()
            arrived.clear()
            last = done.is_set()
            for _ in range(events.qsize()):
                yield events.get_nowait()
    finally:
        stop.set()
    if failure:
        raise failure[0]


@contextlib.asynccontextmanager
async def stopped_when_gone(request: Request, stop: threading.Event) -> AsyncIterator[None]:
    """Set `stop` if the client leaves within the block; the body of the request must have been read."""

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        stop.set()

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching


class StoppingResponse(EventSourceResponse):
    """Server-sent events, with an event that is set when they end, also because the client has left."""

    def __init__(self, content: AsyncIterable[bytes], *, stop: threading.Event) -> None:
        # no cache may keep them, and nginx must not hold them back
        super().__init__(content, headers={"cache-control": "no-cache", "x-accel-buffering": "no"})
        self._stop = stop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._stop.set()
