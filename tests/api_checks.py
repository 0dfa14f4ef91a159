"""A desk behind a real server in this process, for the tests of the API."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from gptdesk.api.connections import Connection
from gptdesk.desk import Desk
from gptdesk.server import web_app


@contextmanager
def served(desk: Desk, in_event_loop: Callable) -> Iterator[str]:
    """Serve the application of a desk for the length of the block; yield its address."""
    config = uvicorn.Config(
        in_event_loop(lambda: web_app(desk)),
        http=Connection,
        lifespan="off",
        log_level="critical",
        timeout_graceful_shutdown=0,
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
