"""Tokenizer of a model: a text as tokens with their ids, and the merges that make them."""

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component

from gptdesk.anatomy.merges import merge_steps
from gptdesk.desk import Desk
from gptdesk.formatting import plural
from gptdesk.markup import markdown_text
from gptdesk.page.option_widgets import WITH_MESSAGES, Updates, Values
from gptdesk.page.pickers import ModelPicker
from gptdesk.page.tabs.learn.drawing import chips_html, merges_html

EXAMPLE = "The proud hedgehog whispered unbelievably."
LONGEST, MOST_CHIPS, MOST_WORDS = 5_000, 400, 20  # characters, tokens, words that are shown


class TokensView:
    """Widgets of the view and their event handlers."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        with gr.Row(equal_height=False):
            with gr.Column(scale=3, min_width=300):
                self.text = gr.Textbox(EXAMPLE, label="Word or text", max_lines=6, elem_id="tokens-text")
            with gr.Column(scale=1, min_width=200):
                self.model = ModelPicker(desk, prefix="tokens-", with_precision=False)
        self._show = gr.Button("Show the tokens", variant="primary", elem_classes="go", elem_id="tokens-show")
        self.count = gr.Markdown(elem_id="tokens-count", elem_classes="note")
        self.chips = gr.HTML(elem_id="tokens-chips", elem_classes="bare")
        self.rule = gr.Markdown(elem_id="tokens-rule", elem_classes="note")
        self.merges = gr.HTML(elem_id="tokens-merges", elem_classes="bare")

    @property
    def remembered(self) -> dict[str, Component]:
        """Widgets whose values are saved, by name."""
        return {"tokens: text": self.text, "tokens: model": self.model.name}

    def wire(self) -> None:
        """Connect the button."""
        inputs: set[Block] = {self.text, self.model.name, self.model.precision}
        outputs = [self.count, self.chips, self.rule, self.merges]
        self._show.click(self._on_show, inputs, outputs, **WITH_MESSAGES)

    def listed(self, values: Values) -> Updates:
        """Return updates that list the models there are now and keep the chosen one."""
        return self._listed(values[self.model.name])

    def restored(self, saved: dict[str, object]) -> Updates:
        """Return updates that list the models there are now and choose the saved one."""
        return self._listed(saved.get("tokens: model"))

    def _listed(self, name: object) -> Updates:
        return {self.model.name: self.model.show(name, None)[self.model.name]}

    def _on_show(self, values: Values) -> Updates:
        text = str(values[self.text] or "")
        empty: Updates = {self.chips: "", self.rule: "", self.merges: ""}
        try:
            if len(text) > LONGEST:
                raise ValueError(f"the text has {len(text):,} characters, and {LONGEST:,} can be shown; shorten it")
            tokenizer = self._desk.tokenizer(self.model.key(values).name)
            ids = tokenizer.encode(text)
        except ValueError as error:
            return empty | {self.count: f"⚠ {markdown_text(str(error))}"}
        counts = f"{plural(len(text), 'character')}, {plural(len(ids), 'token')} of {tokenizer.vocab_size:,} there are."
        updates: Updates = {self.count: counts, self.chips: chips_html(ids, tokenizer, most=MOST_CHIPS)}
        try:
            words = merge_steps(tokenizer, text)
        except ValueError as error:
            return empty | updates | {self.rule: f"Merges: {markdown_text(str(error))}."}
        rule = (
            "Every word begins as single bytes. The merge that was learned first goes first: it joins two neighbours, "
            "until no merge is left."
        )
        return updates | {self.rule: rule if words else "", self.merges: merges_html(words, most=MOST_WORDS)}
