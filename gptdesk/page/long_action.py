"""Long-running actions: queueing, Stop, error display."""

import logging
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass

import gradio as gr

from gptdesk.api.callers import caller_address
from gptdesk.desk import Desk
from gptdesk.markup import markdown_text
from gptdesk.page.option_widgets import QUIETLY, Updates
from gptdesk.page.visitors import event_of
from gptdesk.scheduler import Place
from gptdesk.settings import Settings, home_fault

log = logging.getLogger(__name__)

LISTEN_TIMEOUT = 5.0  # seconds after which an action ends whose page does not read its updates; a busy one may take 3
NOT_LISTENING = "the page that started this no longer reads its results; load it again"


@dataclass(frozen=True)
class Call:
    """Stop event and owner of an action."""

    stop: threading.Event  # set by Stop, and when the page has gone
    owner: str | None  # address of the visitor of a public desk; None: the desk is not public


class LongActions:
    """Long-running actions of a page: one at a time, queued with those of other pages and tabs.

    While one runs, `buttons` cannot be pressed and `stop` can; the style sheet shows `stop` then alone, in the place of
    those of the class "starts" beside it, if their row is of the class "actions". `line` is the Markdown that shows
    progress and errors. `running` has the stop event of the action of each session; instances that share it stop each
    other's.
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
        """First of the buttons."""
        return self._buttons[0]

    @property
    def outputs(self) -> list[gr.Button | gr.Markdown]:
        """Widgets that `run` updates; the event of an action must list them as outputs."""
        return [*self._buttons, self._stop, self.line]

    def run(self, work: Callable[[Call], Generator[Updates, None, None]], request: gr.Request) -> Iterator[Updates]:
        """Yield the updates of `work`; show errors in `line`, and log those that are no ValueError."""
        session, stop = request.session_hash or "", threading.Event()
        owner = owner_of(request, self._desk.settings) if self._desk.settings.public else None
        call = Call(stop, owner)
        if before := self._running.get(session):
            before.set()  # the newer one has the page
        self._running[session] = stop
        try:
            yield self._pressable(False) | {self.line: ""}
            with self._desk.scheduler.admitted(call.owner):
                if self._desk.listeners is not None and not self._desk.listeners.wait_for(session, LISTEN_TIMEOUT):
                    raise ValueError(NOT_LISTENING)  # before anything is computed
                yield from self._while_listening(work(call), request, stop)
            yield self._pressable(True)
        except ValueError as error:
            yield self._pressable(True) | {self.line: self._explained(error)}
        except Exception as error:  # a bug of ours: the page must stay usable, and the traceback be logged
            fault = home_fault(self._desk.settings.home) if isinstance(error, OSError) else ""
            if not fault:
                log.exception("an action of the page failed")
                fault = f"{error} (details are in the terminal)"
            yield self._pressable(True) | {self.line: self._explained(fault)}
        finally:
            stop.set()
            if self._running.get(session) is stop:
                del self._running[session]

    def run_queued(
        self, work: Callable[[Place], Iterator[Updates]], request: gr.Request, *, alone: bool = False
    ) -> Iterator[Updates]:
        """Yield the updates of `work` as `run` does, once the scheduler has a place for it.

        With `alone` it runs exclusively.
        """

        def queued(call: Call) -> Generator[Updates, None, None]:
            with self._desk.scheduler.queue(alone=alone, stop=call.stop, owner=call.owner) as place:
                yield from map(self.waiting, place.positions())
                yield from work(place)

        yield from self.run(queued, request)

    def waiting(self, position: int) -> Updates:
        """Return updates that show the position in the queue."""
        return {self.line: f"Waiting for other generations and measurements: place {position} in the queue …"}

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

    def _while_listening(
        self, updates: Generator[Updates, None, None], request: gr.Request, stop: threading.Event
    ) -> Iterator[Updates]:
        """Yield the updates while the page reads them; set `stop` and raise ValueError after LISTEN_TIMEOUT without."""
        session, last = request.session_hash or "", time.monotonic()
        try:
            for update in updates:
                yield update
                if self._is_listening(session):
                    last = time.monotonic()
                elif time.monotonic() > last + LISTEN_TIMEOUT:
                    stop.set()
                    raise ValueError(NOT_LISTENING)
        finally:
            with event_of(request):
                updates.close()

    def _is_listening(self, session: str) -> bool:
        """Return whether the page of this session reads its updates; True where that is not tracked."""
        return self._desk.listeners is None or session in self._desk.listeners

    def _on_stop(self, request: gr.Request) -> None:
        if stop := self._running.get(request.session_hash or ""):
            stop.set()


def action_row(
    desk: Desk, label: str, *, ident: str, running: dict[str, threading.Event], primary: bool = True
) -> LongActions:
    """Lay out a start button, the Stop button that takes its place, and below them the line of progress and errors.

    Their ids are `ident`, `ident`-stop and `ident`-line; `running` as in LongActions. Ctrl+Enter presses the `primary`
    one of the visible tab.
    """
    with gr.Row(elem_classes="actions"):
        start = gr.Button(
            label,
            variant="primary" if primary else "secondary",
            elem_classes=["go", "starts"] if primary else ["starts"],
            elem_id=ident,
            min_width=80,
        )
        stop = gr.Button(
            "Stop", variant="stop", interactive=False, elem_classes="halt", elem_id=f"{ident}-stop", min_width=80
        )
    line = gr.Markdown(elem_id=f"{ident}-line", elem_classes="note")
    return LongActions(desk, buttons=[start], stop=stop, line=line, running=running)


def owner_of(request: gr.Request, settings: Settings) -> str:
    """Return who has asked, as `caller_address`: by the address of the request, or the session."""
    address = str(getattr(request.client, "host", ""))
    forwarded = request.headers.getlist("x-forwarded-for")
    return caller_address(forwarded, address, settings=settings, unnamed=request.session_hash or "")
