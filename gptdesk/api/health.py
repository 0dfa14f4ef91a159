"""GET /health: version of the desk, id of its home, and whether it has a page."""

from fastapi import FastAPI

from gptdesk import __version__
from gptdesk.settings import Settings
from gptdesk.system.single_instance import home_id


def add_health(app: FastAPI, settings: Settings, *, page: bool) -> None:
    """Add the route, by which `find_running` recognises a desk that runs on the same home."""
    answer: dict[str, object] = {"app": "gptdesk", "version": __version__, "home": home_id(settings.home), "page": page}

    @app.api_route("/health", methods=["GET", "HEAD"])
    async def health() -> dict[str, object]:
        return answer
