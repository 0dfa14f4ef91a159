"""Bodies of requests, read with limits on their size and time, and parsed as strict JSON."""

import asyncio
import json
from collections.abc import Callable
from typing import NoReturn

from starlette.requests import Request
from starlette.types import Receive, Scope

from gptdesk.api.errors import Refused
from gptdesk.api.guard import header
from gptdesk.encodings import without_surrogates

LARGEST, LARGEST_PUBLIC = 8_000_000, 1_000_000  # bytes of a body of the API
CHECKS = 2  # requests that are parsed and tokenized at once: a long prompt takes a part of a second
SLOWEST = 60.0  # seconds in which a body must have come


def content_length(scope: Scope) -> int:
    """Return the Content-Length of a request; 0 if it has none."""
    length = header(scope, b"content-length")
    return int(length[:20]) if length.isdecimal() else 0


async def read_body(scope: Scope, receive: Receive, *, most: int, too_large: str) -> bytes:
    """Return a body of at most `most` bytes; refuse a larger one, with the sentence `too_large`, before it is read.

    Raises Refused with 413, with 408 for one that has not come within SLOWEST seconds, with 400 for half a body.
    """
    if content_length(scope) > most:
        raise Refused(413, too_large)
    parts: list[bytes] = []
    size, more = 0, True
    try:
        async with asyncio.timeout(SLOWEST):
            while more:
                message = await receive()
                if message["type"] != "http.request":
                    raise Refused(400, "the request ended too early")
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > most:
                    raise Refused(413, too_large)
                more = message.get("more_body", False)
    except TimeoutError:
        raise Refused(408, "the request came too slowly; send it again") from None
    return b"".join(parts)


async def json_body(request: Request, *, public: bool) -> Callable[[], object]:
    """Read the body of a request to the API, and return the function that parses it, which may take a while.

    Raises Refused for one that says it is no JSON, or is too large; the function for one that is none.
    """
    if not is_json(request.scope):
        raise Refused(415, "the body must be JSON: send it with Content-Type: application/json")
    if header(request.scope, b"content-encoding"):
        raise Refused(415, "the body must not be compressed: send it without Content-Encoding")
    most = LARGEST_PUBLIC if public else LARGEST
    too_large = f"a request may have at most {most / 1e6:g} MB; send less at once"
    body = await read_body(request.scope, request.receive, most=most, too_large=too_large)

    def parsed() -> object:
        try:
            return parse_json(body)
        except ValueError as error:
            raise Refused(400, f"the body is no JSON: {error}") from None

    return parsed


def is_json(scope: Scope) -> bool:
    """Return whether a request says that its body is JSON."""
    return header(scope, b"content-type").partition(";")[0].strip().lower() == "application/json"


def parse_json(body: bytes) -> object:
    """Return the value of a JSON text; ValueError for NaN and other words that are no JSON, and for a key twice."""
    try:
        return json.loads(body, parse_constant=_no_number, object_pairs_hook=_object)
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError as error:
        if str(error).startswith("Exceeds the limit"):  # of Python's int
            raise ValueError("a number has too many digits") from None
        raise


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    values = dict(pairs)
    if len(values) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice!r:.60} comes twice")
    if wrong := next((name for name in values if without_surrogates(name) != name), None):
        raise ValueError(f"the key {wrong!r:.60} is no text")
    return values
