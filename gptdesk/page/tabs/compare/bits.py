"""Panel "Where the bits went": the map of matrices, what raised ones buy, and the mixed model saved."""

import json
from collections.abc import Iterator

import gradio as gr
from gradio.blocks import Block

from gptdesk import management
from gptdesk.comparison import Stage
from gptdesk.comparison.raising import Raising, measure_raising, raising_sentences
from gptdesk.comparison.sensitivity import MatrixSensitivity, sensitivities
from gptdesk.desk import Desk
from gptdesk.formatting import file_size, percent
from gptdesk.generation import GenerationQueued
from gptdesk.management import Quantizing
from gptdesk.markup import markdown_text
from gptdesk.page.long_action import action_row
from gptdesk.page.option_widgets import STREAMING, Updates, Values
from gptdesk.page.streaming import in_batches
from gptdesk.page.tabs.compare.bits_map import SCRIPT, map_html
from gptdesk.page.tabs.compare.measure import MeasureView
from gptdesk.page.tabs.compare.panes import progress_line
from gptdesk.page.tabs.compare.sides import SidesPanel
from gptdesk.scheduler import Place
from models.manager import ModelKey
from models.precision import PRECISIONS
from models.precision.mixed import BASES

EVERY = 0.3  # seconds between two updates of the map
NO_MAP = "there is no map yet; press Map every matrix first"
EMPTY = "No map yet: it takes a pass over 1,000 tokens of the evaluation text for every matrix of model A."


