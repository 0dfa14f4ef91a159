"""Visitors: a cookie for each browser, to which its uploads and what it has set belong."""

import re
import secrets
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import gradio as gr
from gradio.context import LocalContext

COOKIE = "gptdesk-visitor"
MOST_VISITORS, MOST_FILES = 500, 2_000  # the oldest are forgotten
_NAME = re.compile(r"[A-Za-z0-9_-]{20,64}")


class Uploads:
    """Paths of uploaded files, by the visitor's cookie."""

    def __init__(self) -> None:
        self._paths: OrderedDict[str, OrderedDict[str, None]] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, visitor: str, paths: Iterable[str]) -> None:
        """Record files as uploaded by this visitor."""
        with self._lock:
            owned = self._paths.setdefault(visitor, OrderedDict())
            self._paths.move_to_end(visitor)
            for path in paths:
                owned[path] = None
                owned.move_to_end(path)
            while len(owned) > MOST_FILES:
                owned.popitem(last=False)
            while len(self._paths) > MOST_VISITORS:
                self._paths.popitem(last=False)

    def owns(self, visitor: str | None, path: str) -> bool:
        """Return whether this visitor has uploaded the file at exactly this path."""
        with self._lock:
            return visitor is not None and path in self._paths.get(visitor, ())


def visitor_of(cookies: Iterable[str]) -> str | None:
    """Return the visitor that Cookie headers name; None if they name none."""
    for header in cookies:
        for part in header.split(";"):
            name, _, value = part.strip().partition("=")
            if name == COOKIE and _NAME.fullmatch(value):
                return value
    return None


def event_visitor() -> str | None:
    """Return the visitor whose event is being handled; None outside an event, or if the browser takes no cookies."""
    request = LocalContext.request.get(None)
    return visitor_of(request.headers.getlist("cookie")) if request else None


def event_session() -> str:
    """Return the session whose event is being handled; empty outside an event."""
    request = LocalContext.request.get(None)
    return (request.session_hash or "") if request else ""


@contextmanager
def event_of(request: gr.Request) -> Iterator[None]:
    """Count what is done in the block as part of this event: Gradio ends a stream outside of it."""
    token = LocalContext.request.set(request)
    try:
        yield
    finally:
        LocalContext.request.reset(token)


def new_visitor() -> str:
    """Return a name for a visitor that cannot be guessed."""
    return secrets.token_urlsafe(24)
