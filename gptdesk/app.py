"""The page and its server: every tab in one Gradio app, on a port of this computer."""

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
from pathlib import Path
from types import FrameType

import gradio as gr
import uvicorn
from fastapi import FastAPI
from gradio.themes.utils.fonts import LocalFont

from gptdesk import chart, markup
from gptdesk.api.connections import Connection
from gptdesk.api.guard import Guard
from gptdesk.api.health import add_health
from gptdesk.comparison.texts import LARGEST
from gptdesk.controls import leave_checking_to_us
from gptdesk.desk import Desk
from gptdesk.frame import Frame
from gptdesk.instance import open_page
from gptdesk.markup import markdown_text
from gptdesk.page.access import check_events
from gptdesk.page.door import Door
from gptdesk.page.sessions import keep_sessions
from gptdesk.scheduler import OpenCounter
from gptdesk.settings import Settings
from gptdesk.tabs import compare, generate, train
from gptdesk.terminal import HANGUP, Ended, go_on_without_output

log = logging.getLogger(__name__)

TABS = (generate, compare, train)
ICON = Path(__file__).parent / "assets" / "icon.svg"
QUEUED = 256  # events that wait for Gradio to begin them, which it does at once for nearly all
REST = 0.05  # seconds between two looks of Gradio's queue for work: its own millisecond takes 4 % of a core, all day
TICK = 1.0  # seconds between two renewals of the date that every answer carries
SWITCH = 1e-4  # seconds that one thread may keep others waiting: Python's own 5 ms are five tokens of a small model
LONGEST_GOODBYE = 0  # seconds that open connections are waited for at the end: those of a page never end

CSS = """
.gradio-container { width: 100% !important; max-width: 1280px !important; margin: 0 auto !important; }
input { text-overflow: ellipsis; }
#title h1 { margin: 0; font-size: 1.35rem; }
.note { padding: 0 4px; opacity: .85; overflow-wrap: anywhere; }
.note p { font-size: .9rem; line-height: 1.5; }
#count { margin: -10px 0 -6px; }
#examples { gap: 8px; }
#examples button { font-weight: 400; flex: 0 1 auto; }
"""

# Gradio's own file of the semibold weight lacks most letters, so bold stands in for it.
FONTS = (LocalFont("Source Sans Pro", weights=(400, 700)), "system-ui", "sans-serif")

# Ctrl/Cmd+Enter starts and Esc stops what the visible tab does, wherever the cursor is, if its buttons can be pressed.
# While a text streams in, its box stays at its end, unless its reader has scrolled up.
SCRIPT = """<script>
addEventListener("keydown", event => {
  const wanted = event.key === "Escape" && !document.querySelector("[role=listbox]") ? ".halt"
    : event.key === "Enter" && (event.ctrlKey || event.metaKey) ? ".go" : null;
  const button = wanted && [...document.querySelectorAll(wanted)].find(one => one.offsetParent && !one.disabled);
  if (button) { event.preventDefault(); event.stopPropagation(); button.click(); }
}, true);
const ends = new WeakMap();
let late = 0;  // looks since the last text ended: its end may be drawn after its Stop button has been disabled
setInterval(() => {
  const stop = document.getElementById("stop");
  late = stop && !stop.disabled ? 0 : late + 1;
  if (late > 5) return;
  for (const box of document.querySelectorAll("[id^=text-] textarea")) {
    if (box.scrollTop >= (ends.get(box) ?? 0) - 40) box.scrollTop = box.scrollHeight;
    ends.set(box, box.scrollTop);
  }
}, 100);
</script>"""


def build_app(desk: Desk) -> gr.Blocks:
    """The page, with a tab for each of TABS."""
    leave_checking_to_us()
    kept = (300, 1800) if desk.settings.public else (3600, 86400)  # how often files are deleted that are how old, in s
    with gr.Blocks(title="GPT Desk", analytics_enabled=False, fill_width=True, delete_cache=kept) as page:
        gr.Markdown("# GPT Desk", elem_id="title")
        for warning in desk.warnings:
            gr.Markdown(f"⚠ {markdown_text(warning)}", elem_classes="note")
        with gr.Tabs() as tabs:
            frame = Frame(page, tabs)
            for tab in TABS:
                with gr.Tab(tab.TITLE, id=tab.TITLE, render_children=True) as item:
                    tab.build(desk, frame)
                frame.wire(tab.TITLE, item)
    check_events(page.fns, public=desk.settings.public)
    page.queue(default_concurrency_limit=1, max_size=QUEUED)
    page.max_threads = page._queue.max_thread_count = (
        QUEUED  # with Gradio's 40, who waits keeps newcomers from beginning
    )
    page._queue.sleep_when_free = REST
    page._queue.progress_update_sleep_when_free = 10 * REST
    return page


def web_app(desk: Desk) -> FastAPI:
    """The page and our own routes, behind the guard, as one ASGI application."""
    app = FastAPI(openapi_url=None)
    add_health(app, desk.settings)
    page = build_app(desk)
    app = gr.mount_gradio_app(
        app,
        page,
        path="/",
        css=CSS + markup.CSS + chart.CSS + compare.CSS + train.CSS,
        head=SCRIPT,
        theme=gr.themes.Default(primary_hue="teal", neutral_hue="slate", font=FONTS),
        footer_links=[],
        run_history=False,
        show_error=False,
        ssr_mode=False,
        enable_monitoring=False,
        favicon_path=str(ICON),
        pwa=False,
        mcp_server=False,
        max_file_size=LARGEST,
    )
    sessions = keep_sessions(page, app)
    desk.listeners = OpenCounter()
    app.add_middleware(Door, blocks=page, sessions=sessions, listeners=desk.listeners, public=desk.settings.public)
    app.add_middleware(Guard, public=desk.settings.public, hosts=desk.settings.allowed_hosts)  # before the door
    return app


def serve(settings: Settings, listener: socket.socket, *, url: str) -> int:
    """Answer on `listener`, which `url` leads to, until Ctrl-C; the exit code. ValueError if the home is unusable.

    After SIGTERM or SIGHUP it raises Ended. A terminal that is gone is no reason to end.
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
    """Says when it has begun to answer, sleeps when nobody asks, and ends at once and without complaint."""

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
        """Obey SIGHUP as well, unless nohup has it ignored; what was obeyed is raised again at the end."""
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
