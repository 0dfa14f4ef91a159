"""New run: form of text, model and budget, with a preview, and the button that starts the run."""

from collections.abc import Callable, Collection, Iterator, Sequence

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component

from gptdesk.desk import Desk
from gptdesk.markup import markdown_text
from gptdesk.page.long_action import LongActions
from gptdesk.page.option_widgets import QUIETLY, STREAMING, Updates, Values
from gptdesk.page.pickers import STARTER
from gptdesk.page.tabs.train.base_model import BaseModelChoice
from gptdesk.page.tabs.train.boxes import SIZES, TOKENIZERS, OptionBoxes
from gptdesk.page.tabs.train.choice import MEASURE, choice_sentence, dial_of, measure_of
from gptdesk.page.tabs.train.preview import PreviewPanel
from gptdesk.page.tabs.train.run_name import RunNameBox, valid_name
from gptdesk.page.tabs.train.short_text import SHORTENED, ShortTextHint, is_short
from gptdesk.page.tabs.train.text_source import PASTED, TextSourcePanel
from gptdesk.scheduler import Place
from gptdesk.training import DataOptions, ModelOptions, TrainingOptions, queue
from gptdesk.training.plan import RunPlan
from gptdesk.training.text_input import TextInput
from gptdesk.training.time_choice import TIME_CHOICES
from models.names import free_name

