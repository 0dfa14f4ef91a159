"""A text that is typed into a box or chosen as a file."""

from pathlib import Path

import gradio as gr

from gptdesk.comparison.texts import read_text
from gptdesk.controls import Values


class TextOrFile:
    """The box and, beside it, the file, which goes first. Their ids are `ident` and `ident`-file."""

    def __init__(self, label: str, *, info: str, file_label: str, lines: int, ident: str) -> None:
        with gr.Row():
            with gr.Column(scale=3, min_width=280):
                self.box = gr.Textbox(label=label, info=info, lines=lines, max_lines=12, elem_id=ident)
            with gr.Column(scale=2, min_width=240):
                self.file = gr.File(
                    label=f"{file_label}, which goes first", type="filepath", height=140, elem_id=f"{ident}-file"
                )

    def read(self, values: Values) -> tuple[str, str]:
        """The text, "" if none is given, and what to call it; ValueError as `read_text`."""
        if file := values[self.file]:
            return read_text(Path(str(file))), Path(str(file)).name
        return str(values[self.box] or ""), "the text given"
