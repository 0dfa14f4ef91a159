"""Watch: one run, its state, curves and samples. It reads the run's folder every second, so all pages show the same."""

import hashlib

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component

from gptdesk.desk import Desk
from gptdesk.markup import html_table
from gptdesk.page.option_widgets import QUIETLY, WITH_MESSAGES, Updates, Values, shows_errors
from gptdesk.page.tab_links import TabLinks
from gptdesk.page.tabs.train import words
from gptdesk.page.tabs.train.panels import AXES, SMOOTHEST, SMOOTHING, Look, loss_chart, small_charts, tiles
from gptdesk.page.tabs.train.result import result_card
from gptdesk.page.tabs.train.run_buttons import RunButtons
from gptdesk.page.tabs.train.samples import SamplesPanel
from gptdesk.training import control, queue
from gptdesk.training.control import RunInfo
from gptdesk.training.diagnostics import diagnostics
from gptdesk.training.metrics import MetricsReader
from gptdesk.training.run_directory import RunDirectory
from gptdesk.training.states import ENDED
from models import storage

EVERY = 1.0  # seconds between two reads of the folder
TILES = 4  # figures of a run that are always visible
NO_RUN = (
    '<p class="empty">No run yet. Press "Start training" in "New run": its progress, curves and samples appear here. A '
    "run continues when this page is closed, and is shown when it is opened.</p>"
)


