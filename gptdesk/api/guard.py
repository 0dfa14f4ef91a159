"""Guard in front of every route: Host and Origin checks, and the allow list of routes.

A desk on this computer answers its own pages, not other sites that the browser is on. Gradio checks neither Host nor,
for file uploads, Origin; a page of another site could reach the desk by DNS rebinding or a cross-site form (the reasons
why Ollama and others have such a check).
"""

import hmac
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gptdesk.api.errors import as_object, error_response
from gptdesk.api.routes import find_route, is_rest, kept_query, open_methods
from gptdesk.settings import is_loopback

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
KIND = "gptdesk.kind"  # key in the scope of an allowed request: the kind of its route
OPEN_TO_LINKS = ("page", "api")  # kinds of routes that other sites may link to
FOREIGN = "This desk takes no requests from pages of other sites."
WRONG_KEY = "The API of this desk needs its key; send it as Authorization: Bearer KEY."
CLOSED = "This desk has no such address, or it is closed."
CORS = b"access-control-"  # prefix of the headers by which an answer lets pages of other sites read it


class Guard:
    """ASGI middleware that refuses foreign callers with 403 and routes outside the allow list with 404.

    Without a `page` its routes are closed, too.

    `hosts` are allowed names of the desk beside those of this computer. A public desk answers to any name. Requests to
    the API need the `api_key`, if there is one, and are refused with an error object: 401 without it. No answer allows
    pages of other sites to read it, as Gradio's do under any name of the desk but localhost and 127.0.0.1.
    """

    def __init__(
        self, app: ASGIApp, *, public: bool, page: bool = True, hosts: Collection[str] = (), api_key: str = ""
    ) -> None:
        self._app = app
        self._public = public
        self._page = page
        self._hosts = frozenset(hosts)
        self._api_key = api_key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            answer: Response | None = self._refusal(scope)
        elif scope["type"] == "lifespan":
            answer = None
        else:  # the desk has no WebSockets
            answer = PlainTextResponse(CLOSED, status_code=404)
        if answer is None:
            await self._app(scope, receive, _without_cors(send))
        else:
            await answer(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        """Return the answer to a refused request; None for an allowed one, whose scope gets its kind and query."""
        path = scope["path"]
        if not self._public and (reason := self._foreign(scope)):
            return _refused(path, 403, reason)
        if is_rest(path) and not self._has_key(scope):
            return _refused(path, 401, WRONG_KEY, **{"www-authenticate": "Bearer"})
        route = find_route(scope["method"], path, public=self._public, page=self._page)
        if route is None:
            if is_rest(path) and (methods := open_methods(path, public=self._public)):
                return _refused(path, 405, f"{path} takes {methods}, not {scope['method']}", allow=methods)
            return _refused(path, 404, CLOSED)
        if not self._public and route.kind not in OPEN_TO_LINKS and header(scope, b"sec-fetch-site") == "cross-site":
            return _refused(path, 403, FOREIGN)
        scope[KIND] = route.kind
        scope["query_string"] = kept_query(route, scope["query_string"])
        return None

    def _foreign(self, scope: Scope) -> str | None:
        """Return the reason to refuse a caller by its Host or Origin; None if it is allowed."""
        if not self._is_ours(f"//{header(scope, b'host')}"):
            return (
                "This desk answers only to localhost; open it under the address that it printed. "
                "Behind a proxy of your own, start it with --allow-host NAME."
            )
        if scope["method"] not in SAFE_METHODS:
            origin = header(scope, b"origin")
            if header(scope, b"sec-fetch-site") == "cross-site" or (origin and not self._is_ours(origin)):
                return FOREIGN
        return None

    def _has_key(self, scope: Scope) -> bool:
        """Return whether a request sends the key of the API, or there is none."""
        scheme, _, key = header(scope, b"authorization").partition(" ")
        sent = key.strip() if scheme.lower() == "bearer" else ""
        return not self._api_key or hmac.compare_digest(sent.encode(), self._api_key.encode())

    def _is_ours(self, url: str) -> bool:
        """Return whether the host of `url` is this computer or an allowed name."""
        try:
            host = urlsplit(url).hostname or ""
        except ValueError:
            return False
        return is_loopback(host) or host.endswith(".localhost") or host in self._hosts


def _without_cors(send: Send) -> Send:
    """Return `send` without the headers that begin with CORS."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [pair for pair in message.get("headers", ()) if not pair[0].lower().startswith(CORS)]
            message = {**message, "headers": kept}
        await send(message)

    return sending


def _refused(path: str, status: int, sentence: str, **headers: str) -> Response:
    """Return a refusal: an error object for a path of the API, else plain text."""
    if not is_rest(path):
        return PlainTextResponse(sentence, status_code=status, headers=headers)
    code = {401: "invalid_api_key", 404: "not_found", 405: "method_not_allowed"}.get(status)
    return error_response(status, as_object(status, sentence, code=code), headers=headers)


def header(scope: Scope, name: bytes) -> str:
    """Return the first value of a header; empty if there is none."""
    return next((value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name), "")
