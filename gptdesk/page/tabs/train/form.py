"""New run: form of text, model and budget, with a preview, and the button that starts the run."""

from collections.abc import Callable, Collection, Iterator, Sequence

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component

from gptdesk.desk import Desk
from gptdesk.markup import markdown_text
from gptdesk.page.long_action import LongActions
from gptdesk.page.option_widgets import QUIETLY, STREAMING, Updates, Values
from gptdesk.page.tabs.train.boxes import SIZES, TOKENIZERS, OptionBoxes
from gptdesk.page.tabs.train.preview import PreviewPanel
from gptdesk.page.tabs.train.text_source import TextSourcePanel
from gptdesk.scheduler import Place
from gptdesk.training import DataOptions, ModelOptions, TrainingOptions, control
from gptdesk.training.plan import RunPlan
from gptdesk.training.run_models import duplicates, title
from gptdesk.training.text_input import TextInput
from models.names import free_name

NEW = "a new model"
MINUTES = 3.0  # that a first run takes
PLACED = {"start", "preset", "tokenizer", "max_minutes", "steps", "learning_rate"}  # outside the accordions
ShowRun = Callable[[str, Values], Updates]


class FormView:
    """Form of a new run, and beside it the preview."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._boxes = OptionBoxes()
        with gr.Row():
            with gr.Column(scale=3, min_width=320):
                self.source = TextSourcePanel(desk)
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
                self.preview = PreviewPanel(desk)
        self._actions = LongActions(desk, buttons=[self.start, self.look], stop=self.stop, line=line)

    def _lay_out_model(self) -> None:
        gr.Markdown("### Model")
        with gr.Group():
            self._boxes.add(
                ModelOptions,
                start=gr.Dropdown(
                    self._models(),
                    value="",
                    label="Base model",
                    info="A new model starts untrained. The training of an existing one continues, with its tokenizer.",
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
                        info="A larger model can write better, and learns more slowly.",
                        elem_id="train-size",
                        min_width=240,
                    ),
                    tokenizer=gr.Dropdown(
                        TOKENIZERS,
                        value="auto",
                        allow_custom_value=True,
                        label="Tokenizer",
                        info="It splits the text into tokens; bpe:SIZE may have any size.",
                        elem_id="train-tokenizer",
                        min_width=240,
                    ),
                )
        with gr.Accordion("More about the model", open=False, elem_id="train-more-model"), gr.Group():
            self._boxes.place_rest(ModelOptions, PLACED)

    def _lay_out_budget(self) -> None:
        gr.Markdown("### Budget")
        with gr.Group(), gr.Row():
            for name, value in (("max_minutes", MINUTES), ("steps", None), ("learning_rate", None)):
                self._boxes.place(TrainingOptions, name, value=value)
        with gr.Accordion("More about training", open=False, elem_id="train-more-training"), gr.Group():
            self._boxes.place_rest(TrainingOptions, PLACED)
        with gr.Accordion("Text encoding and validation split", open=False, elem_id="train-more-split"), gr.Group():
            self._boxes.place_rest(DataOptions, PLACED)
        gr.Markdown("### Name")
        self.name = gr.Textbox(
            label="Name of the run and of its model",
            info="Leave empty to name it after the text.",
            max_lines=1,
            elem_id="train-name",
        )

    @property
    def remembered(self) -> dict[str, Component]:
        """Widgets to remember, by name."""
        return self.source.remembered | {"name": self.name} | self._boxes.remembered

    @property
    def outputs(self) -> list[Block]:
        """Widgets that `restore` updates beside the remembered ones."""
        return [*self.source.outputs, self._new]

    @property
    def base_model(self) -> Component:
        """Choice of the base model, which `list_models` updates."""
        return self._boxes.box(ModelOptions, "start")

    def wire(self, tab: gr.Tab, *, given: Collection[Block], started: Sequence[Block], show_run: ShowRun) -> None:
        """Connect the buttons; the models are listed again when `tab` is opened.

        `show_run` returns the updates of `started` that show the run that was started, from the values of `given`.
        """
        self._actions.wire()
        self.source.wire()
        start = self._boxes.box(ModelOptions, "start")
        tab.select(self.list_models, start, start, **QUIETLY)
        start.change(self._on_base_model, start, self._new, **QUIETLY)  # type: ignore[attr-defined]  # made by Gradio
        inputs: set[Block] = {*self.remembered.values(), *self.source.inputs}
        self.look.click(self._on_preview, inputs, [*self._actions.outputs, *self.preview.outputs], **STREAMING)

        def begin(values: Values, request: gr.Request) -> Iterator[Updates]:
            def work(place: Place) -> Iterator[Updates]:
                yield self.preview.cleared()  # an error must not stand beside the figures of another text
                plan = self._plan(values)
                for event in self.source.obtain(values, self._actions.line, place.stop):
                    if isinstance(event, TextInput):
                        control.begin(self._desk.run_context, plan, text=event)
                        line = {self._actions.line: f"{markdown_text(plan.name)} has started."}
                        yield line | show_run(plan.name, values)
                    else:
                        yield event

            yield from self._actions.run_queued(work, request)

        outputs = [*self._actions.outputs, *self.preview.outputs, *started]
        self.start.click(begin, inputs | set(given), outputs, **STREAMING)

    def restore(self, kept: dict[str, object]) -> Updates:
        """Return updates that list the models that exist now and show the remembered values."""
        start = self._boxes.box(ModelOptions, "start")
        base = self.list_models(kept.get("start"))
        updates: Updates = {start: base, self._new: gr.update(visible=not base["value"])}
        return updates | self._boxes.restore(kept) | self.source.restore(kept)

    def _models(self) -> list[tuple[str, str]]:
        infos = self._desk.library.available()
        same = duplicates(self._desk.settings.runs, [info.name for info in infos])
        trainable = [info.name for info in infos if "float32" in info.precisions and info.name not in same]
        return [(NEW, ""), *((title(name), name) for name in trainable)]

    def _plan(self, values: Values) -> RunPlan:
        """Return what is chosen, but for the text; ValueError names what is missing or wrong."""
        suggested = self.source.title(values)
        return RunPlan(
            name=str(values[self.name] or "").strip() or free_name(suggested, self._desk.run_context.names()),
            model=self._boxes.options(ModelOptions, values),
            split=self._boxes.options(DataOptions, values),
            training=self._boxes.options(TrainingOptions, values),
        )

    def list_models(self, name: object) -> dict[str, object]:
        """Return the update that lists the models that exist now, and keeps the chosen one if it is one of them."""
        models = self._models()
        return gr.update(choices=models, value=name if name in {value for _, value in models} else "")

    def _on_base_model(self, name: object) -> object:
        return gr.update(visible=not name)

    def _on_preview(self, values: Values, request: gr.Request) -> Iterator[Updates]:
        def work(place: Place) -> Iterator[Updates]:
            yield self.preview.cleared()
            plan = self._plan(values)
            for event in self.source.obtain(values, self._actions.line, place.stop):
                if isinstance(event, TextInput):
                    yield from self.preview.fill(plan, event, line=self._actions.line, stop=place.stop)
                else:
                    yield event

        yield from self._actions.run_queued(work, request)
