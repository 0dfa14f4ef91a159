"""All runs: a list, the curves of some of them in one chart, and what was chosen differently."""

import html

import gradio as gr

from gptdesk.desk import Desk
from gptdesk.formatting import clock
from gptdesk.markup import html_table
from gptdesk.page.option_widgets import QUIETLY, WITH_MESSAGES, Updates, label, shows_errors
from gptdesk.page.tabs.train.panels import (
    AXES,
    DASH,
    SMOOTHEST,
    SMOOTHING,
    Look,
    chosen,
    counted,
    number,
    overlay,
    texts,
)
from gptdesk.training import control
from gptdesk.training.control import RunInfo
from gptdesk.training.curves import differences
from gptdesk.training.run_directory import RunDirectory

MOST = 6  # runs in one chart, each in a colour of its own
HEAD = ("Run", "State", "Step", "Training loss", "Best validation", "Tokens", "Time", "Text")


class ListingView:
    """The list, and what is laid over each other."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.table = gr.HTML(elem_id="runs-table", elem_classes=["figures-table", "bare"])
        self.chosen = gr.CheckboxGroup(
            [],
            label="Lay over each other",
            info=f"Up to {MOST} runs: their curves in one chart, and what was chosen differently.",
            visible=False,
            elem_id="runs-chosen",
        )
        with gr.Column(visible=False) as self._below:
            with gr.Row():
                self.axis = gr.Radio(list(AXES), value="steps", label="Along the axis", elem_id="runs-axis")
                self.weight = gr.Slider(
                    0, SMOOTHEST, value=SMOOTHING, step=0.01, label="Smoothing", elem_id="runs-smoothing"
                )
                self.logs = gr.CheckboxGroup(["axis", "loss"], label="Logarithmic", elem_id="runs-logarithmic")
            self.curves = gr.HTML(elem_id="runs-curves", elem_classes="bare")
            self.differences = gr.HTML(elem_id="runs-differences", elem_classes=["figures-table", "bare"])
            with gr.Row():
                self.delete = gr.Button("Delete these runs …", size="sm", min_width=120, elem_id="runs-delete")
                self.sure = gr.Button(
                    "Really delete them, with their saves and copies of their texts",
                    variant="stop",
                    size="sm",
                    visible=False,
                    elem_id="runs-really",
                )

    def wire(self, tab: gr.Tab) -> None:
        """Connect the widgets; the list is looked up anew when `tab` is opened."""
        shown = [self._below, self.curves, self.differences, self.sure]
        drawn = [self.chosen, self.axis, self.weight, self.logs]
        tab.select(self._on_open, drawn, [self.table, self.chosen, *shown], **QUIETLY)
        latest = WITH_MESSAGES | {"trigger_mode": "always_last"}
        for box in drawn:
            box.input(self._on_choice, drawn, shown, **latest)  # type: ignore[attr-defined]  # made by Gradio
        self.delete.click(self._on_ask, None, self.sure, **QUIETLY)
        self.sure.click(self._on_delete, drawn, [self.table, self.chosen, *shown], **WITH_MESSAGES)

    def _on_open(self, chosen: list[str], axis: object, weight: object, logs: object) -> Updates:
        found = control.newest_first(self._desk.places)
        names = [info.name for info in found]
        kept = [name for name in chosen or [] if name in names][:MOST]
        rows = [_row(info) for info in found] or [["No run yet: New run starts one."]]
        return {
            self.table: html_table(HEAD, rows),
            self.chosen: gr.update(choices=names, value=kept, visible=bool(names)),
        } | self._laid(kept, Look.of(axis, weight, logs))

    @shows_errors
    def _on_choice(self, chosen: list[str], axis: object, weight: object, logs: object) -> Updates:
        if len(chosen) > MOST:
            raise ValueError(f"at most {MOST} runs can be laid over each other, not {len(chosen)}; take some away")
        return self._laid(chosen, Look.of(axis, weight, logs))

    def _on_ask(self) -> object:
        return gr.update(visible=True)

    def _on_delete(self, chosen: list[str], axis: object, weight: object, logs: object) -> Updates:
        refused = []
        for name in chosen:
            try:
                control.remove(self._desk.places, name)
            except ValueError as error:  # it trains, or somebody else has deleted it
                refused.append(str(error))
        if refused:
            gr.Warning(html.escape("; ".join(refused)))
        return self._on_open(chosen, axis, weight, logs)

    def _laid(self, names: list[str], look: Look) -> Updates:
        if not names:
            return {self._below: gr.update(visible=False), self.sure: gr.update(visible=False)}
        listed = [info for info in control.listing(self._desk.places) if info.problem is None]
        there = {info.name: RunDirectory(info.path) for info in listed}
        usable = {name: there[name] for name in names if name in there}
        metrics = {name: run.metrics() for name, run in usable.items()}
        plans = {name: run.plan() for name, run in usable.items()}
        told = [(label(option), [chosen(values[name]) for name in usable]) for option, values in differences(plans)]
        rows = [[option, *cells] for option, cells in told if len(set(cells)) > 1]
        nothing = [["nothing was chosen differently", *[""] * len(usable)]] if len(usable) > 1 else []
        return {
            self._below: gr.update(visible=True),
            self.curves: overlay(metrics, look),
            self.differences: html_table(["Chosen differently", *usable], rows or nothing) if len(usable) > 1 else "",
            self.sure: gr.update(visible=False),
        }


def _row(info: RunInfo) -> list[str]:
    status, last = info.status, info.last
    seconds = last.get("seconds")
    return [
        info.name,
        info.state,
        f"{last.get('step', status.step):,} of {status.steps:,}" if status.steps else DASH,
        number(last.get("train_loss")),
        DASH if status.best_loss is None else f"{status.best_loss:.4f} at {status.best_step:,}",
        counted(last.get("tokens")),
        clock(seconds) if isinstance(seconds, int | float) else DASH,
        info.problem or texts(RunDirectory(info.path).plan().data),
    ]
