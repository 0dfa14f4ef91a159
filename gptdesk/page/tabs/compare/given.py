"""Text from a box or a file."""

from dataclasses import dataclass
from pathlib import Path

import gradio as gr
from gradio.components import Component

from gptdesk.comparison.texts import read_text
from gptdesk.markup import markdown_text
from gptdesk.page.option_widgets import Values

BOX = "the text given"  # name of a text from the box


@dataclass(frozen=True)
class GivenText:
    """Text with its name, and remarks on the encoding of its file."""

    text: str  # may be empty
    name: str
    remarks: tuple[str, ...] = ()

    def after(self, sentence: str) -> str:
        """Return Markdown: `sentence`, which is Markdown, followed by the remarks."""
        return " ".join([sentence, *(f"⚠ {markdown_text(remark)}." for remark in self.remarks)])


class TextOrFile:
    """Text box and, if `files`, a file input that overrides it. Their ids are `ident` and `ident`-file.

    A public desk takes no uploads, so it has the box alone.
    """

    def __init__(self, label: str, *, info: str, file_label: str, lines: int, ident: str, files: bool) -> None:
        self.file: gr.File | None = None
        with gr.Row():
            with gr.Column(scale=3, min_width=280):
                self.box = gr.Textbox(label=label, info=info, lines=lines, max_lines=12, elem_id=ident)
            if files:
                with gr.Column(scale=2, min_width=240):
                    self.file = gr.File(
                        label=f"{file_label} (overrides the text box)",
                        type="filepath",
                        height=140,
                        elem_id=f"{ident}-file",
                    )

    @property
    def inputs(self) -> set[Component]:
        """Widgets whose values `read` needs."""
        return {self.box} if self.file is None else {self.box, self.file}

    def read(self, values: Values) -> GivenText:
        """Return the text of the file or, without one, of the box; ValueError as `read_text`."""
        if self.file is not None and (file := values[self.file]):
            path = Path(str(file))
            decoded = read_text(path)
            return GivenText(decoded.text, path.name, tuple(decoded.reading.remarks(path.name)))
        return GivenText(str(values[self.box] or ""), BOX)
