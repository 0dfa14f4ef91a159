"""Gradio's sessions, without copies of the configuration, released once their page is closed.

Gradio 6.31 keeps a copy of the configuration of the whole page for every session (for deep links, which are closed
here), 10,000 of them, an hour after the page was closed; and a component that was updated by a property and then by a
plain value is stored anew in every event (docs/upstream.md).
"""

import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy

from fastapi import FastAPI
from gradio.blocks import Block, Blocks
from gradio.components import State
from gradio.routes import App
from gradio.state_holder import SessionState, StateHolder
from starlette.routing import Mount

from gptdesk.scheduler import OpenCounter

CAPACITY = 300  # sessions; those without an open page go first, of these the least recently used
GRACE = 60.0  # seconds that a session lives on without an open page: a connection may come back


class Session(SessionState):
    """State of a page: values of gr.State, and components whose properties were changed."""

    def __init__(self, blocks: Blocks) -> None:
        # instead of Gradio's own, which takes 20 ms or more to copy the configuration
        self.blocks_config = copy(blocks.default_config)
        self.state_data: dict[int, object] = {}
        self.config_values = {}  # stays empty
        self._state_ttl: dict[int, object] = {}  # stays empty: values live as long as their session
        self.is_closed = False  # set by Gradio, and not looked at here: see Sessions

    def __setitem__(self, key: int, value: object) -> None:
        """Store a value for a component of the page; ignore other ids, under which Gradio stores updated components."""
        component = self.blocks_config.blocks.get(key)
        if isinstance(component, State):
            self.state_data[key] = value
        elif component is not None:
            assert isinstance(value, Block)
            self.blocks_config.blocks[key] = value

    def _update_config(self, key: int) -> None:
        """Do nothing: a session has no copy of the configuration."""

    def _update_value_in_config(self, key: int, value: object) -> None:
        """Do nothing: a session has no copy of the configuration."""


class Sessions(StateHolder):
    """Sessions of a page. A session is open while its page sends a heartbeat, which may reconnect."""

    session_data: OrderedDict[str, SessionState]

    def __init__(self, blocks: Blocks) -> None:
        super().__init__()
        self._heartbeats = OpenCounter()  # by session
        self._seen: dict[str, float] = {}  # when a session was used or its heartbeat ended, by the monotonic clock
        blocks.state_session_capacity = CAPACITY
        self.set_blocks(blocks)

    def __getitem__(self, session_id: str) -> SessionState:
        with self.lock:
            if session_id not in self.session_data:
                self._make_room()
                self.session_data[session_id] = Session(self.blocks)
            self.session_data.move_to_end(session_id)
            self._seen[session_id] = time.monotonic()
            return self.session_data[session_id]

    @contextmanager
    def heartbeat(self, session_id: str) -> Iterator[None]:
        """Keep a session open for the length of the block."""
        with self._heartbeats.counted(session_id):
            try:
                yield
            finally:  # before it counts as closed
                with self.lock:
                    if session_id in self.session_data:
                        self._seen[session_id] = time.monotonic()

    def delete_all_expired_state(self) -> None:
        """Release sessions that were closed more than GRACE seconds ago; Gradio calls this once a second."""
        with self.lock:
            over = time.monotonic() - GRACE
            for name in [name for name in self.session_data if name not in self._heartbeats]:
                if self._seen[name] < over:
                    self._drop(name)

    def _make_room(self) -> None:
        while len(self.session_data) >= CAPACITY:
            closed = (name for name in self.session_data if name not in self._heartbeats)
            self._drop(next(closed, next(iter(self.session_data))))

    def _drop(self, name: str) -> None:
        del self.session_data[name], self._seen[name]


def keep_sessions(blocks: Blocks, app: FastAPI) -> Sessions:
    """Replace the session store of the Gradio application of `blocks`, mounted in `app`; return the new one."""
    sessions = Sessions(blocks)
    for route in app.routes:
        if isinstance(route, Mount) and isinstance(route.app, App):
            route.app.state_holder = sessions
    return sessions
