"""OpenAPI document of the API at /openapi.json, and the page at /docs that shows it, without a script."""

import html
import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.routing import BaseRoute

from gptdesk import __version__
from samplers import Options

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
MODEL = "starter"  # that commands name
KEY = "GPTDESK_API_KEY"  # variable that holds the key of the API, in commands
INTRODUCTION = (
    "A desk continues texts with small GPT models. Every refusal is an error object: "
    '{"error": {"message", "type", "param", "code"}}.'
)
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1e293b;
  background: #fff; }
h2 { border-top: 1px solid #cbd5e1; padding-top: 1.5rem; margin-top: 2rem; } h2 code { font-size: 1.1rem; }
pre { background: #f1f5f9; padding: .8rem 1rem; overflow-x: auto; border-radius: 6px; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: 4px 12px 4px 0;
  vertical-align: top; border-bottom: 1px solid #e2e8f0; overflow-wrap: anywhere; }
@media (prefers-color-scheme: dark) { body { background: #0b0f19; color: #e2e8f0; } pre { background: #1e293b; }
  th, td { border-color: #334155; } h2 { border-color: #475569; } a { color: #5eead4; } }
"""


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
    return {status: {"description": STATUSES[status], "content": content} for status in statuses}


def add_openapi(app: FastAPI, routes: Sequence[BaseRoute], *, page: bool, keyed: bool) -> None:
    """Add /openapi.json and /docs, which describe these routes.

    /redoc leads there, and / on a desk without a page. The commands at /docs send a key if the desk is `keyed`.
    """

    @cache
    def document() -> dict[str, Any]:
        made = get_openapi(title="GPT Desk", version=__version__, description=INTRODUCTION, routes=routes)
        for operation in (one for path in made["paths"].values() for one in path.values()):
            operation["responses"].pop("422", None)  # FastAPI's own refusal of a parameter, which is not used here
        made.get("components", {}).pop("schemas", None)  # of that
        return made

    @app.api_route("/openapi.json", methods=["GET", "HEAD"], include_in_schema=False)
    def openapi() -> dict[str, Any]:
        return document()

    @app.api_route("/docs", methods=["GET", "HEAD"], include_in_schema=False)
    def docs(request: Request) -> Response:
        return HTMLResponse(_page(document(), str(request.base_url).rstrip("/"), keyed=keyed))

    @app.api_route("/redoc", methods=["GET", "HEAD"], include_in_schema=False)
    def redoc() -> Response:
        return RedirectResponse("/docs")

    if not page:

        @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
        def root() -> Response:
            return RedirectResponse("/docs")


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


def _page(document: dict[str, Any], base: str, *, keyed: bool) -> str:
    """Return the document as a page: each operation with its fields and a command that works."""
    sections = [
        _section(method, path, operation, base, keyed=keyed)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if method != "head"
    ]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>GPT Desk: API</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body><main>'
        f"<h1>The API of this desk</h1><p>{html.escape(document['info']['description'])}</p>"
        f'<p>For programs: <a href="/openapi.json">openapi.json</a>.</p>{"".join(sections)}</main></body></html>'
    )


def _section(method: str, path: str, operation: dict[str, Any], base: str, *, keyed: bool) -> str:
    key = f' \\\n  -H "Authorization: Bearer ${KEY}"' if keyed else ""
    command = f"curl {base}{path.replace('{model}', MODEL)}{key}"
    head = f"<h2><code>{method.upper()} {html.escape(path)}</code></h2><p>{html.escape(operation['summary'])}.</p>"
    body = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if body is None:
        return f"{head}<pre>{html.escape(command)}</pre>"
    example = json.dumps(body["example"])
    command += f" \\\n  -H 'Content-Type: application/json' \\\n  -d '{example}'"
    rows = "".join(_row(name, one, body["schema"]) for name, one in body["schema"]["properties"].items())
    return f"{head}<pre>{html.escape(command)}</pre><table><tr><th>Field<th>Default<th>Meaning</tr>{rows}</table>"


def _row(name: str, field: dict[str, Any], schema: dict[str, Any]) -> str:
    default = "required" if name in schema.get("required", ()) else json.dumps(field.get("default"))
    words = field.get("description", "")
    # the bounds of a field that may be null stand in its other alternative
    limits = {name: value for one in field.get("anyOf", ()) for name, value in one.items()} | field
    bounds = ", ".join(
        f"{text} {_number(limits[key])}"
        for key, text in (("minimum", "at least"), ("exclusiveMinimum", "more than"), ("maximum", "at most"))
        if key in limits
    )
    meaning = "; ".join(filter(None, (words, bounds)))
    return f"<tr><td><code>{html.escape(name)}</code><td>{html.escape(default)}<td>{html.escape(meaning)}</tr>"


def _number(value: float) -> str:
    """Return a bound as text, a whole number without decimals."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:g}"
