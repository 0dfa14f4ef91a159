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
from concurrent.futures import Future, ThreadPoolExecutor
from types import FrameType
from typing import Literal

import uvicorn
from fastapi import FastAPI

from gptdesk.api.body import CHECKS
from gptdesk.api.connections import Connection
from gptdesk.api.guard import Guard
from gptdesk.api.health import add_health
from gptdesk.api.metrics import CountRequests, add_metrics
from gptdesk.api.native import add_native
from gptdesk.api.openai import add_openai
from gptdesk.api.openapi import add_openapi
from gptdesk.api.page_key import PageKey, keyed_link
from gptdesk.api.reference import add_reference
from gptdesk.desk import Desk
from gptdesk.metrics import Metrics
from gptdesk.settings import Settings
from gptdesk.system.browser import open_page
from gptdesk.system.kernel_compiler import KernelCompiler
from gptdesk.system.lan import lan_addresses
from gptdesk.system.share_link import ShareLink, terminal_code
from gptdesk.system.single_instance import bind
from gptdesk.system.terminal import HANGUP, Ended, go_on_without_output
from gptdesk.training.queue import QueueWatcher
from models.native import compiled

log = logging.getLogger(__name__)

TICK = 1.0  # seconds between two renewals of the date that every answer carries
SWITCH = 1e-4  # thread switch interval in seconds; Python's default of 5 ms is five tokens of a small model
MOST_ADDRESSES = 4  # of this computer in its networks, that are printed
LONGEST_GOODBYE = 0  # seconds that open connections are waited for at the end: those of a page never end
LAST_ANSWERS = 2.0  # seconds within which requests that have come before the end are answered still


def web_app(desk: Desk, *, page: bool = True) -> FastAPI:
    """Build the ASGI application: our own routes and, unless `page` is False, the page, behind the guard.

    A page has a link, too, unless the desk is public; with `lan`, it needs the key of the API.
    """
    settings = desk.settings
    app = FastAPI(openapi_url=None)
    checks = ThreadPoolExecutor(CHECKS, thread_name_prefix="checks")
    routes = [*add_openai(app, desk, checks=checks), *add_native(app, desk, checks=checks)]
    routes += add_health(app, desk, page=page)
    if not settings.public:
        desk.metrics = Metrics(desk.scheduler, desk.manager)
        routes += add_metrics(app, desk.metrics)
    add_reference(app, desk, add_openapi(app, routes, keyed=bool(settings.api_key)), page=page)
    if page:
        from gptdesk.page.app import mount_page  # gradio takes a second and 90 MB, which `gptdesk serve` saves

        if not settings.public:
            desk.link = ShareLink(PublicPage(desk).opened, folder=settings.temporary / "link")
        app = mount_page(app, desk)
    app.add_middleware(  # before the door
        Guard, public=settings.public, page=page, hosts=settings.allowed_hosts, api_key=settings.api_key
    )
    if page and settings.lan:
        app.add_middleware(PageKey, key=settings.api_key)
    if desk.metrics and not settings.public:
        app.add_middleware(CountRequests, metrics=desk.metrics, page=page)
    return app


def serve(settings: Settings, listener: socket.socket, *, url: str, page: bool = True) -> int:
    """Serve on `listener`, whose address is `url`, until Ctrl-C, with a page or the API alone; return the exit code.

    Raises ValueError if the home is unusable, Ended after SIGTERM or SIGHUP. A closed terminal does not end the server.
    """
    go_on_without_output()

    def ready() -> None:
        log.info("GPT Desk is ready at %s  (Ctrl-C ends it)", url)
        if not page:
            log.info("No page is served: the API is at %s/v1, and %s/docs describes it", url, url)
        elif settings.browser:  # in a thread, for the browser may take its time while the page is asked for
            opened = keyed_link(url, settings.api_key) if settings.lan else url
            threading.Thread(target=open_page, args=(opened,), kwargs={"app_window": settings.app_window}).start()
        if settings.lan:
            _tell_network(listener.getsockname()[1], settings.api_key, page=page)
        if settings.share and desk.link is not None:
            threading.Thread(target=_share, args=(desk.link,), daemon=True).start()
        if compiled.is_incomplete():
            compiler.start()

    compiler = KernelCompiler()
    if settings.share and not page:
        log.warning("--share does nothing here: a link leads to the page, and there is none")
    elif settings.share and settings.public:
        log.warning("--share does nothing here: this desk is public already, under its own address")
    shutil.rmtree(settings.temporary, ignore_errors=True)  # what a killed desk has left
    os.environ["GRADIO_TEMP_DIR"] = str(settings.temporary.resolve())  # not a folder that all users share
    desk = Desk(settings)
    app = web_app(desk, page=page)
    queue = QueueWatcher(desk.run_context)
    if not settings.public:
        queue.start()
    _keep_objects()
    sys.setswitchinterval(SWITCH)
    try:
        _Server(_config(app), ready).run(sockets=[listener])
    except Ended:
        raise
    except KeyboardInterrupt:  # uvicorn passes on the Ctrl-C that it has obeyed
        pass
    finally:
        for stop in list(desk.stops):
            stop.set()
        queue.stop()
        compiler.stop()
        if desk.link is not None:
            desk.link.turn_off()
        shutil.rmtree(settings.temporary, ignore_errors=True)
    return 0


