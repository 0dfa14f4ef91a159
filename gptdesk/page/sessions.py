"""Sessions of the page: what Gradio keeps of each visitor, made small and released once the visitor has gone.

Gradio 6.31 keeps a copy of the configuration of the whole page for every session (for deep links, which are closed
here), 10,000 of them, an hour after the page was closed; and a component that was updated by a property and then by a
plain value is stored anew in every event (docs/upstream.md).
"""

import time
from collections import OrderedDict

from fastapi import FastAPI
from gradio.blocks import Blocks
from gradio.routes import App
from gradio.state_holder import SessionState, StateHolder
from starlette.routing import Mount

CAPACITY = 300  # sessions; the least recently used go first
GRACE = 60.0  # seconds that a session lives on after its page was closed: a connection may come back


class Session(SessionState):
    """What is kept of a visitor: values of gr.State, and components of the page whose properties were changed."""

    def __init__(self, blocks: Blocks) -> None:
        super().__init__(blocks)
        self.config_values = {}
        self._closed_at: float | None = None

    def __setitem__(self, key: int, value: object) -> None:
        """Store a value of a component of the page; an updated component under another number is not stored again."""
        if key in self.blocks_config.blocks:
            super().__setitem__(key, value)
            self.config_values.clear()

    def _update_config(self, key: int) -> None:
        """Keep no configuration of its own."""

    def _update_value_in_config(self, key: int, value: object) -> None:
        """Keep no configuration of its own."""

    @property
    def is_closed(self) -> bool:
        return self._closed_at is not None

    @is_closed.setter
    def is_closed(self, closed: bool) -> None:  # set by Gradio: False when made, True when the heartbeat ends
        self._closed_at = time.monotonic() if closed else None

    def is_over(self) -> bool:
        """Return whether its page was closed, and has not come back for GRACE seconds."""
        return self._closed_at is not None and time.monotonic() - self._closed_at > GRACE


class Sessions(StateHolder):
    """The sessions of a page."""

    session_data: OrderedDict[str, SessionState]

    def __init__(self, blocks: Blocks) -> None:
        super().__init__()
        blocks.state_session_capacity = CAPACITY
        self.set_blocks(blocks)

    def __getitem__(self, session_id: str) -> SessionState:
        with self.lock:
            known = self.session_data.get(session_id)
            if known is None:
                self._release()
                self.session_data[session_id] = Session(self.blocks)
            elif known.is_closed:
                known.is_closed = False  # it came back
        return super().__getitem__(session_id)

    def delete_all_expired_state(self) -> None:
        """Release what is over; Gradio asks for it once a second."""
        with self.lock:
            self._release()

    def _release(self) -> None:
        for name, session in list(self.session_data.items()):
            if isinstance(session, Session) and session.is_over():
                del self.session_data[name]
                self.time_last_used.pop(name, None)


def keep_sessions(blocks: Blocks, app: FastAPI) -> None:
    """Make the Gradio application of `blocks`, which is mounted in `app`, keep its sessions in Sessions."""
    mounted = [route.app for route in app.routes if isinstance(route, Mount) and isinstance(route.app, App)]
    for gradio_app in mounted:
        gradio_app.state_holder = Sessions(blocks)
