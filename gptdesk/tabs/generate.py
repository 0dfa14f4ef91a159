"""The Generate tab: a prompt, a model and a sampler chain; text streams in, with the figures of the engine below it."""

import logging
import threading
from collections.abc import Iterator

import gradio as gr
import psutil
from gradio.blocks import Block
from gradio.components import Component

from gptdesk.controls import QUIETLY, ChainPanel, Updates, Values, as_markdown
from gptdesk.desk import Desk
from gptdesk.generation import GenerationRequest, GenerationResult, in_batches
from gptdesk.pickers import ModelPicker, PresetBar
from models.manager import ModelKey

log = logging.getLogger(__name__)

TITLE = "Generate"
AT_ONCE = 2  # generations of different pages that run at the same time; others wait
MOST_SEQUENCES = 8  # text boxes that are laid out; the engine and the command line take more
EXAMPLES = (
    "Once upon a time",
    "One rainy morning, the fox",
    "Mia lost her red kite",
    '"Who is there?" asked',
)
FINISHES = {
    "stop": "the text came to its end",
    "length": "max new tokens reached",
    "context": "the context is full",
    "stopped": "you stopped it",
    "deadline": "out of time",
}


def build(desk: Desk, page: gr.Blocks) -> None:
    """Lay out the tab inside the current container and wire it; what was set is restored when `page` loads."""
    GenerateTab(desk, page)


