"""Inside the model: attention of every head, logit lens, and parts that are faded."""

from collections.abc import Generator, Iterator

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component

from gptdesk.anatomy.fading import FadedText, fade_texts
from gptdesk.anatomy.network import GivenTokens, LentNetwork, given_tokens, lend_network
from gptdesk.anatomy.passes import Fade
from gptdesk.anatomy.view import look_inside
from gptdesk.desk import SLICE, Desk
from gptdesk.generation import MAX_SEED, GenerationQueued
from gptdesk.page.long_action import action_row
from gptdesk.page.option_widgets import STREAMING, Updates, Values
from gptdesk.page.pickers import ModelPicker
from gptdesk.page.streaming import in_batches
from gptdesk.page.tabs.learn.drawing import attention_html, divergence_html, faded_panes, lens_html
from gptdesk.page.tabs.learn.look import ATTENTION
from gptdesk.scheduler import Place
from samplers import default_chain

EXAMPLE = "Once there was a proud girl named Tilda. Tilda had a friend, a polite boy called Jack. One day, Tilda"
WHOLE = "Whole layer"
EVERY = 0.2  # seconds between two updates of the texts


class InsideView:
    """Widgets of the view and their event handlers."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        with gr.Row(equal_height=False):
            with gr.Column(scale=3, min_width=300):
                self.text = gr.Textbox(
                    EXAMPLE,
                    label="Text to look at",
                    info="The first 64 tokens are read; 32 by a large model.",
                    lines=3,
                    max_lines=6,
                    elem_id="inside-text",
                )
            with gr.Column(scale=1, min_width=200):
                self.model = ModelPicker(desk, prefix="inside-", with_precision=False)
        self._show = action_row(desk, "Show", ident="inside-show", running={})
        self.maps = gr.HTML(elem_id="inside-maps", elem_classes="bare", js_on_load=ATTENTION)
        self.lens = gr.HTML(elem_id="inside-lens", elem_classes="bare")
        with gr.Column(visible=False) as self.fading:
            self._lay_out_fading()

    def _lay_out_fading(self) -> None:
        gr.Markdown(
            "### Fade a part\n\nThe output of a head, or of a whole layer, is multiplied by its strength. Both texts "
            "are drawn with the same seed, so that they differ by this alone."
        )
        with gr.Row():
            self.layer = gr.Dropdown(["1"], value="1", label="Layer", min_width=90, elem_id="fade-layer")
            self.head = gr.Dropdown([WHOLE], value=WHOLE, label="Head", min_width=120, elem_id="fade-head")
            self.strength = gr.Slider(
                0, 1, value=0.5, step=0.05, label="Strength", min_width=220, scale=2, elem_id="fade-strength"
            )
            self.seed = gr.Number(1, label="Seed", minimum=0, precision=0, min_width=90, elem_id="fade-seed")
        self._fade = action_row(self._desk, "Fade", ident="fade", running={}, primary=False)
        self.divergence = gr.HTML(elem_id="fade-divergence", elem_classes="bare")
        with gr.Row(equal_height=True, elem_classes="panes"):
            self.panes = [gr.HTML(elem_id=f"fade-text-{i}", elem_classes="bare", min_width=280) for i in (1, 2)]

    @property
    def remembered(self) -> dict[str, Component]:
        """Widgets whose values are saved, by name."""
        return {"inside: text": self.text, "inside: model": self.model.name}

    def wire(self) -> None:
        """Connect the buttons."""
        self._show.wire()
        self._fade.wire()
        inputs: set[Block] = {self.text, self.model.name, self.model.precision}
        shown = [self.maps, self.lens, self.fading, self.layer, self.head, self.divergence, *self.panes]
        self._show.start.click(self._on_show, inputs, [*self._show.outputs, *shown], **STREAMING)
        outputs = [*self._fade.outputs, self.divergence, *self.panes]
        inputs |= {self.layer, self.head, self.strength, self.seed}
        gr.on([self._fade.start.click, self.strength.release], self._on_fade, inputs, outputs, **STREAMING)

    def listed(self, values: Values) -> Updates:
        """Return updates that list the models there are now and keep the chosen one."""
        return self._listed(values[self.model.name])

    def restored(self, saved: dict[str, object]) -> Updates:
        """Return updates that list the models there are now and choose the saved one."""
        return self._listed(saved.get("inside: model"))

    def _listed(self, name: object) -> Updates:
        return {self.model.name: self.model.show(name, None)[self.model.name]}

    def _on_show(self, values: Values, request: gr.Request) -> Iterator[Updates]:
        text = str(values[self.text] or "")

        def work(place: Place) -> Iterator[Updates]:
            yield {self._show.line: "Reading the weights …"}

            def look() -> Iterator[Updates]:
                with lend_network(self._desk.manager, self.model.key(values).name) as lent:
                    given = given_tokens(lent, text)
                    view = look_inside(lent, given)
                    updates = self._parts_of(lent)
                    updates[self.maps] = attention_html(view, given, lent.tokenizer)
                    updates[self.lens] = lens_html(view, lent.tokenizer)
                    yield updates

            for batch in in_batches(look(), stop=place.stop):
                for updates in batch:
                    yield updates | {self._show.line: ""}
                if not batch:
                    yield {}

        yield from self._show.run_queued(work, request)

    def _parts_of(self, lent: LentNetwork) -> Updates:
        """Return updates that offer the layers and heads of a network to fade, without a result yet."""
        config = lent.network.config
        layers = [str(i) for i in range(1, config.n_layer + 1)]
        heads = [WHOLE, *(str(i) for i in range(1, config.n_head + 1))]
        return {
            self.fading: gr.update(visible=True),
            self.layer: gr.update(choices=layers, value=layers[len(layers) // 2]),
            self.head: gr.update(choices=heads, value=WHOLE),
            self.divergence: "",
            **{pane: "" for pane in self.panes},
        }

    def _on_fade(self, values: Values, request: gr.Request) -> Iterator[Updates]:
        text = str(values[self.text] or "")

        def work(place: Place) -> Generator[Updates, None, None]:
            fade, seed = self._fade_of(values), self._seed(values)
            yield {self._fade.line: "Reading the weights …"}

            def stream() -> Iterator[tuple[LentNetwork, GivenTokens, FadedText]]:
                with lend_network(self._desk.manager, self.model.key(values).name) as lent:
                    given = given_tokens(lent, text)
                    texts = fade_texts(lent, given, fade, chain=default_chain(), seed=seed)
                    for one in place.shared(texts, every=SLICE, waiting=GenerationQueued):
                        if place.stop.is_set():
                            return
                        if not isinstance(one, GenerationQueued):
                            yield lent, given, one

            line = "You stopped it."
            for batch in in_batches(stream(), stop=place.stop, every=EVERY):
                if batch:
                    lent, given, texts = batch[-1]
                    line = _sentence(texts)
                    yield self._shown(lent, given, texts) | {self._fade.line: "Writing …"}
                else:
                    yield {}
            yield {self._fade.line: line}

        yield from self._fade.run_queued(work, request)

    def _shown(self, lent: LentNetwork, given: GivenTokens, texts: FadedText) -> Updates:
        panes = faded_panes(texts, lent.tokenizer.decode(given.ids), lent.tokenizer)
        updates: Updates = dict(zip(self.panes, panes, strict=True))
        return updates | {self.divergence: divergence_html(texts, given, lent.tokenizer)}

    def _fade_of(self, values: Values) -> Fade:
        """Return the fade that the widgets show; ValueError if it is none."""
        strength = values[self.strength]
        if not isinstance(strength, int | float):
            raise ValueError("the strength must be a number from 0 to 1")
        layer, head = str(values[self.layer]), str(values[self.head])
        if not layer.isascii() or not layer.isdigit() or not (head == WHOLE or (head.isascii() and head.isdigit())):
            raise ValueError("choose a layer, and one of its heads or the whole layer")
        return Fade(int(layer) - 1, None if head == WHOLE else int(head) - 1, float(strength))

    def _seed(self, values: Values) -> int:
        seed = values[self.seed]
        if not isinstance(seed, int | float) or seed != int(seed) or not 0 <= seed <= MAX_SEED:
            raise ValueError("the seed must be a whole number of at least 0")
        return int(seed)


def _sentence(texts: FadedText) -> str:
    """Return where the texts part."""
    if texts.parting is None:
        return "The text stays the same."
    same = "token is" if texts.parting == 1 else f"{texts.parting} tokens are"
    return f"The first {same} the same." if texts.parting else "The texts differ from the first token on."
