"""View of the models: list, details of the chosen one, and the actions on it."""

import html
from collections.abc import Callable, Iterator

import gradio as gr
from gradio.blocks import Block

from gptdesk import management
from gptdesk.desk import Desk
from gptdesk.formatting import file_size
from gptdesk.management import Quantizing, memory_estimates
from gptdesk.markup import markdown_text
from gptdesk.page.long_action import action_row
from gptdesk.page.option_widgets import QUIETLY, STREAMING, WITH_MESSAGES, Updates, Values, shows_errors
from gptdesk.page.persistence import SavedState
from gptdesk.page.tab_links import TabLinks
from gptdesk.page.tabs.models.drawing import facts, model_table, size_bar
from gptdesk.page.tabs.models.export_panel import ExportPanel
from gptdesk.page.tabs.models.import_panel import ImportPanel
from gptdesk.page.tabs.models.rename_panel import RenamePanel
from gptdesk.page.tabs.models.weights_panel import STOPPED, WeightsPanel
from gptdesk.scheduler import Place
from gptdesk.system.file_manager import show_folder
from gptdesk.training.run_models import by_run, grouped
from gptdesk.training.run_recipe import plan_of
from models.about import read_about
from models.listing import ModelInfo
from models.precision import PRECISIONS
from models.weight_reading import group_sizes

QUANTIZE = "Generate and Compare can use every precision without a copy; a quantized copy takes less of the disk."
VERIFY = "Verify reads every weight and says whether the model is whole."
QUANTIZED = [(f"{name}: {precision.title}", name) for name, precision in PRECISIONS.items() if name != "float32"]


USES = {"Generate with it": ("Generate", 0), "Compare as A": ("Compare", 0), "Compare as B": ("Compare", 1)}


