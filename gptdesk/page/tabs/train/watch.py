"""Watch: a run as it goes. It reads the run's folder once a second, so any page shows the same, whenever it opens."""

from collections.abc import Callable

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component

from gptdesk.desk import Desk
from gptdesk.markup import html_table, pane
from gptdesk.page.option_widgets import QUIETLY, WITH_MESSAGES, Updates, Values, shows_errors
from gptdesk.page.tab_links import TabLinks
from gptdesk.page.tabs.train import words
from gptdesk.page.tabs.train.panels import AXES, SMOOTHEST, SMOOTHING, Look, loss_chart, small_charts, tiles
from gptdesk.training import control
from gptdesk.training.control import RunInfo
from gptdesk.training.diagnostics import alarms
from gptdesk.training.run_directory import ACCEPT_CHANGES, Order, RunDirectory, Sample
from models import storage

EVERY = 1.0  # seconds between two looks
GENERATE = "Generate"
NONE = "No run yet. **New run** starts one; it goes on when this page is closed, and is here again when it is opened."
RESUMABLE = ("new", "stopped", "failed", "interrupted")

Seen = tuple[tuple[str, ...], str]  # the runs there are, and what changes when the one that is shown does


class WatchView:
    """The run that is chosen, its buttons, its curves and what it writes."""

    def __init__(self, desk: Desk, links: TabLinks) -> None:
        self._desk, self._links = desk, links
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
        self.seen = gr.State(((), ""))  # what the page shows already: a Seen
        self.until = gr.State(0)  # where the slider of samples ended
        self.timer = gr.Timer(EVERY, active=False)  # until something is shown; then it looks for as long as the page is

    def _button(self, label: str, ident: str, variant: str = "secondary") -> gr.Button:
        return gr.Button(label, variant=variant, visible=False, elem_id=ident, scale=0, min_width=160)  # type: ignore[arg-type]

    def _lay_out_curves(self) -> None:
        with gr.Row():
            self.axis = gr.Radio(list(AXES), value="steps", label="Along the axis", elem_id="run-axis", min_width=240)
            self.weight = gr.Slider(
                0, SMOOTHEST, value=SMOOTHING, step=0.01, label="Smoothing", elem_id="run-smoothing"
            )
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
        told = [self._texts, self.sample, self.samples, self._chosen, self.options]
        return [*boxes, *told, self.seen, self.until, self.timer]

    @property
    def inputs(self) -> set[Block]:
        """What `shown` needs the values of."""
        return {self.name, self.axis, self.weight, self.logs, self.sample, self.seen, self.until}

    def wire(self, tab: gr.Tab) -> None:
        """Connect the buttons and the clock; what is shown is looked up anew when `tab` is opened."""
        latest = WITH_MESSAGES | {"trigger_mode": "always_last"}
        self.timer.tick(self._on_tick, self.inputs, self.outputs, **QUIETLY)
        tab.select(self._on_open, self.inputs, self.outputs, **QUIETLY)
        self.name.input(self._on_run, self.inputs, self.outputs, **latest)
        drawn = [self.axis.input, self.weight.input, self.logs.input]
        gr.on(drawn, self._on_choice, self.inputs, self.outputs, **latest)
        self.sample.input(self._on_sample, self.inputs, self.outputs, **latest)
        orders: dict[gr.Button, Order] = {self.pause: "pause", self.go_on: "run", self.halt: "stop"}
        for button, order in orders.items():
            button.click(self._ordering(order), self.inputs, self.outputs, **WITH_MESSAGES)
        for button, accept in ((self.resume, False), (self.accept, True)):
            button.click(self._resuming(accept_changes=accept), self.inputs, self.outputs, **WITH_MESSAGES)
        self.use.click(self._on_use, self.name, self._links.use_outputs(GENERATE), **WITH_MESSAGES)

    def shown(self, name: object, values: Values) -> Updates:
        """Updates that list the runs there are now and show this one, else the newest, as the `inputs` say."""
        names = self._listed()
        chosen = name if name in names else next(iter(names), None)
        listed: Updates = {
            self.name: gr.update(choices=names, value=chosen, visible=bool(names)),
            self.timer: gr.update(active=True),
        }
        if chosen is None:
            return self._nothing() | self._written([], None) | listed | {self.state: NONE, self.seen: self._seen("")}
        number = _older(values.get(self.sample), values.get(self.until)) if chosen == values.get(self.name) else None
        return self._all(str(chosen), self._look(values), number) | listed

    # Events

    def _on_open(self, values: Values) -> Updates:
        return self.shown(values[self.name], values)

    def _on_tick(self, values: Values) -> object:
        if self._seen(str(values[self.name] or "")) == values[self.seen]:
            return gr.skip()
        try:
            return self._drawn(values)
        except ValueError:  # it is being deleted at this very moment; the next look finds it gone
            return gr.skip()

    @shows_errors
    def _on_run(self, values: Values) -> object:
        return self._drawn(values, newest=True)

    @shows_errors
    def _on_choice(self, values: Values) -> object:
        return self._drawn(values)

    @shows_errors
    def _on_sample(self, values: Values) -> object:
        name = str(values[self.name] or "")
        if name not in self._names():
            return self.shown(None, values)
        return self._written(self._run(name).samples(), _older(values[self.sample], values[self.until]))

    def _ordering(self, order: Order) -> Callable[[Values], object]:
        @shows_errors
        def ordered(values: Values) -> object:
            control.order(self._desk.places, str(values[self.name]), order)
            return self._drawn(values)

        return ordered

    def _resuming(self, *, accept_changes: bool) -> Callable[[Values], object]:
        @shows_errors
        def resumed(values: Values) -> object:
            control.start(self._desk.places, str(values[self.name]), accept_changes=accept_changes)
            return self._drawn(values)

        return resumed

    @shows_errors
    def _on_use(self, name: str | None) -> object:
        info = control.info(self._desk.places, name or "")
        return self._links.use(GENERATE, control.model_of(self._desk.places, info))

    # What is shown

    def _look(self, values: Values) -> Look:
        return Look.of(values.get(self.axis), values.get(self.weight), values.get(self.logs))

    def _run(self, name: str) -> RunDirectory:
        return RunDirectory(self._desk.settings.runs / name)

    def _names(self) -> tuple[str, ...]:
        """The runs there are, whatever state they are in: a look at their folder, no more."""
        folder = self._desk.settings.runs
        return tuple(path.name for path in storage.folders(folder)) if folder.is_dir() else ()

    def _listed(self) -> list[str]:
        return [info.name for info in control.newest_first(self._desk.places)]

    def _seen(self, name: str) -> Seen:
        """What changes when there is something else to show than before; `name` may be empty, or that of no run."""
        names = self._names()
        if name not in names:
            return names, ""
        info = control.info(self._desk.places, name)
        return names, f"{name} {info.state} {info.status.updated} {info.last.get('step')}"

    def _drawn(self, values: Values, *, newest: bool = False) -> Updates:
        """The run that is chosen, with the `newest` of its texts or the one the slider is at; else what there is."""
        name, names = str(values[self.name] or ""), self._names()
        if name not in names:
            return self.shown(None, values)
        number = None if newest else _older(values[self.sample], values[self.until])
        updates = self._all(name, self._look(values), number)
        shown = values[self.seen]
        if isinstance(shown, tuple) and shown[0] != names:
            updates[self.name] = gr.update(choices=self._listed())
        return updates

    def _nothing(self) -> Updates:
        """Updates that take away what is shown of a run."""
        updates: Updates = {button: gr.update(visible=False) for button in self._buttons}
        updates |= {box: gr.update(visible=False) for box in (self._curves, self._texts, self._chosen)}
        return updates | {self.alarms: "", self.tiles: "", self.options: ""}

    def _all(self, name: str, look: Look, number: int | None) -> Updates:
        seen = self._seen(name)  # before anything is read: what comes after it is shown the next time
        run, info = self._run(name), control.info(self._desk.places, name)
        metrics, samples = run.metrics(), run.samples()
        resolved = None if info.problem else run.resolved()
        updates = self._nothing() | self._pressable(info) | self._written(samples, number)
        updates |= {
            self.state: words.state(info, run.order()),
            self._curves: gr.update(visible=bool(metrics)),
            self.losses: loss_chart(metrics, look, levels=words.levels(resolved)),
            self.others: small_charts(metrics, look),
            self._texts: gr.update(visible=bool(samples)),
            self.seen: seen,
        }
        if info.problem is None:
            plan, status = run.plan(), info.status
            training = plan.training.ending_after(resolved.steps) if resolved else plan.training
            found = alarms(metrics, options=training, resolved=resolved, status=status, state=info.state)
            figures = words.figures(info, metrics, memory=control.memory(self._desk.places, name))
            updates |= {
                self.alarms: words.warnings(found, said=status.message),
                self.tiles: tiles(figures, done=words.step_of(info) / status.steps if status.steps else None),
                self._chosen: gr.update(visible=True),
                self.options: html_table(["", name], words.choices(plan, resolved)),
            }
        return updates

    def _pressable(self, info: RunInfo) -> Updates:
        asks = info.state == "failed" and info.status.asks == ACCEPT_CHANGES
        visible = {
            self.pause: info.state == "training",
            self.go_on: info.state == "paused",
            self.halt: info.state in control.BUSY,
            self.resume: info.state in RESUMABLE and not asks,
            self.accept: asks,
            self.use: bool(info.status.saved_step),
        }
        return {button: gr.update(visible=shown) for button, shown in visible.items()}

    def _written(self, samples: list[Sample], number: int | None) -> Updates:
        """What was written at evaluation `number`, from 1, or at the newest."""
        steps = list(dict.fromkeys(sample.step for sample in samples))
        if not steps:
            return {self.sample: gr.update(value=1), self.samples: "", self.until: 0}
        at = len(steps) if number is None else min(max(1, number), len(steps))
        texts = [sample for sample in samples if sample.step == steps[at - 1]]
        panes = "".join(pane(f"after step {one.step:,}", one.prompt, one.text) for one in texts)
        return {
            self.sample: gr.update(maximum=max(2, len(steps)), value=at, visible=len(steps) > 1),
            self.samples: f'<div class="samples">{panes}</div>',
            self.until: len(steps),
        }


def _older(number: object, until: object) -> int | None:
    """The evaluation that a slider which ends at `until` was moved to; None if it is at its end: the newest then."""
    if not isinstance(number, int | float) or not isinstance(until, int) or number >= until:
        return None
    return int(number)
