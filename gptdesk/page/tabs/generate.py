"""Generate tab: prompt, model and sampler chain; streamed text with the engine's stats below it."""

from collections.abc import Generator, Iterator
from typing import Any

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component

from gptdesk.context_window import dropped_tokens, new_tokens_after
from gptdesk.desk import Desk
from gptdesk.generation import GenerationQueued, GenerationRequest, GenerationResult
from gptdesk.history import Entry
from gptdesk.markup import markdown_text
from gptdesk.page.long_action import Call, LongActions
from gptdesk.page.option_widgets import QUIETLY, STREAMING, ChainPanel, Updates, Values
from gptdesk.page.persistence import MOST_KEPT, SavedState
from gptdesk.page.pickers import ModelPicker, PresetBar
from gptdesk.page.stats import stats_line
from gptdesk.page.streaming import in_batches
from gptdesk.page.tab_links import TabLinks
from gptdesk.recipe import Recipe
from gptdesk.stop_strings import escape, unescape
from models.manager import ModelKey

TITLE = "Generate"
MOST_SEQUENCES = 8  # text boxes that are laid out; the engine and the command line take more
EXAMPLES = (
    "Once upon a time",
    "Title: The brave hedgehog",
    "Words: fox, kite, lake",
    "Dear diary,",
)


def build(desk: Desk, links: TabLinks) -> None:
    """Lay out the tab inside the current container and wire it; saved widget state is restored when the page loads."""
    tab = GenerateTab(desk, links.page)
    links.add_pickers(TITLE, tab.model)
    links.add_entry_view(TITLE, tab.show_entry, [*tab.kept.controls, *tab.texts, tab.chosen])