class ModelsView:
    """Widgets of the tab and their event handlers."""

    def __init__(self, desk: Desk, name: str) -> None:
        self._desk, self._name = desk, name
        self._pick = gr.Button(visible="hidden", elem_id="models-pick")  # clicked by the page's script, for a row
        self.table = gr.HTML(elem_id="models-table", elem_classes=["figures-table", "bare"])
        self.all = gr.Checkbox(
            label="Show all checkpoints of runs", container=False, visible=False, elem_id="models-checkpoints"
        )
        self._import_panel = ImportPanel(desk)
        with gr.Row(equal_height=False):
            with gr.Column(scale=3, min_width=320):
                self.chosen = gr.Dropdown([], label="Model", elem_id="models-chosen")
                self.problem = gr.Markdown(visible=False, elem_id="models-problem", elem_classes="note")
                with gr.Row():
                    self._uses = [
                        gr.Button(label, size="sm", min_width=90, elem_id=f"models-use-{i}")
                        for i, label in enumerate(USES)
                    ]
                    self.again = gr.Button(
                        "Same again, but …", size="sm", visible=False, min_width=120, elem_id="models-again"
                    )
                    self._open = gr.Button("Open folder", size="sm", min_width=90, elem_id="models-open")
                self.facts = gr.HTML(elem_id="models-facts", elem_classes=["figures-table", "bare"])
                self.sizes = gr.HTML(elem_id="models-sizes", elem_classes="bare")
            with gr.Column(scale=2, min_width=320, elem_id="models-actions"):
                self._lay_out_actions(desk)
        with gr.Accordion("Weights", open=False, elem_id="models-more-weights"):
            self._weights_panel = WeightsPanel(desk)
        self.kept = SavedState(desk, name, {"model": self.chosen, "checkpoints": self.all}, {})

    def _lay_out_actions(self, desk: Desk) -> None:
        with gr.Accordion("Export", open=False, elem_id="models-more-export"):
            self._export_panel = ExportPanel(desk)
        with gr.Accordion("Quantize", open=False, elem_id="models-more-quantize"):
            gr.Markdown(QUANTIZE, elem_classes="note")
            with gr.Group():
                self.precision = gr.Dropdown(QUANTIZED, value="int8", label="Precision", elem_id="models-precision")
                self.copy_name = gr.Textbox(
                    label="Name of the copy",
                    info="Leave empty for the model's name and the precision.",
                    max_lines=1,
                    elem_id="models-copy",
                )
            self._quantizing = action_row(desk, "Quantize", ident="models-quantize", running={})
        with gr.Accordion("Verify", open=False, elem_id="models-more-verify"):
            gr.Markdown(VERIFY, elem_classes="note")
            self._verifying = action_row(desk, "Verify", ident="models-verify", running={}, primary=False)
        with gr.Accordion("Rename or remove", open=False, elem_id="models-more-rename"):
            self._rename_panel = RenamePanel(desk)

    @property
    def _shown(self) -> list[Block]:
        """Widgets that `_show` updates."""
        details = [self.problem, self.facts, self.sizes, self.again, self._weights_panel.charts]
        return [self.table, self.all, self.chosen, *details, *self._rename_panel.outputs]

    def wire(self, links: TabLinks) -> None:
        """Connect the widgets; the list is read again whenever the tab is opened."""
        shown = self._shown
        chosen: set[Block] = {self.chosen, self.all}
        links.on_open(self._name, self._on_open, chosen, shown)
        # Gradio lays out an empty number box with a 0
        links.on_load(self._name, self._on_load, [*shown, self.kept.restored, self._import_panel.n_head])
        self.kept.wire(by_input=[self.chosen])
        for box in (self.chosen, self.all):
            box.input(self._on_choice, chosen, shown, **QUIETLY)
        row = "(name, ...rest) => [window.openedModel ?? name, ...rest]"
        self._pick.click(self._on_row, [self.chosen, self.all], shown, js=row, **QUIETLY)
        if links.changed:
            links.changed.change(self._on_change, chosen, shown, **QUIETLY)
        # what was said of another model goes
        lines = [self._export_panel.line, self._quantizing.line, self._verifying.line]
        self.chosen.change(None, None, lines, js="() => ['', '', '']", **QUIETLY)
        for button, (title, position) in zip(self._uses, USES.values(), strict=True):
            outputs = links.use_outputs(title, position=position)
            button.click(self._user(links, title, position), self.chosen, outputs, **WITH_MESSAGES)
        if links.plan_outputs:
            self.again.click(self._repeater(links), self.chosen, links.plan_outputs, **WITH_MESSAGES)
        self._open.click(self._on_folder, self.chosen, None, **WITH_MESSAGES)
        self._rename_panel.wire(
            links,
            self.chosen,
            inputs=chosen,
            outputs=shown,
            show=lambda name, values: self._show(name, values[self.all]),
        )
        self._quantizing.wire()
        inputs = {*chosen, self.precision, self.copy_name}
        self._quantizing.start.click(self._on_quantize, inputs, [*self._quantizing.outputs, *shown], **STREAMING)
        self._import_panel.wire(lambda name: self._pick_and_show(name, self.kept.read().get("checkpoints")), shown)
        self._export_panel.wire(self.chosen)
        self._verifying.wire()
        self._verifying.start.click(self._on_verify, {self.chosen}, self._verifying.outputs, **STREAMING)
        self._weights_panel.wire(self.chosen)

    def _show(self, name: object, all_checkpoints: object) -> Updates:
        """Return updates that list the models there are now, and show this one, else the one of Generate or the first.

        Of a run its main ones are listed and the chosen one, and with `all_checkpoints` every one.
        """
        models = {model.info.name: model for model in management.listing(self._desk.library)}
        of_runs = by_run(self._desk.settings.runs, models)
        wanted = [self._desk.library.present_name(one) for one in (name, self._in_use()) if isinstance(one, str)]
        chosen = next((one for one in (*wanted, *models) if one in models), None)
        titles = {one: of_runs[one].title if one in of_runs else one for one in grouped(list(models), of_runs)}
        main = {one for one in models if one not in of_runs or of_runs[one].is_main}
        listed = [one for one in titles if all_checkpoints or one in main or one == chosen]
        choices = [(titles[one], one) for one in listed]
        hidden: Updates = {box: "" for box in (self.facts, self.sizes, self._weights_panel.charts)}
        updates = hidden | {
            self.problem: gr.update(visible=False),
            self.again: gr.update(visible=False),
            self.table: model_table({titles[one]: models[one] for one in listed}, chosen=chosen),
            self.all: gr.update(visible=len(main) < len(models)),
            self.chosen: gr.update(choices=choices, value=chosen),
        }
        if chosen is None:
            return updates | self._rename_panel.show(None, of_run=False)
        model = models[chosen]
        return (
            updates
            | self._rename_panel.show(model.info, of_run=chosen in of_runs and "@" in chosen)
            | self._details(model)
        )

    def _in_use(self) -> object:
        """Return the model that is picked in Generate, as it was saved."""
        generate = self.kept.values().get("Generate")
        return generate.get("model") if isinstance(generate, dict) else None

    def _pick_and_show(self, name: object, all_checkpoints: object) -> Updates:
        """Return the updates of `_show`, and save the model as one that was picked."""
        self.kept.put(self._name, {"model": name, "checkpoints": all_checkpoints is True})
        return self._show(name, all_checkpoints)

    def _details(self, model: management.ListedModel) -> Updates:
        """Return updates that show what is known of a model."""
        info = model.info
        try:
            if info.problem:
                raise ValueError(info.problem)
            files = {file.name: file.stat().st_size for file in sorted(info.path.iterdir()) if file.is_file()}
            memory = memory_estimates(self._desk.manager, info)
            about = read_about(info.path)
            return {
                self.facts: facts(model, about, files, memory),
                self.sizes: size_bar(group_sizes(info.path)),
                self.again: gr.update(visible=about.recipe is not None and not self._desk.settings.public),
            }
        except (ValueError, OSError) as error:  # the second if it is being replaced or removed just now
            return {self.problem: gr.update(value=f"⚠ {markdown_text(str(error))}", visible=True)}

    def _on_load(self) -> Updates:
        kept = self.kept.read()
        all_checkpoints = kept.get("checkpoints") is True
        updates = self._show(kept.get("model"), all_checkpoints)
        updates[self._import_panel.n_head] = gr.update(value=None)
        return updates | {self.all: {**updates[self.all], "value": all_checkpoints}, self.kept.restored: True}  # type: ignore[dict-item]

    def _on_open(self, values: Values) -> Updates:
        """Show the model that was picked here, or as long as none was, the one of Generate."""
        picked = self.kept.read().get("model")
        return self._show(values[self.chosen] if picked else None, values[self.all])

    def _on_choice(self, values: Values) -> Updates:
        return self._show(values[self.chosen], values[self.all])

    def _on_row(self, name: str | None, all_checkpoints: object) -> Updates:
        shown = self._pick_and_show(name, all_checkpoints)
        return {box: update for box, update in shown.items() if box is not self.table}  # its button keeps the focus

    def _on_change(self, values: Values) -> Updates:
        """List the models there are now, and leave what is shown of the chosen one unless it is gone."""
        shown = self._show(values[self.chosen], values[self.all])
        chosen = shown[self.chosen]
        assert isinstance(chosen, dict)
        if chosen["value"] != values[self.chosen]:
            return shown
        return {
            self.table: shown[self.table],
            self.all: shown[self.all],
            self.chosen: gr.update(choices=chosen["choices"]),
        }

    def _user(self, links: TabLinks, title: str, position: int) -> Callable[[str | None], object]:
        """Return the handler of a button that opens the tab `title` with the chosen model in a picker."""

        @shows_errors
        def use(name: str | None) -> object:
            self._desk.library.find(name or "")
            return links.use(title, name or "", position=position)

        return use

    def _repeater(self, links: TabLinks) -> Callable[[str | None], object]:
        """Return the handler of the button that fills the form of a new run from the recipe of the chosen model."""

        @shows_errors
        def repeat(name: str | None) -> object:
            plan, recipe = plan_of(self._desk.run_context, name or "")
            updates = links.open_plan(plan)
            if not plan.data:
                hashes = f" SHA-256 of its file: {recipe.files[0]}." if len(recipe.files) == 1 else ""
                gr.Info(f"The options are those of {html.escape(recipe.run)}. A recipe has no text: choose it.{hashes}")
            return updates

        return repeat

    @shows_errors
    def _on_folder(self, name: str | None) -> None:
        show_folder(self._desk.library.find(name or ""))

    def _on_quantize(self, values: Values, request: gr.Request) -> Iterator[Updates]:
        def work(place: Place) -> Iterator[Updates]:
            name, to = str(values[self.chosen] or ""), str(values[self.copy_name] or "").strip()
            line = self._quantizing.line
            stream = management.quantize(
                self._desk.library, name, str(values[self.precision]), to=to or None, stop=place.stop
            )
            made = None
            for event in stream:
                if isinstance(event, Quantizing):
                    doing = "Quantizing" if event.fraction < 1 else "Writing the file"
                    yield {line: f"{doing} ({event.fraction:.0%}) …"}
                else:
                    made = event
            yield {line: self._made(made)} | (self._show(name, values[self.all]) if made else {})

        yield from self._quantizing.run_queued(work, request)

    def _made(self, made: ModelInfo | None) -> str:
        if made is None:
            return f"{STOPPED} Nothing was changed."
        return f"Saved as {markdown_text(made.name)}: {file_size(made.size_bytes)}."

    def _on_verify(self, values: Values, request: gr.Request) -> Iterator[Updates]:
        def work(place: Place) -> Iterator[Updates]:
            line, sentence = self._verifying.line, STOPPED
            for event in management.verify(self._desk.library, str(values[self.chosen] or ""), stop=place.stop):
                if isinstance(event, str):
                    sentence = event
                else:
                    yield {line: f"Reading every weight ({event:.0%}) …"}
            yield {line: markdown_text(sentence)}

        yield from self._verifying.run_queued(work, request)
