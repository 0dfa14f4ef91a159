"""HTTP server: the page and our own routes behind the guard, on one port."""

import asyncio
import contextlib
import gc
import logging
import os
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

import uvicorn
from fastapi import FastAPI

from gptdesk.api.connections import Connection
from gptdesk.api.guard import Guard
from gptdesk.api.health import add_health
from gptdesk.desk import Desk
from gptdesk.page.app import mount_page
from gptdesk.settings import Settings
from gptdesk.system.browser import open_page
from gptdesk.system.terminal import HANGUP, Ended, go_on_without_output

log = logging.getLogger(__name__)

TICK = 1.0  # seconds between two renewals of the date that every answer carries
SWITCH = 1e-4  # thread switch interval in seconds; Python's default of 5 ms is five tokens of a small model
LONGEST_GOODBYE = 0  # seconds that open connections are waited for at the end: those of a page never end


def web_app(desk: Desk) -> FastAPI:
    """Build the ASGI application: the page and our own routes, behind the guard."""
    app = FastAPI(openapi_url=None)
    add_health(app, desk.settings)
    app = mount_page(app, desk)
    app.add_middleware(Guard, public=desk.settings.public, hosts=desk.settings.allowed_hosts)  # before the door
    return app


def serve(settings: Settings, listener: socket.socket, *, url: str) -> int:
    """Serve on `listener`, whose address is `url`, until Ctrl-C; return the exit code.

    Raises ValueError if the home is unusable, Ended after SIGTERM or SIGHUP. A closed terminal does not end the server.
    """
    go_on_without_output()

    def ready() -> None:
        log.info("GPT Desk is ready at %s  (Ctrl-C ends it)", url)
        if settings.browser:  # in a thread, for the browser may take its time while the page is asked for
            threading.Thread(target=open_page, args=(url,), kwargs={"app_window": settings.app_window}).start()

    shutil.rmtree(settings.temporary, ignore_errors=True)  # what a killed desk has left
    os.environ["GRADIO_TEMP_DIR"] = str(settings.temporary.resolve())  # not a folder that all users share
    app = web_app(Desk(settings))
    gc.collect()
    gc.freeze()  # the page's objects stay: to look through them again and again stalls generations
    sys.setswitchinterval(SWITCH)
    config = uvicorn.Config(
        app,
        http=Connection,
        log_level="warning",
        timeout_graceful_shutdown=LONGEST_GOODBYE,
        proxy_headers=False,  # who comes through a local proxy may write what he likes in its headers
    )
    try:
        _Server(config, ready).run(sockets=[listener])
    except Ended:
        raise
    except KeyboardInterrupt:  # uvicorn passes on the Ctrl-C that it has obeyed
        pass
    return 0


class _Server(uvicorn.Server):
    """Uvicorn server that calls `ready` once it serves, sleeps when idle, and ends at once, without warnings."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready
        self._told_to_end = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._loop = asyncio.get_running_loop()
        self._ready()

    async def main_loop(self) -> None:
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._told_to_end.wait(), TICK)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle SIGHUP as well, unless it is ignored (nohup); raise handled signals again at the end."""
        with super().capture_signals():
            if HANGUP is None or signal.getsignal(HANGUP) == signal.SIG_IGN:
                yield
                return
            before = signal.signal(HANGUP, self.handle_exit)
            try:
                yield
            finally:
                signal.signal(HANGUP, before)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        if self._loop:  # a signal alone does not wake it
            self._loop.call_soon_threadsafe(self._told_to_end.set)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # pages that are cut off now are no error
        await super().shutdown(sockets)
