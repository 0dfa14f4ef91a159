"""GET /health: version of the desk and id of its home."""

from fastapi import FastAPI

from gptdesk import __version__
from gptdesk.settings import Settings
from gptdesk.system.single_instance import home_id


def add_health(app: FastAPI, settings: Settings) -> None:
    """Add the route, by which `find_running` recognises a desk that runs on the same home."""
    answer = {"app": "gptdesk", "version": __version__, "home": home_id(settings.home)}

    @app.api_route("/health", methods=["GET", "HEAD"])
    def health() -> dict[str, str]:
        return answer
