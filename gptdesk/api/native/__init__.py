"""The desk's own routes: generate, one or many, tokenize, detokenize, logits and compare."""

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

from fastapi import APIRouter, FastAPI, Request, Response
from starlette.routing import BaseRoute

from gptdesk.api.answering import Data, respond
from gptdesk.api.body import json_body
from gptdesk.api.errors import ApiRoute
from gptdesk.api.native import work as works
from gptdesk.api.native.fields import (
    BatchFields,
    CompareFields,
    DetokenizeFields,
    GenerateFields,
    LogitsFields,
    TokenizeFields,
)
from gptdesk.api.native.work import Work, WorkAnswer
from gptdesk.api.openapi import described
from gptdesk.desk import Desk
from samplers import Options

Fields = TypeVar("Fields", bound=Options)
ONCE = {"model": "starter", "prompt": "Once upon a time", "max_new_tokens": 6, "seed": 1}


def add_native(app: FastAPI, desk: Desk, *, checks: Executor) -> list[BaseRoute]:
    """Add the routes, and return them; `checks` reads the bodies of their requests."""
    router = APIRouter(route_class=ApiRoute, tags=["desk"])

    @router.post("/generate", **described(GenerateFields, "Generate texts", ONCE, streams=True))
    async def generate(request: Request) -> Response:
        return await _answer(desk, request, checks, GenerateFields, works.generate_work)

    batch_example = {"requests": [ONCE, ONCE | {"prompt": "The dog", "n": 2}]}

    @router.post("/generate/batch", **described(BatchFields, "Generate texts of several prompts", batch_example))
    async def batch(request: Request) -> Response:
        return await _answer(desk, request, checks, BatchFields, works.batch_work)

    compare_example = ONCE | {"models": ["starter:float32", "starter:int8"]}
    del compare_example["model"]

    @router.post("/compare", **described(CompareFields, "Generate with several models and one seed", compare_example))
    async def compare(request: Request) -> Response:
        return await _answer(desk, request, checks, CompareFields, works.compare_work)

    logits_example = {"model": "starter", "prompt": "Once upon a time, there was a", "preset": "Careful", "top": 3}

    @router.post("/logits", **described(LogitsFields, "Show the next token before and after samplers", logits_example))
    async def logits(request: Request) -> Response:
        return await _answer(desk, request, checks, LogitsFields, works.logits_work)

    tokenize_example = {"model": "starter", "text": "Once upon a time"}

    @router.post("/tokenize", **described(TokenizeFields, "Split a text into tokens", tokenize_example))
    async def tokenize(request: Request) -> Response:
        return await _computed(desk, request, checks, TokenizeFields, works.tokenize)

    @router.post("/detokenize", **described(DetokenizeFields, "Join tokens", {"model": "starter", "ids": [1, 2, 3]}))
    async def detokenize(request: Request) -> Response:
        return await _computed(desk, request, checks, DetokenizeFields, works.detokenize)

    app.include_router(router)
    return router.routes


async def _computed(
    desk: Desk, request: Request, checks: Executor, kind: type[Fields], work: Callable[[Desk, Fields], Data]
) -> Response:
    """Answer a request that needs no model in memory, by `checks`, outside the event loop."""
    body = await json_body(request, public=desk.settings.public)
    answer = await asyncio.get_running_loop().run_in_executor(checks, lambda: work(desk, _read(kind, body())))
    return Response(json.dumps(answer), media_type="application/json")


async def _answer(
    desk: Desk, request: Request, checks: Executor, kind: type[Fields], work: Callable[[Desk, Fields], Work]
) -> Response:
    """Answer a request that computes, whole or as a stream."""

    def check(desk: Desk, body: object) -> WorkAnswer:
        fields = _read(kind, body)
        streams = isinstance(fields, GenerateFields) and not isinstance(fields, CompareFields) and fields.stream
        return WorkAnswer(work(desk, fields), streams)

    return await respond(desk, request, checks, check)


def _read(kind: type[Fields], body: object) -> Fields:
    """Return the fields of a parsed body; ValueError with one sentence for the first that is wrong."""
    if not isinstance(body, dict):
        raise ValueError("the body must be a JSON object; /docs shows an example")
    return kind(**body)