# What was said of other choices goes, also while a preview is made of them; nothing is sent. A list that is filled anew
# sends a change, too, without one.
CHANGED = """(facts, ...chosen) => {
  const now = JSON.stringify(chosen), stays = {__type__: "update"};
  if (now === window.trainChosen) return [stays, stays];
  window.trainChosen = now;
  const isBusy = document.querySelector("#train-preview")?.disabled;
  return [isBusy ? stays : "", isBusy || facts ? "Something has changed since: preview again." : ""];
}"""
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
                self._lay_out_time()
                with gr.Row(elem_classes="actions"):
                    self.start = gr.Button(
                        "Start training",
                        variant="primary",
                        elem_classes=["go", "starts"],
                        elem_id="train-start",
                        scale=3,
                    )
                    self.look = gr.Button(
                        "Preview", elem_classes="starts", elem_id="train-preview", scale=2, min_width=80
                    )
                    self.stop = gr.Button(
                        "Stop",
                        variant="stop",
                        interactive=False,
                        elem_classes="halt",
                        elem_id="train-preview-stop",
                        min_width=80,
                    )
                line = gr.Markdown(elem_id="train-line", elem_classes="note")
                self._lay_out_advanced()
            with gr.Column(scale=2, min_width=320):
                self.preview = PreviewPanel(desk)
        self._actions = LongActions(desk, buttons=[self.start, self.look], stop=self.stop, line=line)

    def _lay_out_model(self) -> None:
        gr.Markdown("### 2. Size")
        with gr.Group():
            self.base = BaseModelChoice(self._desk)
            self._boxes.add(ModelOptions, start=self.base.box)
            self.short_text = ShortTextHint()
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
                )

    def _lay_out_time(self) -> None:
        gr.Markdown("### 3. Time")
        with gr.Group():
            self.time = gr.Radio(
                [(f"{minutes} minutes", str(minutes)) for minutes in TIME_CHOICES],
                value="3",
                label="I have",
                info="Sets the size and tokenizer of a new model, and the limits of minutes and steps.",
                elem_id="train-time",
            )
            self.choice = gr.Markdown(elem_id="train-choice", elem_classes="note")
            with gr.Row():
                self._boxes.place(TrainingOptions, "max_minutes", value=MINUTES)
            self._named = RunNameBox()
            self.name = self._named.box

    def _lay_out_advanced(self) -> None:
        with gr.Accordion("Advanced", open=False, elem_id="train-advanced"):
            with gr.Row():
                self._boxes.place(TrainingOptions, "steps")
                self._boxes.place(TrainingOptions, "learning_rate")
            self._boxes.add(
                ModelOptions,
                tokenizer=gr.Dropdown(
                    TOKENIZERS,
                    value="auto",
                    allow_custom_value=True,
                    label="Tokenizer of a new model",
                    info="It splits the text into tokens; bpe:SIZE may have any size.",
                    elem_id="train-tokenizer",
                ),
            )
            with gr.Accordion("More about the model", open=False, elem_id="train-more-model"), gr.Group():
                self._boxes.place_rest(ModelOptions, PLACED)
            with gr.Accordion("More about training", open=False, elem_id="train-more-training"), gr.Group():
                # the whole time is used: the best checkpoint is kept anyway
                self._boxes.place_rest(TrainingOptions, PLACED, values={"patience": 0})
            with (
                gr.Accordion("Text encoding and validation split", open=False, elem_id="train-more-split"),
                gr.Group(),
            ):
                self._boxes.place_rest(DataOptions, PLACED)

    @property
    def remembered(self) -> dict[str, Component]:
        """Widgets to remember, by name."""
        return self.source.remembered | {"name": self.name, "time": self.time} | self._boxes.remembered

    @property
    def outputs(self) -> list[Block]:
        """Widgets that `restore` updates beside the remembered ones."""
        return [*self.source.outputs, self._new, *self.short_text.outputs, self.choice]

    def wire(
        self,
        tab: gr.Tab,
        *,
        changed: gr.Textbox | None,
        given: Collection[Block],
        started: Sequence[Block],
        show_run: ShowRun,
    ) -> None:
        """Connect the buttons; the models are listed again when `tab` is opened, or others are `changed`.

        `show_run` returns the updates of `started` that show the run that was started, from the values of `given`.
        """
        self._actions.wire()
        self.source.wire()
        self._named.wire()
        start = self.base.box
        tab.select(self.base.list_again, start, start, **QUIETLY)
        if changed:
            changed.change(self.base.list_again, start, start, **QUIETLY)
        start.change(self._on_base_model, start, self._new, **QUIETLY)
        typed = [self.source.text, start, self.source.source, self.source.files, self.source.place]
        triggers = [box.change for box in typed]  # type: ignore[attr-defined]  # made by Gradio
        gr.on(triggers, self._on_text, typed, self.short_text.outputs, js=SHORTENED, **QUIETLY)
        text: list[Component] = [self.source.text, self.source.source]
        by_time, limits = [*self._timed, self.choice], [*text, *self._timed, start]
        latest = QUIETLY | {"trigger_mode": "always_last"}
        self.time.input(self._on_time, [*text, self.time, start], by_time, js=MEASURE, **latest)
        changes = [box.change for box in (*text, *self._timed, start)]  # type: ignore[attr-defined]
        gr.on(changes, self._on_limits, limits, [self.choice, self.time], js=MEASURE, **latest)
        self.short_text.use_starter.click(self._on_starter, None, [start, self._new], **QUIETLY)
        line = self._actions.line
        others = [box for box in self.remembered.values() if box not in (self.name, self.time)]
        changes = [box.change for box in others]  # type: ignore[attr-defined]
        outdated = [line, self.preview.outdated]
        gr.on(changes, None, [self.preview.facts, *others], outdated, js=CHANGED, **QUIETLY)
        self.name.input(None, None, line, js="() => ''", **QUIETLY)
        inputs: set[Block] = {*self.remembered.values(), *self.source.inputs}
        self.look.click(self._on_preview, inputs, [*self._actions.outputs, *self.preview.outputs], **STREAMING)

        def begin(values: Values, request: gr.Request) -> Iterator[Updates]:
            def work(turn: Place) -> Iterator[Updates]:
                plan = self._plan(values)
                for event in self.source.obtain(values, self._actions.line, turn.stop):
                    if isinstance(event, TextInput):
                        place = queue.begin(self._desk.run_context, plan, text=event)
                        says = f"waits in the queue, place {place}." if place else "has started."
                        line = {self._actions.line: f"{markdown_text(plan.name)} {says}"}
                        yield line | show_run(plan.name, values)
                    else:
                        yield event

            yield from self._actions.run_queued(work, request)

        outputs = [*self._actions.outputs, *self.preview.outputs, *started]
        self.start.click(begin, inputs | set(given), outputs, **STREAMING)

    def restore(self, kept: dict[str, object]) -> Updates:
        """Return updates that list the models that exist now and show the remembered values."""
        start = self.base.box
        base = self.base.list_models(kept.get("start"))
        updates: Updates = {start: base, self._new: gr.update(visible=not base["value"])}
        names, boxes = ("preset", "tokenizer", "max_minutes", "steps"), self._timed
        preset, tokenizer, minutes, steps = (kept.get(name, box.value) for name, box in zip(names, boxes, strict=True))
        text, source = str(kept.get("text") or ""), kept.get("source", PASTED)
        updates |= self._on_limits(measure_of(text), source, preset, tokenizer, minutes, steps, base["value"])
        updates |= self._on_text(text, base["value"], source, kept.get("files"), kept.get("place"))
        return updates | self._boxes.restore(kept) | self.source.restore(kept)

    def fill(self, plan: RunPlan) -> Updates:
        """Return updates that show a plan as a new run with a name of its own; its base model must exist still."""
        base = self.base.list_models(plan.model.start)
        if plan.model.start and not base["value"]:
            raise ValueError(f"the base model {plan.model.start} of the run {plan.name} does not exist any more")
        updates: Updates = self._boxes.fill(ModelOptions, plan.model) | self._boxes.fill(DataOptions, plan.split)
        updates |= self._boxes.fill(TrainingOptions, plan.training) | self.source.fill(plan)
        start = self.base.box
        return updates | {start: base, self._new: gr.update(visible=not base["value"]), self.name: ""}

    def _plan(self, values: Values) -> RunPlan:
        """Return what is chosen, but for the text; ValueError names what is missing or wrong."""
        suggested = self.source.title(values)
        return RunPlan(
            name=valid_name(values[self.name]) or free_name(suggested, self._desk.run_context.names()),
            model=self._boxes.options(ModelOptions, values),
            split=self._boxes.options(DataOptions, values),
            training=self._boxes.options(TrainingOptions, values),
        )

    def _on_text(self, text: object, base: object, source: object, files: object, place: object) -> Updates:
        """Return the updates of the hint for a new model of a short text."""
        visible = not base and is_short(source, text=text, files=files, place=place) and self.base.has_starter()
        return self.short_text.show(visible=visible)

    @property
    def _timed(self) -> list[Component]:
        """Widgets that the dial sets."""
        model = [self._boxes.box(ModelOptions, name) for name in ("preset", "tokenizer")]
        return [*model, *(self._boxes.box(TrainingOptions, name) for name in ("max_minutes", "steps"))]

    def _on_time(self, measure: object, source: object, minutes: object, base: object) -> Updates:
        """Return the updates that set size, tokenizer and limits to what fits the time."""
        if (choice := TIME_CHOICES.get(str(minutes))) is None:
            return {}
        values = (choice.preset, choice.tokenizer, choice.minutes, choice.steps)
        updates = {self.choice: self._on_limits(measure, source, *values, base)[self.choice]}
        return updates | dict(zip(self._timed, values, strict=True))

    def _on_limits(
        self,
        measure: object,
        source: object,
        preset: object,
        tokenizer: object,
        minutes: object,
        steps: object,
        base: object,
    ) -> Updates:
        """Return the updates of the sentence and the time of the choices; `measure` is that of the pasted text."""
        chosen = {"preset": preset, "tokenizer": tokenizer, "minutes": minutes, "base": base}
        sentence = choice_sentence(self._desk, **chosen, measure=measure if source == PASTED else "")
        return {self.choice: sentence, self.time: gr.update(value=dial_of(**chosen, steps=steps))}

    def _on_starter(self) -> Updates:
        """Return the updates that choose the starter as base model."""
        base = self.base.list_models(STARTER)
        return {self.base.box: base, self._new: gr.update(visible=not base["value"])}

    def _on_base_model(self, name: object) -> object:
        return gr.update(visible=not name)

    def _on_preview(self, values: Values, request: gr.Request) -> Iterator[Updates]:
        def work(place: Place) -> Iterator[Updates]:
            yield self.preview.cleared()
            plan = self._plan(values)
            for event in self.source.obtain(values, self._actions.line, place.stop):
                if isinstance(event, TextInput):
                    line, starter = self._actions.line, self.base.has_starter()
                    yield from self.preview.fill(plan, event, line=line, stop=place.stop, has_starter=starter)
                else:
                    yield event

        yield from self._actions.run_queued(work, request)
