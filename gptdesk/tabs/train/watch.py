"""Watch: a run as it goes. It reads the run's folder once a second, so any page shows the same, whenever it opens."""

from collections.abc import Callable

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component

from gptdesk import runs
from gptdesk.controls import MAY_SPEAK, QUIETLY, Updates, Values, told
from gptdesk.desk import Desk
from gptdesk.frame import Frame
from gptdesk.markup import html_table, pane
from gptdesk.runs import RunInfo
from gptdesk.tabs.train import words
from gptdesk.tabs.train.panels import AXES, SMOOTHING, loss_chart, small_charts, tiles
from gptdesk.training.alarms import alarms
from gptdesk.training.run_directory import ACCEPT_CHANGES, Order, Sample

EVERY = 1.0  # seconds between two looks
GENERATE = "Generate"
NONE = "No run yet. **New run** starts one; it goes on when this page is closed, and is here again when it is opened."
RESUMABLE = ("new", "stopped", "failed", "interrupted")


class WatchView:
    """The run that is chosen, its buttons, its curves and what it writes."""

    def __init__(self, desk: Desk, frame: Frame) -> None:
        self._desk, self._frame = desk, frame
        self.name = gr.Dropdown([], label="Run", elem_id="run")
        with gr.Row():
            self.pause = self._button("Pause", "run-pause")
            self.go_on = self._button("Go on", "run-go-on")
            self.halt = self._button("Stop", "run-stop", variant="stop")
            self.resume = self._button("Resume", "run-resume", variant="primary")
            self.accept = self._button("Accept the changes", "run-accept")
            self.use = self._button("Try it in Generate", "run-use")
        self.state = gr.Markdown(NONE, elem_id="run-state")
        self.alarms = gr.Markdown(elem_id="run-alarms", elem_classes="note")
        self.tiles = gr.HTML(elem_id="run-tiles", elem_classes="bare")
        with gr.Column(visible=False) as self._curves:
            self._lay_out_curves()
        with gr.Column(visible=False) as self._texts:
            self.sample = gr.Slider(
                1, 2, value=1, step=1, label="What it wrote", info="From noise to words.", elem_id="run-sample"
            )
            self.samples = gr.HTML(elem_id="run-samples", elem_classes="bare")
        with gr.Accordion("What was chosen", open=False, visible=False, elem_id="run-chosen") as self._chosen:
            self.options = gr.HTML(elem_id="run-options", elem_classes=["figures-table", "bare"])
        self.seen = gr.State("")  # what the page shows already
        self.timer = gr.Timer(EVERY, active=False)

    def _button(self, label: str, ident: str, variant: str = "secondary") -> gr.Button:
        return gr.Button(label, variant=variant, visible=False, elem_id=ident, scale=0, min_width=160)  # type: ignore[arg-type]

    def _lay_out_curves(self) -> None:
        with gr.Row():
            self.axis = gr.Radio(list(AXES), value="steps", label="Along the axis", elem_id="run-axis", min_width=240)
            self.weight = gr.Slider(0, 0.99, value=SMOOTHING, step=0.01, label="Smoothing", elem_id="run-smoothing")
            self.logs = gr.CheckboxGroup(["axis", "loss"], value=[], label="Logarithmic", elem_id="run-logarithmic")
        self.losses = gr.HTML(elem_id="run-losses", elem_classes="bare")
        self.others = gr.HTML(elem_id="run-curves", elem_classes="bare")

    @property
    def remembered(self) -> dict[str, Component]:
        """The widgets to remember, by name."""
        return {"run": self.name, "axis": self.axis, "smoothing": self.weight, "logarithmic": self.logs}

    @property
    def _buttons(self) -> list[gr.Button]:
        return [self.pause, self.go_on, self.halt, self.resume, self.accept, self.use]

    @property
    def outputs(self) -> list[Block]:
        """What `shown` updates."""
        boxes = [self.name, *self._buttons, self.state, self.alarms, self.tiles, self._curves, self.losses, self.others]
        return [*boxes, self._texts, self.sample, self.samples, self._chosen, self.options, self.seen, self.timer]

    @property
    def _inputs(self) -> set[Block]:
        return {self.name, self.axis, self.weight, self.logs, self.sample, self.seen}

    def wire(self, tab: gr.Tab) -> None:
        """Connect the buttons and the clock; what is shown is looked up anew when `tab` is opened."""
        latest = QUIETLY | {"trigger_mode": "always_last"}
        self.timer.tick(self._on_tick, self._inputs, self.outputs, **QUIETLY)
        tab.select(lambda name: self.shown(name), self.name, self.outputs, **QUIETLY)
        gr.on(
            [self.name.input, self.axis.input, self.weight.input, self.logs.input],
            self._on_choice,
            self._inputs,
            self.outputs,
            **latest,
        )
        self.sample.input(self._on_sample, [self.name, self.sample], [self.sample, self.samples], **latest)
        orders: dict[gr.Button, Order] = {self.pause: "pause", self.go_on: "run", self.halt: "stop"}
        for button, order in orders.items():
            button.click(self._ordering(order), self._inputs, self.outputs, **MAY_SPEAK)
        for button, accept in ((self.resume, False), (self.accept, True)):
            button.click(self._resuming(accept_changes=accept), self._inputs, self.outputs, **MAY_SPEAK)
        self.use.click(self._on_use, self.name, self._frame.used(GENERATE), **MAY_SPEAK)

    def shown(self, name: object) -> Updates:
        """Updates that list the runs there are now and show this one, else the newest."""
        names = [info.name for info in runs.newest_first(self._desk.places)]
        chosen = name if name in names else next(iter(names), None)
        listed: Updates = {self.name: gr.update(choices=names, value=chosen, visible=bool(names))}
        if chosen is None:
            return listed | {self.state: NONE, self.timer: gr.Timer(active=False)}
        return listed | self._all(str(chosen), "steps", SMOOTHING, [], None)

    # Events

    def _on_tick(self, values: Values) -> object:
        name = values[self.name]
        return self._drawn(values, skip=True) if name else gr.skip()

    def _on_choice(self, values: Values) -> object:
        return self._drawn(values) if values[self.name] else gr.skip()

    @told
    def _on_sample(self, name: str | None, number: object) -> object:
        texts = runs.find(self._desk.places, name or "").samples()
        return list(self._written(texts, number).values())

    def _ordering(self, order: Order) -> Callable[[Values], object]:
        @told
        def ordered(values: Values) -> object:
            runs.order(self._desk.places, str(values[self.name]), order)
            return self._drawn(values)

        return ordered

    def _resuming(self, *, accept_changes: bool) -> Callable[[Values], object]:
        @told
        def resumed(values: Values) -> object:
            runs.start(self._desk.places, str(values[self.name]), accept_changes=accept_changes)
            return self._drawn(values)

        return resumed

    @told
    def _on_use(self, name: str | None) -> object:
        info = runs.info(self._desk.places, name or "")
        return self._frame.use(GENERATE, runs.model_of(self._desk.places, info))

    # What is shown

    def _drawn(self, values: Values, *, skip: bool = False) -> object:
        settings = (values[self.axis], values[self.weight], values[self.logs], values[self.sample])
        name = str(values[self.name])
        if skip and self._signature(name) == values[self.seen]:
            return gr.skip()
        return self._all(name, *settings)

    def _signature(self, name: str) -> str:
        """What changes when the run does."""
        info = runs.info(self._desk.places, name)
        return f"{name} {info.state} {info.status.updated} {info.last.get('step')}"

    def _all(self, name: str, axis: object, weight: object, logs: object, sample: object) -> Updates:
        seen = self._signature(name)  # before anything is read: what comes after it is shown the next time
        run, info = runs.find(self._desk.places, name), runs.info(self._desk.places, name)
        metrics, samples = run.metrics(), run.samples()
        resolved = None if info.problem else run.resolved()
        log_x, log_y = (isinstance(logs, list) and one in logs for one in ("axis", "loss"))
        by = str(axis) if axis in AXES else "steps"
        smoothing = float(weight) if isinstance(weight, int | float) else 0.0
        levels = words.levels(resolved)
        updates = self._pressable(info) | {
            self.state: words.state(info, run.order()),
            self._curves: gr.update(visible=bool(metrics)),
            self.losses: loss_chart(metrics, axis=by, weight=smoothing, log_x=log_x, log_y=log_y, levels=levels),
            self.others: small_charts(metrics, axis=by, log_x=log_x),
            self._texts: gr.update(visible=bool(samples)),
            self._chosen: gr.update(visible=info.problem is None),
            self.timer: gr.Timer(active=info.state in runs.BUSY),
            self.seen: seen,
        }
        if info.problem is None:
            plan, status = run.plan(), info.status
            found = alarms(metrics, options=plan.training, resolved=resolved, status=status, state=info.state)
            figures = words.figures(info, metrics, memory=runs.memory(self._desk.places, name))
            updates |= {
                self.alarms: words.warnings(found, said=status.message),
                self.tiles: tiles(figures, done=words.step_of(info) / status.steps if status.steps else None),
                self.options: html_table(["", name], words.choices(plan, resolved)),
            }
        return updates | self._written(samples, sample)

    def _pressable(self, info: RunInfo) -> Updates:
        asks = info.state == "failed" and info.status.asks == ACCEPT_CHANGES
        visible = {
            self.pause: info.state == "training",
            self.go_on: info.state == "paused",
            self.halt: info.state in runs.BUSY,
            self.resume: info.state in RESUMABLE and not asks,
            self.accept: asks,
            self.use: bool(info.status.saved_step),
        }
        return {button: gr.update(visible=shown) for button, shown in visible.items()}

    def _written(self, samples: list[Sample], number: object) -> Updates:
        """What was written at one of the evaluations: the newest, unless an older one is chosen."""
        steps = list(dict.fromkeys(sample.step for sample in samples))
        if not steps:
            return {self.sample: gr.update(value=1), self.samples: ""}
        newest = not isinstance(number, int) or number >= len(steps) - 1
        at = len(steps) if newest else max(1, int(str(number)))
        texts = [sample for sample in samples if sample.step == steps[at - 1]]
        panes = "".join(pane(f"after step {one.step:,}", one.prompt, one.text) for one in texts)
        slider = gr.update(maximum=max(2, len(steps)), value=at, visible=len(steps) > 1)
        return {self.sample: slider, self.samples: f'<div class="samples">{panes}</div>'}
