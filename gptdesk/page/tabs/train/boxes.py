"""The options of a run as widgets, and back; what there is to choose from, in words."""

from collections.abc import Collection
from typing import TypeVar

import gradio as gr
from gradio.components import Component

from gptdesk.encodings import AUTO, COMMON
from gptdesk.page.option_widgets import Updates, Values, label, widget
from gptdesk.training import DataOptions, TrainingOptions
from models.gpt import PRESETS
from samplers import Options

Kind = TypeVar("Kind", bound=Options)

TOKENIZERS = [
    ("auto: what suits the length of the text", "auto"),
    ("chars: every character is a token", "chars"),
    ("bpe: pieces of words, learnt from the text", "bpe"),
    ("bpe:1024", "bpe:1024"),
    ("bpe:4096", "bpe:4096"),
    ("gpt2: the 50,257 pieces of GPT-2", "gpt2"),
]
SIZES = [
    (f"{name}: {config.n_layer} layers of {config.n_embd}, {config.parameters() / 1e6:,.1f} million weights", name)
    for name, config in PRESETS.items()
]
# Options whose default depends on others, with the decimals they have (None: any): their boxes are empty at first.
FITTING: dict[tuple[type[Options], str], int | None] = {
    (TrainingOptions, "learning_rate"): None,
    (TrainingOptions, "warmup_steps"): 0,
    (TrainingOptions, "evaluate_every"): 0,
}


# Options of any text for which there are usual ones to choose from.
USUAL: dict[tuple[type[Options], str], list[str]] = {(DataOptions, "encoding"): [AUTO, *COMMON]}


class OptionBoxes:
    """A widget for each option of some classes; no two of these have an option of the same name."""

    def __init__(self) -> None:
        self._boxes: dict[type[Options], dict[str, Component]] = {}

    @property
    def remembered(self) -> dict[str, Component]:
        """The widgets to remember, by name."""
        return {name: box for boxes in self._boxes.values() for name, box in boxes.items()}

    def box(self, kind: type[Options], name: str) -> Component:
        """The widget of an option."""
        return self._boxes[kind][name]

    def add(self, kind: type[Options], **boxes: Component) -> None:
        """Take these widgets for the options of their names."""
        self._boxes.setdefault(kind, {}).update(boxes)

    def place(self, kind: type[Options], name: str, *, value: object = None) -> None:
        """Lay out the widget of an option here, with another value than its default if one is given."""
        box: Component
        if (kind, name) in FITTING:
            info = f"{kind.model_fields[name].description}; empty: what suits the rest"
            box = gr.Number(label=label(name), info=info, placeholder="auto", precision=FITTING[kind, name])
        elif (kind, name) in USUAL:
            info = f"{kind.model_fields[name].description}; others can be typed"
            box = gr.Dropdown(USUAL[kind, name], value=AUTO, allow_custom_value=True, label=label(name), info=info)
        else:
            box = widget(name, kind.model_fields[name], value=value, sliders=False)
        box.elem_id = f"train-{name.replace('_', '-')}"
        box.min_width = 150
        self.add(kind, **{name: box})

    def place_rest(self, kind: type[Options], others: Collection[str]) -> None:
        """Lay out all options of a class but these, two in a row."""
        rest = [name for name in kind.model_fields if name not in others]
        for i in range(0, len(rest), 2):
            with gr.Row():
                for name in rest[i : i + 2]:
                    self.place(kind, name)

    def shown(self, kept: dict[str, object]) -> Updates:
        """Updates for a page that opens: Gradio lays out an empty box with a 0, and passes that on."""
        return {self.box(kind, name): gr.update(value=kept.get(name)) for kind, name in FITTING}

    def options(self, kind: type[Kind], values: Values) -> Kind:
        """What is set; an empty box is not, and stands for what suits the others. ValueError names the option."""
        found = {name: values[box] for name, box in self._boxes[kind].items()}
        return kind(**{name: value for name, value in found.items() if value is not None})
