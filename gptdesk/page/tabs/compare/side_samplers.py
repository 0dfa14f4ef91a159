"""Sampler of a side, where sides differ by their samplers: a preset, and a temperature of its own."""

from typing import Any

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component

from gptdesk.desk import Desk
from gptdesk.history.comparing import chain_words
from gptdesk.page.option_widgets import QUIETLY, Updates, Values
from gptdesk.presets import with_temperature
from samplers import Chain

ANOTHER = "For other options, save a preset in Generate."
# options below the list, so that lists and boxes of all sides line up however the options wrap
CSS = """
.side-sampler .container { display: flex; flex-direction: column; }
.side-sampler .info-text { order: 1; margin: 8px 0 0; }
.side-sampler [data-testid=block-info] { margin-bottom: var(--spacing-lg); }
"""


class SideSampler:
    """Preset and temperature of a side; without a temperature, the chain is that of the preset."""

    def __init__(self, desk: Desk, letter: str, *, first: str, visible: bool) -> None:
        self._desk = desk
        self._letter, self._first = letter, first
        prefix = f"compare-{letter.lower()}-sampler"
        with (
            gr.Column(min_width=280, visible=visible, elem_classes="side-sampler") as self.column,
            gr.Group(),
            gr.Row(),
        ):
            self._preset = gr.Dropdown(
                desk.preset_names(), value=first, label=f"Sampler {letter}", min_width=150, scale=3, elem_id=prefix
            )
            # text, because Gradio's number box shows 0 for none
            self._temperature = gr.Textbox(
                label="Temperature",
                placeholder="preset",
                max_lines=1,
                min_width=100,
                elem_id=f"{prefix}-temperature",
            )

    @property
    def remembered(self) -> dict[str, Component]:
        """Widgets whose values are saved, by name."""
        return {f"{self._letter}: sampler": self._preset, f"{self._letter}: temperature": self._temperature}

    def wire(self) -> None:
        """Show the options of the chain below the label whenever it changes."""
        chosen: list[Any] = [self._preset, self._temperature]
        latest = QUIETLY | {"trigger_mode": "always_last"}
        gr.on([box.change for box in chosen], self._on_change, chosen, self._preset, **latest)

    def show(self, kept: dict[str, object]) -> Updates:
        """Return updates that list the presets there are now and show the saved one, if it is still there."""
        names, wanted = self._desk.preset_names(), kept.get(f"{self._letter}: sampler")
        name = wanted if wanted in names else self._first
        info = self._options(name, kept.get(f"{self._letter}: temperature"))
        updates: dict[Block, object] = {self._preset: gr.update(choices=names, value=name, info=info)}
        return updates

    def chain(self, values: Values) -> Chain:
        """Return the chain as set; ValueError for a preset or a temperature that does not exist."""
        return self._chain(values[self._preset], values[self._temperature])

    def name(self, values: Values) -> str:
        """Return the name of the preset, with the temperature if the side has its own; ValueError if it is none."""
        own = self._own_temperature(values[self._temperature])
        return f"{values[self._preset] or ''}" + ("" if own is None else f", temperature {own:g}")

    def _on_change(self, preset: object, temperature: object) -> object:
        return gr.update(info=self._options(preset, temperature))

    def _chain(self, preset: object, temperature: object) -> Chain:
        chain, own = self._desk.preset(str(preset or "")), self._own_temperature(temperature)
        return chain if own is None else with_temperature(chain, own)

    def _own_temperature(self, text: object) -> float | None:
        """Return the temperature in the box; None if it is empty."""
        if not (words := str(text or "").strip()):
            return None
        try:
            return float(words.replace(",", "."))
        except ValueError:
            raise ValueError(
                f"the temperature of sampler {self._letter} must be a number, or empty for that of the preset; it is "
                f"{words!r:.30}"
            ) from None

    def _options(self, preset: object, temperature: object) -> str:
        """Return the samplers with their options, and where another chain is made."""
        try:
            words = chain_words(self._chain(preset, temperature).to_data())
        except ValueError:  # said when the comparison is started
            return ""
        # a public desk saves no presets
        return words.replace("_", "-") + ("" if self._desk.settings.public else f". {ANOTHER}")
