"""HTTP connections with a time limit for the head of a request, which uvicorn does not have."""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_WITHIN = 20.0  # seconds within which a connection must send the head of its next request


class Connection(H11Protocol):
    """Connection of uvicorn that is closed unless the head of a request arrives within HEAD_WITHIN seconds.

    Connections that a browser opens in advance and does not use are closed, too; it opens others.
    """

    _limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_limit()

    def data_received(self, data: bytes) -> None:
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:
            self._cancel_limit()
        if self._limit is None and self._awaits_head():
            self._start_limit()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_limit()
        super().connection_lost(exc)

    def awaits_answer(self) -> bool:
        """Return whether a request has come whole, and nothing of its answer has left."""
        cycle = self.cycle
        return cycle is not None and not cycle.more_body and not cycle.response_started and not cycle.disconnected

    def _start_limit(self) -> None:
        self._limit = self.loop.call_later(HEAD_WITHIN, self._end_limit)

    def _cancel_limit(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None

    def _end_limit(self) -> None:
        self._limit = None
        if self._awaits_head():
            self.transport.close()

    def _awaits_head(self) -> bool:
        """Return whether no request is being read or answered."""
        return self.cycle is None or self.cycle.response_complete
