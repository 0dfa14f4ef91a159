"""Checks of events, uploads and downloads before Gradio sees them."""

import json
import logging
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qsl

from gradio.blocks import Blocks
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gptdesk.api.body import content_length, is_json, parse_json, read_body
from gptdesk.api.errors import Refused
from gptdesk.api.guard import CLOSED, KIND, header
from gptdesk.page.downloads import is_handed_out
from gptdesk.page.event_values import EventValues
from gptdesk.page.sessions import Sessions
from gptdesk.page.visitors import COOKIE, Uploads, new_visitor, visitor_of
from gptdesk.scheduler import OpenCounter

log = logging.getLogger(__name__)

LARGEST_EVENT, LARGEST_PUBLIC_EVENT = 16_000_000, 1_000_000  # bytes of JSON
LARGEST_UPLOAD = 1_000_000_000  # bytes of all files that are sent at once
LARGEST_ANSWER = 4_000_000  # bytes of the list of paths that Gradio answers an upload with
YEAR = 365 * 86400  # seconds that a browser is known by its cookie
FILE, HEARTBEAT = "/gradio_api/file=", "/gradio_api/heartbeat/"


class Door:
    """ASGI middleware between the guard, which sets the kind of each request, and Gradio."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        blocks: Blocks,
        sessions: Sessions,
        listeners: OpenCounter,
        uploads: Uploads,
        public: bool,
    ) -> None:
        self._app = app
        self._blocks = blocks
        self._sessions = sessions
        self._listeners = listeners
        self._public = public
        self._values = EventValues(blocks.fns)
        self._uploads = uploads
        self._passes: dict[str, Callable[[Scope, Receive, Send], Awaitable[None]]] = {
            "page": self._page,
            "stream": self._stream,
            "event": self._event,
            "upload": self._upload,
            "download": self._download,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        passes = self._passes.get(scope[KIND], self._app) if scope["type"] == "http" else self._app
        try:
            await passes(scope, receive, send)
        except Refused as refused:
            answer = JSONResponse({"detail": str(refused)}, status_code=refused.status)
            await answer(scope, receive, send)

    async def _page(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Set a visitor cookie, to which uploads belong, when a page is opened; a public desk takes no uploads."""
        if self._public or scope["path"] != "/" or _visitor(scope):
            await self._app(scope, receive, send)
        else:
            await self._app(scope, receive, _with_cookie(send, new_visitor()))

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Track which sessions are open, and which of them read their events."""
        if scope["path"].startswith(HEARTBEAT):
            with self._sessions.heartbeat(scope["path"].removeprefix(HEARTBEAT)):
                await self._app(scope, receive, send)
            return
        session = dict(parse_qsl(scope["query_string"].decode("latin-1"))).get("session_hash", "")
        if session not in self._blocks._queue.pending_messages_per_session:  # Gradio would fail after its answer began
            raise Refused(404, "no event of this session is running")
        with self._listeners.counted(session):
            await self._app(scope, receive, send)

    async def _event(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not is_json(scope):
            raise Refused(415, "an event is JSON")
        most, instead = (LARGEST_PUBLIC_EVENT, "shorten it") if self._public else (LARGEST_EVENT, "give it as a file")
        too_large = f"this is more than the {most / 1e6:g} MB of text that a page may send at once; {instead}"
        body, visitor = await read_body(scope, receive, most=most, too_large=too_large), _visitor(scope)
        queued = scope["path"].endswith("/join")
        try:
            event = parse_json(body)
        except ValueError:  # also for bytes that are no text, and numbers of thousands of digits
            raise Refused(400, "an event is JSON") from None
        try:
            checked = self._values.checked(event, queued=queued, owns=lambda path: self._uploads.owns(visitor, path))
        except ValueError as error:
            raise Refused(400, str(error)) from None
        await self._app(*_replaced(scope, json.dumps(checked, allow_nan=False).encode(), receive), send)

    async def _upload(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass an upload on, and record its paths, which the answer lists, as the visitor's."""
        if scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        if not header(scope, b"content-length"):
            raise Refused(411, "an upload needs a Content-Length header")
        if content_length(scope) > LARGEST_UPLOAD:
            raise Refused(413, f"at most {LARGEST_UPLOAD // 1_000_000:,} MB can be uploaded at once")
        known = _visitor(scope)
        visitor = known or new_visitor()
        answer = bytearray()
        status = 0

        async def remember(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            elif len(answer) < LARGEST_ANSWER:
                answer.extend(message.get("body", b""))
                if status == 200 and not message.get("more_body"):
                    self._uploads.add(visitor, _paths(bytes(answer)))
            await send(message)

        try:
            await self._app(scope, receive, remember if known else _with_cookie(remember, visitor))
        except (TypeError, OSError) as error:  # Gradio has answered: a part without a name, or a name too long
            log.info("an upload was refused (%s)", type(error).__name__)

    async def _download(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].removeprefix(FILE)
        if not (is_handed_out(path) or self._uploads.owns(_visitor(scope), path)):
            await PlainTextResponse(CLOSED, status_code=404)(scope, receive, send)
            return
        headers = [pair for pair in scope["headers"] if pair[0].lower() != b"range"]  # the files are small
        await self._app({**scope, "headers": headers}, receive, send)


def _visitor(scope: Scope) -> str | None:
    return visitor_of(value.decode("latin-1") for key, value in scope["headers"] if key.lower() == b"cookie")


def _replaced(scope: Scope, body: bytes, receive: Receive) -> tuple[Scope, Receive]:
    """Return the request with another body."""
    headers = [pair for pair in scope["headers"] if pair[0].lower() not in (b"content-length", b"transfer-encoding")]
    given = False

    async def give() -> Message:
        nonlocal given
        if given:
            return await receive()  # whether the browser has gone
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return {**scope, "headers": [*headers, (b"content-length", str(len(body)).encode())]}, give


def _with_cookie(send: Send, visitor: str) -> Send:
    cookie = Response()
    cookie.set_cookie(COOKIE, visitor, path="/", httponly=True, samesite="lax", max_age=YEAR)

    async def setting(message: Message) -> None:
        if message["type"] == "http.response.start":
            header = (b"set-cookie", cookie.headers["set-cookie"].encode("latin-1"))
            message = {**message, "headers": [*message.get("headers", ()), header]}
        await send(message)

    return setting


def _paths(answer: bytes) -> list[str]:
    paths = json.loads(answer)
    return [path for path in paths if isinstance(path, str)] if isinstance(paths, list) else []
