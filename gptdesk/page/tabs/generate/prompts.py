"""Saved prompts of the Generate tab: a list to insert one from, and a box to save the prompt under a name."""

import html
from typing import Any

import gradio as gr
from gradio.blocks import Block

from gptdesk.desk import Desk
from gptdesk.page.option_widgets import NO_NAME, WITH_MESSAGES, Updates, Values, shows_errors


class SavedPrompts:
    """Closed menu of the user's own prompts; only for a desk that is not public."""

    def __init__(self, desk: Desk, prompt: gr.Textbox) -> None:
        self._desk, self._prompt = desk, prompt
        with (
            gr.Accordion("Saved prompts", open=False, elem_id="prompt-options", elem_classes=["menu", "quiet"]),
            gr.Row(elem_classes="save-as"),
        ):
            self.name = gr.Dropdown(
                [], value=None, label="Insert a saved prompt", elem_id="saved-prompt", scale=3, min_width=160
            )
            self._new_name = gr.Textbox(
                label="Save as",
                placeholder="Name, or folder/name",
                max_lines=1,
                elem_id="prompt-name",
                scale=3,
                min_width=120,
            )
            self._save = gr.Button("Save prompt", size="sm", min_width=70, elem_id="prompt-save")
        self.picked = gr.Textbox(visible="hidden", elem_id="picked-prompt")  # whose text the page's script puts in

    def wire(self) -> Any:
        """Connect the widgets; return the event after which `picked` is to be put into the prompt."""
        saved: list[Any] = [self._save.click, self._new_name.submit]
        gr.on(saved, self._on_save, {self._prompt, self._new_name}, [self.name, self._new_name], **WITH_MESSAGES)
        return self.name.select(self._on_pick, self.name, self.picked, **WITH_MESSAGES)

    @property
    def outputs(self) -> list[Block]:
        """Outputs of the events that return the updates of `show`."""
        return [self.name]

    def show(self, name: object = None) -> Updates:
        """Return updates that list the saved prompts, and pick this one if there is one of that name."""
        names = list(self._desk.prompts.read())
        return {self.name: gr.update(choices=names, value=name if name in names else None)}

    def list_again(self, name: object) -> Updates:
        """Return updates that list the saved prompts, and leave the picked one alone unless it is gone."""
        names = list(self._desk.prompts.read())
        return {self.name: gr.update(choices=names)} if not name or name in names else self.show(name)

    @shows_errors
    def _on_pick(self, name: str | None) -> object:
        return str(self._desk.prompts.get(name or ""))

    @shows_errors
    def _on_save(self, values: Values) -> Updates:
        if not str(values[self._new_name] or "").strip():
            return {self._new_name: gr.update(info=NO_NAME)}
        name = self._desk.prompts.save(str(values[self._new_name] or ""), str(values[self._prompt] or ""))
        gr.Info(f"Saved as {html.escape(name)}.")
        return self.show(name) | {self._new_name: gr.update(value="", info="")}
