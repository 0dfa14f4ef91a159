"""Who is compared, and what each is asked: pickers, prompt and parameters, shared unless they are unlinked."""

import threading

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component

from gptdesk.comparison import Side, one_seed, side_names
from gptdesk.desk import Desk
from gptdesk.generation import GenerationRequest
from gptdesk.page.option_widgets import QUIETLY, ChainPanel, Updates, Values
from gptdesk.page.pickers import ModelPicker, PresetBar
from models.manager import ModelKey

LETTERS = "ABC"
WISHED = ("float32", "int8", "int4")


class SidesPanel:
    """The upper part of the tab; every view below it reads its sides from here."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.running: dict[str, threading.Event] = {}  # what a page does in this tab, one thing at a time
        self.pickers: list[ModelPicker] = []
        self._own: list[ChainPanel] = []
        self._own_seeds: list[gr.Textbox] = []
        self._boxes: list[gr.Accordion] = []
        with gr.Row():
            for letter, wished in zip(LETTERS, WISHED, strict=True):
                with gr.Column(min_width=280, visible=letter != "C") as column:
                    label = "A: the reference" if letter == "A" else letter
                    prefix = f"compare-{letter.lower()}-"
                    self.pickers.append(ModelPicker(desk, label=label, wished=wished, prefix=prefix))
        self._third_column = column
        self.third = gr.Checkbox(label="Compare a third one, too", container=False, elem_id="compare-third")
        self.prompt = gr.Textbox(
            label="Prompt",
            placeholder="What every side continues. Empty: each begins by itself.",
            lines=2,
            max_lines=8,
            elem_id="compare-prompt",
        )
        with gr.Accordion("Parameters", open=False, elem_id="compare-parameters"):
            self._lay_out_parameters(desk)

    def _lay_out_parameters(self, desk: Desk) -> None:
        with gr.Row():
            self.max_new_tokens = gr.Slider(
                1, 1000, value=100, step=1, label="Max new tokens", min_width=280, elem_id="compare-max-new-tokens"
            )
            self.linked = gr.Checkbox(
                value=True,
                label="The same samplers and seed for every side",
                info="With the same seed, texts differ only where the models do.",
                min_width=280,
                elem_id="compare-linked",
            )
        with gr.Row() as self._shared:
            self.panel = ChainPanel(desk.sampler_names(), prefix="compare-")
            with gr.Column(min_width=280):
                # text, because a browser's numbers are exact only up to 2^53
                self.seed = gr.Textbox("1", label="Seed", max_lines=1, elem_id="compare-seed")
                self.presets = PresetBar(desk, self.panel, prefix="compare-")
                with gr.Group():
                    self.panel.place("temperature", "top_k", "top_p")
            with gr.Column(min_width=280), gr.Group():
                self.panel.place_rest()
        with gr.Row():
            for letter in LETTERS:
                with gr.Accordion(f"Samplers and seed of {letter}", open=True, visible=False) as box:
                    panel = ChainPanel(desk.sampler_names(), prefix=f"compare-{letter.lower()}-")
                    panel.place_rest()
                    seed = gr.Textbox("1", label="Seed", max_lines=1, elem_id=f"compare-{letter.lower()}-seed")
                self._boxes.append(box)
                self._own.append(panel)
                self._own_seeds.append(seed)

    @property
    def remembered(self) -> dict[str, Component]:
        """The widgets to remember, by name."""
        found: dict[str, Component] = {
            "prompt": self.prompt,
            "third": self.third,
            "max_new_tokens": self.max_new_tokens,
            "seed": self.seed,
            "linked": self.linked,
            "preset": self.presets.name,
        }
        for letter, picker, seed in zip(LETTERS, self.pickers, self._own_seeds, strict=True):
            found |= {f"{letter}: model": picker.name, f"{letter}: precision": picker.precision}
            found[f"{letter}: seed"] = seed
        return found

    @property
    def panels(self) -> dict[str, ChainPanel]:
        """The sampler panels to remember, by name."""
        return {"chain": self.panel} | {f"{a}: chain": panel for a, panel in zip(LETTERS, self._own, strict=True)}

    @property
    def inputs(self) -> set[Block]:
        """What `sides` reads."""
        panels = {component for panel in self.panels.values() for component in panel.components}
        return {*self.remembered.values(), *panels}

    @property
    def shaped(self) -> list[Block]:
        """What `shown` updates beside the remembered widgets."""
        return [self._third_column, self._shared, *self._boxes]

    def wire(self) -> None:
        """Connect the pickers, the presets and the two switches."""
        for picker in self.pickers:
            picker.wire()
        self.presets.wire()
        switches = [self.linked, self.third]
        for switch in switches:
            switch.change(self._shape, switches, self.shaped, **QUIETLY)

    def shown(self, kept: dict[str, object]) -> Updates:
        """Updates that list the models there are now and show what was remembered."""
        updates: Updates = {}
        for letter, picker in zip(LETTERS, self.pickers, strict=True):
            updates |= picker.shown(kept.get(f"{letter}: model"), kept.get(f"{letter}: precision"))
        updates |= self.presets.shown(kept.get("preset"))
        shape = self._shape(kept.get("linked", True) is not False, kept.get("third") is True)
        return updates | dict(zip(self.shaped, shape, strict=True))

    def keys(self, values: Values) -> list[ModelKey]:
        """The models of the sides; ValueError names what is missing."""
        return [picker.key(values) for picker in self.pickers[: self.count(values)]]

    def count(self, values: Values) -> int:
        """How many sides there are."""
        return 3 if values[self.third] else 2

    def sides(self, values: Values, *, seed: int | None = None) -> list[Side]:
        """The sides as they are set, with another seed if one is given; ValueError as `GenerationRequest`."""
        keys = self.keys(values)
        given = {
            "prompt": str(values[self.prompt] or ""),
            "max_new_tokens": values[self.max_new_tokens],
        }

        def request(panel: ChainPanel, box: gr.Textbox) -> GenerationRequest:
            chosen = (values[box] or None) if seed is None else seed
            request = GenerationRequest(chain=panel.chain(values), seed=chosen, **given)
            return one_seed(self._desk.bounded(request))

        if values[self.linked]:
            requests = [request(self.panel, self.seed)] * len(keys)
        else:
            requests = [request(*own) for own in zip(self._own, self._own_seeds, strict=True)][: len(keys)]
        return [Side(*side) for side in zip(side_names(keys), keys, requests, strict=True)]

    def _shape(self, linked: bool, third: bool) -> list[object]:
        own = (gr.update(visible=not linked and (i < 2 or third)) for i in range(len(LETTERS)))
        return [gr.update(visible=third), gr.update(visible=linked), *own]
