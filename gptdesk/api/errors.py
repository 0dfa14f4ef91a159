"""Errors of the API: every refusal as the error object of OpenAI's API, with the status that its client expects."""

import json
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from gptdesk.encodings import without_surrogates
from gptdesk.errors import Busy, NotFound, QueueFull, TooLarge
from samplers import OptionError

log = logging.getLogger(__name__)

RETRY_AFTER = "5"  # seconds until a client should ask again where the queue is full
KINDS = ((NotFound, 404), (TooLarge, 413), (QueueFull, 429), (Busy, 503))
REQUEST = "the request"  # what a fault of no single field is a fault of
UNEXPECTED = "the desk failed while it answered this request; its terminal has the details"
CODES = {401: "invalid_api_key", 404: "not_found", 405: "method_not_allowed", 413: "too_large", 429: "queue_full"}


class Refused(Exception):
    """Refusal of a request, with the status and the sentence of the answer."""

    def __init__(self, status: int, sentence: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.param = param
        self.code = code


class ApiRoute(APIRoute):
    """Route of the API: whatever its handler raises becomes an error object."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            try:
                return await handler(request)
            except Exception as error:
                return error_response(status_of(error), error_object(error))

        return guarded


def status_of(error: Exception) -> int:
    """Return the HTTP status for an exception; 500 for one that is a bug of ours."""
    if isinstance(error, Refused):
        return error.status
    if isinstance(error, ValueError):
        return next((status for kind, status in KINDS if isinstance(error, kind)), 400)
    return 500


def error_object(error: Exception, *, hidden: str | None = None) -> dict[str, object]:
    """Return the error object of an exception; one that is a bug of ours is logged, and not described.

    `hidden` is a path that the message must not name.
    """
    status = status_of(error)
    if status == 500:
        log.error("a request of the API failed", exc_info=error)
    message = UNEXPECTED if status == 500 else str(error)
    if hidden:
        message = message.replace(hidden, "<home>")
    param, code = None, CODES.get(status)
    if isinstance(error, OptionError):
        param = None if error.option == REQUEST else error.option
    elif isinstance(error, Refused):
        param, code = error.param, error.code or code
    return as_object(status, message, param=param, code=code)


def as_object(status: int, message: str, *, param: str | None = None, code: str | None = None) -> dict[str, object]:
    """Return an error object with all four fields, the kind of error by its status."""
    kind = "server_error" if status >= 500 else "rate_limit_error" if status == 429 else "invalid_request_error"
    return {"error": {"message": without_surrogates(message), "type": kind, "param": param, "code": code}}


def error_response(status: int, content: Mapping[str, object], *, headers: Mapping[str, str] | None = None) -> Response:
    """Return the response for an error object; where a queue is full, with the time to wait."""
    usual = {"retry-after": RETRY_AFTER} if status == 429 else {}
    body = json.dumps(content).encode()
    return Response(body, status, headers={**usual, **(headers or {})}, media_type="application/json")
