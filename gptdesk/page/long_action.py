"""Long-running actions: queueing, Stop, error display."""

import ipaddress
import logging
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass

import gradio as gr

from gptdesk.desk import Desk
from gptdesk.markup import markdown_text
from gptdesk.page.option_widgets import QUIETLY, Updates
from gptdesk.scheduler import Place
from gptdesk.settings import Settings, on_space

log = logging.getLogger(__name__)

DEAF = 2.0  # seconds that a page may not listen to what it has asked for
UNHEARD = "the page that asked for this does not listen"


@dataclass(frozen=True)
class Call:
    """What a page asked for."""

    stop: threading.Event  # set by Stop, and when the page has gone
    owner: str | None  # who asked, where that counts: the address of a visitor of a public desk


class LongActions:
    """Long actions of a page: one at a time, queued with those of other pages and tabs.

    While one runs, `buttons` cannot be pressed and `stop` can. `line` is the Markdown that says what is going on.
    `running` holds the stop event of what a page, by its session, is doing; who shares it ends the others' actions.
    """

    def __init__(
        self,
        desk: Desk,
        *,
        buttons: Iterable[gr.Button],
        stop: gr.Button,
        line: gr.Markdown,
        running: dict[str, threading.Event] | None = None,
    ) -> None:
        self._desk = desk
        self._buttons = list(buttons)
        self._stop = stop
        self.line = line
        self._running = {} if running is None else running

    def wire(self) -> None:
        """Connect the Stop button."""
        self._stop.click(self._on_stop, **QUIETLY)

    @property
    def start(self) -> gr.Button:
        """The first of the buttons."""
        return self._buttons[0]

    @property
    def outputs(self) -> list[gr.Button | gr.Markdown]:
        """What `run` updates by itself; an event that runs something names them among its outputs."""
        return [*self._buttons, self._stop, self.line]

    def run(self, work: Callable[[Call], Generator[Updates, None, None]], request: gr.Request) -> Iterator[Updates]:
        """Yield the updates of `work`; a ValueError that it raises is shown, and any other error, which is logged."""
        session, stop = request.session_hash or "", threading.Event()
        owner = owner_of(request, self._desk.settings) if self._desk.settings.public else None
        call = Call(stop, owner)
        if before := self._running.get(session):
            before.set()  # the newer one has the page
        self._running[session] = stop
        try:
            yield self._pressable(False) | {self.line: ""}
            with self._desk.scheduler.admitted(call.owner):
                if self._desk.listeners is not None and not self._desk.listeners.wait_for(session, DEAF):
                    raise ValueError(UNHEARD)  # nothing is computed for nobody
                yield from self._while_heard(work(call), session, stop)
            yield self._pressable(True)
        except ValueError as error:
            yield self._pressable(True) | {self.line: self._explained(error)}
        except Exception as error:  # a fault of ours: the page must stay usable, and the details must be found
            log.exception("what a page asked for failed")
            yield self._pressable(True) | {self.line: self._explained(f"{error} (the terminal has the details)")}
        finally:
            stop.set()
            if self._running.get(session) is stop:
                del self._running[session]

    def run_queued(
        self, work: Callable[[Place], Iterator[Updates]], request: gr.Request, *, alone: bool = False
    ) -> Iterator[Updates]:
        """Yield the updates of `work` as `run` does, once there is a place in the scheduler for it.

        With `alone` nothing else computes meanwhile.
        """

        def queued(call: Call) -> Generator[Updates, None, None]:
            with self._desk.scheduler.queue(alone=alone, stop=call.stop, owner=call.owner) as place:
                yield from map(self.waiting, place.positions())
                yield from work(place)

        yield from self.run(queued, request)

    def waiting(self, position: int) -> Updates:
        """Return updates that show a place in the queue."""
        return {self.line: f"Waiting for what is being generated elsewhere: place {position} in the queue …"}

    def _explained(self, error: object) -> str:
        """Return a fault as Markdown; on a public desk without the path of the home, which may name its owner."""
        text = str(error)
        if self._desk.settings.public:
            text = text.replace(str(self._desk.settings.home), "<home>")
        return f"⚠ {markdown_text(text)}"

    def _pressable(self, idle: bool) -> Updates:
        return {button: gr.update(interactive=idle) for button in self._buttons} | {
            self._stop: gr.update(interactive=not idle)
        }

    def _while_heard(
        self, updates: Generator[Updates, None, None], session: str, stop: threading.Event
    ) -> Iterator[Updates]:
        """Yield the updates as long as the page listens; ValueError if it does not for some time."""
        heard = time.monotonic()
        with closing(updates):
            for update in updates:
                yield update
                if self._is_heard(session):
                    heard = time.monotonic()
                elif time.monotonic() > heard + DEAF:
                    stop.set()
                    raise ValueError(UNHEARD)

    def _is_heard(self, session: str) -> bool:
        """Return whether the page of this session listens, as far as that is known."""
        return self._desk.listeners is None or session in self._desk.listeners

    def _on_stop(self, request: gr.Request) -> None:
        if stop := self._running.get(request.session_hash or ""):
            stop.set()


def starter(
    desk: Desk, label: str, *, ident: str, running: dict[str, threading.Event], primary: bool = True
) -> LongActions:
    """A row of a button that starts something and one that stops it, and below it the line that tells of it.

    Their ids are `ident`, `ident`-stop and `ident`-line; `running` as in LongActions. The `primary` one of what is
    visible has the key.
    """
    with gr.Row():
        start = gr.Button(
            label,
            variant="primary" if primary else "secondary",
            elem_classes="go" if primary else [],
            elem_id=ident,
            scale=3,
            min_width=80,
        )
        stop = gr.Button(
            "Stop", variant="stop", interactive=False, elem_classes="halt", elem_id=f"{ident}-stop", min_width=80
        )
    line = gr.Markdown(elem_id=f"{ident}-line", elem_classes="note")
    return LongActions(desk, buttons=[start], stop=stop, line=line, running=running)


def owner_of(request: gr.Request, settings: Settings) -> str:
    """Return who has asked, by the address that the request comes from.

    On a Space that is the one that its proxy saw, which it names last. What comes by a link was passed on by a share
    server and its own proxies, all of which add what they saw: the last address that is on the internet is the
    visitor's, whatever the visitor wrote before it. A server in a network of one's own names none; then it is the
    session. Elsewhere there may be no proxy, and the header says what the visitor likes.
    """
    if settings.behind_link:
        named = ",".join(request.headers.getlist("x-forwarded-for")).split(",")
        return next(filter(_is_on_internet, map(str.strip, reversed(named))), request.session_hash or "")
    forwarded = str(request.headers.get("x-forwarded-for", "")).rpartition(",")[2].strip() if on_space() else ""
    return forwarded or str(getattr(request.client, "host", ""))


def _is_on_internet(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_global
    except ValueError:
        return False
