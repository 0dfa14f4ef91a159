"""Key of a page: a link that carries it sets a cookie, without which no route of the page answers."""

import hmac
import html
from urllib.parse import parse_qsl, quote

from starlette.requests import cookie_parser
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from gptdesk.api.guard import header
from gptdesk.api.routes import OF_API, find_route

COOKIE = "gptdesk-key"
NEEDED = "This desk needs its key: open the link that was sent or shown to you, or type the key here."
WRONG = "This is not the key of this desk. It may have been started anew since, with another key: ask for it."
PRIVATE = {"cache-control": "no-store", "referrer-policy": "no-referrer"}  # the address holds the key
FORM = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>GPT Desk</title>
<meta name="viewport" content="width=device-width"><style>
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 30rem; margin: 4rem auto; padding: 0 1rem; }
input, button { font: inherit; padding: .4rem .6rem; }</style></head><body><main><h1>GPT Desk</h1><p>%s</p>
<form action="/" method="get"><label>Key <input name="key" autocomplete="off" autocapitalize="none" spellcheck="false"
required autofocus></label> <button>Open</button></form></main></body></html>"""


def keyed_link(url: str, key: str) -> str:
    """Return the address of the page at `url` with its key."""
    return f"{url}/?key={quote(key, safe='')}"


class PageKey:
    """ASGI middleware that lets requests to the page pass only with a cookie that holds its key.

    The routes of the API are left to the guard, which asks for the key in a header.
    """

    def __init__(self, app: ASGIApp, *, key: str) -> None:
        self._app = app
        self._key = key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = self._refusal(scope) if scope["type"] == "http" else None
        await (answer or self._app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        """Return the answer to a request without the cookie; None for one that may pass."""
        route = find_route(scope["method"], scope["path"], public=True)
        if route is None or route.kind in OF_API:
            return None
        sent = dict(parse_qsl(scope["query_string"].decode("latin-1"))).get("key") if scope["path"] == "/" else None
        if sent is not None and self._is_key(sent.strip()):
            answer = RedirectResponse("/", 303, headers=PRIVATE)
            answer.set_cookie(COOKIE, self._key, path="/", httponly=True, samesite="lax")
            return answer
        if self._is_key(cookie_parser(header(scope, b"cookie")).get(COOKIE, "")):
            return None
        if scope["path"] != "/":
            return PlainTextResponse(NEEDED, 401, headers=PRIVATE)
        return HTMLResponse(FORM % html.escape(NEEDED if sent is None else WRONG), 401, headers=PRIVATE)

    def _is_key(self, sent: str) -> bool:
        return hmac.compare_digest(sent.encode(), self._key.encode())
