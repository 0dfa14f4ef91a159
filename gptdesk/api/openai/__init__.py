"""Routes of OpenAI's API: completions and models, for its clients. There is no chat: the models continue texts."""

from concurrent.futures import Executor

from fastapi import APIRouter, FastAPI, Request, Response
from starlette.routing import BaseRoute

from gptdesk.api.answering import respond
from gptdesk.api.errors import ApiRoute, Refused
from gptdesk.api.names import find_model
from gptdesk.api.openai.answers import Answer
from gptdesk.api.openai.fields import CompletionFields
from gptdesk.api.openai.work import check_work
from gptdesk.api.openapi import WITHOUT_BODY, described, refusals
from gptdesk.desk import Desk
from models.listing import ModelInfo


def add_openai(app: FastAPI, desk: Desk, *, checks: Executor) -> list[BaseRoute]:
    """Add the routes, and return them; `checks` reads the bodies of their requests."""
    router = APIRouter(route_class=ApiRoute, tags=["OpenAI"])

    example = {"model": "starter", "prompt": "Once upon a time", "max_tokens": 20, "seed": 1}

    @router.post(
        "/v1/completions",
        **described(CompletionFields, "Complete a prompt, as OpenAI's API does", example, streams=True),
    )
    async def completions(request: Request) -> Response:
        return await respond(desk, request, checks, _check)

    @router.post("/v1/chat/completions", include_in_schema=False)
    def chat() -> Response:
        raise Refused(
            404, "these models continue a text and do not chat; use /v1/completions with a prompt", code="no_chat"
        )

    @router.head("/v1/models", include_in_schema=False)
    @router.get("/v1/models", summary="List the models", responses=refusals(401, 403))
    def models() -> dict[str, object]:
        usable = [info for info in desk.library.available() if not info.problem]
        return {"object": "list", "data": [_model(info.name, info) for info in usable]}

    @router.head("/v1/models/{model:path}", include_in_schema=False)
    @router.get("/v1/models/{model:path}", summary="Describe a model", responses=refusals(*WITHOUT_BODY))
    def model(model: str) -> dict[str, object]:
        return _model(model, desk.model(find_model(desk, model).name))

    app.include_router(router)
    return router.routes


def _check(desk: Desk, body: object) -> Answer:
    """Return the answer that a body asks for; raises as `check_work`."""
    return Answer(desk, check_work(desk, CompletionFields.read(body)))


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
