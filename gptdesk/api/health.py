"""GET /health: version of the desk, id of its home, whether it has a page, and whether the compiled step is used."""

import functools
import time

from fastapi import FastAPI

from gptdesk import __version__
from gptdesk.settings import Settings
from gptdesk.system.single_instance import home_id
from models.native import compiled

FRESH = 10.0  # seconds for which what the disk says of the compiled step holds, however often it is asked for


def add_health(app: FastAPI, settings: Settings, *, page: bool) -> None:
    """Add the route, by which `find_running` recognises a desk that runs on the same home."""
    answer: dict[str, object] = {"app": "gptdesk", "version": __version__, "home": home_id(settings.home), "page": page}

    @functools.lru_cache(maxsize=1)
    def step(period: int) -> str:
        return compiled.status()

    @app.api_route("/health", methods=["GET", "HEAD"])
    async def health() -> dict[str, object]:
        return {**answer, "compiled_step": step(int(time.monotonic() / FRESH))}
