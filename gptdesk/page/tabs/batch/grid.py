"""Sampler grid: one prompt and seed, two sampler options along the sides of a table of texts."""

import threading
from collections.abc import Generator, Iterator

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component

from gptdesk.batch.exporting import grid_csv, grid_json
from gptdesk.batch.grid import (
    TEMPERATURE,
    TOP_P,
    Axis,
    grid_cells,
    number_options,
    read_axis,
    suggested_values,
    with_sampler,
)
from gptdesk.desk import Desk
from gptdesk.errors import TooLarge
from gptdesk.generation import GenerationRequest, draw_seed
from gptdesk.markup import markdown_text
from gptdesk.page.downloads import file_name, hand_out
from gptdesk.page.long_action import Call, action_row
from gptdesk.page.option_widgets import QUIETLY, STREAMING, Updates, Values, label
from gptdesk.page.persistence import SavedState
from gptdesk.page.pickers import FIRST_PRESET, ModelPicker
from gptdesk.page.streaming import in_batches
from gptdesk.page.tabs.batch.grid_table import grid_html, legend
from gptdesk.page.tabs.batch.written_grid import GridFacts, WrittenGrid
from gptdesk.page.visitors import event_of
from models.manager import ModelKey

MOST_TOKENS = 200  # of a cell, so that the table can be read
PUBLIC_CELLS, PUBLIC_TOKENS = 25, 50
EMPTY = (
    '<p class="empty">The grid appears here: one text for each pair of values, with equal texts merged. Press "Write '
    'the grid".</p>'
)
COPY_BUTTON = (
    '<button type="button" class="copy-grid">Copy the table</button> <span class="copied" role="status"></span>'
)


