"""GET /health: that this is a desk, and whose."""

import os

from fastapi import FastAPI

from gptdesk import __version__
from gptdesk.instance import home_id
from gptdesk.settings import Settings


def add_health(app: FastAPI, settings: Settings) -> None:
    """Add the route; `find_running` asks it before it opens a page."""
    answer = {"app": "gptdesk", "version": __version__, "home": home_id(settings.home), "pid": os.getpid()}

    @app.get("/health")
    def health() -> dict[str, object]:
        return dict(answer) if not settings.public else {"app": "gptdesk", "version": __version__}
