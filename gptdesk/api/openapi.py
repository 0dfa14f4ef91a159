"""OpenAPI document of the API at /openapi.json, for programs; the page at /docs shows it to people."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from gptdesk import __version__
from gptdesk.api.errors import RETRY_AFTER
from gptdesk.api.routes import is_rest
from samplers import Options

Document = dict[str, Any]
STATUSES = {
    400: "something in the request cannot be used",
    401: "the key of the API is missing or wrong",
    403: "the request comes from a page of another site, or by a name that is not the desk's",
    404: "there is no such model",
    408: "the body came too slowly",
    413: "the request is larger than this desk allows",
    415: "the body is not sent as JSON",
    429: "too many requests wait already; see Retry-After",
    503: "others were computing for too long",
}
WITHOUT_BODY = (401, 403, 404)  # those of a request that has none
RETRY = {"Retry-After": {"description": "seconds to wait", "schema": {"type": "integer"}, "example": int(RETRY_AFTER)}}
ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
# of a route that is not the API's own: the guard refuses it in plain text
PLAIN_REFUSAL: dict[int | str, dict[str, Any]] = {
    403: {"description": STATUSES[403], "content": {"text/plain": {"schema": {"type": "string"}}}}
}
MODEL = "starter"  # that commands name
KEY = "GPTDESK_API_KEY"  # variable that holds the key of the API, in commands
INTRODUCTION = (
    "A desk continues texts with small GPT models. Every refusal is an error object: "
    '{"error": {"message", "type", "param", "code"}}.'
)
SCHEME = {"key": {"type": "http", "scheme": "bearer", "description": "the key with which the desk was started"}}
EXAMPLES = files(__package__).joinpath("examples.json")  # answers to the examples, by method and path


def described(
    fields: type[Options], summary: str, example: Mapping[str, object], *, streams: bool = False
) -> dict[str, Any]:
    """Return the arguments of a route that reads its body itself: its summary, the schema of `fields`, an example.

    One that `streams` may answer with server-sent events.
    """
    content = {"application/json": {"schema": _inlined(fields.model_json_schema()), "example": dict(example)}}
    return {
        "summary": summary,
        "openapi_extra": {"requestBody": {"required": True, "content": content}},
        "responses": refusals(*STATUSES) | ({200: {"content": {"text/event-stream": {}}}} if streams else {}),
    }


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the responses of a route by which it refuses requests."""
    content = {"application/json": {"schema": ERROR}}
    found: dict[int | str, dict[str, Any]] = {
        status: {"description": STATUSES[status], "content": content} for status in statuses
    }
    if 429 in found:
        found[429]["headers"] = RETRY
    return found


def add_openapi(app: FastAPI, routes: Sequence[BaseRoute], *, keyed: bool) -> Callable[[], Document]:
    """Add /openapi.json, which describes these routes, and return the function that makes the document.

    Where the desk is `keyed`, it says which routes need the key.
    """

    @cache
    def document() -> Document:
        made = get_openapi(title="GPT Desk", version=__version__, description=INTRODUCTION, routes=routes)
        made.get("components", {}).pop("schemas", None)  # of FastAPI's own refusal of a parameter
        examples = json.loads(EXAMPLES.read_text("utf-8"))
        found = [one for one in routes if isinstance(one, APIRoute)]
        bodies = {(one.path_format, method): one.openapi_extra for one in found for method in one.methods or ()}
        for path, operations in made["paths"].items():
            for method, operation in operations.items():
                operation["responses"].pop("422", None)  # that refusal is not used here
                if given := bodies[path, method.upper()]:
                    operation |= given  # whose numbers FastAPI has made floats, which round the largest seed
                answers = operation["responses"]["200"]["content"]
                for kind, example in examples.get(f"{method.upper()} {path}", {}).items():
                    answers[kind]["example"] = example
                if keyed and is_rest(path):
                    operation["security"] = [{"key": []}]
        if keyed:
            made.setdefault("components", {})["securitySchemes"] = SCHEME
            health = made["paths"]["/health"]["get"]["responses"]["200"]["content"]["application/json"]
            health["example"].pop("loaded")  # which a desk with a key does not name
        return made

    @app.api_route("/openapi.json", methods=["GET", "HEAD"], include_in_schema=False)
    def openapi() -> Document:
        return document()

    return document


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema with the definitions that it refers to in their places."""
    definitions = schema.pop("$defs", {})

    def inlined(part: object) -> object:
        if isinstance(part, dict):
            if "$ref" in part:
                return inlined(definitions[part["$ref"].rpartition("/")[2]])
            return {name: inlined(value) for name, value in part.items()}
        return [inlined(one) for one in part] if isinstance(part, list) else part

    return inlined(schema)  # type: ignore[return-value]
