"""GET /metrics: metrics for Prometheus, on a desk of one's own; counts of requests by route and status."""

from fastapi import APIRouter, FastAPI, Response
from fastapi.responses import PlainTextResponse
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gptdesk.api.openapi import PLAIN_REFUSAL
from gptdesk.api.routes import find_route
from gptdesk.metrics import CONTENT_TYPE, Metrics

CLOSED = "closed"  # the route of all requests that the guard answers with 404 or 405


def add_metrics(app: FastAPI, metrics: Metrics) -> list[BaseRoute]:
    """Add the route and return it."""
    router = APIRouter(tags=["desk"], default_response_class=PlainTextResponse)

    @router.head("/metrics", include_in_schema=False)
    @router.get("/metrics", summary="Give metrics for Prometheus", responses=PLAIN_REFUSAL)
    def text() -> Response:
        return Response(metrics.text(), media_type=CONTENT_TYPE)

    app.include_router(router)
    return router.routes


class CountRequests:
    """ASGI middleware that counts every answer in `metrics`, by route and status."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, page: bool) -> None:
        self._app = app
        self._metrics = metrics
        self._page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = find_route(scope["method"], scope["path"], public=False, page=self._page)
                self._metrics.count_request(route.label(scope["path"]) if route else CLOSED, message["status"])
            await send(message)

        await self._app(scope, receive, counting)
