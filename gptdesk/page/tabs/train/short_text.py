"""Hint below the base model for a short text, and the button that follows it."""

from collections.abc import Sequence
from pathlib import Path

import gradio as gr
from gradio.blocks import Block

from gptdesk.page.option_widgets import Updates
from gptdesk.page.pickers import STARTER
from gptdesk.page.tabs.train.text_source import FILES, PASTED, PLACE
from gptdesk.training.corpus import SHORT

HINT = (
    f"A text this short is too little for a new model, which hardly writes a word. With the base model **{STARTER}** "
    "it writes whole sentences."
)
# not all of a text at each key
SHORTENED = f"(text, ...rest) => [(text ?? '').slice(0, {2 * SHORT}), ...rest]"


class ShortTextHint:
    """Hint and button, visible for a new model of a short text."""

    def __init__(self) -> None:
        self.hint = gr.Markdown(visible=False, elem_id="train-hint", elem_classes="note")
        self.use_starter = gr.Button(
            f"Use the base model {STARTER}", visible=False, size="sm", elem_id="train-use-starter"
        )

    @property
    def outputs(self) -> list[Block]:
        """Widgets that `show` updates."""
        return [self.hint, self.use_starter]

    def show(self, *, visible: bool) -> Updates:
        """Return the updates of hint and button."""
        return {self.hint: gr.update(value=HINT, visible=visible), self.use_starter: gr.update(visible=visible)}


def is_short(source: object, *, text: object, files: object, place: object) -> bool:
    """Return whether the text of a source is short; False for one that is empty, or whose length is not known yet."""
    if source == PASTED:
        return 0 < len(str(text or "").strip()) < SHORT
    paths: Sequence[object] = files if source == FILES and isinstance(files, list) else ()
    paths = (place,) if source == PLACE and str(place or "").strip() else paths
    sizes = [_size(Path(str(path).strip()).expanduser()) for path in paths]
    return 0 < sum(sizes) < SHORT and all(sizes)


def _size(path: Path) -> int:
    """Return the size of a file in bytes; 0 for what is none."""
    try:
        return path.stat().st_size if path.is_file() else 0
    except (OSError, ValueError):
        return 0
