"""Line of the Tokens view about the text that the same seed writes by the sampler settings of now."""

import html
from collections.abc import Callable, Iterator
from typing import TypeAlias

import gradio as gr

from gptdesk.desk import Desk
from gptdesk.generation import GenerationQueued
from gptdesk.inspection import Redrawn, first_redrawn
from gptdesk.page.option_widgets import Updates
from gptdesk.page.tabs.generate.tokens.drawing import shown
from gptdesk.page.tabs.generate.tokens.opened_texts import OpenText
from models.manager import LoadedModel, ModelKey
from models.tokenizer import Tokenizer
from samplers import Chain

Work: TypeAlias = Callable[[LoadedModel], Redrawn | None]
Computed: TypeAlias = Callable[[ModelKey, Work], Iterator[GenerationQueued | Redrawn | None]]


class RedrawnLine:
    """The line, which is empty until a sampler moves while the tokens of a generated text are shown."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.line = gr.HTML(visible=False, elem_id="token-redrawn", elem_classes="bare")

    def closed(self) -> Updates:
        """Return updates that hide the line."""
        return {self.line: gr.update(visible=False, value="")}

    def read(self, opened: OpenText, chain: Chain, computed: Computed) -> Updates:
        """Return updates that say where `chain` and the seed of a text leave it; none where that is not known.

        `computed` yields places in the queue and the result of work with a model.
        """
        draws = opened.draws()
        if draws is None:
            return {}
        given, written = draws

        def redraw(loaded: LoadedModel) -> Redrawn | None:
            return first_redrawn(loaded, given, written.drawn, chain, seed=written.seed, row=written.row)

        try:
            *_, redrawn = computed(opened.key, redraw)
        except ValueError:  # of a sampler, which the table tells; or the desk is busy
            return self.closed()
        assert not isinstance(redrawn, GenerationQueued), "the result comes last"
        sentence = redrawn_html(opened, redrawn, self._desk.tokenizer(opened.key.name))
        return {self.line: gr.update(visible=True, value=sentence)}


def redrawn_html(opened: OpenText, redrawn: Redrawn | None, tokenizer: Tokenizer) -> str:
    """Return a sentence about what the same seed writes by the settings of now, and marks of the tokens that change."""
    settings, marks = "With the settings as they are now, this seed writes the same text", ""
    if redrawn is None:
        sentence = f"{settings}."
    else:
        index = opened.prompt + redrawn.step
        new, old = shown(redrawn.token, tokenizer), shown(opened.tokens[index], tokenizer)
        sentence = f"{settings} up to token {index:,}, then “{new}” instead of “{old}”; what follows is new."
        chip = f'.tokens button[data-i="{index}"]'
        marks = (
            f"<style>{chip} {{ text-decoration: line-through; }}\n"
            f"{chip} ~ button:not(.end) {{ text-decoration: underline dotted; }}</style>"
        )
    return f'<p class="token-redrawn" role="status">{html.escape(sentence)}</p>{marks}'
