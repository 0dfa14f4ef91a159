"""New run: which text, which model, how long; what that comes to; and the button that starts it."""

import os
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component

from gptdesk import datasets
from gptdesk.desk import Desk
from gptdesk.markup import markdown_text
from gptdesk.page.long_action import LongActions
from gptdesk.page.option_widgets import QUIETLY, STREAMING, Updates, Values
from gptdesk.page.streaming import in_batches
from gptdesk.page.tabs.train.boxes import SIZES, TOKENIZERS, OptionBoxes
from gptdesk.page.tabs.train.library import STOPPED, LibraryPanel
from gptdesk.page.tabs.train.panels import text_rows, tiles
from gptdesk.page.tabs.train.preview import facts, remarks, stage
from gptdesk.scheduler import Place
from gptdesk.training import DataOptions, ModelOptions, TrainingOptions, control
from gptdesk.training.corpus import CorpusProgress
from gptdesk.training.preview import Preview, preview
from gptdesk.training.run_directory import RunPlan
from gptdesk.training.run_models import title
from models.engine import get_device
from models.names import free_name

PASTED, FILES, PLACE, LIBRARY = "Paste a text", "Choose files", "A folder on this computer", "From the library"
SOURCES = (PASTED, FILES, PLACE, LIBRARY)
NEW = "a new model"
MINUTES = 3.0  # that a first run takes
FIRST = {"start", "preset", "tokenizer", "max_minutes", "steps", "learning_rate"}  # what has a place of its own
Shown = Callable[[str, Values], Updates]
NOTHING = "Preview splits the text into tokens and tries ten steps: then you know what the run will take."


