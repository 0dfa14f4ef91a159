"""A request as code that sends it to /v1/completions of a running desk: curl, Python, and the client openai."""

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gptdesk.api.openai.fields import CompletionFields
from gptdesk.api.openai.work import check_work
from gptdesk.api.openapi import KEY
from gptdesk.context_window import dropped_tokens
from gptdesk.desk import Desk
from gptdesk.generation import Constrained, GenerationRequest, encode_prompt
from models.manager import ModelKey

Body = Mapping[str, object]
OURS = ("chain", *Constrained.model_fields)  # fields that OpenAI's client takes only in extra_body


@dataclass(frozen=True)
class Address:
    """Address of a desk, without a path, and whether its API needs a key."""

    url: str
    keyed: bool = False


def completion_body(desk: Desk, key: ModelKey, request: GenerationRequest) -> dict[str, object]:
    """Return the body of a POST to /v1/completions that gives the same texts as this request.

    Of a prompt that does not fit the context it has the token ids that the desk would read, and `max_tokens` are those
    that fit after it. Raises ValueError, or Refused, with the sentence of the API where it would refuse the body.
    """
    prompt: object = request.prompt
    ids, context = encode_prompt(desk.tokenizer(key.name), request), desk.model(key.name).context
    dropped = dropped_tokens(len(ids), wanted=request.max_new_tokens, context=context)
    if dropped or (request.parse_special and request.prompt):  # the API reads special tokens as plain text
        prompt = ids[dropped:]
    body: dict[str, object] = {
        "model": key.spelled,
        "prompt": prompt,
        "max_tokens": min(request.max_new_tokens, context - len(ids) + dropped),
        "seed": request.seed,
        "chain": request.chain.to_data(),
    }
    if request.n > 1:
        body["n"] = request.n
    if request.stop:
        body["stop"] = list(request.stop)
    body |= request.model_dump(mode="json", include=set(request.constraints()))
    check_work(desk, CompletionFields.read(body))
    return body


def curl_code(body: Body, address: Address) -> str:
    """Return a command for a POSIX shell that prints the answer as JSON."""
    lines = [
        f"curl {shlex.quote(f'{address.url}/v1/completions')}",
        "-H 'Content-Type: application/json'",
        *([f'-H "Authorization: Bearer ${KEY}"'] if address.keyed else []),
        f"-d {shlex.quote(json.dumps(body, ensure_ascii=False))}",
    ]
    return " \\\n  ".join(lines) + "\n"


def python_code(body: Body, address: Address) -> str:
    """Return a Python program that prints the texts, by httpx."""
    headers = f', headers={{"Authorization": "Bearer " + os.environ[{KEY!r}]}}' if address.keyed else ""
    return (
        f"{'import os' + chr(10) * 2 if address.keyed else ''}import httpx\n\n"
        f"body = {_literal(body)}\n"
        f'answer = httpx.post("{address.url}/v1/completions", json=body{headers}, timeout=600)\n'
        "answer.raise_for_status()\n"
        'for choice in answer.json()["choices"]:\n'
        '    print(choice["text"])\n'
    )


def openai_code(body: Body, address: Address) -> str:
    """Return a Python program that prints the texts, by OpenAI's client."""
    api_key = f"os.environ[{KEY!r}]" if address.keyed else '"local"'
    theirs = "".join(f"    {name}={value!r},\n" for name, value in body.items() if name not in OURS)
    ours = {name: body[name] for name in OURS if name in body}
    return (
        f"{'import os' + chr(10) * 2 if address.keyed else ''}from openai import OpenAI\n\n"
        f'client = OpenAI(base_url="{address.url}/v1", api_key={api_key})\n'
        f"completion = client.completions.create(\n{theirs}    extra_body={ours!r},\n)\n"
        "for choice in completion.choices:\n"
        "    print(choice.text)\n"
    )


def _literal(body: Body) -> str:
    """Return a mapping as a Python literal, one key a line."""
    return "{\n" + "".join(f'    "{name}": {value!r},\n' for name, value in body.items()) + "}"


SNIPPETS: dict[str, Callable[[Body, Address], str]] = {
    "curl": curl_code,
    "Python": python_code,
    "openai client": openai_code,
}