def _tell_network(port: int, key: str, *, page: bool) -> None:
    """Show by which addresses others in the network reach the desk, its key, and the first address as a QR code."""
    urls = [f"http://{address}:{port}" for address in lan_addresses()[:MOST_ADDRESSES]]
    links = [keyed_link(url, key) if page else f"{url}/docs" for url in urls]
    if not links:
        log.warning(
            "This computer is in no network now: connect it; others then reach the desk at its address and port %d",
            port,
        )
    for link in links:
        log.info("In this network: %s", link)
    wanted = "The page asks for it, and programs send it" if page else "Programs send it"
    log.info("Key: %s  (%s as Authorization: Bearer %s)", key, wanted, key)
    if links and (code := terminal_code(links[0], sys.stderr)):
        log.info("%s", code)


def _share(link: ShareLink) -> None:
    """Make a link, and show it as a QR code where the terminal can."""
    link.turn_on()
    url = link.wait().url
    if url and (code := terminal_code(url, sys.stderr)):
        log.info("%s", code)


def _config(app: FastAPI, *, lifespan: Literal["auto", "off"] = "auto") -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=Connection,
        lifespan=lifespan,
        log_level="warning",
        timeout_graceful_shutdown=LONGEST_GOODBYE,
        proxy_headers=False,  # who comes through a local proxy may write what he likes in its headers
    )


def _keep_objects() -> None:
    """Leave a page out of garbage collection: to look through its objects again and again stalls generations."""
    gc.collect()
    gc.freeze()


class PublicPage:
    """Page of the public view of a desk, on a port of 127.0.0.1 while a link leads there.

    It is an application of its own, so that what comes by the link is public whatever it says of itself. A page of
    another site may reach the port, too (by DNS rebinding), and finds there what everybody may use. It is made when it
    is first opened and then kept, in a thread with an event loop of its own: Gradio binds a page to one loop.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._made: Future[tuple[asyncio.AbstractEventLoop, FastAPI]] | None = None

    @contextlib.contextmanager
    def opened(self) -> Iterator[int]:
        """Serve the page for the length of the block, on the port that it gives; one block at a time."""
        if self._made is None:
            self._made = Future()
            threading.Thread(
                target=asyncio.run, args=(self._live(self._made),), name="public page", daemon=True
            ).start()
        try:
            loop, app = self._made.result()
        except Exception:
            self._made = None  # the next one tries again
            raise
        with bind("127.0.0.1", 0) as listener:
            ready = threading.Event()
            server = _Server(_config(app, lifespan="off"), ready.set)
            served = asyncio.run_coroutine_threadsafe(server.serve(sockets=[listener]), loop)
            served.add_done_callback(lambda _: ready.set())
            ready.wait()
            try:
                yield listener.getsockname()[1]
            finally:
                server.end()
                served.result()

    async def _live(self, made: "Future[tuple[asyncio.AbstractEventLoop, FastAPI]]") -> None:
        """Make the application and keep it running."""
        try:
            app = web_app(self._desk.public_view())
            async with app.router.lifespan_context(app):
                _keep_objects()
                made.set_result((asyncio.get_running_loop(), app))
                await asyncio.Event().wait()
        except Exception as error:
            made.set_exception(error)


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
            if threading.current_thread() is not threading.main_thread():  # which has all signals
                yield
                return
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
        self.end()

    def end(self) -> None:
        """End soon; may be called from any thread."""
        self.should_exit = True
        if self._loop:  # a signal alone does not wake it
            self._loop.call_soon_threadsafe(self._told_to_end.set)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        errors = logging.getLogger("uvicorn.error")
        await self._answer_requests()
        errors.addFilter(_is_critical)  # pages that are cut off now are no error
        await super().shutdown(sockets)
        if threading.current_thread() is not threading.main_thread():  # the desk goes on, and what fails there is one
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK):
                    while self.server_state.tasks:  # which have just been cancelled
                        await asyncio.sleep(0.01)
            errors.removeFilter(_is_critical)

    async def _answer_requests(self) -> None:
        """Wait until every request has the beginning of its answer: Gradio prints a traceback for one cut off before.

        Streams do not hold up the end: their answers have begun.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_ANSWERS):
                while any(
                    connection.awaits_answer()
                    for connection in self.server_state.connections
                    if isinstance(connection, Connection)
                ):
                    await asyncio.sleep(0.01)


def _is_critical(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.CRITICAL
