"""Batches on the disk: state, buttons, results and export of the chosen one, read from its folder every second."""

from collections.abc import Callable
from datetime import datetime
from itertools import islice

import gradio as gr
from gradio.blocks import Block

from gptdesk.batch import BatchJob, list_jobs
from gptdesk.batch.background import BackgroundBatches
from gptdesk.batch.exporting import EXPORTS
from gptdesk.batch.job import BatchStatus, delete_job, open_job
from gptdesk.desk import Desk
from gptdesk.formatting import clock, plural
from gptdesk.markup import markdown_text
from gptdesk.page.downloads import SAVE_AT_ONCE, link_to
from gptdesk.page.option_widgets import QUIETLY, WITH_MESSAGES, Updates, Values, shows_errors
from gptdesk.page.tabs.batch.drawing import failures_html, progress_html, rows_html

EVERY = 1.0  # seconds between two reads of the folder while the batch runs
LISTED = 50  # batches in the list, the newest
SHOWN = 10  # rows of the results, and failures, that are shown
EMPTY = (
    '<p class="empty">No batch yet. Write prompts and press "Start the batch": its progress, texts and export appear '
    "here. It goes on when this page is closed.</p>"
)
NEWEST, FIRST = "newest", "first"
STATES = {"running": "Running", "paused": "Paused", "stopped": "Stopped", "finished": "Finished"}