class FormView:
    """The form, and beside it the preview."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._boxes = OptionBoxes()
        with gr.Row():
            with gr.Column(scale=3, min_width=320):
                self._lay_out_text()
                self._lay_out_model()
                self._lay_out_budget()
                with gr.Row():
                    self.start = gr.Button(
                        "Start training", variant="primary", elem_classes="go", elem_id="train-start", scale=3
                    )
                    self.look = gr.Button("Preview", elem_id="train-preview", scale=2, min_width=80)
                    self.stop = gr.Button(
                        "Stop",
                        variant="stop",
                        interactive=False,
                        elem_classes="halt",
                        elem_id="train-preview-stop",
                        min_width=80,
                    )
                line = gr.Markdown(elem_id="train-line", elem_classes="note")
            with gr.Column(scale=2, min_width=320):
                self.facts = gr.HTML(elem_id="train-facts", elem_classes="bare")
                self.remarks = gr.Markdown(NOTHING, elem_id="train-remarks", elem_classes="note")
                self.rows = gr.HTML(elem_id="train-rows", elem_classes="bare")
        self._actions = LongActions(desk, buttons=[self.start, self.look], stop=self.stop, line=line)

    def _lay_out_text(self) -> None:
        gr.Markdown("### Text")
        self.source = gr.Radio(SOURCES, value=PASTED, show_label=False, container=False, elem_id="train-source")
        self.text = gr.Textbox(
            label="Text",
            placeholder="Paste what the model should learn to write like: a page is enough to begin with.",
            lines=6,
            max_lines=12,
            elem_id="train-text",
        )
        self.files = gr.File(
            label="Text files",
            file_count="multiple",
            type="filepath",
            height=150,
            visible=False,
            elem_id="train-files",
        )
        self.place = gr.Textbox(
            label="Folder or file",
            info="Its path on this computer; all text files in a folder are read, those of its subfolders too.",
            visible=False,
            elem_id="train-place",
        )
        with gr.Column(visible=False) as self._library_box:
            self.library = LibraryPanel(self._desk)

    def _lay_out_model(self) -> None:
        gr.Markdown("### Model")
        with gr.Group():
            self._boxes.add(
                ModelOptions,
                start=gr.Dropdown(
                    self._models(),
                    value="",
                    label="Begin with",
                    info="A new model knows nothing. One that has learnt goes on learning, with its own tokenizer.",
                    elem_id="train-from",
                ),
            )
            with gr.Row() as self._new:
                self._boxes.add(
                    ModelOptions,
                    preset=gr.Dropdown(
                        SIZES,
                        value="mini",
                        label="Size",
                        info="The larger, the better it can write, and the slower it learns.",
                        elem_id="train-size",
                        min_width=240,
                    ),
                    tokenizer=gr.Dropdown(
                        TOKENIZERS,
                        value="auto",
                        allow_custom_value=True,
                        label="Tokenizer",
                        info="What the text is split into; bpe:SIZE may have any size.",
                        elem_id="train-tokenizer",
                        min_width=240,
                    ),
                )
        with gr.Accordion("More about the model", open=False, elem_id="train-more-model"), gr.Group():
            self._boxes.place_rest(ModelOptions, FIRST)

    def _lay_out_budget(self) -> None:
        gr.Markdown("### Budget")
        with gr.Group(), gr.Row():
            for name, value in (("max_minutes", MINUTES), ("steps", None), ("learning_rate", None)):
                self._boxes.place(TrainingOptions, name, value=value)
        with gr.Accordion("More about training", open=False, elem_id="train-more-training"), gr.Group():
            self._boxes.place_rest(TrainingOptions, FIRST)
        with gr.Accordion("Text encoding and validation split", open=False, elem_id="train-more-split"), gr.Group():
            self._boxes.place_rest(DataOptions, FIRST)
        gr.Markdown("### Name")
        self.name = gr.Textbox(
            label="Name of the run, and of the model that comes of it",
            info="Empty: named after the text.",
            max_lines=1,
            elem_id="train-name",
        )

    @property
    def remembered(self) -> dict[str, Component]:
        """The widgets to remember, by name."""
        own: dict[str, Component] = {
            "source": self.source,
            "text": self.text,
            "place": self.place,
            "name": self.name,
            "library": self.library.choice,
        }
        return own | self._boxes.remembered

    @property
    def outputs(self) -> list[Block]:
        """What `shown` updates beside the remembered widgets."""
        return [*self._shaped, self._new, self.library.told]

    @property
    def _shaped(self) -> list[Block]:
        return [self.text, self.files, self.place, self._library_box]

    def wire(self, tab: gr.Tab, *, given: Collection[Block], started: Sequence[Block], shown: Shown) -> None:
        """Connect the buttons; the models are looked up anew when `tab` is opened.

        `shown` gives the updates of `started` that show the run that was begun, from the values of `given`.
        """
        self._actions.wire()
        self.library.wire()
        self.source.change(self._shape, self.source, self._shaped, **QUIETLY)
        start = self._boxes.box(ModelOptions, "start")
        tab.select(self._begun_with, start, start, **QUIETLY)
        start.change(self._on_start_model, start, self._new, **QUIETLY)  # type: ignore[attr-defined]  # made by Gradio
        inputs: set[Block] = {*self.remembered.values(), self.files}
        found = [self.facts, self.remarks, self.rows]
        self.look.click(self._on_preview, inputs, [*self._actions.outputs, *found], **STREAMING)

        def begin(values: Values, request: gr.Request) -> Iterator[Updates]:
            def work(place: Place) -> Iterator[Updates]:
                plan, text, uploads = self._plan(values)
                for event in self._with_text(plan, place.stop):
                    if isinstance(event, RunPlan):
                        control.begin(self._desk.places, event, text=text, uploads=uploads)
                        yield {self._actions.line: f"{markdown_text(event.name)} has begun."} | shown(
                            event.name, values
                        )
                    else:
                        yield event

            yield from self._actions.run_queued(work, request)

        self.start.click(begin, inputs | set(given), [*self._actions.outputs, *started], **STREAMING)

    def shown(self, kept: dict[str, object]) -> Updates:
        """Updates that list the models there are now and show what was remembered."""
        start = self._boxes.box(ModelOptions, "start")
        begun_with = self._begun_with(kept.get("start"))
        updates: Updates = {start: begun_with, self._new: gr.update(visible=not begun_with["value"])}
        updates |= self.library.shown(kept.get("library")) | self._boxes.shown(kept)
        return updates | dict(zip(self._shaped, self._shape(kept.get("source", PASTED)), strict=True))

    def _shape(self, source: object) -> list[object]:
        return [gr.update(visible=source == one) for one in SOURCES]

    def _on_start_model(self, name: object) -> object:
        return gr.update(visible=not name)

    def _begun_with(self, name: object) -> dict[str, object]:
        """The update that lists the models there are now, and keeps the one of this name if it is still there."""
        models = self._models()
        return gr.update(choices=models, value=name if name in {value for _, value in models} else "")

    def _models(self) -> list[tuple[str, str]]:
        found = [info.name for info in self._desk.library.available() if "float32" in info.precisions]
        return [(NEW, ""), *((title(name), name) for name in found)]

    # What was chosen

    def _plan(self, values: Values) -> tuple[RunPlan, str | None, list[Path]]:
        """The plan, a pasted text and files that were uploaded; ValueError names what is missing."""
        source = values[self.source]
        text: str | None = None
        uploads: list[Path] = []
        place = ""
        if source == PASTED:
            text, wished = str(values[self.text] or ""), "pasted"
        elif source == FILES:
            found = values[self.files]
            uploads = [Path(str(file)) for file in found] if isinstance(found, list) else []
            if not uploads:
                raise ValueError("no file is chosen; choose one or more, or paste a text")
            wished = uploads[0].stem
        elif source == PLACE:
            place = os.path.expanduser(str(values[self.place] or "").strip())
            if not place:
                raise ValueError("no folder is named; type its path, or paste a text")
            wished = Path(place).stem
        else:
            place = self.library.name(values)
            wished = place.removeprefix(datasets.CLASSIC)
        plan = RunPlan(
            name=str(values[self.name] or "").strip() or free_name(wished, self._desk.places.names()),
            data=(place,) if place else (),
            model=self._boxes.options(ModelOptions, values),
            split=self._boxes.options(DataOptions, values),
            training=self._boxes.options(TrainingOptions, values),
        )
        return plan, text, uploads

    # Events

    def _with_text(self, plan: RunPlan, stop: threading.Event) -> Iterator[Updates | RunPlan]:
        """Updates while a text of the library is made or fetched; at last the plan with its file, unless stopped."""
        if not any(map(datasets.is_named, plan.data)):
            yield plan
            return
        for event in self.library.obtained(plan.data[0], self._actions.line, stop):
            if isinstance(event, tuple):
                yield plan.model_copy(update={"data": event})
                return
            yield event
        yield {self._actions.line: STOPPED}

    def _on_preview(self, values: Values, request: gr.Request) -> Iterator[Updates]:
        def work(place: Place) -> Iterator[Updates]:
            plan, text, uploads = self._plan(values)
            if uploads:
                plan = plan.model_copy(update={"data": tuple(map(str, uploads))})
            for event in self._with_text(plan, place.stop):
                if isinstance(event, RunPlan):
                    yield from self._look(event, text, place.stop)
                else:
                    yield event

        yield from self._actions.run_queued(work, request)

    def _look(self, plan: RunPlan, text: str | None, stop: threading.Event) -> Iterator[Updates]:
        """Updates while a plan is looked at, and what was found."""
        device = get_device(self._desk.settings.device)
        stream = preview(plan, places=self._desk.places, device=device, stop=stop, text=text)
        found: Preview | None = None
        for events in in_batches(stream, stop=stop):
            stages = [event for event in events if isinstance(event, CorpusProgress)]
            found = next((event for event in events if isinstance(event, Preview)), found)
            yield {self._actions.line: stage(stages[-1])} if stages else gr.skip()
        if found is None:
            yield {self._actions.line: STOPPED}
            return
        yield {
            self._actions.line: "",
            self.facts: tiles(facts(found)),
            self.remarks: "\n\n".join(markdown_text(sentence) for sentence in remarks(found)),
            self.rows: text_rows(found.batches),
        }
