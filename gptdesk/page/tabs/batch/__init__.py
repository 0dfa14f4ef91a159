"""Batch tab: many prompts as a resumable batch, and the sampler grid, which is all of it on a public desk."""

import gradio as gr
from gradio.blocks import Block

from gptdesk.batch.background import BackgroundBatches
from gptdesk.desk import Desk
from gptdesk.page.option_widgets import Updates, Values
from gptdesk.page.persistence import SavedState
from gptdesk.page.tab_links import TabLinks
from gptdesk.page.tabs.batch import drawing, grid_table
from gptdesk.page.tabs.batch.form import BatchForm
from gptdesk.page.tabs.batch.grid import GridView
from gptdesk.page.tabs.batch.jobs import JobsView

__all__ = ["CSS", "TITLE", "build"]

TITLE = "Batch"
CSS = drawing.CSS + grid_table.CSS


def build(desk: Desk, links: TabLinks) -> None:
    """Lay out the tab inside the current container and wire it; saved widget state is restored when it is opened."""
    if desk.settings.public:  # a batch is saved on the disk
        grid = GridView(desk)
        grid.wire()
        links.add_pickers(TITLE, grid.model)
        return
    with gr.Tabs(overflow_behavior="wrap"):
        with gr.Tab("Many prompts", render_children=True), gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=320):
                form = BatchForm(desk)
            with gr.Column(scale=3, min_width=320):
                jobs = JobsView(desk, BackgroundBatches(desk, origin="page"))
        with gr.Tab("Sampler grid", render_children=True):
            grid = GridView(desk)
    kept = SavedState(desk, TITLE, form.remembered | grid.remembered, {})
    form.wire(jobs)
    jobs.wire()
    grid.wire(kept)
    kept.wire(by_input=(form.models, form.presets))

    def opened(values: Values) -> Updates:
        updates = jobs.show(values[jobs.name], values)
        if values[kept.restored]:
            return updates | form.listed(values) | grid.listed(values)
        saved = kept.read()
        return updates | kept.updates(saved) | form.restored(saved) | grid.restored(saved)

    controls: set[Block] = {*kept.controls, *jobs.inputs, kept.restored}
    outputs = [*kept.controls, form.count, *jobs.outputs, *grid.shown, kept.restored]
    links.on_open(TITLE, opened, controls, outputs, restores=True)
