"""Options of a run as widgets, and back; titles of the choices."""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import TypeVar

import gradio as gr
from gradio.components import Component

from gptdesk.encodings import AUTO, COMMON
from gptdesk.page.option_widgets import Updates, Values, hint, label, widget
from gptdesk.training import DataOptions
from models.gpt import PRESETS
from samplers import Options

Kind = TypeVar("Kind", bound=Options)

TOKENIZERS = [
    ("auto: by the length of the text", "auto"),
    ("chars: every character is a token", "chars"),
    ("bpe: parts of words, trained on the text", "bpe"),
    ("bpe:1024", "bpe:1024"),
    ("bpe:4096", "bpe:4096"),
    ("gpt2: the 50,257 tokens of GPT-2", "gpt2"),
]
SIZES = [
    (f"{name}: {config.n_layer} layers of {config.n_embd}, {config.parameters() / 1e6:,.1f} million parameters", name)
    for name, config in PRESETS.items()
]
# Labels in words, with the name that the field and the command line use.
LABELS = {
    "start": "Base model",
    "preset": "Size",
    "n_layer": "Layers (n_layer)",
    "n_head": "Attention heads (n_head)",
    "n_embd": "Width (n_embd)",
    "block_size": "Context in tokens (block_size)",
    "max_minutes": "Minutes to train",
    "max_tokens": "Tokens to train on (max_tokens)",
    "average": "Mean of weights (average)",
    "clip": "Clipping threshold (clip)",
    "floor": "Final learning rate (floor)",
    "patience": "Early stopping (patience)",
    "split": "Validation split",
}
# Options that may be any text, with the usual ones to choose from.
USUAL: dict[tuple[type[Options], str], list[str]] = {(DataOptions, "encoding"): [AUTO, *COMMON]}


class OptionBoxes:
    """Widgets of the options of several classes, of which no two share the name of an option."""

    def __init__(self) -> None:
        self._boxes: dict[type[Options], dict[str, Component]] = {}

    @property
    def remembered(self) -> dict[str, Component]:
        """Widgets to remember, by name."""
        return {name: box for boxes in self._boxes.values() for name, box in boxes.items()}

    def box(self, kind: type[Options], name: str) -> Component:
        """Return the widget of an option."""
        return self._boxes[kind][name]

    def add(self, kind: type[Options], **boxes: Component) -> None:
        """Use these widgets for the options of their names."""
        self._boxes.setdefault(kind, {}).update(boxes)

    def place(self, kind: type[Options], name: str, *, value: object = None) -> None:
        """Lay out the widget of an option here, with another value than its default if one is given."""
        box: Component
        field = kind.model_fields[name]
        if _is_automatic(kind, name):
            info = str(hint(field.description)).replace("; automatic: ", "; leave empty for automatic: ")
            decimals = 0 if field.annotation == int | None else None
            box = gr.Number(label=label(name), info=info, placeholder="auto", precision=decimals)
        elif (kind, name) in USUAL:
            info = f"{hint(field.description)}; others can be typed"
            box = gr.Dropdown(USUAL[kind, name], value=AUTO, allow_custom_value=True, label=label(name), info=info)
        else:
            box = widget(name, field, value=value, sliders=False)
        box.label = option_label(name)
        box.elem_id = f"train-{name.replace('_', '-')}"
        box.min_width = 150
        self.add(kind, **{name: box})

    def place_rest(
        self, kind: type[Options], others: Collection[str], *, values: Mapping[str, object] = MappingProxyType({})
    ) -> None:
        """Lay out all options of a class but these, two in a row; some with other values than their defaults."""
        rest = [name for name in kind.model_fields if name not in others]
        for i in range(0, len(rest), 2):
            with gr.Row():
                for name in rest[i : i + 2]:
                    self.place(kind, name, value=values.get(name))

    def restore(self, kept: dict[str, object]) -> Updates:
        """Return updates of the automatic options for a page that opens: Gradio lays out an empty box with a 0."""
        empty = (
            (box, name)
            for kind, boxes in self._boxes.items()
            for name, box in boxes.items()
            if _is_automatic(kind, name)
        )
        return {box: gr.update(value=kept.get(name)) for box, name in empty}

    def fill(self, kind: type[Options], chosen: Options) -> Updates:
        """Return updates that show the options of a plan."""
        return {box: gr.update(value=getattr(chosen, name)) for name, box in self._boxes[kind].items()}

    def options(self, kind: type[Kind], values: Values) -> Kind:
        """Return the options; those whose boxes are empty have their defaults. ValueError names the option."""
        given = {name: values[box] for name, box in self._boxes[kind].items()}
        return kind(**{name: value for name, value in given.items() if value is not None})


def option_label(name: str) -> str:
    """Return the label of an option of a run, on the form and in tables."""
    return LABELS.get(name, label(name))


def _is_automatic(kind: type[Options], name: str) -> bool:
    return kind.model_fields[name].default is None
