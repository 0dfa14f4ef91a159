"""All runs: list, comparison of curves and options, deletion."""

import html
from collections.abc import Sequence
from typing import Any

import gradio as gr

from gptdesk.desk import Desk
from gptdesk.formatting import clock
from gptdesk.markup import html_table
from gptdesk.page.option_widgets import QUIETLY, WITH_MESSAGES, Updates, shows_errors
from gptdesk.page.tabs.train.boxes import option_label
from gptdesk.page.tabs.train.panels import (
    AXES,
    DASH,
    SMOOTHEST,
    SMOOTHING,
    Look,
    chosen,
    counted,
    listed,
    number,
    overlay,
)
from gptdesk.training import control
from gptdesk.training.control import RunInfo
from gptdesk.training.curves import differences
from gptdesk.training.metrics import MetricsReader
from gptdesk.training.run_directory import RunDirectory, queued_names

MOST = 6  # runs in one chart, each in a colour of its own
HEAD = ("Run", "State", "Step", "Training loss", "Best validation", "Tokens", "Time", "Text")


class ListingView:
    """List of runs, and the comparison of some of them."""

    def __init__(self, desk: Desk, metrics: MetricsReader) -> None:
        self._desk = desk
        self._metrics = metrics
        self.table = gr.HTML(elem_id="runs-table", elem_classes=["figures-table", "bare"])
        self.chosen = gr.CheckboxGroup(
            [],
            label="Select runs",
            info=f"Up to {MOST}, to compare their curves and options, or to delete them.",
            visible=False,
            elem_id="runs-chosen",
        )
        with gr.Row(visible=False) as self._buttons:
            self.delete = gr.Button(
                "Delete …", interactive=False, size="sm", scale=0, min_width=120, elem_id="runs-delete"
            )
            self.sure = gr.Button("", variant="stop", visible=False, size="sm", elem_id="runs-really")
            self.cancel = gr.Button("Cancel", visible=False, size="sm", scale=0, min_width=100, elem_id="runs-cancel")
        self.open = gr.Button(visible="hidden", elem_id="runs-open")  # clicked by the page's script, for a row
        with gr.Column(visible=False) as self._below:
            with gr.Row():
                self.axis = gr.Radio(list(AXES), value="steps", label="X axis", elem_id="runs-axis")
                self.weight = gr.Slider(
                    0, SMOOTHEST, value=SMOOTHING, step=0.01, label="Smoothing", elem_id="runs-smoothing"
                )
                self.logs = gr.CheckboxGroup(["axis", "loss"], label="Logarithmic", elem_id="runs-logarithmic")
            self.curves = gr.HTML(elem_id="runs-curves", elem_classes="bare")
            self.differences = gr.HTML(elem_id="runs-differences", elem_classes=["figures-table", "bare"])

    def wire(self, tab: gr.Tab, *, changed: gr.Textbox | None) -> None:
        """Connect the widgets; the list is read again when `tab` is opened, or the runs are `changed`."""
        asked = [self.sure, self.cancel]
        shown = [self._below, self.curves, self.differences, self.delete, *asked]
        drawn = [self.chosen, self.axis, self.weight, self.logs]
        tab.select(self._on_open, drawn, [self.table, self.chosen, self._buttons, *shown], **QUIETLY)
        if changed:
            changed.change(self._on_change, self.chosen, [self.table, self.chosen, self._buttons], **QUIETLY)
        latest = WITH_MESSAGES | {"trigger_mode": "always_last"}
        for box in drawn:
            box.input(self._on_choice, drawn, shown, **latest)  # type: ignore[attr-defined]  # made by Gradio
        self.delete.click(self._on_ask, self.chosen, asked, **QUIETLY)
        self.cancel.click(self._on_cancel, None, asked, **QUIETLY)
        self.sure.click(self._on_delete, drawn, [self.table, self.chosen, self._buttons, *shown], **WITH_MESSAGES)

    def _on_open(self, chosen: list[str], axis: object, weight: object, logs: object) -> Updates:
        kept, updates = self._listed(chosen)
        return updates | self._compared(kept, Look.of(axis, weight, logs)) if chosen else updates

    def _on_change(self, chosen: list[str]) -> Updates:
        return self._listed(chosen)[1]

    def _listed(self, chosen: list[str]) -> tuple[list[str], Updates]:
        """Return those of the `chosen` runs that there are still, and updates that list the runs there are now.

        They leave what is chosen unless a run of it is gone: more may have been chosen since the list was asked for.
        """
        runs = control.newest_first(self._desk.run_context)
        names = [info.name for info in runs]
        kept = [name for name in chosen if name in names][:MOST]
        value: dict[str, Any] = {} if kept == chosen else {"value": kept}
        waiting = queued_names(self._desk.settings.runs)
        rows = [_row(info, waiting) for info in runs] or [["No run yet: New run starts one."]]
        return kept, {
            self.table: _with_links(html_table(HEAD, rows), names),
            self.chosen: gr.update(choices=names, visible=bool(names), **value),
            self._buttons: gr.update(visible=bool(names)),
        }

    @shows_errors
    def _on_choice(self, chosen: list[str], axis: object, weight: object, logs: object) -> Updates:
        if len(chosen) > MOST:
            raise ValueError(f"at most {MOST} runs can be compared, not {len(chosen)}; deselect some")
        return self._compared(chosen, Look.of(axis, weight, logs))

    def _on_ask(self, chosen: list[str]) -> Updates:
        what = f"Delete {', '.join(chosen)} with all checkpoints and text copies; saved models stay"
        return {self.sure: gr.update(visible=True, value=what), self.cancel: gr.update(visible=True)}

    def _on_cancel(self) -> Updates:
        return dict.fromkeys((self.sure, self.cancel), gr.update(visible=False))

    def _on_delete(self, chosen: list[str], axis: object, weight: object, logs: object) -> Updates:
        refused = []
        for name in chosen:
            try:
                control.remove(self._desk.run_context, name)
            except ValueError as error:  # it trains, or was deleted elsewhere
                refused.append(str(error))
        if refused:
            gr.Warning(html.escape("; ".join(refused)))
        return self._on_open(chosen, axis, weight, logs)

    def _compared(self, names: list[str], look: Look) -> Updates:
        if not names:
            hidden = gr.update(visible=False)
            return {self._below: hidden, **self._on_cancel(), self.delete: gr.update(interactive=False)}
        readable = [info for info in control.listing(self._desk.run_context) if info.problem is None]
        runs = {info.name: RunDirectory(info.path) for info in readable}
        usable = {name: runs[name] for name in names if name in runs}
        metrics = {name: self._metrics.read(run.path) for name, run in usable.items()}
        plans = {name: run.plan() for name, run in usable.items()}
        cells = [
            (option_label(option), [chosen(values[name]) for name in usable]) for option, values in differences(plans)
        ]
        rows = [[option, *row] for option, row in cells if len(set(row)) > 1]
        nothing = [["none", *[""] * len(usable)]] if len(usable) > 1 else []
        return {
            self._below: gr.update(visible=True),
            self.curves: overlay(metrics, look),
            self.differences: html_table(["Options that differ", *usable], rows or nothing) if len(usable) > 1 else "",
            self.delete: gr.update(interactive=True),
            **self._on_cancel(),
        }


def _with_links(table: str, names: Sequence[str]) -> str:
    """Return the table with a button in place of each run's name, which opens the run."""
    for name in names:
        cell = html.escape(name)
        link = f'<button type="button" data-run="{cell}" title="Open in Watch">{cell}</button>'
        table = table.replace(f"<tr><th>{cell}</th>", f"<tr><th>{link}</th>", 1)
    return table


def _row(info: RunInfo, waiting: list[str]) -> list[str]:
    status, last = info.status, info.last
    seconds = last.get("seconds")
    return [
        info.name,
        f"{info.state}, place {waiting.index(info.name) + 1}" if info.name in waiting else info.state,
        f"{last.get('step', status.step):,} of {status.steps:,}" if status.steps else DASH,
        number(last.get("train_loss")),
        DASH if status.best_loss is None else f"{status.best_loss:.4f} at {status.best_step:,}",
        counted(last.get("tokens")),
        clock(seconds) if isinstance(seconds, int | float) else DASH,
        info.problem or listed(RunDirectory(info.path).plan().text_names()),
    ]
