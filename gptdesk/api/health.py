"""GET /health: whose desk it is, what it computes with, which models are in memory, and how many requests wait."""

import functools
import time

from fastapi import APIRouter, FastAPI
from starlette.routing import BaseRoute

from gptdesk import __version__
from gptdesk.api.native.fields import ModelFields
from gptdesk.api.openapi import PLAIN_REFUSAL
from gptdesk.desk import Desk
from gptdesk.system.single_instance import home_id
from models.native import compiled

FRESH = 10.0  # seconds for which what the disk says of the compiled step holds, however often it is asked for


def add_health(app: FastAPI, desk: Desk, *, page: bool) -> list[BaseRoute]:
    """Add the route and return it; by it `find_running` recognises a desk that runs on the same home.

    It needs no key, so a desk that has one does not name its models here.
    """
    settings = desk.settings
    answer: dict[str, object] = {
        "app": "gptdesk",
        "status": "ok",
        "version": __version__,
        "home": home_id(settings.home),
        "page": page,
        "model": ModelFields.model_fields["model"].default,
        "device": str(desk.manager.device),
    }

    @functools.lru_cache(maxsize=1)
    def step(period: int) -> str:
        return compiled.status()

    router = APIRouter(tags=["desk"])

    @router.head("/health", include_in_schema=False)
    @router.get("/health", summary="Tell the state of the desk", responses=PLAIN_REFUSAL)
    async def health() -> dict[str, object]:
        loaded = {} if settings.api_key else {"loaded": [key.spelled for key in desk.manager.loaded()]}
        now = {"queue": desk.scheduler.waiting, "compiled_step": step(int(time.monotonic() / FRESH))}
        return {**answer, **loaded, **now}

    app.include_router(router)
    return router.routes
