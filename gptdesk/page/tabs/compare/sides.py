"""Sides panel: model pickers, prompt and parameters, shared by all sides unless they are unlinked."""

import threading

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component

from gptdesk.comparison import Side, side_names, with_seed
from gptdesk.comparison.texts import unreadable_because
from gptdesk.desk import Desk
from gptdesk.generation import GenerationRequest
from gptdesk.page.option_widgets import QUIETLY, ChainPanel, Updates, Values
from gptdesk.page.pickers import ModelPicker, PresetBar
from models.manager import ModelKey

LETTERS = "ABC"
PREFERRED = ("float32", "int8", "int4")


class SidesPanel:
    """Upper part of the tab, from which every view below reads its sides."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.running: dict[
            str, threading.Event
        ] = {}  # by session, so that a page runs one action of this tab at a time
        self.pickers: list[ModelPicker] = []
        self._own: list[ChainPanel] = []
        self._own_seeds: list[gr.Textbox] = []
        self._boxes: list[gr.Accordion] = []
        with gr.Row():
            for letter, preferred in zip(LETTERS, PREFERRED, strict=True):
                with gr.Column(min_width=280, visible=letter != "C") as column:
                    label = "A: the reference" if letter == "A" else letter
                    prefix = f"compare-{letter.lower()}-"
                    self.pickers.append(ModelPicker(desk, label=label, preferred=preferred, prefix=prefix))
        self._third_column = column
        self.third = gr.Checkbox(label="Add a third model", container=False, elem_id="compare-third")
        self.prompt = gr.Textbox(
            label="Prompt",
            placeholder="Text that every side continues; leave empty to start a new one.",
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
        """Widgets whose values are saved, by name."""
        widgets: dict[str, Component] = {
            "prompt": self.prompt,
            "third": self.third,
            "max_new_tokens": self.max_new_tokens,
            "seed": self.seed,
            "linked": self.linked,
            "preset": self.presets.name,
        }
        for letter, picker, seed in zip(LETTERS, self.pickers, self._own_seeds, strict=True):
            widgets |= {f"{letter}: model": picker.name, f"{letter}: precision": picker.precision}
            widgets[f"{letter}: seed"] = seed
        return widgets

    @property
    def panels(self) -> dict[str, ChainPanel]:
        """Sampler panels whose values are saved, by name."""
        return {"chain": self.panel} | {f"{a}: chain": panel for a, panel in zip(LETTERS, self._own, strict=True)}

    @property
    def inputs(self) -> set[Block]:
        """Widgets whose values `sides` needs."""
        panels = {component for panel in self.panels.values() for component in panel.components}
        return {*self.remembered.values(), *panels}

    @property
    def layout_outputs(self) -> list[Block]:
        """Containers whose visibility depends on the switches."""
        return [self._third_column, self._shared, *self._boxes]

    def wire(self) -> None:
        """Connect the pickers, the presets and the two switches."""
        for picker in self.pickers:
            picker.wire()
        self.presets.wire()
        switches = [self.linked, self.third]
        for switch in switches:
            switch.change(self._shape, switches, self.layout_outputs, **QUIETLY)

    def show(self, kept: dict[str, object]) -> Updates:
        """Return updates that list the models and presets there are now and show the saved values `kept`."""
        updates: Updates = {}
        for letter, picker in zip(LETTERS, self.pickers, strict=True):
            updates |= picker.show(kept.get(f"{letter}: model"), kept.get(f"{letter}: precision"))
        updates |= self.presets.show(kept.get("preset"))
        shape = self._shape(kept.get("linked", True) is not False, kept.get("third") is True)
        return updates | dict(zip(self.layout_outputs, shape, strict=True))

    def keys(self, values: Values) -> list[ModelKey]:
        """Return the models of the sides; ValueError if one is not chosen or cannot be used."""
        return [picker.key(values) for picker in self.pickers[: self.count(values)]]

    def count(self, values: Values) -> int:
        """Return the number of sides."""
        return 3 if values[self.third] else 2

    def sides(self, values: Values, *, seed: int | None = None) -> list[Side]:
        """Return the sides as set, with another seed if one is given; ValueError as `GenerationRequest`."""
        keys = self.keys(values)
        given = {
            "prompt": str(values[self.prompt] or ""),
            "max_new_tokens": values[self.max_new_tokens],
        }

        def request(panel: ChainPanel, box: gr.Textbox) -> GenerationRequest:
            chosen = (values[box] or None) if seed is None else seed
            request = GenerationRequest(chain=panel.chain(values), seed=chosen, **given)
            return with_seed(self._desk.bounded(request))

        if values[self.linked]:
            requests = [request(self.panel, self.seed)] * len(keys)
        else:
            requests = [request(*own) for own in zip(self._own, self._own_seeds, strict=True)][: len(keys)]
        sides = [Side(*side) for side in zip(side_names(keys), keys, requests, strict=True)]
        for side in sides:
            if reason := unreadable_because(self._desk.manager, side.key.name, side.request.prompt):
                raise ValueError(f"the prompt cannot be read by {reason}")
        return sides

    def _shape(self, linked: bool, third: bool) -> list[object]:
        own = (gr.update(visible=not linked and (i < 2 or third)) for i in range(len(LETTERS)))
        return [gr.update(visible=third), gr.update(visible=linked), *own]
