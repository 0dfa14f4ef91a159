"""Name of a new run on the form: any text, of which a valid name is made."""

import gradio as gr

from gptdesk.page.option_widgets import QUIETLY
from gptdesk.page.tabs.train.text_source import in_ascii
from models.names import NAME, free_name

INFO = "Leave empty to name it after the text."


class RunNameBox:
    """Text box of the name; once it is left, it shows the valid name, and says so."""

    def __init__(self) -> None:
        self.box = gr.Textbox(label="Name of the run and of its model", info=INFO, max_lines=1, elem_id="train-name")

    def wire(self) -> None:
        """Show the valid name when the box is left."""
        self.box.blur(self._on_leave, self.box, self.box, **QUIETLY)

    def _on_leave(self, typed: str | None) -> object:
        name = valid_name(typed)
        if name == (typed or ""):
            return gr.update(info=INFO)
        return gr.update(
            value=name, info=f"A name has letters, digits, dots, dashes and underscores: it is {name} now."
        )


def valid_name(typed: object) -> str:
    """Return what was typed as a valid name of a run; empty if nothing was."""
    name = str(typed or "").strip()
    return name if not name or NAME.fullmatch(name) else free_name(in_ascii(name), ())