class JobsView:
    """View of the chosen batch."""

    def __init__(self, desk: Desk, batches: BackgroundBatches) -> None:
        self._desk, self.batches = desk, batches
        self.name = gr.Dropdown([], label="Batch", visible=False, elem_id="batch-job")
        self.state = gr.Markdown(EMPTY, elem_id="batch-state")
        self.progress = gr.HTML(elem_id="batch-progress", elem_classes="bare", visible=False)
        self.error = gr.Markdown(elem_id="batch-error", elem_classes="note", visible=False)
        with gr.Row():
            self.pause = gr.Button("Pause", visible=False, elem_classes="halt", elem_id="batch-pause", min_width=100)
            self.resume = gr.Button("Resume", variant="primary", visible=False, elem_id="batch-resume", min_width=100)
            self.stop = gr.Button("Stop", variant="stop", visible=False, elem_id="batch-stop", min_width=100)
            self.delete = gr.Button("Delete batch …", size="sm", visible=False, elem_id="batch-delete", min_width=100)
            self.sure = gr.Button(
                "Delete the batch, its prompts and texts",
                variant="stop",
                size="sm",
                visible=False,
                elem_id="batch-really",
                min_width=100,
            )
        with gr.Column(visible=False) as self._results:
            with gr.Row(elem_id="batch-actions"):
                self.order = gr.Radio(
                    [("Newest rows", NEWEST), ("First rows", FIRST)],
                    value=NEWEST,
                    show_label=False,
                    container=False,
                    min_width=220,
                    elem_id="batch-order",
                )
                self.exports = {
                    kind: gr.Button(f"Export {kind.upper()}", size="sm", min_width=110, elem_id=f"batch-export-{kind}")
                    for kind in reversed(EXPORTS)
                }
            self.file = gr.HTML(visible=False, elem_id="batch-save", js_on_load=SAVE_AT_ONCE)
            self.failures = gr.HTML(elem_id="batch-failures", elem_classes="bare", visible=False)
            self.rows = gr.HTML(elem_id="batch-rows", elem_classes="bare")
        # what the page shows; on the page, as in the Train tab, so that an answer that arrives late is drawn over
        self.seen = gr.Textbox("", visible="hidden", elem_id="batch-seen")
        self.timer = gr.Timer(EVERY, active=False)  # active while the shown batch runs

    @property
    def inputs(self) -> set[Block]:
        """Widgets whose values `show` needs."""
        return {self.name, self.order, self.seen}

    @property
    def outputs(self) -> list[Block]:
        """Widgets that `show` updates."""
        buttons = [self.pause, self.resume, self.stop, self.delete, self.sure, self.file]
        shown = [self.state, self.progress, self.error, self._results, self.rows, self.failures]
        return [self.name, *buttons, *shown, self.seen, self.timer]

    def wire(self) -> None:
        """Connect the widgets and the timer."""
        self.timer.tick(self._on_tick, self.inputs, self.outputs, **QUIETLY)
        latest = WITH_MESSAGES | {"trigger_mode": "always_last"}
        gr.on([self.name.input, self.order.input], self._on_choice, self.inputs, self.outputs, **latest)
        self.resume.click(self._on_resume, self.inputs, self.outputs, **WITH_MESSAGES)
        self.pause.click(self._on_pause, self.inputs, self.outputs, **WITH_MESSAGES)
        self.stop.click(self._on_stop, self.inputs, self.outputs, **WITH_MESSAGES)
        self.delete.click(self._on_ask, {self.name}, self.sure, **WITH_MESSAGES)
        self.sure.click(self._on_delete, self.inputs, self.outputs, **WITH_MESSAGES)
        for kind, button in self.exports.items():
            button.click(self._exporter(kind), {self.name}, self.file, **WITH_MESSAGES)

    def show(self, ident: object, values: Values) -> Updates:
        """Return updates that list the batches and show this one, else one that runs, else the newest."""
        jobs = list_jobs(self._desk.settings.batches)[:LISTED]
        if not jobs:
            buttons = [self.pause, self.resume, self.stop, self.delete, self.sure]
            hidden = [self.name, self.progress, self.error, *buttons, self._results]
            nothing: Updates = {box: gr.update(visible=False) for box in hidden}
            return nothing | {self.state: EMPTY, self.seen: "", self.timer: gr.update(active=False)}
        states = {job.ident: job.status() for job in jobs}
        running = next((job for job in jobs if states[job.ident].state == "running"), jobs[0])
        job = next((job for job in jobs if job.ident == ident), running)
        choices = [(_title(job, states[job.ident]), job.ident) for job in jobs]
        listed: Updates = {self.name: gr.update(choices=choices, value=job.ident, visible=True)}
        return self._draw(job, states[job.ident], values) | listed | {self.file: gr.update(visible=False)}

    # Events

    def _on_tick(self, values: Values) -> object:
        try:
            job = self._job(values)
        except ValueError:  # deleted by hand
            return self.show(None, values)
        status = job.status()
        if self._seen(job, status) == values[self.seen]:
            return gr.skip()
        return self._draw(job, status, values) if status.state == "running" else self.show(job.ident, values)

    @shows_errors
    def _on_choice(self, values: Values) -> object:
        job = self._job(values)
        return self._draw(job, job.status(), values) | {self.file: gr.update(visible=False)}

    @shows_errors
    def _on_resume(self, values: Values) -> object:
        job = self._job(values)
        self.batches.start(job)
        return self.show(job.ident, values)

    @shows_errors
    def _on_pause(self, values: Values) -> object:
        job = self._job(values)
        job.give_order("pause")
        return self._awaiting("Pausing …") if job.is_running else self.show(job.ident, values)

    @shows_errors
    def _on_stop(self, values: Values) -> object:
        job = self._job(values)
        job.give_order("stop")
        return self._awaiting("Stopping …") if job.is_running else self.show(job.ident, values)

    @shows_errors
    def _on_ask(self, values: Values) -> object:
        self._job(values).check_deletable()
        return gr.update(visible=True)

    @shows_errors
    def _on_delete(self, values: Values) -> object:
        delete_job(self._job(values))
        return self.show(None, values)

    def _exporter(self, kind: str) -> Callable[[Values], object]:
        @shows_errors
        def export(values: Values) -> object:
            data = "".join(EXPORTS[kind](self._job(values))).encode("utf-8", "replace")
            return gr.update(value=link_to(data, f"batch.{kind}"), visible=True)

        return export

    # Updates

    def _awaiting(self, line: str) -> Updates:
        """Return updates that show a line until the next tick, also where the end of the batch was drawn meanwhile."""
        return {self.state: line, self.seen: "", self.timer: gr.update(active=True)}

    def _job(self, values: Values) -> BatchJob:
        return open_job(self._desk.settings.batches, str(values[self.name] or ""))

    def _seen(self, job: BatchJob, status: BatchStatus) -> str:
        return f"{job.ident} {status.state} {status.done} {status.failed}"

    def _draw(self, job: BatchJob, status: BatchStatus, values: Values) -> Updates:
        """Return updates that show a batch in this state."""
        is_first = values.get(self.order) == FIRST
        rows = list(islice(job.rows(), SHOWN)) if is_first else job.last_rows(SHOWN)
        rows.sort(key=lambda row: number if isinstance(number := row.get("row"), int) else -1)  # as in the input
        failures, error = list(islice(job.failures(), SHOWN)), self.batches.error(job)
        resumable, running = status.state in ("paused", "stopped"), status.state == "running"
        return {
            self.state: _state(job, status),
            self.progress: gr.update(value=progress_html(status), visible=status.state != "finished"),
            self.error: gr.update(value=f"⚠ It ended early: {markdown_text(error or '')}.", visible=bool(error)),
            self.pause: gr.update(visible=running),
            self.resume: gr.update(visible=resumable),
            self.stop: gr.update(visible=running or status.state == "paused"),
            self.delete: gr.update(visible=True),
            self.sure: gr.update(visible=False),
            self._results: gr.update(visible=bool(rows or failures)),
            self.rows: rows_html(rows, job.plan),
            self.failures: gr.update(value=failures_html(failures, status.failed), visible=bool(failures)),
            self.seen: self._seen(job, status),
            self.timer: gr.update(active=running),
        }


def _title(job: BatchJob, status: BatchStatus) -> str:
    """Return a batch as a line of the list."""
    when = datetime.fromtimestamp(job.created).strftime("%d %b %H:%M")
    name = " ".join(job.name.split())[:60]
    return f"{name} · {when} · {status.state}"


def _state(job: BatchJob, status: BatchStatus) -> str:
    """Return the state of a batch and its plan as Markdown."""
    failed = f", {status.failed:,} failed" if status.failed else ""
    left = f", about {clock(status.seconds_left)} left" if status.state == "running" and status.seconds_left else ""
    plan = job.plan
    facts = [plural(job.prompt_count, "prompt"), plural(len(plan.models), "model"), plural(len(plan.chains), "preset")]
    facts += [f"seed {plan.seed}", f"at most {plural(plan.max_new_tokens, 'new token')}"]
    done = f"{status.done:,} of {plural(status.total, 'row')}{failed}{left}"
    return f"**{STATES[status.state]}**: {done}.  \n{', '.join(facts)}"
