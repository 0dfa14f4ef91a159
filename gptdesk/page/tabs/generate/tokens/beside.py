"""Second model beside a text whose tokens are shown: its picker, and its figures of the same tokens."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import gradio as gr
from gradio.blocks import Block

from gptdesk.comparison.divergence import same_vocabulary
from gptdesk.desk import Desk
from gptdesk.generation import GenerationQueued
from gptdesk.inspection import TextFigures, differences, text_figures
from gptdesk.page.option_widgets import Updates, Values
from gptdesk.page.tabs.generate.tokens.opened_texts import Beside, OpenText
from models.manager import LoadedModel, ModelKey

NOBODY = ("No other model", "")
# what computes with a model once the queue allows it
Computed = Callable[[ModelKey, Callable[[LoadedModel], TextFigures]], Iterator[GenerationQueued | TextFigures]]


class BesidePicker:
    """Dropdown of the models that can read a text, too, shown while one is open."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        with gr.Column(visible=False, elem_id="token-beside-box") as self._box:
            self.chosen = gr.Dropdown(
                [NOBODY],
                value=NOBODY[1],
                label="Beside another model",
                info="Colours the tokens by how much likelier they are there.",
                elem_id="token-beside",
            )

    @property
    def outputs(self) -> list[Block]:
        """Widgets that `opened` and `closed` update."""
        return [self._box, self.chosen]

    def opened(self, key: ModelKey) -> Updates:
        """Return updates that offer the other precisions of the model of a text, then the other models."""
        keys = [ModelKey(key.name, precision) for precision in self._desk.model(key.name).precisions]
        others = (info for info in self._desk.library.available() if not info.problem and info.name != key.name)
        keys += [ModelKey(info.name, info.precisions[0]) for info in others]
        choices = [NOBODY, *((str(one), one.spelled) for one in keys if one != key)]
        return {self._box: gr.update(visible=True), self.chosen: gr.update(choices=choices, value=NOBODY[1])}

    def closed(self) -> Updates:
        """Return updates that hide it."""
        return {self._box: gr.update(visible=False)}

    def read(self, values: Values, opened: OpenText, computed: Computed) -> Iterator[GenerationQueued | OpenText]:
        """Yield positions in the queue, then the text with the figures of the chosen model, if one is chosen.

        Raises ValueError if its tokenizer is another one, or if it cannot read the text.
        """
        if not (spelled := str(values[self.chosen] or "")):
            yield replace(opened, beside=None)
            return
        key, tokens = ModelKey.parse(spelled), opened.tokens[opened.dropped :]
        names = opened.key.name, key.name
        if not same_vocabulary(*map(self._desk.tokenizer, names)):
            raise ValueError(f"{names[0]} and {names[1]} have different tokenizers; choose a model with the same one")
        for event in computed(key, lambda loaded: text_figures(loaded, tokens)):
            if isinstance(event, GenerationQueued):
                yield event
            else:
                yield replace(opened, beside=Beside(key, event, differences(opened.figures, event)))
