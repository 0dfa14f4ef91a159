"""Sides panel: model pickers, prompt and parameters, shared by all sides unless they are unlinked."""

import threading
from collections.abc import Sequence
from typing import Any

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component

from gptdesk.comparison import Side, names_by_difference, side_names, with_seed
from gptdesk.comparison.texts import unreadable_because
from gptdesk.desk import Desk
from gptdesk.generation import GenerationRequest
from gptdesk.page.languages.blocks import event_text
from gptdesk.page.option_widgets import QUIETLY, WITH_MESSAGES, ChainPanel, Updates, Values, shows_errors
from gptdesk.page.pickers import MOST_TOKENS, ModelPicker, PresetBar, most_new_tokens
from gptdesk.page.tabs.compare.side_samplers import SideSampler
from models.manager import ModelKey

LETTERS = "ABC"
PREFERRED = ("float32", "int8", "int4")
MODELS, SAMPLERS = "models", "samplers"  # that differ between the sides
TAKE_OVER = 'text => { if (text) window.putText("#compare-prompt textarea", text); return [text]; }'
REFERENCE = "A: the reference"
FIRST_PRESETS = ("Top-k only", "Top-p only", "Balanced")


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
        self._columns: list[gr.Column] = []
        self.differs = gr.Radio(
            [("Models or precisions", MODELS), ("Samplers", SAMPLERS)],
            value=MODELS,
            label="Compare",
            elem_id="compare-differs",
        )
        with gr.Row():
            for letter, preferred in zip(LETTERS, PREFERRED, strict=True):
                with gr.Column(min_width=280, visible=letter != "C") as column:
                    label = REFERENCE if letter == "A" else letter
                    prefix = f"compare-{letter.lower()}-"
                    self.pickers.append(ModelPicker(desk, label=label, preferred=preferred, prefix=prefix))
                self._columns.append(column)
        with gr.Row(visible=False) as self._presets_row:
            self._samplers = [
                SideSampler(desk, letter, first=first, visible=letter != "C")
                for letter, first in zip(LETTERS, FIRST_PRESETS, strict=True)
            ]
        self.third = gr.Checkbox(label="Add a third side", container=False, elem_id="compare-third")
        with gr.Column(elem_id="compare-given"):
            self.prompt = gr.Textbox(
                label="Prompt",
                placeholder="Text that every side continues; leave empty to start a new one.",
                lines=2,
                max_lines=8,
                elem_id="compare-prompt",
            )
            self.use_prompt = gr.Button(
                "Use the prompt of Generate", size="sm", elem_id="compare-use-prompt", elem_classes="aside"
            )
        with gr.Accordion("Parameters", open=False, elem_id="compare-parameters"):
            self._lay_out_parameters(desk)

    def _lay_out_parameters(self, desk: Desk) -> None:
        with gr.Row():
            self.max_new_tokens = gr.Slider(
                1,
                MOST_TOKENS,
                value=100,
                step=1,
                label="Max new tokens",
                min_width=280,
                elem_id="compare-max-new-tokens",
            )
            # text, because a browser's numbers are exact only up to 2^53
            self.seed = gr.Textbox("1", label="Seed", max_lines=1, min_width=120, elem_id="compare-seed")
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
            "differs": self.differs,
        }
        for sampler in self._samplers:
            widgets |= sampler.remembered
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
        """Containers and widgets whose visibility depends on the switches."""
        shared = [self.linked, self.seed, self._shared]
        labelled = self.pickers[0].name
        return [labelled, *self._columns[1:], self._presets_row, self._samplers[2].column, *shared, *self._boxes]

    def wire(self, prompt: gr.Textbox) -> None:
        """Connect the pickers, the presets, the switches, and the button that takes over the `prompt` of Generate."""
        self.use_prompt.click(self._on_use_prompt, prompt, None, js=TAKE_OVER, **WITH_MESSAGES)
        for picker in self.pickers:
            picker.wire()
        self.presets.wire()
        switches: list[Any] = [self.linked, self.third, self.differs]
        for switch in switches:
            switch.change(self._shape, switches, self.layout_outputs, **QUIETLY)
        names: list[Any] = [picker.name for picker in self.pickers]
        latest = QUIETLY | {"trigger_mode": "always_last"}
        for sampler in self._samplers:
            sampler.wire()
        inputs: list[Any] = [*names, self.third, self.differs]
        gr.on([box.change for box in inputs], self._on_models, inputs, self.max_new_tokens, **latest)

    def show(self, kept: dict[str, object]) -> Updates:
        """Return updates that list the models and presets there are now and show the saved values `kept`."""
        updates: Updates = {}
        for letter, picker in zip(LETTERS, self.pickers, strict=True):
            updates |= picker.show(kept.get(f"{letter}: model"), kept.get(f"{letter}: precision"))
        updates |= self.presets.show(kept.get("preset"))
        for sampler in self._samplers:
            updates |= sampler.show(kept)
        picked = [picker.first_of(kept.get(f"{a}: model")) for a, picker in zip(LETTERS, self.pickers, strict=True)]
        most = most_new_tokens(self._desk, picked[: 3 if kept.get("third") is True else 2])
        wanted = kept.get("max_new_tokens", self.max_new_tokens.value)
        assert isinstance(wanted, int | float)
        updates[self.max_new_tokens] = gr.update(maximum=most, value=min(wanted, most))
        shape = self._shape(kept.get("linked", True) is not False, kept.get("third") is True, kept.get("differs"))
        for box, update in zip(self.layout_outputs, shape, strict=True):
            updates[box] = {**updates[box], **update} if box in updates else update  # type: ignore[dict-item]
        return updates

    def keys(self, values: Values) -> list[ModelKey]:
        """Return the models of the sides; ValueError if one is not chosen or cannot be used."""
        if values[self.differs] == SAMPLERS:
            return [self.pickers[0].key(values)] * self.count(values)
        return [picker.key(values) for picker in self.pickers[: self.count(values)]]

    def vote_keys(self, values: Values, sides: Sequence[Side]) -> list[str]:
        """Return the names under which votes on these sides are counted: models, and in samplers mode the presets."""
        if values[self.differs] == SAMPLERS:
            return [f"{side.key.spelled}, {side.name}" for side in sides]
        return [side.key.spelled for side in sides]

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

        names = side_names(keys)
        if values[self.differs] == SAMPLERS:
            shared = request(self.panel, self.seed)
            samplers = self._samplers[: len(keys)]
            requests = [shared.model_copy(update={"chain": one.chain(values)}) for one in samplers]
            words = [one.name(values) for one in samplers]
            names = [f"{name} ({i})" if words.count(name) > 1 else name for i, name in enumerate(words, 1)]
        elif values[self.linked]:
            requests = [request(self.panel, self.seed)] * len(keys)
        else:
            requests = [request(*own) for own in zip(self._own, self._own_seeds, strict=True)][: len(keys)]
            names = names_by_difference(keys, requests)
        sides = [Side(*side) for side in zip(names, keys, requests, strict=True)]
        for side in sides:
            if reason := unreadable_because(self._desk.manager, side.key.name, side.request.prompt):
                raise ValueError(f"the prompt cannot be read by {reason}")
        return sides

    def _shape(self, linked: bool, third: bool, differs: object) -> list[dict[str, object]]:
        """Return the updates of `layout_outputs`."""
        samplers = differs == SAMPLERS
        own = (gr.update(visible=not samplers and not linked and (i < 2 or third)) for i in range(len(LETTERS)))
        return [
            gr.update(label=event_text("Model" if samplers else REFERENCE)),
            *(gr.update(visible=shown and not samplers) for shown in (True, third)),
            gr.update(visible=samplers),
            gr.update(visible=third),
            gr.update(visible=not samplers),
            gr.update(visible=linked or samplers),
            gr.update(visible=linked and not samplers),
            *own,
        ]

    @shows_errors
    def _on_use_prompt(self, prompt: str | None) -> None:
        """Show an error for an empty prompt; the page's script has put any other into the box."""
        if not prompt:
            raise ValueError("the prompt of Generate is empty; write one there, or one here")

    def _on_models(self, *chosen: object) -> object:
        """Return an update of the slider of new tokens, whose maximum is the shortest context of the models."""
        *names, third, differs = chosen
        try:
            return gr.update(
                maximum=most_new_tokens(self._desk, names[:1] if differs == SAMPLERS else names[: 3 if third else 2])
            )
        except ValueError:  # said when the comparison is started
            return gr.skip()
