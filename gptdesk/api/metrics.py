"""GET /metrics: metrics for Prometheus, on a desk of one's own; counts of requests by route and status."""

from fastapi import FastAPI, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gptdesk.api.routes import find_route
from gptdesk.metrics import CONTENT_TYPE, Metrics

CLOSED = "closed"  # the route of all requests that the guard answers with 404 or 405


def add_metrics(app: FastAPI, metrics: Metrics) -> None:
    """Add the route."""

    @app.api_route("/metrics", methods=["GET", "HEAD"], include_in_schema=False)
    def text() -> Response:
        return Response(metrics.text(), media_type=CONTENT_TYPE)


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
