"""Who may call what: a desk on this computer answers pages of this computer, not whatever site the browser is on.

Gradio checks neither Host nor, for file uploads, Origin; a page elsewhere could reach the desk by DNS rebinding or a
cross-site form (the reasons Ollama and others have such a check).
"""

import re
from urllib.parse import urlsplit

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from gptdesk.settings import is_loopback

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
PROXY_PATH = re.compile(r".*/file[=/]+\w+:/", re.IGNORECASE)  # Gradio would fetch and pass on any public address


class Guard:
    """ASGI middleware. Refusals are 403 with one sentence. In public mode only the open proxy is closed."""

    def __init__(self, app: ASGIApp, *, public: bool) -> None:
        self._app = app
        self._public = public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket") and (reason := self._refusal(scope)):
            await PlainTextResponse(reason, status_code=403)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> str | None:
        if PROXY_PATH.match(scope["path"]):
            return "This desk does not fetch files from other addresses."
        if self._public:
            return None
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if not _is_here(f"//{headers.get('host', '')}"):
            return "This desk answers only to localhost; open it under the address that it printed."
        if scope.get("method") not in SAFE_METHODS:
            origin = headers.get("origin")
            if headers.get("sec-fetch-site") == "cross-site" or (origin is not None and not _is_here(origin)):
                return "This desk takes no requests from pages of other sites."
        return None


def _is_here(url: str) -> bool:
    """Whether the host part of `url` is this computer."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False
    return is_loopback(host) or host.endswith(".localhost")