class GenerateTab:
    """The widgets of the tab, and what happens when they are used."""

    def __init__(self, desk: Desk, page: gr.Blocks) -> None:
        self.desk = desk
        self._running: dict[str, threading.Event] = {}  # browser session -> stop event of its generation
        with gr.Row():
            with gr.Column(scale=3, min_width=320):
                self._lay_out_text()
            with gr.Column(scale=2, min_width=320):
                self._lay_out_settings()
        self._remembered: dict[str, Component] = {
            "prompt": self.prompt,
            "model": self.model.name,
            "precision": self.model.precision,
            "max_new_tokens": self.max_new_tokens,
            "n": self.n,
            "seed": self.seed,
            "new_seed": self.new_seed,
            "stop": self.stop_strings,
            "preset": self.presets.name,
        }
        self._wire(page)

    # Layout

    def _lay_out_text(self) -> None:
        self.prompt = gr.Textbox(
            label="Prompt",
            placeholder="Write the beginning of a text. Empty: the model begins by itself.",
            lines=4,
            max_lines=12,
            autofocus=True,
            elem_id="prompt",
        )
        self.count = gr.Markdown(elem_id="count", elem_classes="note")
        with gr.Row(elem_id="examples"):
            self.examples = [gr.Button(text, size="sm", min_width=80) for text in EXAMPLES]
        with gr.Row():
            self.generate = gr.Button("Generate", variant="primary", elem_id="generate", min_width=80)
            self.continue_ = gr.Button("Continue", elem_id="continue", min_width=80)
            self.stop = gr.Button("Stop", variant="stop", elem_id="stop", interactive=False, min_width=80)
        self.chosen = gr.Radio(
            [1], value=1, label="Sequence that Continue goes on with", visible=False, elem_id="chosen"
        )
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
        self.panel = ChainPanel()
        self.presets = PresetBar(self.desk, self.panel)
        with gr.Group():
            self.panel.place("temperature", "top_k", "top_p")
            self.max_new_tokens = gr.Slider(
                1, 1000, value=200, step=1, label="Max new tokens", elem_id="max-new-tokens"
            )
        with gr.Group():
            self.n = gr.Slider(1, MOST_SEQUENCES, value=1, step=1, label="Sequences", elem_id="n")
            with gr.Row():
                self.seed = gr.Number(value=1, precision=0, minimum=0, label="Seed", elem_id="seed", min_width=140)
                self.new_seed = gr.Checkbox(value=True, label="Draw a new seed", elem_id="new-seed", min_width=140)
        with gr.Accordion("More", open=False, elem_id="more"):
            self.panel.place_rest()
            self.stop_strings = gr.Textbox(
                label="Stop strings",
                info="One a line; a sequence ends before the first that appears. \\n stands for a new line.",
                lines=2,
                elem_id="stop-strings",
            )

    # Wiring

    def _wire(self, page: gr.Blocks) -> None:
        inputs: set[Block] = {*self._remembered.values(), *self.panel.components, *self.texts, self.chosen}
        controls = [*self._remembered.values(), *self.panel.components]
        outputs = [self.generate, self.continue_, self.stop, self.seed, self.chosen, self.figures, *self.texts]
        for button, handler in ((self.generate, self._on_generate), (self.continue_, self._on_continue)):
            button.click(
                handler, inputs, outputs, show_progress="hidden", concurrency_limit=AT_ONCE, api_visibility="private"
            )
        self.stop.click(self._on_stop, **QUIETLY)
        for button in self.examples:
            button.click(lambda text: text, button, self.prompt, **QUIETLY)
        for change in (self.model.wire(), *self.presets.wire()):
            change.then(self._remember, set(controls), **QUIETLY)
        latest = QUIETLY | {"trigger_mode": "always_last"}
        gr.on(
            [self.prompt.change, self.model.name.change],
            self._on_prompt,
            [self.prompt, self.model.name],
            self.count,
            **latest,
        )
        changes = [component.input for component in controls]  # type: ignore[attr-defined]  # made by Gradio
        gr.on(changes, self._remember, set(controls), **latest)
        page.load(self._on_load, None, [*controls, self.count], **QUIETLY)

    # Generating

    def _on_generate(self, values: Values, request: gr.Request) -> Iterator[Updates]:
        yield from self._run(values, str(values[self.prompt] or ""), request.session_hash or "")

    def _on_continue(self, values: Values, request: gr.Request) -> Iterator[Updates]:
        chosen = values[self.chosen]
        text = values[self.texts[int(chosen) - 1 if isinstance(chosen, int) else 0]]
        yield from self._run(values, str(text or values[self.prompt] or ""), request.session_hash or "")

    def _run(self, values: Values, prompt: str, session: str) -> Iterator[Updates]:
        """Stream into the text boxes; whatever the user got wrong ends as one sentence below them."""
        stop = self._running[session] = threading.Event()
        try:
            self._remember(values)
            key, request = self._request(values, prompt)
            yield self._begin(request)
            result = GenerationResult(request.n)
            for events in in_batches(self.desk.generate(key, request, stop=stop), stop=stop):
                for event in events:
                    result.add(event)
                if events:
                    yield self._progress(request, result, key)
            yield self._ready()
        except ValueError as error:
            yield self._ready() | {self.figures: f"⚠ {as_markdown(str(error))}"}
        finally:
            if self._running.get(session) is stop:
                del self._running[session]

    def _request(self, values: Values, prompt: str) -> tuple[ModelKey, GenerationRequest]:
        lines = str(values[self.stop_strings] or "").splitlines()
        return self.model.key(values), GenerationRequest(
            prompt=prompt,
            chain=self.panel.chain(values),
            max_new_tokens=values[self.max_new_tokens],
            n=values[self.n],
            seed=None if values[self.new_seed] else values[self.seed],
            stop=tuple(line.replace("\\n", "\n") for line in lines if line),
        )

    def _begin(self, request: GenerationRequest) -> Updates:
        updates: Updates = {
            self.generate: gr.update(interactive=False),
            self.continue_: gr.update(interactive=False),
            self.stop: gr.update(interactive=True),
            self.chosen: gr.update(visible=request.n > 1, choices=list(range(1, request.n + 1)), value=1),
            self.figures: "Reading the prompt …",
        }
        for i, text in enumerate(self.texts):
            label = "Text" if request.n == 1 else f"Text {i + 1}"
            updates[text] = gr.update(visible=i < request.n, value=request.prompt if i < request.n else "", label=label)
        return updates

    def _progress(self, request: GenerationRequest, result: GenerationResult, key: ModelKey) -> Updates:
        updates: Updates = {text: request.prompt + new for text, new in zip(self.texts, result.texts, strict=False)}
        updates[self.figures] = _figures(result, key)
        if result.start:
            updates[self.seed] = result.start.seed
        return updates

    def _ready(self) -> Updates:
        return {
            self.generate: gr.update(interactive=True),
            self.continue_: gr.update(interactive=True),
            self.stop: gr.update(interactive=False),
        }

    def _on_stop(self, request: gr.Request) -> None:
        if stop := self._running.get(request.session_hash or ""):
            stop.set()

    def _on_prompt(self, prompt: str | None, name: str | None) -> str:
        try:
            return self._counted(prompt or "", name)
        except ValueError as error:
            return f"⚠ {as_markdown(str(error))}"

    def _counted(self, prompt: str, name: str | None) -> str:
        if not name:
            return ""
        context = self.desk.model(name).context
        GenerationRequest(prompt=prompt)  # a prompt too long to be read is too long to be counted
        tokens = len(self.desk.tokenizer(name).encode(prompt))
        if tokens < context:
            return f"{tokens} of {context} tokens"
        return f"⚠ {tokens} tokens: more than the model's context of {context}; the beginning will be left out"

    # Memory

    def _remember(self, values: Values) -> None:
        remembered = {name: values[component] for name, component in self._remembered.items()}
        try:
            self.desk.page.put(TITLE, remembered | {"chain": self.panel.remembered(values)})
        except ValueError as error:  # a full disk is no reason to refuse a text
            log.warning("%s", error)

    def _on_load(self) -> Updates:
        """What the page shows when it is opened: the models there are now, and what was set when it was last used."""
        kept = self.desk.page.read().get(TITLE)
        kept = kept if isinstance(kept, dict) else {}
        updates: Updates = {
            component: gr.update(value=kept[name]) for name, component in self._remembered.items() if name in kept
        }
        updates |= self.model.shown(kept.get("model"), kept.get("precision"))
        updates |= self.presets.shown(kept.get("preset"))
        updates[self.count] = self._on_prompt(kept.get("prompt"), self.model.first_of(kept.get("model")))
        return updates | self.panel.restored(kept.get("chain"))


def _figures(result: GenerationResult, key: ModelKey) -> str:
    """The stats line: what the engine measured, not what the page saw."""
    start = result.start
    if start is None:
        return "Reading the prompt …"
    parts = [f"**{key}**", f"prompt {_plural(start.prompt_tokens, 'token')} in {_duration(start.seconds)}"]
    if result.seconds_to_first_token is not None:
        parts.append(f"first token after {_duration(result.seconds_to_first_token)}")
    if (speed := result.tokens_per_second) is not None:
        parts.append(f"{speed:,.0f} tokens/s")
    parts.append(_plural(sum(map(len, result.tokens)), "token"))
    if all(result.finish_reasons):
        reasons = dict.fromkeys(FINISHES[reason] for reason in result.finish_reasons if reason)
        parts.append(f"ended: {', '.join(reasons)}")
    parts.append(f"memory {psutil.Process().memory_info().rss / 1e9:.2f} GB")
    parts.append(f"seed {start.seed}")
    line = " · ".join(parts)
    if start.dropped_tokens:
        line += (
            f"\n\n⚠ The prompt does not fit the context of {_plural(start.context, 'token')}: "
            f"its first {_plural(start.dropped_tokens, 'token')} were left out."
        )
    return line


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