class GridView:
    """Widgets of the grid and their event handlers."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._samplers = number_options(desk.sampler_names())  # option -> its sampler
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=320):
                self.prompt = gr.Textbox(
                    label="Prompt",
                    placeholder="Text that every cell continues; leave empty to start a new one.",
                    lines=3,
                    max_lines=8,
                    elem_id="grid-prompt",
                )
                self.model = ModelPicker(desk, prefix="grid-")
            with gr.Column(scale=2, min_width=320):
                self.down, self.down_values = self._lay_out_axis("Down", TEMPERATURE)
                self.across, self.across_values = self._lay_out_axis("Across", TOP_P)
        with gr.Accordion("Advanced", open=False, elem_id="grid-advanced"), gr.Row():
            self._lay_out_options()
        self._actions = action_row(desk, "Write the grid", ident="grid", running={})
        self.sentence = gr.Markdown(EMPTY, elem_id="grid-sentence")
        self.table = gr.HTML(elem_id="grid-table", elem_classes="bare")
        self.legend = gr.Markdown(elem_id="grid-legend", elem_classes="note")
        with gr.Row():
            self.files = {
                kind: gr.DownloadButton(
                    f"Save as {kind.upper()}", visible=False, size="sm", min_width=110, elem_id=f"grid-save-{kind}"
                )
                for kind in ("html", "csv", "json")
            }

    def _lay_out_axis(self, title: str, axis: Axis) -> tuple[gr.Dropdown, gr.Textbox]:
        ident = f"grid-{title.lower()}"
        choices = [(label(option), option) for option in self._samplers]
        with gr.Group(), gr.Row():
            option = gr.Dropdown(choices, value=axis.option, label=title, scale=3, min_width=170, elem_id=ident)
            values = gr.Textbox(
                _spelled(axis.values), label="Values", max_lines=1, scale=4, min_width=140, elem_id=f"{ident}-values"
            )
        return option, values

    def _lay_out_options(self) -> None:
        most = PUBLIC_TOKENS if self._desk.settings.public else MOST_TOKENS
        self.preset = gr.Dropdown(
            self._desk.preset_names(),
            value=FIRST_PRESET,
            label="Preset for all other options",
            min_width=200,
            elem_id="grid-preset",
        )
        self.max_new_tokens = gr.Slider(
            1, most, value=40, step=1, label="Max new tokens", min_width=240, elem_id="grid-max-new-tokens"
        )
        # text, because a browser's numbers are exact only up to 2^53
        self.seed = gr.Textbox("1", label="Seed", max_lines=1, min_width=120, elem_id="grid-seed")

    @property
    def remembered(self) -> dict[str, Component]:
        """Widgets whose values are saved, by name."""
        return {
            "grid: prompt": self.prompt,
            "grid: model": self.model.name,
            "grid: precision": self.model.precision,
            "grid: down": self.down,
            "grid: down values": self.down_values,
            "grid: across": self.across,
            "grid: across values": self.across_values,
            "grid: preset": self.preset,
            "grid: max_new_tokens": self.max_new_tokens,
            "grid: seed": self.seed,
        }

    @property
    def shown(self) -> list[Block]:
        """Widgets that show a finished grid."""
        return [self.sentence, self.table, self.legend, *self.files.values(), self._actions.line]

    def wire(self, kept: SavedState | None = None) -> None:
        """Connect the widgets; `kept` saves the last grid of each browser, None: nothing is saved."""
        self._kept = kept
        self.model.wire()
        self._actions.wire()
        for option, values in ((self.down, self.down_values), (self.across, self.across_values)):
            option.input(self._on_option, option, values, **QUIETLY)
        inputs: set[Block] = set(self.remembered.values())
        outputs = list(dict.fromkeys([*self._actions.outputs, *self.shown]))
        self._actions.start.click(self._on_start, inputs, outputs, **STREAMING)

    def listed(self, values: Values) -> Updates:
        """Return updates that list the models and presets there are now and keep the chosen ones."""
        return self.model.show(values[self.model.name], values[self.model.precision]) | self._presets(
            values[self.preset]
        )

    def restored(self, saved: dict[str, object]) -> Updates:
        """Return updates that list the models and presets, choose the saved ones and show the last grid."""
        last = WrittenGrid.last(self._kept) if self._kept else None
        updates = self.model.show(saved.get("grid: model"), saved.get("grid: precision"))
        return updates | self._presets(saved.get("grid: preset")) | (self._finished(last) if last else {})

    def _presets(self, chosen: object) -> Updates:
        names = self._desk.preset_names()
        return {self.preset: gr.update(choices=names, value=chosen if chosen in names else FIRST_PRESET)}

    def _on_option(self, option: str | None) -> object:
        """Suggest values of the option."""
        sampler = self._samplers.get(option or "")
        return _spelled(suggested_values(option or "", sampler)) if sampler else gr.skip()

    def _on_start(self, values: Values, request: gr.Request) -> Iterator[Updates]:
        def work(call: Call) -> Generator[Updates, None, None]:
            key, generation, down, across = self._read(values)
            texts: list[list[str | None]] = [[None] * len(across.values) for _ in down.values]
            facts = GridFacts(
                model=key.name,
                precision=key.precision,
                prompt=generation.prompt,
                seed=generation.seed or 0,
                max_new_tokens=generation.max_new_tokens,
                preset=str(values[self.preset]),
            )
            yield self._begun(facts.caption() + grid_html(down, across, texts))
            # ended by its own event, too: `in_batches` sets the one that it is given
            stop = threading.Event()
            stream = grid_cells(
                self._desk, key, generation, down=down, across=across, stop=stop, owner=call.owner, origin="page"
            )
            count = 0
            for cells in in_batches(stream, stop=stop, every=0.2):
                for cell in cells:
                    texts[cell.down][cell.across] = cell.text
                    count += 1
                if call.stop.is_set():
                    stop.set()
                line = f"{count} of {len(down.values) * len(across.values)} texts …"
                table = facts.caption() + grid_html(down, across, texts)
                yield {self._actions.line: line, self.table: table} if cells else gr.skip()
            if any(text is None for line in texts for text in line):
                yield {self._actions.line: "You stopped it; nothing was compared.", self.sentence: ""}
                return
            whole = tuple(tuple(text or "" for text in line) for line in texts)
            written = WrittenGrid(facts=facts, down=down, across=across, texts=whole)
            if self._kept:
                with event_of(request):
                    written.keep(self._kept)
            yield self._finished(written)

        yield from self._actions.run(work, request)

    def _begun(self, table: str) -> Updates:
        hidden: Updates = {file: gr.update(visible=False) for file in self.files.values()}
        return {self._actions.line: "", self.sentence: "", self.legend: "", self.table: table} | hidden

    def _finished(self, written: WrittenGrid) -> Updates:
        grid, facts = written.grid, written.facts
        files = {
            "html": written.page(),
            "csv": grid_csv(grid, seed=facts.seed),
            "json": grid_json(grid, seed=facts.seed),
        }
        updates: Updates = {
            self._actions.line: "",
            self.sentence: f"**{markdown_text(grid.sentence)}**",
            self.legend: legend(grid),
            self.table: written.table() + COPY_BUTTON,
        }
        try:
            for kind, text in files.items():
                name = file_name("grid", facts.prompt, seed=facts.seed, ending=kind)
                updates[self.files[kind]] = gr.update(
                    value=hand_out(text.encode("utf-8", "replace"), name), visible=True
                )
        except OSError as error:
            updates[self._actions.line] = f"⚠ The files could not be written: {markdown_text(error.strerror or '')}."
        return updates

    def _read(self, values: Values) -> tuple[ModelKey, GenerationRequest, Axis, Axis]:
        """Return what the widgets show; ValueError for a mistake, TooLarge beyond the limits of a public desk."""
        down, across = (
            read_axis(str(values[option] or ""), str(values[box] or ""))
            for option, box in ((self.down, self.down_values), (self.across, self.across_values))
        )
        cells, tokens = len(down.values) * len(across.values), values[self.max_new_tokens]
        chain = self._desk.preset(str(values[self.preset] or ""))
        for axis in (down, across):
            if axis.option not in self._samplers:
                raise ValueError(f"no sampler has the option {axis.option!r:.60}; choose one from the list")
            chain = with_sampler(chain, self._samplers[axis.option])
        request = GenerationRequest(
            prompt=str(values[self.prompt] or ""),
            chain=chain,
            max_new_tokens=tokens,
            seed=str(values[self.seed] or "").strip() or draw_seed(),
        )
        if self._desk.settings.public and (cells > PUBLIC_CELLS or request.max_new_tokens > PUBLIC_TOKENS):
            raise TooLarge(
                f"a public desk writes grids of at most {PUBLIC_CELLS} texts of {PUBLIC_TOKENS} new tokens; choose "
                "fewer values, or run one of your own"
            )
        return self.model.key(values), self._desk.bounded(request), down, across


def _spelled(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)
