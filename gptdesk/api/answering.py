"""One way to answer a request that computes: checked in a pool, run in a thread, whole or as server-sent events."""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Protocol, TypeVar

from fastapi import Request, Response
from fastapi.sse import format_sse_event

from gptdesk.api.body import json_body
from gptdesk.api.callers import caller_of
from gptdesk.api.errors import error_object
from gptdesk.api.threads import StoppingResponse, in_thread, stopped_when_gone
from gptdesk.desk import Desk
from gptdesk.errors import Busy

Data = dict[str, object]
Event = TypeVar("Event")
SHORTEST = 0.001  # seconds that a generation begun at the deadline has


@dataclass(frozen=True)
class Call:
    """Caller of a request: the event that ends it, the owner on a public desk, and what its errors must not name."""

    stop: threading.Event
    owner: str | None
    hidden: str | None


class Answer(Protocol[Event]):
    """Answer to a request that has been checked: its work, and what is said of the events of that."""

    @property
    def is_stream(self) -> bool:
        """True if server-sent events are wanted."""

    def run(self, call: Call) -> Iterator[Event]:
        """Yield the events of the work."""

    def begins(self, event: Event) -> bool:
        """Return whether the answer begins with this event; what is refused before has a status of its own."""

    def add(self, event: Event) -> None:
        """Add an event to the whole answer."""

    def to_data(self) -> Data:
        """Return the whole answer after the last event."""

    def chunks(self, event: Event) -> Iterable[Data]:
        """Add an event to the stream; return the chunks that it gives, maybe none."""

    def last_chunks(self) -> Iterable[Data]:
        """Return the chunks at the end of the stream."""


async def respond(
    desk: Desk, request: Request, checks: Executor, check: Callable[[Desk, object], Answer[Event]]
) -> Response:
    """Answer a request, whose body `check` turns into its work in `checks`, outside the event loop."""
    stop = threading.Event()
    hidden = str(desk.settings.home) if desk.settings.public else None  # its path may name its owner
    call = Call(stop, caller_of(request, desk.settings), hidden)
    try:
        body = await json_body(request, public=desk.settings.public)
        answer = await asyncio.get_running_loop().run_in_executor(checks, lambda: check(desk, body()))
        async with stopped_when_gone(request, stop):
            if not answer.is_stream:
                # added up in the thread: to wake the event loop for each event takes longer than to compute it
                async for _ in in_thread(_added(answer, call), stop=stop):
                    pass
                return Response(json.dumps(answer.to_data()), media_type="application/json")
            events = in_thread(answer.run(call), stop=stop)
            chunks: list[Data] = []
            async for event in events:
                chunks += answer.chunks(event)
                if answer.begins(event):
                    break
    except Exception as error:
        stop.set()
        if hidden:
            error.args = (str(error).replace(hidden, "<home>"),)
        raise
    return StoppingResponse(_frames(answer, chunks, events, hidden=hidden), stop=stop)


def _added(answer: Answer[Event], call: Call) -> Iterator[Event]:
    """Do the work of an answer and add its events to it; yield none of them."""
    for event in answer.run(call):
        answer.add(event)
    yield from ()


async def _frames(
    answer: Answer[Event], chunks: list[Data], events: AsyncIterator[Event], *, hidden: str | None
) -> AsyncIterator[bytes]:
    """Yield the server-sent events of an answer, `chunks` first; a failure is one more, before the end."""
    try:
        for chunk in chunks:
            yield _frame(chunk)
        async for event in events:
            for chunk in answer.chunks(event):
                yield _frame(chunk)
        for chunk in answer.last_chunks():
            yield _frame(chunk)
    except Exception as error:
        yield _frame(error_object(error, hidden=hidden))
    yield format_sse_event(data_str="[DONE]")


def _frame(data: Data) -> bytes:
    return format_sse_event(data_str=json.dumps(data))


def check_time(late: float, seconds: float) -> None:
    """Raise Busy if the turn of a request has not come by `late`, `seconds` after it was asked for."""
    if time.monotonic() > late:
        raise Busy(f"others were computing for {seconds:.0f} seconds; try again later")