class BitsView:
    """Folded panel of the Measure view; a public desk has none."""

    def __init__(self, desk: Desk, sides: SidesPanel, measure: MeasureView) -> None:
        self._desk, self._sides, self._measure = desk, sides, measure
        with gr.Accordion("Where the bits went", open=False, elem_id="bits"):
            gr.Markdown(
                "How far the predictions of model A move when one of its matrices alone is quantized. Raise the worst "
                "to a higher precision, measure what that buys, and save the mixed model."
            )
            self.precision = gr.Radio(list(BASES), value=BASES[0], label="Quantize to", elem_id="bits-precision")
            self._mapping = action_row(desk, "Map every matrix", ident="bits-map", running=sides.running, primary=False)
            self.map = gr.HTML(
                f'<p class="note">{EMPTY}</p>', elem_id="bits-table", elem_classes="bare", js_on_load=SCRIPT
            )
            with gr.Column(visible=False) as self._below:
                self._measuring = action_row(
                    desk, "Measure the raised ones", ident="bits-measure", running=sides.running, primary=False
                )
                self.bought = gr.Markdown(elem_id="bits-bought")
                self.name = gr.Textbox(
                    label="Name of the mixed model",
                    info="Leave empty for the model's name, the precision and “mixed”.",
                    max_lines=1,
                    elem_id="bits-name",
                )
                self._saving = action_row(
                    desk, "Save as a model", ident="bits-save", running=sides.running, primary=False
                )
            self._raised = gr.Textbox("{}", visible="hidden", elem_id="bits-raised")
            self._mapped = gr.State(None)  # NAME:PRECISION of the map

    def wire(self) -> None:
        """Connect the buttons."""
        text: set[Block] = {*self._measure.text.inputs}
        chosen: set[Block] = {self._raised, self._mapped}
        pickers: list[Block] = [box for one in self._sides.pickers for box in (one.name, one.precision)]
        actions = (
            (self._mapping, self._on_map, {self._sides.pickers[0].name, self.precision, *text}),
            (self._measuring, self._on_measure, {*chosen, *text}),
            (self._saving, self._on_save, {*chosen, self.name, *pickers}),
        )
        more: list[list[Block]] = [
            [self.map, self._below, self.bought, self._raised, self._mapped],
            [self.bought],
            pickers,
        ]
        for (action, handler, inputs), outputs in zip(actions, more, strict=True):
            action.wire()
            action.start.click(handler, inputs, [*action.outputs, *outputs], **STREAMING)

    def _on_map(self, values: Values, request: gr.Request) -> Iterator[Updates]:
        def work(place: Place) -> Iterator[Updates]:
            key = ModelKey(str(values[self._sides.pickers[0].name] or ""), str(values[self.precision]))
            given, text, text_name = self._measure.evaluation_text(values, [key])
            if text is None:
                raise ValueError(text_name)
            config = self._desk.library.checkpoint(key.name).config
            title, found = f"{key}, {text_name}", list[MatrixSensitivity]()
            stream = sensitivities(self._desk.manager, key, text, stop=place.stop)
            yield {self._below: gr.update(visible=False), self.bought: "", self._raised: "{}", self._mapped: None}
            for events in in_batches(place.shared(stream, waiting=GenerationQueued), stop=place.stop, every=EVERY):
                updates: Updates = {self._mapping.line: gr.skip()}
                for event in events:
                    if isinstance(event, MatrixSensitivity):
                        found.append(event)
                    elif isinstance(event, Stage):
                        updates[self._mapping.line] = progress_line(event)
                    else:
                        updates |= self._mapping.waiting(event.position)
                if any(isinstance(event, MatrixSensitivity) for event in events):
                    updates[self.map] = map_html(found, config, key.precision, title=title)
                yield updates
            total = len(PRECISIONS[key.precision].matrices(config))
            said = "Measured" if len(found) == total else "You stopped it; measured so far"
            yield {
                self._mapping.line: given.after(f"{said}: {len(found)} of {total} matrices."),
                self._below: gr.update(visible=bool(found)),
                self._mapped: key.spelled if found else None,
            }

        yield from self._mapping.run_queued(work, request)

    def _on_measure(self, values: Values, request: gr.Request) -> Iterator[Updates]:
        def work(place: Place) -> Iterator[Updates]:
            key, raised = self._choice(values)
            given, text, text_name = self._measure.evaluation_text(values, [key])
            if text is None:
                raise ValueError(text_name)
            found = None
            stream = measure_raising(self._desk.manager, key, raised, text, stop=place.stop)
            for events in in_batches(place.shared(stream, waiting=GenerationQueued), stop=place.stop, every=EVERY):
                updates: Updates = {self._measuring.line: gr.skip()}
                for event in events:
                    if isinstance(event, Stage):
                        updates[self._measuring.line] = progress_line(event)
                    elif isinstance(event, GenerationQueued):
                        updates |= self._measuring.waiting(event.position)
                    else:
                        found = event
                yield updates
            if found is None:
                yield {self._measuring.line: "You stopped it."}
                return
            yield {self._measuring.line: given.after("Measured."), self.bought: _sentences(found, text_name)}

        yield from self._measuring.run_queued(work, request)

    def _on_save(self, values: Values, request: gr.Request) -> Iterator[Updates]:
        def work(place: Place) -> Iterator[Updates]:
            key, raised = self._choice(values)
            to = str(values[self.name] or "").strip() or None
            library, made = self._desk.library, None
            for event in management.quantize(library, key.name, key.precision, to=to, raised=raised, stop=place.stop):
                if isinstance(event, Quantizing):
                    yield {self._saving.line: f"Quantizing ({percent(event.fraction)}) …"}
                else:
                    made = event
            if made is None:
                yield {self._saving.line: "You stopped it. Nothing was changed."}
                return
            updates: Updates = {
                self._saving.line: f"Saved as {markdown_text(made.name)}: {file_size(made.size_bytes)}."
            }
            for picker in self._sides.pickers:
                updates |= picker.show(values[picker.name], values[picker.precision])
            yield updates

        yield from self._saving.run_queued(work, request)

    def _choice(self, values: Values) -> tuple[ModelKey, dict[str, str]]:
        """Return model and precision of the map, and the matrices raised; ValueError without a map or a choice."""
        if not values[self._mapped]:
            raise ValueError(NO_MAP)
        try:
            raised = json.loads(str(values[self._raised]))
        except ValueError:
            raised = None
        if not isinstance(raised, dict) or not all(isinstance(level, str) for level in raised.values()):
            raise ValueError("the matrices raised cannot be read; make the map again")
        if not raised:
            raise ValueError("no matrix is raised; press at least one of the map")
        return ModelKey.parse(str(values[self._mapped])), raised


def _sentences(raising: Raising, text_name: str) -> str:
    """Return what raised matrices bought as Markdown."""
    first, *rest = raising_sentences(raising)
    rest[-1] = f"{rest[-1]}, {text_name}"
    return "\n\n".join([f"**{markdown_text(first)}.**", *(f"{markdown_text(sentence)}." for sentence in rest)])
