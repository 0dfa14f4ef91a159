"""Allow list of HTTP routes: what a browser may ask of the desk. Whatever else Gradio brings is closed.

The page asks for these and for no others; a test watches a browser use it, and another walks all routes of the
application and fails on one that is neither here nor named there as closed.
"""

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qsl, urlencode

Kind = Literal["page", "stream", "event", "upload", "download", "api"]

SESSION = re.compile(r"[A-Za-z0-9_-]{1,64}")  # a session or an upload, named by the page at random
_FILE = r"(?:[A-Za-z0-9_@-][A-Za-z0-9_.@-]*)"  # no segment begins with a dot


@dataclass(frozen=True)
class Route:
    """A kind of requests that are answered."""

    kind: Kind
    methods: str
    pattern: str  # of the whole path, percent-decoded
    query: tuple[str, ...] = ()  # parameters that are passed on; all others are dropped
    public: bool = True  # whether a public desk answers it, too

    def matches(self, method: str, path: str) -> bool:
        """Return whether a request is of this kind."""
        return method in self.methods.split() and re.fullmatch(self.pattern, path) is not None


OPEN = (
    Route("page", "GET HEAD", "/", query=("__theme",)),
    Route("page", "GET", rf"/(?:assets|static)(?:/{_FILE})+"),
    Route("page", "GET", r"/theme\.css", query=("v",)),
    Route("page", "GET", r"/favicon\.ico"),
    Route("page", "GET", "/gradio_api/app_id"),  # asked for after a lost connection: is it the same desk?
    Route("stream", "GET", rf"/gradio_api/heartbeat/{SESSION.pattern}"),
    Route("stream", "GET", "/gradio_api/queue/data", query=("session_hash",)),
    Route("event", "POST", "/gradio_api/(?:queue/join|run/predict)"),
    Route("upload", "POST", "/gradio_api/upload", query=("upload_id",), public=False),
    Route("upload", "GET", "/gradio_api/upload_progress", query=("upload_id",), public=False),
    Route("download", "GET HEAD", "/gradio_api/file=.+"),
    Route("api", "GET HEAD", "/health"),
)


def find_route(method: str, path: str, *, public: bool) -> Route | None:
    """Return the route that answers this request; None if none does."""
    return next((one for one in OPEN if one.matches(method, path) and (one.public or not public)), None)


def kept_query(route: Route, query: bytes) -> bytes:
    """Return the parameters of a query string that the route passes on, and of which the value is an identifier."""
    pairs = parse_qsl(query.decode("latin-1"), max_num_fields=None)
    return urlencode([pair for pair in pairs if pair[0] in route.query and SESSION.fullmatch(pair[1])]).encode()
