"""Generate tab: prompt, model and sampler chain; streamed text with the engine's stats below it."""

# Longer than 300 lines: layout, wiring and handlers of one tab, which share its widgets.
import time
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
from gptdesk.page.input_script import PUT_TEXT
from gptdesk.page.long_action import Call, LongActions
from gptdesk.page.option_widgets import (
    QUIETLY,
    STREAMING,
    WITH_MESSAGES,
    ChainPanel,
    Updates,
    Values,
    shows_errors,
)
from gptdesk.page.persistence import SavedState
from gptdesk.page.pickers import ModelPicker, PresetBar
from gptdesk.page.stats import stats_line
from gptdesk.page.streaming import in_batches
from gptdesk.page.tab_links import TabLinks
from gptdesk.page.tabs.texts import MOST_SEQUENCES, TextBoxes
from gptdesk.recipe import Recipe
from gptdesk.stop_strings import escape, unescape
from models.manager import ModelKey

TITLE = "Generate"
MOST_TOKENS = 1000  # that the page offers to generate in one go
SAVE_EVERY = 0.5  # seconds between two saved copies of a text that is being generated
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
    links.add_entry_view(tab)


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
        buttons = (self.generate, self.continue_, self.undo)
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
        with gr.Row():  # two by two on a phone
            self.generate = gr.Button(
                "Generate", variant="primary", elem_classes="go", elem_id="generate", min_width=130
            )
            self.continue_ = gr.Button("Continue", elem_id="continue", min_width=130)
            self.undo = gr.Button("Undo", elem_id="undo", interactive=False, min_width=130)
            self.stop = gr.Button(
                "Stop", variant="stop", elem_classes="halt", elem_id="stop", interactive=False, min_width=130
            )
        self.texts = TextBoxes(self.desk, TITLE)
        self.figures = gr.Markdown(elem_id="figures", elem_classes="note")

    def _lay_out_settings(self) -> None:
        self.model = ModelPicker(self.desk)
        self.panel = ChainPanel(self.desk.sampler_names())
        self.presets = PresetBar(self.desk, self.panel)
        with gr.Group():
            self.panel.place("temperature", "top_k", "top_p")
            self.max_new_tokens = gr.Slider(
                1, MOST_TOKENS, value=200, step=1, label="Max new tokens", elem_id="max-new-tokens"
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
        inputs: set[Block] = {*controls, *self.texts.widgets, self.kept.restored}
        outputs = [*self.actions.outputs, self.seed, *self.texts.widgets]
        for button, handler in ((self.generate, self._on_generate), (self.continue_, self._on_continue)):
            button.click(handler, inputs, outputs, **STREAMING)
        self.actions.wire()
        history = self.texts.history
        for button in self.examples:
            button.click(self._on_example, [button, self.prompt, history], [history, self.undo], js=PUT_TEXT, **QUIETLY)
        undone = [self.undo, self.prompt, *self.texts.widgets]
        self.undo.click(self._on_undo, {history}, undone, **WITH_MESSAGES)
        latest = QUIETLY | {"trigger_mode": "always_last"}
        if not self.desk.settings.public:
            self.texts.edited.click(self._on_edit, {*self.texts.widgets, self.kept.restored}, None, **latest)
        self.model.wire()
        self.presets.wire()
        counted: list[Any] = [self.prompt, self.model.name, self.max_new_tokens, self.parse_special]
        gr.on([component.change for component in counted], self._on_prompt, counted, self.count, **latest)
        self.model.name.change(self._on_model, self.model.name, self.max_new_tokens, **latest)
        self.kept.wire()
        loaded = [*controls, *self.texts.widgets, self.undo, self.count, self.kept.restored]
        page.load(self._on_load, None, loaded, **QUIETLY)

    # Generating

    def _on_generate(self, values: Values, request: gr.Request) -> Iterator[Updates]:
        yield from self._run(values, str(values[self.prompt] or ""), request)

    def _on_continue(self, values: Values, request: gr.Request) -> Iterator[Updates]:
        chosen = self.texts.number(values)
        text = self.texts.texts(values)[chosen]
        yield from self._run(values, str(text or values[self.prompt] or ""), request, box=chosen)

    def _run(self, values: Values, prompt: str, request: gr.Request, *, box: int | None = None) -> Iterator[Updates]:
        """Stream into the text boxes, or into the one of index `box` alone; an error is one sentence below them."""

        def work(call: Call) -> Generator[Updates, None, None]:
            key, generation = self._request(values, prompt, n=values[self.n] if box is None else 1)
            self.kept.remember(values)
            yield {self.figures: "Reading the prompt …"}
            yield from self._stream(key, generation, call, values=values, box=box)

        yield from self.actions.run(work, request)

    def _stream(
        self, key: ModelKey, request: GenerationRequest, call: Call, *, values: Values, box: int | None
    ) -> Iterator[Updates]:
        """Yield updates while the texts grow, and save them meanwhile; the texts before stay until the first token."""
        result = GenerationResult(request.n)
        stream = self.desk.generate(key, request, stop=call.stop, owner=call.owner)
        before = self.texts.texts(values)
        count, first = (request.n, 0) if box is None else (len(before), box)
        saved: float | None = None
        try:
            for events in in_batches(stream, stop=call.stop):
                for event in events:
                    result.add(event)
                updates = self._progress(request, result, key, first=first) if result.start and events else {}
                if events and isinstance(events[-1], GenerationQueued):
                    updates |= self._waiting(result, key, events[-1].position)
                if result.start and saved is None:
                    updates = self._begun(values, updates, count=count if box is None else None)
                    self.texts.save(self.kept, before if box is not None else [""] * count)
                    saved = 0.0
                yield updates or gr.skip()
                if saved is not None and time.monotonic() > saved + SAVE_EVERY:
                    self._save(request, result, first=first, count=count)
                    saved = time.monotonic()
        finally:  # also where the page was closed or loaded again
            if saved is not None:
                self._save(request, result, first=first, count=count)

    def _begun(self, values: Values, updates: Updates, *, count: int | None) -> Updates:
        """Return the updates with a step more in the history, and with a layout of `count` text boxes, if any."""
        steps = self.texts.with_step(values[self.texts.history], self.texts.step(values))
        self.texts.save_history(self.kept, steps)
        layout = {} if count is None else self.texts.layout(count)
        for box, update in layout.items():
            if box in updates and isinstance(update, dict):
                layout[box] = update | {"value": updates[box]}
        return updates | layout | {self.texts.history: steps}

    def _save(self, request: GenerationRequest, result: GenerationResult, *, first: int, count: int) -> None:
        texts = {first + i: request.prompt + new for i, new in enumerate(result.texts)}
        self.texts.save_some(self.kept, texts, count=count)

    def _request(self, values: Values, prompt: str, *, n: object) -> tuple[ModelKey, GenerationRequest]:
        lines = str(values[self.stop_strings] or "").splitlines()
        request = GenerationRequest(
            prompt=prompt,
            chain=self.panel.chain(values),
            max_new_tokens=values[self.max_new_tokens],
            n=n,
            seed=None if values[self.new_seed] else values[self.seed],
            stop=tuple(unescape(line) for line in lines if line),
            parse_special=bool(values[self.parse_special]),
        )
        return self.model.key(values), self.desk.bounded(request)

    def _progress(self, request: GenerationRequest, result: GenerationResult, key: ModelKey, *, first: int) -> Updates:
        """Return updates that show the texts so far, in the boxes from index `first` on."""
        boxes = self.texts.boxes[first:]
        updates: Updates = {box: request.prompt + new for box, new in zip(boxes, result.texts, strict=False)}
        updates[self.figures] = stats_line(result, key)
        if result.start:
            updates[self.seed] = str(result.start.seed)
        return updates

    def _waiting(self, result: GenerationResult, key: ModelKey, position: int) -> Updates:
        """Return updates that show the position in the queue, after the stats of a text that has begun."""
        if result.start is None:
            return self.actions.waiting(position)
        return {self.figures: f"{stats_line(result, key)} · waiting for others: place {position} in the queue …"}

    def _on_example(self, text: str, prompt: str | None, history: object) -> Updates:
        """Add the prompt that the example has replaced to the history; the page's script has put the example there."""
        if not prompt or prompt == text:
            return {}
        steps = self.texts.with_step(history, {"prompt": prompt})
        self.texts.save_history(self.kept, steps)
        return {self.texts.history: steps, self.undo: gr.update(interactive=True)}

    @shows_errors
    def _on_undo(self, values: Values) -> Updates:
        """Bring back what the last generation, continuation or example has replaced."""
        steps = values[self.texts.history]
        if not isinstance(steps, list) or not steps:
            raise ValueError("there is nothing to undo")
        *rest, last = steps
        self.texts.save_history(self.kept, rest)
        updates: Updates = {self.texts.history: rest, self.undo: gr.update(interactive=bool(rest))}
        if "prompt" in last:
            return updates | {self.prompt: last["prompt"]}
        self.texts.save(self.kept, last["texts"])
        return updates | self.texts.show(last["texts"], chosen=last["chosen"])

    def _on_edit(self, values: Values) -> None:
        """Save the texts after an edit by hand."""
        if values[self.kept.restored]:
            self.texts.save(self.kept, self.texts.texts(values))

    def _on_model(self, name: str | None) -> object:
        """Return an update of the slider of new tokens, whose maximum is the model's context.

        The page's script lowers the number to it, and says so.
        """
        try:
            return gr.update(maximum=self._most_tokens(name))
        except ValueError:  # said below the prompt
            return gr.skip()

    def _most_tokens(self, name: str | None) -> int:
        """Return the most new tokens that the page offers for a model; ValueError as `Desk.model`."""
        return min(MOST_TOKENS, max(2, self.desk.model(name).context)) if name else MOST_TOKENS

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

    title = TITLE

    @property
    def entry_inputs(self) -> set[Block]:
        """Inputs of an event that calls `show_entry`."""
        return {self.prompt, *self.texts.widgets}

    @property
    def entry_outputs(self) -> list[Block]:
        """Outputs of an event that returns the updates of `show_entry`."""
        return [*self.kept.controls, *self.texts.widgets, self.undo]

    def show_entry(self, entry: Entry, values: Values) -> Updates:
        """Return updates that show an entry of the history, so that Generate writes it once more; Undo takes it back.

        Raises ValueError if one of its samplers or options is not known here.
        """
        request = Recipe.of(entry).request
        steps = self.texts.with_step(values[self.texts.history], {"prompt": str(values[self.prompt] or "")})
        steps = self.texts.with_step(steps, self.texts.step(values))
        texts = [entry.prompt + sequence.text for sequence in entry.sequences[:MOST_SEQUENCES]]
        self.texts.save_history(self.kept, steps)
        self.texts.save(self.kept, texts)
        model = self.model.show(entry.model, entry.precision)
        most = self._most_tokens(self.model.first_of(entry.model))
        updates: Updates = {
            self.prompt: entry.prompt,
            self.max_new_tokens: gr.update(maximum=most, value=min(request.max_new_tokens, most)),
            self.n: min(request.n, MOST_SEQUENCES),
            self.seed: str(request.seed),
            self.new_seed: False,
            self.stop_strings: "\n".join(map(escape, request.stop)),
            self.parse_special: request.parse_special,
            self.undo: gr.update(interactive=True),
        }
        return updates | self.texts.show(texts) | {self.texts.history: steps} | model | self.panel.show(request.chain)

    # Saved state

    def _on_load(self) -> Updates:
        """Return updates for a page that opens: the models there are now, and the saved widget state."""
        kept = self.kept.read()
        updates = self.kept.updates(kept) | self.texts.restored()
        updates[self.undo] = gr.update(interactive=bool(updates[self.texts.history]))
        updates |= self.model.show(kept.get("model"), kept.get("precision"))
        updates |= self.presets.show(kept.get("preset"))
        picked = self.model.first_of(kept.get("model"))
        most, wanted = self._most_tokens(picked), kept.get("max_new_tokens", self.max_new_tokens.value)
        assert isinstance(wanted, int | float)
        wanted = min(wanted, most)
        updates[self.max_new_tokens] = gr.update(maximum=most, value=wanted)
        prompt = str(kept.get("prompt") or "")
        updates[self.count] = self._on_prompt(prompt, picked, wanted, kept.get("parse_special"))
        return updates
