"""Routes of OpenAI's API: completions and models, for its clients. There is no chat: the models continue texts."""

import json
import threading
from collections.abc import AsyncIterator

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.sse import format_sse_event

from gptdesk.api.body import is_json, parse_json, read_body
from gptdesk.api.callers import caller_of
from gptdesk.api.errors import ApiRoute, Refused, error_object
from gptdesk.api.openai.answers import Answer
from gptdesk.api.openai.fields import CompletionFields
from gptdesk.api.openai.work import PromptRead, WorkEvent, check_work, find_model
from gptdesk.api.threads import StoppingResponse, in_thread, stopped_when_gone
from gptdesk.desk import Desk
from gptdesk.generation import GenerationQueued
from models.listing import ModelInfo

LARGEST, LARGEST_PUBLIC = 8_000_000, 1_000_000  # bytes of a body


def add_openai(app: FastAPI, desk: Desk) -> None:
    """Add the routes."""
    router = APIRouter(route_class=ApiRoute)

    @router.post("/v1/completions")
    async def completions(request: Request) -> Response:
        return await _complete(desk, request)

    @router.post("/v1/chat/completions")
    def chat() -> Response:
        raise Refused(
            404, "these models continue a text and do not chat; use /v1/completions with a prompt", code="no_chat"
        )

    @router.api_route("/v1/models", methods=["GET", "HEAD"])
    def models() -> dict[str, object]:
        usable = [info for info in desk.library.available() if not info.problem]
        return {"object": "list", "data": [_model(info.name, info) for info in usable]}

    @router.api_route("/v1/models/{model:path}", methods=["GET", "HEAD"])
    def model(model: str) -> dict[str, object]:
        return _model(model, desk.model(find_model(desk, model).name))

    app.include_router(router)


async def _complete(desk: Desk, request: Request) -> Response:
    """Answer a request for completions, whole or as a stream."""
    public, home = desk.settings.public, str(desk.settings.home)
    stop = threading.Event()
    try:
        work = check_work(desk, CompletionFields.read(await _body(request, most=LARGEST_PUBLIC if public else LARGEST)))
        events = in_thread(work.run(desk, stop=stop, owner=caller_of(request, desk.settings)), stop=stop)
        answer = Answer(work)
        async with stopped_when_gone(request, stop):
            if not work.fields.stream:
                async for event in events:
                    answer.add(event)
                return Response(json.dumps(answer.to_data()), media_type="application/json")
            # what is refused now has a status of its own; later there are only error events
            first = [event async for event in _until_begun(events)]
    except Exception as error:
        stop.set()
        if public:  # the path of the home may name its owner
            error.args = (str(error).replace(home, "<home>"),)
        raise
    frames = _frames(answer, first, events, hidden=home if public else None)
    return StoppingResponse(frames, stop=stop)


async def _until_begun(events: AsyncIterator[WorkEvent]) -> AsyncIterator[WorkEvent]:
    """Yield events up to the first of a text, after those of the queue and of the prompt."""
    async for event in events:
        yield event
        if not isinstance(event[1], GenerationQueued | PromptRead):
            return


async def _frames(
    answer: Answer, first: list[WorkEvent], events: AsyncIterator[WorkEvent], *, hidden: str | None
) -> AsyncIterator[bytes]:
    """Yield the server-sent events of an answer; a failure is one more, before the end."""
    try:
        for event in first:
            for chunk in answer.chunks(event):
                yield _frame(chunk)
        async for event in events:
            for chunk in answer.chunks(event):
                yield _frame(chunk)
        for chunk in answer.last_chunks():
            yield _frame(chunk)
    except Exception as error:
        yield _frame(error_object(error, hidden=hidden))
    yield format_sse_event(data_str="[DONE]")


def _frame(data: dict[str, object]) -> bytes:
    return format_sse_event(data_str=json.dumps(data))


async def _body(request: Request, *, most: int) -> object:
    """Return the parsed body; Refused for one that is no JSON, says it is something else, or is too large."""
    if not is_json(request.scope):
        raise Refused(415, "the body must be JSON: send it with Content-Type: application/json")
    too_large = f"a request may have at most {most / 1e6:g} MB; send less at once"
    body = await read_body(request.scope, request.receive, most=most, too_large=too_large)
    try:
        return parse_json(body)
    except ValueError as error:
        raise Refused(400, f"the body is no JSON: {error}") from None


def _model(name: str, info: ModelInfo) -> dict[str, object]:
    """Return a model as OpenAI's API describes one, with its context and precisions beside that."""
    try:
        created = int(info.path.stat().st_mtime)
    except OSError:  # removed just now
        created = 0
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": "gptdesk",
        "context": info.context,
        "precisions": list(info.precisions),
    }