class GenerateTab:
    """Widgets of the tab and their event handlers."""

    def __init__(self, desk: Desk, page: gr.Blocks) -> None:
        self.desk = desk
        with gr.Row():
            with gr.Column(scale=3, min_width=320):
                self._lay_out_text()
            with gr.Column(scale=2, min_width=320):
                self._lay_out_settings()
        remembered: dict[str, Component] = {
            "prompt": self.prompt,
            "model": self.model.name,
            "precision": self.model.precision,
            "max_new_tokens": self.max_new_tokens,
            "n": self.n,
            "seed": self.seed,
            "new_seed": self.new_seed,
            "stop": self.stop_strings,
            "parse_special": self.parse_special,
            "preset": self.presets.name,
        }
        self.kept = SavedState(desk, TITLE, remembered, {"chain": self.panel})
        buttons = (self.generate, self.continue_)
        self.actions = LongActions(desk, buttons=buttons, stop=self.stop, line=self.figures)
        self._wire(page)

    # Layout

    def _lay_out_text(self) -> None:
        self.prompt = gr.Textbox(
            label="Prompt",
            placeholder="Write the beginning of a text; leave empty to start a new one.",
            lines=4,
            max_lines=12,
            autofocus=True,
            elem_id="prompt",
        )
        self.count = gr.Markdown(elem_id="count", elem_classes="note")
        with gr.Row(elem_id="examples"):
            self.examples = [gr.Button(text, size="sm", min_width=80) for text in EXAMPLES]
        with gr.Row():
            self.generate = gr.Button(
                "Generate", variant="primary", elem_classes="go", elem_id="generate", min_width=80
            )
            self.continue_ = gr.Button("Continue", elem_id="continue", min_width=80)
            self.stop = gr.Button(
                "Stop", variant="stop", elem_classes="halt", elem_id="stop", interactive=False, min_width=80
            )
        self.chosen = gr.Radio([1], value=1, label="Continue from", visible=False, elem_id="chosen")
        self.texts = [
            gr.Textbox(
                label="Text" if i == 0 else f"Text {i + 1}",
                lines=8 if i == 0 else 4,
                max_lines=24,
                buttons=["copy"],
                interactive=True,
                visible=i == 0,
                elem_id=f"text-{i + 1}",
            )
            for i in range(MOST_SEQUENCES)
        ]
        self.figures = gr.Markdown(elem_id="figures", elem_classes="note")

    def _lay_out_settings(self) -> None:
        self.model = ModelPicker(self.desk)
        self.panel = ChainPanel(self.desk.sampler_names())
        self.presets = PresetBar(self.desk, self.panel)
        with gr.Group():
            self.panel.place("temperature", "top_k", "top_p")
            self.max_new_tokens = gr.Slider(
                1, 1000, value=200, step=1, label="Max new tokens", elem_id="max-new-tokens"
            )
        with gr.Group():
            self.n = gr.Slider(1, MOST_SEQUENCES, value=1, step=1, label="Sequences", elem_id="n")
            with gr.Row():
                # text, because a browser's numbers are exact only up to 2^53
                self.seed = gr.Textbox("1", label="Seed", elem_id="seed", max_lines=1, min_width=140)
                self.new_seed = gr.Checkbox(value=True, label="Draw a new seed", elem_id="new-seed", min_width=140)
        with gr.Accordion("More", open=False, elem_id="more"):
            self.panel.place_rest()
            self.stop_strings = gr.Textbox(
                label="Stop strings",
                info="One a line; a sequence ends before the first that appears. "
                "\\n stands for a new line, \\\\n for a backslash and an n.",
                lines=2,
                elem_id="stop-strings",
            )
            self.parse_special = gr.Checkbox(
                label="Parse special tokens",
                info="Special tokens typed in the prompt, such as <|endoftext|>, are those tokens, not plain text.",
                elem_id="parse-special",
            )

    # Wiring

    def _wire(self, page: gr.Blocks) -> None:
        controls = self.kept.controls
        inputs: set[Block] = {*controls, *self.texts, self.chosen, self.kept.restored}
        outputs = [*self.actions.outputs, self.seed, self.chosen, *self.texts]
        for button, handler in ((self.generate, self._on_generate), (self.continue_, self._on_continue)):
            button.click(handler, inputs, outputs, **STREAMING)
        self.actions.wire()
        for button in self.examples:
            button.click(self._on_example, button, self.prompt, **QUIETLY)
        self.seed.input(self._on_seed, None, self.new_seed, **QUIETLY)
        self.model.wire()
        self.presets.wire()
        latest = QUIETLY | {"trigger_mode": "always_last"}
        counted: list[Any] = [self.prompt, self.model.name, self.max_new_tokens, self.parse_special]
        gr.on([component.change for component in counted], self._on_prompt, counted, self.count, **latest)
        self.kept.wire()
        page.load(self._on_load, None, [*controls, *self.texts, self.count, self.kept.restored], **QUIETLY)

    # Generating

    def _on_generate(self, values: Values, request: gr.Request) -> Iterator[Updates]:
        yield from self._run(values, str(values[self.prompt] or ""), request)

    def _on_continue(self, values: Values, request: gr.Request) -> Iterator[Updates]:
        chosen = values[self.chosen]
        known = isinstance(chosen, int) and 1 <= chosen <= len(self.texts)
        text = values[self.texts[chosen - 1 if known else 0]]  # type: ignore[operator]
        yield from self._run(values, str(text or values[self.prompt] or ""), request)

    def _run(self, values: Values, prompt: str, request: gr.Request) -> Iterator[Updates]:
        """Stream into the text boxes; an error is shown as one sentence below them."""

        def work(call: Call) -> Generator[Updates, None, None]:
            key, generation = self._request(values, prompt)
            self.kept.remember(values)
            yield self._begin(generation)
            yield from self._stream(key, generation, call)

        yield from self.actions.run(work, request)

    def _stream(self, key: ModelKey, request: GenerationRequest, call: Call) -> Iterator[Updates]:
        result = GenerationResult(request.n)
        stream = self.desk.generate(key, request, stop=call.stop, owner=call.owner)
        for events in in_batches(stream, stop=call.stop):
            for event in events:
                result.add(event)
            if events and isinstance(events[-1], GenerationQueued):
                yield self.actions.waiting(events[-1].position)
            else:
                yield self._progress(request, result, key) if events else gr.skip()
        texts = [request.prompt + new for new in result.texts]
        self.kept.put(f"{TITLE}: texts", texts if sum(map(len, texts)) < MOST_KEPT else None)

    def _request(self, values: Values, prompt: str) -> tuple[ModelKey, GenerationRequest]:
        lines = str(values[self.stop_strings] or "").splitlines()
        request = GenerationRequest(
            prompt=prompt,
            chain=self.panel.chain(values),
            max_new_tokens=values[self.max_new_tokens],
            n=values[self.n],
            seed=None if values[self.new_seed] else values[self.seed],
            stop=tuple(unescape(line) for line in lines if line),
            parse_special=bool(values[self.parse_special]),
        )
        return self.model.key(values), self.desk.bounded(request)

    def _begin(self, request: GenerationRequest) -> Updates:
        updates: Updates = {
            self.chosen: gr.update(visible=request.n > 1, choices=list(range(1, request.n + 1)), value=1),
            self.figures: "Reading the prompt …",
        }
        for i, text in enumerate(self.texts):
            label = "Text" if request.n == 1 else f"Text {i + 1}"
            updates[text] = gr.update(
                visible=i < request.n, label=label
            )  # keeps the old text until the new one streams in
        return updates

    def _progress(self, request: GenerationRequest, result: GenerationResult, key: ModelKey) -> Updates:
        updates: Updates = {text: request.prompt + new for text, new in zip(self.texts, result.texts, strict=False)}
        updates[self.figures] = stats_line(result, key)
        if result.start:
            updates[self.seed] = str(result.start.seed)
        return updates

    def _on_example(self, text: str) -> str:
        return text

    def _on_seed(self) -> bool:
        """Untick "Draw a new seed" when a seed is typed."""
        return False

    def _on_prompt(self, prompt: str | None, name: str | None, wanted: object, parse_special: object) -> str:
        try:
            return self._prompt_size(prompt or "", name, wanted, parse_special=bool(parse_special))
        except ValueError as error:
            return f"⚠ {markdown_text(str(error))}"

    def _prompt_size(self, prompt: str, name: str | None, wanted: object, *, parse_special: bool) -> str:
        """Return the tokens of the prompt as text, and how many of them will be cut to make room for new ones."""
        if not name:
            return ""
        context = self.desk.model(name).context
        request = GenerationRequest(prompt=prompt, max_new_tokens=wanted)  # what cannot be read cannot be counted
        tokenizer = self.desk.tokenizer(name)
        tokens = len(tokenizer.encode_prompt(request.prompt, parse_special=parse_special)) if prompt else 0
        dropped = dropped_tokens(tokens, wanted=request.max_new_tokens, context=context)
        if not dropped:
            return f"{tokens} of {context} tokens"
        room = new_tokens_after(tokens - dropped, context=context)
        first = "the first one" if dropped == 1 else f"the first {dropped}"
        fits = "1 new one fits" if room == 1 else f"{room} new ones fit"
        return f"⚠ {tokens} of {context} tokens: {first} will be left out, so that {fits}"

    # History

    def show_entry(self, entry: Entry) -> Updates:
        """Return updates that show an entry of the history, so that Generate writes it once more.

        Raises ValueError if one of its samplers or options is not known here.
        """
        request = Recipe.of(entry).request
        updates: Updates = {
            self.prompt: request.prompt,
            self.max_new_tokens: request.max_new_tokens,
            self.n: request.n,
            self.seed: str(request.seed),
            self.new_seed: False,
            self.stop_strings: "\n".join(map(escape, request.stop)),
            self.parse_special: request.parse_special,
            self.chosen: gr.update(visible=request.n > 1, choices=list(range(1, request.n + 1)), value=1),
        }
        for i, box in enumerate(self.texts):
            text = {"value": entry.prompt + entry.sequences[i].text} if i < entry.n else {}
            label = "Text" if entry.n == 1 else f"Text {i + 1}"
            updates[box] = gr.update(visible=i < entry.n, label=label, **text)
        return updates | self.model.show(entry.model, entry.precision) | self.panel.show(request.chain)

    # Saved state

    def _on_load(self) -> Updates:
        """Return updates for a page that opens: the models there are now, and the saved widget state."""
        kept, texts = self.kept.read(), self.desk.page.read().get(f"{TITLE}: texts")
        updates = self.kept.updates(kept)
        saved_texts = texts[:MOST_SEQUENCES] if isinstance(texts, list) else []
        for box, text in zip(self.texts, saved_texts, strict=False):
            if isinstance(text, str) and len(text) < MOST_KEPT:
                updates[box] = gr.update(value=text, visible=True)
        updates |= self.model.show(kept.get("model"), kept.get("precision"))
        updates |= self.presets.show(kept.get("preset"))
        updates[self.count] = self._on_prompt(
            str(kept.get("prompt") or ""),
            self.model.first_of(kept.get("model")),
            kept.get("max_new_tokens", self.max_new_tokens.value),
            kept.get("parse_special"),
        )
        return updates
