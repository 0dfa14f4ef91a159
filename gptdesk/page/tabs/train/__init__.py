"""Train tab: a new run, one run, all runs. It views the folders of runs, whose processes do the work."""

import gradio as gr

from gptdesk.desk import Desk
from gptdesk.page.option_widgets import QUIETLY, WITH_MESSAGES, Updates, shows_errors
from gptdesk.page.persistence import SavedState
from gptdesk.page.tab_links import TabLinks
from gptdesk.page.tabs.train.form import FormView
from gptdesk.page.tabs.train.listing import ListingView
from gptdesk.page.tabs.train.page_script import SCRIPT
from gptdesk.page.tabs.train.run_view import RunView
from gptdesk.page.tabs.train.style_sheet import CSS
from gptdesk.training import control
from gptdesk.training.metrics import MetricsReader
from gptdesk.training.plan import RunPlan

__all__ = ["CSS", "OWNER_ONLY", "SCRIPT", "TITLE", "build"]

TITLE = "Train"
OWNER_ONLY = True  # visitors of a public desk would share one computer


def build(desk: Desk, links: TabLinks) -> None:
    """Lay out the tab inside the current container and connect it; saved values are restored when the page loads."""
    metrics = MetricsReader()
    with gr.Tabs(overflow_behavior="wrap") as views:
        with gr.Tab("New run", id="new", render_children=True) as new:
            form = FormView(desk)
        with gr.Tab("Watch", id="watch", render_children=True) as watching:
            watch = RunView(desk, links, metrics)
        with gr.Tab("All runs", id="runs", render_children=True) as listed:
            listing = ListingView(desk, metrics)
    kept = SavedState(desk, TITLE, form.remembered | watch.remembered, {})
    form.wire(
        new,
        changed=links.changed,
        given=watch.inputs,
        started=[views, *watch.outputs],
        show_run=lambda name, values: {views: gr.update(selected="watch")} | watch.show(name, values),
    )
    links.on_open(TITLE, form.base.list_again, form.base.box, [form.base.box])
    watch.wire(watching, changed=links.changed)
    listing.wire(listed, changed=links.changed)
    links.add_run_list(TITLE, views, "runs")
    kept.wire()

    def fill(plan: RunPlan) -> Updates:
        return {views: gr.update(selected="new")} | form.fill(plan)

    @shows_errors
    def fill_again(name: str | None) -> object:
        return fill(control.find(desk.run_context, name or "").plan())

    @shows_errors
    def open_run(name: str | None) -> object:
        control.find(desk.run_context, name or "")
        return {views: gr.update(selected="watch"), watch.name: name}

    opened = listing.open.click(
        open_run, watch.name, [views, watch.name], js="name => [window.openedRun ?? name]", **WITH_MESSAGES
    )
    opened.then(watch.on_open, watch.inputs, watch.outputs, **QUIETLY)
    outputs = [views, *form.remembered.values(), *form.outputs]
    links.add_plan_form(TITLE, fill, outputs)
    watch.buttons.again.click(fill_again, watch.name, outputs, **WITH_MESSAGES)

    def load() -> Updates:
        remembered = kept.read()
        busy = control.holder(desk.settings.home)
        values = {box: remembered.get(name, box.value) for name, box in watch.remembered.items()}
        updates = kept.updates(remembered) | form.restore(remembered)
        updates |= watch.show(busy or remembered.get("run"), values)
        return updates | ({views: gr.update(selected="watch")} if busy else {})

    links.on_load(TITLE, load, [*kept.controls, kept.restored, views, *form.outputs, *watch.outputs])
