"""Buttons of a run: pause, resume, stop, accept a changed text, and use its model in Generate."""

from collections.abc import Callable, Sequence

import gradio as gr
from gradio.blocks import Block

from gptdesk.desk import Desk
from gptdesk.page.option_widgets import WITH_MESSAGES, Updates, Values, shows_errors
from gptdesk.page.tab_links import TabLinks
from gptdesk.training import control
from gptdesk.training.control import RunInfo
from gptdesk.training.run_directory import ACCEPT_CHANGES
from gptdesk.training.states import ACTIVE, RESUMABLE

GENERATE = "Generate"


class RunButtons:
    """Buttons, of which those are visible that the state of the run allows."""

    def __init__(self, desk: Desk, links: TabLinks) -> None:
        self._desk, self._links = desk, links
        with gr.Row():
            self.pause = _button("Pause", "run-pause")
            self.resume = _button("Resume", "run-resume", variant="primary")
            self.accept = _button("Resume with the changed text", "run-accept")
            self.stop = _button("Stop", "run-stop", variant="stop")
            self.use = _button("Try it in Generate", "run-use")

    @property
    def outputs(self) -> list[gr.Button]:
        """All buttons."""
        return [self.pause, self.resume, self.accept, self.stop, self.use]

    def wire(
        self, name: gr.Dropdown, inputs: set[Block], outputs: Sequence[Block], draw: Callable[[Values], Updates]
    ) -> None:
        """Connect the buttons to the run of this `name`; `draw` returns the updates of `outputs` afterwards."""
        context = self._desk.run_context
        actions: dict[gr.Button, Callable[[str], None]] = {
            self.pause: lambda run: control.order(context, run, "pause"),
            self.resume: lambda run: control.resume(context, run),
            self.accept: lambda run: control.resume(context, run, accept_changes=True),
            self.stop: lambda run: control.order(context, run, "stop"),
        }
        for button, act in actions.items():
            button.click(self._handler(act, name, draw), inputs, outputs, **WITH_MESSAGES)
        self.use.click(self._on_use, name, self._links.use_outputs(GENERATE), **WITH_MESSAGES)

    def show(self, info: RunInfo) -> Updates:
        """Return updates that show the buttons for a run in this state."""
        asks = info.state == "failed" and info.status.asks == ACCEPT_CHANGES
        visible = {
            self.pause: info.state == "training",
            self.resume: info.state in RESUMABLE and not asks,
            self.accept: asks,
            self.stop: info.state in ACTIVE,
            self.use: bool(info.status.saved_step),
        }
        return {button: gr.update(visible=allowed) for button, allowed in visible.items()}

    def _handler(
        self, act: Callable[[str], None], name: gr.Dropdown, draw: Callable[[Values], Updates]
    ) -> Callable[[Values], object]:
        @shows_errors
        def handle(values: Values) -> object:
            act(str(values[name]))
            return draw(values)

        return handle

    @shows_errors
    def _on_use(self, name: str | None) -> object:
        info = control.info(self._desk.run_context, name or "")
        return self._links.use(GENERATE, control.model_of(self._desk.run_context, info))


def _button(label: str, ident: str, variant: str = "secondary") -> gr.Button:
    return gr.Button(label, variant=variant, visible=False, elem_id=ident, scale=0, min_width=160)  # type: ignore[arg-type]
