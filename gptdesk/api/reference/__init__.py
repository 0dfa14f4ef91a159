"""Page at /docs: the OpenAPI document of a desk for people, with commands, answers, and forms to try them."""

import html
import json
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from gptdesk.api.openapi import KEY, MODEL, STATUSES, Document
from gptdesk.api.reference.form import SCRIPT, form, policy
from gptdesk.api.reference.style import STYLE
from gptdesk.api.reference.tables import fields_table, presets_table, samplers_table
from gptdesk.api.routes import is_rest
from gptdesk.desk import Desk

Operation = Mapping[str, Any]
JSON, EVENTS, TEXT = "application/json", "text/event-stream", "text/plain"
WIDTH = 100  # characters of an example that stands on one line
HEADERS = {"content-security-policy": policy(style=STYLE)}
OTHERS = ("Key and address", "Status codes", "Presets", "Samplers")  # sections beside those of operations
LOCAL = (
    "This desk listens on 127.0.0.1: only this computer reaches it. <code>python launch.py --lan</code> lets others in "
    "the network use it, with a key. Pages of other sites are refused (403), and those of other origins cannot read an "
    "answer."
)
PUBLIC = "This desk is public: others reach it at this address. Pages of other origins cannot read an answer."


def add_reference(app: FastAPI, desk: Desk, document: Callable[[], Document], *, page: bool) -> None:
    """Add /docs, which shows the document. /redoc leads there, and / on a desk without a page."""

    @app.api_route("/docs", methods=["GET", "HEAD"], include_in_schema=False)
    def docs(request: Request) -> Response:
        return HTMLResponse(_page(desk, document(), str(request.base_url).rstrip("/")), headers=HEADERS)

    @app.api_route("/redoc", methods=["GET", "HEAD"], include_in_schema=False)
    def redoc() -> Response:
        return RedirectResponse("/docs")

    if not page:

        @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
        def root() -> Response:
            return RedirectResponse("/docs")


def _page(desk: Desk, document: Document, base: str) -> str:
    """Return the page: contents, key, status codes, each operation, presets and samplers."""
    keyed = bool(desk.settings.api_key)
    operations = {
        f"{method.upper()} {path}": _section(method.upper(), path, operation, base, keyed=keyed)
        for path, found in document["paths"].items()
        for method, operation in found.items()
    }
    key, statuses, presets, samplers = OTHERS
    sections = [
        _heading(key) + _key_section(document["paths"], public=desk.settings.public, keyed=keyed),
        _heading(statuses) + _statuses(),
        *operations.values(),
        _heading(presets) + f"<p>A name for the field <code>preset</code>.</p>{presets_table(desk)}",
        _heading(samplers) + f"<p>Links of the field <code>chain</code>.</p>{samplers_table(desk)}",
    ]
    names = [key, statuses, *operations, presets, samplers]
    contents = "".join(f'<li><a href="#{_anchor(name)}">{html.escape(name)}</a></li>' for name in names)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>GPT Desk: API</title>'
        f'<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,"><style>{STYLE}</style>'
        f"</head><body><main><h1>The API of this desk</h1><p>{html.escape(document['info']['description'])}</p>"
        f'<p>For programs: <a href="./openapi.json">openapi.json</a>.</p>'
        f'<nav aria-label="Contents"><ul>{contents}</ul></nav>{"".join(sections)}</main>'
        f"<script>{SCRIPT}</script></body></html>"
    )


def _anchor(name: str) -> str:
    return "-".join("".join(one if one.isalnum() else " " for one in name.lower()).split())


def _heading(name: str) -> str:
    return f'<h2 id="{_anchor(name)}">{html.escape(name)}</h2>'


def _key_section(paths: Mapping[str, Operation], *, public: bool, keyed: bool) -> str:
    """Return what the key protects, how it is sent and set, and who reaches the desk."""
    needed, free = (
        ", ".join(f"<code>{html.escape(path)}</code>" for path in paths if is_rest(path) == rest)
        for rest in (True, False)
    )
    state = "This desk has a key." if keyed else "This desk has no key, and ignores one that is sent."
    return (
        f"<p>{state} A key is sent as the header <code>Authorization: Bearer KEY</code>. Where there is one, {needed} "
        f"need it, else they answer 401; {free}, this page and <code>/openapi.json</code> do not.</p>"
        f"<p>To set one, start with <code>--api-key KEY</code>, or with the variable <code>{KEY}</code>, which other "
        f"users of the computer do not see; <code>--lan</code> makes one and prints it.</p>"
        f"<p>{PUBLIC if public else LOCAL}</p>"
    )


def _statuses() -> str:
    rows = "".join(f"<dt><b>{status}</b> {html.escape(meaning)}</dt>" for status, meaning in STATUSES.items())
    return f"<dl><dt><b>200</b> the answer; a stream that fails later ends with an error object</dt>{rows}</dl>"


def _section(method: str, path: str, operation: Operation, base: str, *, keyed: bool) -> str:
    """Return an operation: its command, answer, status codes, fields, and a form if it has a body."""
    bearer = f' \\\n  -H "Authorization: Bearer ${KEY}"' if keyed and is_rest(path) else ""
    command = f"{base}{path.replace('{model}', MODEL)}{bearer}"
    body = operation.get("requestBody", {}).get("content", {}).get(JSON)
    answers = operation["responses"]["200"]["content"]
    parts = [
        f'<h2 id="{_anchor(f"{method} {path}")}"><code>{method} {html.escape(path)}</code></h2>'
        f"<p>{html.escape(operation['summary'])}.</p>",
        _pre(f"curl {command}" + (_body(body["example"]) if body else "")),
        f"<p>Status codes: {_status_links(operation)}.</p>",
        f"<h3>Answer</h3>{_pre(_example(answers))}",
    ]
    if events := answers.get(EVENTS, {}).get("example"):
        parts.append(
            f"<h3>Answer as a stream</h3>{_pre(f'curl -N {command}' + _body(body['example'] | {'stream': True}))}"
            f"<p>An event for each token, and at the end <code>[DONE]</code>:</p>{_pre(events)}"
        )
    if body:
        parts.append(form(path, _indented(body["example"]), keyed=keyed))
        parts.append(f"<h3>Fields</h3>{fields_table(body['schema'])}")
    return "".join(parts)


def _body(example: object) -> str:
    """Return the options of curl that send an example; none of ours has an apostrophe."""
    return f" \\\n  -H 'Content-Type: application/json' \\\n  -d '{json.dumps(example)}'"


def _status_links(operation: Operation) -> str:
    named = (f"{status} (with Retry-After)" if status == "429" else status for status in sorted(operation["responses"]))
    return f'<a href="#{_anchor(OTHERS[1])}">{", ".join(named)}</a>'


def _example(answers: Mapping[str, Operation]) -> str:
    """Return the example of a whole answer, JSON or plain text."""
    return _indented(answers[JSON]["example"]) if JSON in answers else str(answers[TEXT]["example"])


def _indented(value: object, depth: int = 0) -> str:
    """Return a value as JSON, with parts that are short on one line."""
    line = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict | list) or (depth and len(line) + 2 * depth <= WIDTH):
        return line
    named = isinstance(value, dict)
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    inner = [
        f"{'  ' * (depth + 1)}{f'{json.dumps(name)}: ' if named else ''}{_indented(one, depth + 1)}"
        for name, one in pairs
    ]
    opened, closed = "{}" if named else "[]"
    return opened + "\n" + ",\n".join(inner) + "\n" + "  " * depth + closed


def _pre(text: str) -> str:
    return f'<pre tabindex="0">{html.escape(text)}</pre>'