class RunView:
    """View of the chosen run: buttons, state, curves and samples."""

    def __init__(self, desk: Desk, links: TabLinks, metrics: MetricsReader) -> None:
        self._desk = desk
        self._metrics = metrics
        self.name = gr.Dropdown([], label="Run", elem_id="run")
        self.buttons = RunButtons(desk, links)
        self.state = gr.Markdown(NO_RUN, elem_id="run-state")
        self.diagnostics = gr.Markdown(elem_id="run-diagnostics", elem_classes="note")
        self.result = gr.HTML(elem_id="run-result", elem_classes="bare")
        self.tiles = gr.HTML(elem_id="run-tiles", elem_classes="bare")
        self.samples = SamplesPanel()
        with gr.Accordion("Details", open=False, visible=False, elem_id="run-details") as self._details:
            self.more = gr.HTML(elem_id="run-more", elem_classes="bare")
            self.others = gr.HTML(elem_id="run-curves", elem_classes="bare")
        with gr.Column(visible=False) as self._curves:
            self._lay_out_curves()
        with gr.Accordion("Options", open=False, visible=False, elem_id="run-chosen") as self._chosen:
            self.options = gr.HTML(elem_id="run-options", elem_classes=["figures-table", "bare"])
        # What the page shows, kept on the page, not in a gr.State: an answer that arrives late then brings its own
        # value along, and the next tick draws again.
        self.seen = gr.Textbox("", visible="hidden", elem_id="run-seen")
        self.timer = gr.Timer(EVERY, active=False)  # active once something is shown, as long as the page is open

    def _lay_out_curves(self) -> None:
        with gr.Row():
            self.axis = gr.Radio(list(AXES), value="steps", label="X axis", elem_id="run-axis", min_width=240)
            self.weight = gr.Slider(
                0, SMOOTHEST, value=SMOOTHING, step=0.01, label="Smoothing", elem_id="run-smoothing"
            )
            self.logs = gr.CheckboxGroup(["axis", "loss"], value=[], label="Logarithmic", elem_id="run-logarithmic")
        self.losses = gr.HTML(elem_id="run-losses", elem_classes="bare")

    @property
    def remembered(self) -> dict[str, Component]:
        """Widgets to remember, by name."""
        return {"run": self.name, "axis": self.axis, "smoothing": self.weight, "logarithmic": self.logs}

    @property
    def outputs(self) -> list[Block]:
        """Widgets that `show` updates."""
        figures = [self.state, self.diagnostics, self.result, self.tiles, self._details, self.more]
        figures += [self._curves, self.losses, self.others]
        options = [self._chosen, self.options]
        return [self.name, *self.buttons.outputs, *figures, *self.samples.outputs, *options, self.seen, self.timer]

    @property
    def inputs(self) -> set[Block]:
        """Widgets whose values `show` needs."""
        return {self.name, self.axis, self.weight, self.logs, *self.samples.inputs, self.seen}

    def wire(self, tab: gr.Tab, *, changed: gr.Textbox | None) -> None:
        """Connect the widgets and the timer; the run is read again when `tab` is opened, or models are `changed`."""
        latest = WITH_MESSAGES | {"trigger_mode": "always_last"}
        self.timer.tick(self._on_tick, self.inputs, self.outputs, **QUIETLY)
        tab.select(self.on_open, self.inputs, self.outputs, **QUIETLY)
        if changed:
            changed.change(self.on_open, self.inputs, self.outputs, **QUIETLY)
        self.name.input(self._on_run, self.inputs, self.outputs, **latest)
        drawn = [self.axis.input, self.weight.input, self.logs.input]
        gr.on(drawn, self._on_choice, self.inputs, self.outputs, **latest)
        self.samples.slider.input(self._on_sample, self.inputs, self.outputs, **latest)
        self.buttons.wire(self.name, self.inputs, self.outputs, self._draw, self.state)

    def show(self, name: object, values: Values) -> Updates:
        """Return updates that list the runs and show this one, else the newest, as the `inputs` say."""
        names = self._listed()
        chosen = name if name in names else next(iter(names), None)
        listed: Updates = {
            self.name: gr.update(choices=names, value=chosen, visible=bool(names)),
            self.timer: gr.update(active=True),
        }
        if chosen is None:
            return self._hidden() | listed | {self.state: NO_RUN, self.seen: self._seen("")}
        number = self.samples.chosen(values) if chosen == values.get(self.name) else None
        return self._show(str(chosen), self._look(values), number) | listed

    # Events

    def on_open(self, values: Values) -> Updates:
        """Return updates that list the runs and show the chosen one.

        They leave what is chosen unless it is gone: another may have been chosen since, which the timer draws.
        """
        updates = self.show(values[self.name], values)
        listed: dict[str, object] = updates[self.name]  # type: ignore[assignment]
        if listed["value"] == values[self.name]:
            del listed["value"]
        return updates

    def _on_tick(self, values: Values) -> object:
        if self._seen(str(values[self.name] or "")) == values[self.seen]:
            return gr.skip()
        try:
            return self._draw(values)
        except ValueError:  # it is being deleted at this moment; at the next tick it is gone
            return gr.skip()

    @shows_errors
    def _on_run(self, values: Values) -> object:
        return self._draw(values, newest=True)

    @shows_errors
    def _on_choice(self, values: Values) -> object:
        return self._draw(values)

    @shows_errors
    def _on_sample(self, values: Values) -> object:
        name = str(values[self.name] or "")
        if name not in self._names():
            return self.show(None, values)
        return self.samples.show(self._run(name).samples(), self.samples.chosen(values))

    # Updates

    def _look(self, values: Values) -> Look:
        return Look.of(values.get(self.axis), values.get(self.weight), values.get(self.logs))

    def _run(self, name: str) -> RunDirectory:
        return RunDirectory(self._desk.settings.runs / name)

    def _names(self) -> tuple[str, ...]:
        """Return the names of the runs, without reading them."""
        folder = self._desk.settings.runs
        return tuple(path.name for path in storage.folders(folder)) if folder.is_dir() else ()

    def _listed(self) -> list[str]:
        return [info.name for info in control.newest_first(self._desk.run_context)]

    def _seen(self, name: str) -> str:
        """Return a text that differs once there is something new to show; `name` may be empty, or of no run."""
        names = self._names()
        listed = _digest(names)
        if name not in names:
            return listed
        info = control.info(self._desk.run_context, name)
        place = queue.place(self._desk.run_context, name)
        return f"{listed} {name} {info.state} {place} {info.status.updated} {info.last.get('step')}"

    def _draw(self, values: Values, *, newest: bool = False) -> Updates:
        """Return updates that show the chosen run with the `newest` samples or the chosen ones; else what there is."""
        name, names = str(values[self.name] or ""), self._names()
        if name not in names:
            return self.show(None, values)
        updates = self._show(name, self._look(values), None if newest else self.samples.chosen(values))
        if not str(values[self.seen]).startswith(_digest(names)):
            updates[self.name] = gr.update(choices=self._listed())
        return updates

    def _state(self, info: RunInfo, run: RunDirectory) -> str:
        """Return the state of a run, and what has become of its models since, as Markdown."""
        context = self._desk.run_context
        place, before = queue.place(context, info.name), queue.run_before(context, info.name)
        sentence = words.state(info, run.order(), place=place, before=before)
        made = [name for name in (info.status.model, info.status.closest) if name and info.state in ENDED]
        present = context.library.listed_names()
        names = {name: context.library.present_name(name) for name in made}
        now = {name: new if new in present else None for name, new in names.items()}
        return f"{sentence} {words.models_since(made, now=now)}".strip()

    def _hidden(self) -> Updates:
        """Return updates that hide all that is shown of a run."""
        hidden = [*self.buttons.outputs, self._details, self._curves, self._chosen]
        updates: Updates = {box: gr.update(visible=False) for box in hidden}
        empty = [self.diagnostics, self.result, self.tiles, self.more, self.options]
        return updates | self.samples.show([], None) | dict.fromkeys(empty, "")

    def _show(self, name: str, look: Look, number: int | None) -> Updates:
        """Return updates that show a run, drawn as `look` says, with the samples of evaluation `number`."""
        seen = self._seen(name)  # before the rest is read: what is written after it is shown the next time
        run, info = self._run(name), control.info(self._desk.run_context, name)
        metrics = self._metrics.read(run.path)
        resolved = None if info.problem else run.resolved()
        samples = run.samples()
        updates = self._hidden() | self.buttons.show(info) | self.samples.show(samples, number)
        updates |= {
            self.state: self._state(info, run),
            self._curves: gr.update(visible=bool(metrics)),
            self.losses: loss_chart(metrics, look, levels=words.levels(resolved)),
            self.others: small_charts(metrics, look),
            self.seen: seen,
        }
        if info.problem is None:
            plan, status = run.plan(), info.status
            options = plan.resolve_training()
            options = options.ending_after(status.steps or resolved.steps) if resolved else options
            findings = diagnostics(metrics, options=options, resolved=resolved, status=status, state=info.state)
            stats = list(words.stats(info, metrics, memory=control.memory(self._desk.run_context, name)))
            updates |= {
                self.diagnostics: words.diagnostics_text(findings, shown=status.message, more=words.budget(info, run)),
                self.result: result_card(info, samples),
                self._details: gr.update(visible=True),
                self.more: tiles(stats[TILES:]),
                self.tiles: tiles(stats[:TILES], done=words.step_of(info) / status.steps if status.steps else None),
                self._chosen: gr.update(visible=True),
                self.options: html_table(["", name], words.choices(plan, resolved)),
            }
        return updates


def _digest(names: tuple[str, ...]) -> str:
    """Return a short text for the names of all runs."""
    return hashlib.sha256("\n".join(names).encode("utf-8", "surrogateescape")).hexdigest()[:16]
