"""A text that is typed into a box or chosen as a file."""

from dataclasses import dataclass
from pathlib import Path

import gradio as gr
from gradio.components import Component

from gptdesk.comparison.texts import read_text
from gptdesk.markup import markdown_text
from gptdesk.page.option_widgets import Values

BOX = "the text given"  # what a text from the box is called


@dataclass(frozen=True)
class GivenText:
    """A text with its name, and what the user must know about how its file was read."""

    text: str  # empty if none is given
    name: str
    remarks: tuple[str, ...] = ()

    def after(self, sentence: str) -> str:
        """Markdown that says `sentence`, which is Markdown, and the remarks."""
        return " ".join([sentence, *(f"⚠ {markdown_text(remark)}." for remark in self.remarks)])


class TextOrFile:
    """A text box and, beside it, a file input, which overrides it. Their ids are `ident` and `ident`-file.

    Without `files`, as on a public desk, which takes no uploads, there is the box alone.
    """

    def __init__(self, label: str, *, info: str, file_label: str, lines: int, ident: str, files: bool) -> None:
        self.file: gr.File | None = None
        with gr.Row():
            with gr.Column(scale=3, min_width=280):
                self.box = gr.Textbox(label=label, info=info, lines=lines, max_lines=12, elem_id=ident)
            if files:
                with gr.Column(scale=2, min_width=240):
                    self.file = gr.File(
                        label=f"{file_label}, which overrides the box",
                        type="filepath",
                        height=140,
                        elem_id=f"{ident}-file",
                    )

    @property
    def inputs(self) -> set[Component]:
        """The widgets that `read` needs the values of."""
        return {self.box} if self.file is None else {self.box, self.file}

    def read(self, values: Values) -> GivenText:
        """Return what is given; ValueError as `read_text`."""
        if self.file is not None and (file := values[self.file]):
            path = Path(str(file))
            found = read_text(path)
            return GivenText(found.text, path.name, tuple(found.reading.remarks(path.name)))
        return GivenText(str(values[self.box] or ""), BOX)
