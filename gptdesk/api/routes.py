"""Allow list of HTTP routes; all other routes of Gradio are closed.

The page requests these and no others: a test records the requests of a browser, and another fails on a route of the
application that is neither listed here nor listed there as closed.
"""

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qsl, urlencode

Kind = Literal["page", "stream", "event", "upload", "download", "api", "rest"]

MODELS = "/v1/models/"  # beginning of the paths of single models
SESSION = re.compile(r"[A-Za-z0-9_-]{1,64}")  # random id of a session or an upload
_FILE = r"(?:[A-Za-z0-9_@-][A-Za-z0-9_.@-]*)"  # no segment begins with a dot


@dataclass(frozen=True)
class Route:
    """Route that is open, for some methods and query parameters."""

    kind: Kind
    methods: str
    pattern: str  # of the whole path, percent-decoded
    query: tuple[str, ...] = ()  # parameters that are passed on; all others are dropped
    public: bool = True  # whether it is open on a public desk, too

    def matches(self, method: str, path: str) -> bool:
        """Return whether a request matches this route."""
        return method in self.methods.split() and re.fullmatch(self.pattern, path) is not None

    def label(self, path: str) -> str:
        """Return a name for what a path that matches asks for, of which there are few: without names and ids."""
        if self.kind not in OF_API:
            return self.kind
        return f"{MODELS}{{model}}" if path.startswith(MODELS) else path


OPEN = (
    Route("page", "GET HEAD", "/", query=("__theme",)),
    Route("page", "GET", rf"/(?:assets|static)(?:/{_FILE})+"),
    Route("page", "GET", r"/theme\.css", query=("v",)),
    Route("page", "GET", r"/favicon\.ico"),
    Route("page", "GET", "/gradio_api/app_id"),  # requested after a lost connection, to detect another desk
    Route("stream", "GET", rf"/gradio_api/heartbeat/{SESSION.pattern}"),
    Route("stream", "GET", "/gradio_api/queue/data", query=("session_hash",)),
    Route("event", "POST", "/gradio_api/(?:queue/join|run/predict)"),
    Route("upload", "POST", "/gradio_api/upload", query=("upload_id",), public=False),
    Route("upload", "GET", "/gradio_api/upload_progress", query=("upload_id",), public=False),
    Route("download", "GET HEAD", "/gradio_api/file=.+"),
    Route("api", "GET HEAD", "/health"),
    Route("rest", "POST", "/v1/completions"),
    Route("rest", "POST", "/v1/chat/completions"),  # which says that there is no chat
    Route("rest", "GET HEAD", "/v1/models"),
    Route("rest", "GET HEAD", "/v1/models/.{1,300}"),
    Route("rest", "POST", "/generate(?:/batch)?|/compare|/logits|/tokenize|/detokenize"),
    Route("api", "GET HEAD", "/openapi.json|/docs|/redoc"),
    Route("api", "GET HEAD", "/metrics", public=False),
    Route("api", "GET HEAD", "/"),  # without a page: it leads to /docs
)
OF_API = ("api", "rest")  # kinds of routes that need no page

NATIVE = ("/generate", "/generate/batch", "/compare", "/logits", "/tokenize", "/detokenize")


def find_route(method: str, path: str, *, public: bool, page: bool = True) -> Route | None:
    """Return the route that answers this request of a desk with a page or without; None if none does."""
    opened = (one for one in OPEN if (one.public or not public) and (page or one.kind in OF_API))
    return next((one for one in opened if one.matches(method, path)), None)


def open_methods(path: str, *, public: bool) -> str:
    """Return the methods that a path of the API can be requested with, separated by commas; empty if none can."""
    methods = [one for route in OPEN if route.kind in OF_API for one in route.methods.split()]
    return ", ".join(one for one in dict.fromkeys(methods) if find_route(one, path, public=public))


def is_rest(path: str) -> bool:
    """Return whether a path is one of the API, open or not."""
    return path in NATIVE or path == "/v1" or path.startswith("/v1/")


def kept_query(route: Route, query: bytes) -> bytes:
    """Return a query string with only the route's parameters, and of these only those whose value is an identifier."""
    pairs = parse_qsl(query.decode("latin-1"), max_num_fields=None)
    return urlencode([pair for pair in pairs if pair[0] in route.query and SESSION.fullmatch(pair[1])]).encode()
