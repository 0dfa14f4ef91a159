"""Settings of the Generate tab: model, preset, samplers, length, sequences, seed, stop strings, constraints, speed."""

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component

from gptdesk.desk import Desk
from gptdesk.generation import GenerationRequest, read_word_bias, spelled_word_bias
from gptdesk.history import Entry
from gptdesk.page.option_widgets import QUIETLY, ChainPanel, Updates, Values
from gptdesk.page.pickers import MOST_TOKENS, ModelPicker, PresetBar, most_new_tokens
from gptdesk.page.tabs.generate.reading_speed import FASTEST
from gptdesk.page.tabs.generate.texts import MOST_SEQUENCES
from gptdesk.recipe import Recipe
from gptdesk.stop_strings import escape, read_lines
from models.manager import ModelKey

# head of the sheet on a phone
HEAD = '<h2 id="rail-title">Sampling</h2><button type="button" id="rail-close">Close</button>'
SEED_KEPT = "The next text uses the same seed, so that only the setting that you changed makes a difference."


class SettingsPanel:
    """Column of settings: a rail that the page's script folds, a bottom sheet on a phone."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        with gr.Column(elem_id="rail", min_width=280):
            gr.HTML(HEAD, elem_id="rail-head", elem_classes="bare")
            self.model = ModelPicker(desk)
            self.panel = ChainPanel(desk.sampler_names())
            self.presets = PresetBar(desk, self.panel)
            with gr.Group():
                self.panel.place("temperature", "top_k", "top_p")
                self.max_new_tokens = gr.Slider(
                    1, MOST_TOKENS, value=200, step=1, label="Max new tokens", elem_id="max-new-tokens"
                )
            with gr.Group():
                self.n = gr.Slider(
                    1, MOST_SEQUENCES, value=1, step=1, label="Texts", info="Sequences generated at once", elem_id="n"
                )
                with gr.Row():
                    # text, because a browser's numbers are exact only up to 2^53
                    self.seed = gr.Textbox("1", label="Seed", elem_id="seed", max_lines=1, min_width=120)
                    self.new_seed = gr.Checkbox(value=True, label="Draw a new seed", elem_id="new-seed", min_width=120)
                self.seed_note = gr.Markdown(elem_id="seed-note", elem_classes="note")
                # the seed that the desk keeps for the next text alone, because a setting was changed; else empty
                self.kept_seed = gr.Textbox("", visible="hidden", elem_id="kept-seed")
            self._lay_out_more()

    def _lay_out_more(self) -> None:
        with gr.Accordion("More", open=False, elem_id="more"):
            self.panel.place_rest()
            self.stop_strings = gr.Textbox(
                label="Stop strings",
                info="One a line; a sequence ends before the first that appears. "
                "\\n stands for a new line, \\\\n for a backslash and an n.",
                lines=2,
                elem_id="stop-strings",
            )
            self.banned_phrases = gr.Textbox(
                label="Banned phrases",
                info="One a line; where one would appear, the model goes back to its start and continues differently.",
                lines=2,
                elem_id="banned-phrases",
            )
            self.word_bias = gr.Textbox(
                label="Word bias",
                info="A word and a number a line, such as dragon: 3; above 0 more probable, below 0 less.",
                lines=2,
                elem_id="word-bias",
            )
            self.choices = gr.Textbox(
                label="Choices",
                info="One a line, spaces included; the model writes exactly one of them.",
                lines=2,
                elem_id="choices",
            )
            self.parse_special = gr.Checkbox(
                label="Parse special tokens",
                info="Special tokens typed in the prompt, such as <|endoftext|>, are those tokens, not plain text.",
                elem_id="parse-special",
            )
            self.reading_speed = gr.Slider(
                0,
                FASTEST,
                value=0,
                step=10,
                label="Reading speed",
                info="Words a minute at which new texts appear; 0 shows them as fast as they are written.",
                elem_id="reading-speed",
            )

    @property
    def constraints(self) -> list[Component]:
        """Widgets that limit a text beside the samplers."""
        return [self.stop_strings, self.banned_phrases, self.word_bias, self.choices]

    @property
    def remembered(self) -> dict[str, Component]:
        """Widgets whose values are saved, by name."""
        return {
            "model": self.model.name,
            "precision": self.model.precision,
            "max_new_tokens": self.max_new_tokens,
            "n": self.n,
            "seed": self.seed,
            "new_seed": self.new_seed,
            "kept_seed": self.kept_seed,
            "stop": self.stop_strings,
            "banned_phrases": self.banned_phrases,
            "word_bias": self.word_bias,
            "choices": self.choices,
            "parse_special": self.parse_special,
            "reading_speed": self.reading_speed,
            "preset": self.presets.name,
        }

    def wire(self) -> None:
        """Connect the model, the presets and the seed."""
        self.model.wire()
        self.presets.wire()
        latest = QUIETLY | {"trigger_mode": "always_last"}
        self.new_seed.input(self._on_new_seed, None, self.seed_outputs, **latest)
        self.seed.change(self._on_seed, {self.seed, self.kept_seed}, self.seed_outputs, **latest)

    @property
    def seed_outputs(self) -> list[Block]:
        """Widgets that `keep_seed` and `release_seed` update."""
        return [self.new_seed, self.kept_seed, self.seed_note]

    def _on_new_seed(self) -> Updates:
        """Release the seed: the user has decided."""
        return self.release_seed(draw=False)

    def _on_seed(self, values: Values) -> Updates:
        """Release the seed that the desk keeps once another is in the box."""
        is_other = values[self.kept_seed] and not self._is_kept(values)
        return self.release_seed(draw=False) if is_other else {}

    def keep_seed(self, values: Values) -> Updates:
        """Return updates that keep the seed for the next text alone; empty where no new one would be drawn."""
        if not values[self.new_seed]:
            return {}
        return {self.new_seed: False, self.kept_seed: str(values[self.seed] or ""), self.seed_note: SEED_KEPT}

    def keeps_seed(self, values: Values) -> bool:
        """Return whether the desk keeps the seed, rather than the user, who may have typed another since."""
        return not values[self.new_seed] and bool(values[self.kept_seed]) and self._is_kept(values)

    def _is_kept(self, values: Values) -> bool:
        """Return whether the seed in the box is the one that the desk keeps."""
        return str(values[self.seed] or "") == str(values[self.kept_seed] or "")

    def release_seed(self, *, draw: bool) -> Updates:
        """Return updates that end the desk's keeping of the seed; with `draw`, a new one is drawn for the next text."""
        return {self.kept_seed: "", self.seed_note: ""} | ({self.new_seed: True} if draw else {})

    def request(self, values: Values, prompt: str, *, n: object = None) -> tuple[ModelKey, GenerationRequest]:
        """Return model and request as set, of `n` sequences if given; ValueError for an option that cannot be used."""
        request = GenerationRequest(
            prompt=prompt,
            chain=self.panel.chain(values),
            max_new_tokens=values[self.max_new_tokens],
            n=values[self.n] if n is None else n,
            seed=None if values[self.new_seed] else values[self.seed],
            stop=read_lines(values[self.stop_strings]),
            banned_phrases=read_lines(values[self.banned_phrases]),
            choices=read_lines(values[self.choices]),
            word_bias=read_word_bias(str(values[self.word_bias] or "").splitlines()),
            parse_special=bool(values[self.parse_special]),
        )
        return self.model.key(values), self._desk.bounded(request)

    def shown_request(self, values: Values, prompt: str) -> tuple[ModelKey, GenerationRequest, bool]:
        """Return the request on screen, with the seed that is shown, and whether Generate draws another one."""
        return *self.request({**values, self.new_seed: False}, prompt), bool(values[self.new_seed])

    def show(self, kept: dict[str, object]) -> Updates:
        """Return updates that list the models and presets there are now and show the saved values `kept`."""
        updates = self.model.show(kept.get("model"), kept.get("precision")) | self.presets.show(kept.get("preset"))
        most = most_new_tokens(self._desk, [self.model.first_of(kept.get("model"))])
        updates[self.seed_note] = SEED_KEPT if kept.get("kept_seed") and not kept.get("new_seed") else ""
        return updates | {self.max_new_tokens: gr.update(maximum=most, value=self.wanted(kept, most))}

    def wanted(self, kept: dict[str, object], most: int) -> int | float:
        """Return the saved number of new tokens, `most` at most."""
        wanted = kept.get("max_new_tokens", self.max_new_tokens.value)
        assert isinstance(wanted, int | float)
        return min(wanted, most)

    def show_entry(self, entry: Entry) -> Updates:
        """Return updates that set what an entry of the history was generated with; ValueError for an unknown option."""
        request = Recipe.of(entry).request
        most = most_new_tokens(self._desk, [self.model.first_of(entry.model)])
        updates: Updates = {
            self.max_new_tokens: gr.update(maximum=most, value=min(request.max_new_tokens, most)),
            self.n: min(request.n, MOST_SEQUENCES),
            self.seed: str(request.seed),
            self.new_seed: False,
            **self.release_seed(draw=False),
            self.stop_strings: "\n".join(map(escape, request.stop)),
            self.banned_phrases: "\n".join(map(escape, request.banned_phrases)),
            self.choices: "\n".join(map(escape, request.choices)),
            self.word_bias: "\n".join(spelled_word_bias(request.word_bias)),
            self.parse_special: request.parse_special,
        }
        return updates | self.model.show(entry.model, entry.precision) | self.panel.show(request.chain)
