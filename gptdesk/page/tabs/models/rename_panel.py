"""Renaming and removal on the Models tab: for a checkpoint of a run, the way to the run instead."""

import html
from collections.abc import Callable, Sequence

import gradio as gr
from gradio.blocks import Block

from gptdesk import management
from gptdesk.desk import Desk
from gptdesk.markup import markdown_text
from gptdesk.page.option_widgets import QUIETLY, WITH_MESSAGES, Updates, Values, shows_errors
from gptdesk.page.tab_links import TabLinks
from models.listing import ModelInfo

Show = Callable[[object, Values], Updates]


class RenamePanel:
    """New name, and removal with the question before it."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._fixed = gr.Markdown(visible=False, elem_id="models-fixed", elem_classes="note")
        self._runs = gr.Button("Open all runs", visible=False, size="sm", elem_id="models-runs")
        self._new_name = gr.Textbox(label="New name", max_lines=1, elem_id="models-new-name")
        self._rename = gr.Button("Rename", elem_id="models-rename")
        self._remove = gr.Button("Remove …", elem_id="models-remove")
        with gr.Row(visible=False) as self._question:
            self._really = gr.Button("", variant="stop", elem_id="models-really")
            self._cancel = gr.Button("Cancel", scale=0, min_width=100, elem_id="models-cancel")

    @property
    def outputs(self) -> list[Block]:
        """Widgets that `show` updates."""
        return [self._fixed, self._runs, self._new_name, self._rename, self._remove, self._question]

    def wire(
        self, links: TabLinks, chosen: gr.Dropdown, *, inputs: set[Block], outputs: Sequence[Block], show: Show
    ) -> None:
        """Connect the buttons; `show` returns the updates of `outputs` that show a model, by the values of `inputs`."""
        self._chosen, self._show = chosen, show
        self._rename.click(self._on_rename, {*inputs, self._new_name}, outputs, **WITH_MESSAGES)
        self._remove.click(self._on_ask, chosen, [self._question, self._really], **QUIETLY)
        self._cancel.click(self._on_cancel, None, self._question, **QUIETLY)
        self._really.click(self._on_remove, inputs, outputs, **WITH_MESSAGES)
        if links.run_list_outputs:
            self._runs.click(links.open_run_list, None, links.run_list_outputs, **QUIETLY)

    def show(self, info: ModelInfo | None, *, of_run: bool) -> Updates:
        """Return updates for a model, which may be a checkpoint `of_run`, or for none."""
        fixed = self._fixed_because(info) if info else "no model is chosen"
        sentence = f"{markdown_text(fixed)}, in **Train** under **All runs**." if of_run else markdown_text(fixed)
        updates: Updates = {button: gr.update(interactive=not fixed) for button in (self._rename, self._remove)}
        return updates | {
            self._fixed: gr.update(value=sentence, visible=bool(fixed)),
            self._runs: gr.update(visible=of_run),
            self._question: gr.update(visible=False),
        }

    def _fixed_because(self, info: ModelInfo) -> str:
        """Return the sentence why a model can be neither renamed nor removed; empty if it can."""
        try:
            self._desk.library.check_own(info.name, "renamed or removed")
        except ValueError as error:
            return str(error)
        return ""

    @shows_errors
    def _on_rename(self, values: Values) -> object:
        name = str(values[self._chosen] or "")
        if not (new := str(values[self._new_name] or "").strip()):
            raise ValueError("no new name is given; type one in the box")
        info = management.rename(self._desk.run_context, self._desk.manager, name, new)
        gr.Info(f"{html.escape(name)} is now {html.escape(info.name)}.")
        return self._show(info.name, values) | {self._new_name: ""}

    def _on_ask(self, name: str | None) -> Updates:
        what = f"Delete {name} and its quantized copies from the disk"
        return {self._question: gr.update(visible=True), self._really: gr.update(value=what)}

    def _on_cancel(self) -> object:
        return gr.update(visible=False)

    @shows_errors
    def _on_remove(self, values: Values) -> object:
        name = str(values[self._chosen] or "")
        management.remove(self._desk.run_context, self._desk.manager, name)
        gr.Info(f"{html.escape(name)} was removed.")
        return self._show(None, values)
