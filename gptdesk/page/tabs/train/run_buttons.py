"""Buttons of a run: pause, resume, stop, dequeue, accept a changed text, train longer, and use its model."""

import html
from collections.abc import Callable, Iterator, Sequence

import gradio as gr
from gradio.blocks import Block

from gptdesk.desk import Desk
from gptdesk.markup import markdown_text
from gptdesk.page.option_widgets import WITH_MESSAGES, Updates, Values, shows_errors
from gptdesk.page.tab_links import TabLinks
from gptdesk.training import control, queue
from gptdesk.training.control import RunInfo
from gptdesk.training.run_directory import ACCEPT_CHANGES
from gptdesk.training.states import ACTIVE, RESUMABLE

GENERATE = "Generate"


class RunButtons:
    """Buttons, of which those are visible that the state of the run allows."""

    def __init__(self, desk: Desk, links: TabLinks) -> None:
        self._desk, self._links = desk, links
        with gr.Row(elem_id="run-buttons"):
            # those that every state has come first, so that none of them moves under the pointer
            self.use = _button("Try it in Generate", "run-use")
            self.again = _button("Same again, but …", "run-again")
            self.pause = _button("Pause", "run-pause")
            self.resume = _button("Resume", "run-resume", variant="primary")
            self.accept = _button("Resume with the changed text", "run-accept")
            self.stop = _button("Stop", "run-stop", variant="stop", classes="halt")
            self.unqueue = _button("Remove from the queue", "run-unqueue")
            self.extend = _button("Train as long again", "run-extend")

    @property
    def outputs(self) -> list[gr.Button]:
        """All buttons."""
        return [self.pause, self.resume, self.accept, self.stop, self.unqueue, self.extend, self.again, self.use]

    def wire(
        self,
        name: gr.Dropdown,
        inputs: set[Block],
        outputs: Sequence[Block],
        draw: Callable[[Values], Updates],
        line: gr.Markdown,
    ) -> None:
        """Connect the buttons to the run of this `name`; `draw` returns the updates of `outputs` afterwards.

        `line` says at once that a run is starting, for that takes its process some seconds.
        """
        context = self._desk.run_context
        actions: dict[gr.Button, Callable[[str], object]] = {
            self.pause: lambda run: control.order(context, run, "pause"),
            self.resume: lambda run: queue.resume(context, run),
            self.accept: lambda run: queue.resume(context, run, accept_changes=True),
            self.stop: lambda run: control.order(context, run, "stop"),
            self.unqueue: lambda run: control.order(context, run, "stop"),
            self.extend: lambda run: queue.extend(context, run, steps=control.info(context, run).status.saved_step),
        }
        for button, act in actions.items():
            starting = line if button in (self.resume, self.accept, self.extend) else None
            button.click(self._handler(act, name, draw, starting), inputs, outputs, **WITH_MESSAGES)
        self.use.click(self._on_use, name, self._links.use_outputs(GENERATE), **WITH_MESSAGES)

    def show(self, info: RunInfo) -> Updates:
        """Return updates that show the buttons for a run in this state."""
        asks = info.state == "failed" and info.status.asks == ACCEPT_CHANGES
        visible = {
            self.pause: info.state == "training",
            self.resume: info.state in RESUMABLE and not asks,
            self.accept: asks,
            self.stop: info.state in ACTIVE,
            self.unqueue: info.state == "queued",
            self.extend: info.state == "finished" and bool(info.status.saved_step),
            self.again: info.problem is None,
        }
        updates: Updates = {button: gr.update(visible=allowed) for button, allowed in visible.items()}
        updates[self.extend] = gr.update(visible=visible[self.extend], interactive=True)
        return updates | {self.use: gr.update(visible=True, interactive=bool(info.status.saved_step))}

    def _handler(
        self,
        act: Callable[[str], object],
        name: gr.Dropdown,
        draw: Callable[[Values], Updates],
        line: gr.Markdown | None,
    ) -> Callable[[Values], Iterator[object]]:
        def handle(values: Values) -> Iterator[object]:
            run = str(values[name])
            if line:
                yield {line: f"**{markdown_text(run)}** is starting …", self.extend: gr.update(interactive=False)}
            try:
                act(run)
            except ValueError as error:
                gr.Warning(html.escape(str(error)))
            yield draw(values)

        return handle

    @shows_errors
    def _on_use(self, name: str | None) -> object:
        info = control.info(self._desk.run_context, name or "")
        return self._links.use(GENERATE, control.model_of(self._desk.run_context, info))


def _button(label: str, ident: str, variant: str = "secondary", classes: str | None = None) -> gr.Button:
    return gr.Button(
        label,
        variant=variant,  # type: ignore[arg-type]
        visible=False,
        elem_id=ident,
        elem_classes=classes,
        scale=0,
        min_width=200,
    )
