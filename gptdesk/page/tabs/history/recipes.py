"""Recipes of the History tab: a box that opens one from a file, a link or JSON, a panel with it, those of an entry."""

import html
from collections.abc import Generator, Iterator
from pathlib import Path

import gradio as gr
from gradio.blocks import Block

from gptdesk.desk import Desk
from gptdesk.errors import NotFound
from gptdesk.generation import GenerationResult
from gptdesk.history import Entry, History
from gptdesk.markup import markdown_text
from gptdesk.page.downloads import file_name, hand_out
from gptdesk.page.long_action import Call, action_row
from gptdesk.page.option_widgets import QUIETLY, STREAMING, WITH_MESSAGES, Updates, Values, shows_errors
from gptdesk.page.tab_links import TabLinks
from gptdesk.page.tabs.history.drawing import recipe_html, repeated_html
from gptdesk.page.tabs.history.repeating import repeat
from gptdesk.recipe import LARGEST, Recipe, Verdict
from models.storage import read_bytes

OPENED = """### Recipe
It repeats a text with the same model, prompt, samplers and seed. Run it to see whether the same text comes out here."""
LATEST = QUIETLY | {"trigger_mode": "always_last"}


class RecipeExport:
    """Recipe of the entry that is shown: as a file, and as a link that the page's script copies."""

    def __init__(self, history: History) -> None:
        self._history = history

    def lay_out_button(self) -> None:
        """Lay out the button that makes the recipe."""
        self.start = gr.Button("Recipe", min_width=80, elem_id="history-recipe")

    def lay_out_result(self) -> None:
        """Lay out the file and the link, hidden until the button is pressed."""
        with gr.Column(visible=False) as self.made:
            with gr.Row():
                self.file = gr.DownloadButton(
                    "Save the recipe: a file that repeats this text",
                    size="sm",
                    scale=2,
                    min_width=160,
                    elem_id="history-recipe-file",
                )
                self.copy = gr.Button("Copy a link with it", size="sm", min_width=120, elem_id="history-copy-link")
            self.link = gr.HTML(elem_id="history-link", elem_classes="bare")

    @property
    def widgets(self) -> list[Block]:
        """Widgets that the events and `hidden` update."""
        return [self.made, self.file, self.copy, self.link]

    def wire(self, shown: gr.State) -> None:
        """Make the recipe when the button is pressed; `shown` holds the id of the entry that is shown."""
        self._shown = shown
        self.start.click(self._on_recipe, {shown}, self.widgets, **WITH_MESSAGES)

    def hidden(self) -> Updates:
        """Return updates for another entry that is shown."""
        return {self.made: gr.update(visible=False)}

    @shows_errors
    def _on_recipe(self, values: Values) -> object:
        number = values[self._shown]
        if not isinstance(number, int):
            raise ValueError("no entry is chosen; choose one in the list")
        return self.made_of(self._history.entry(number))

    def made_of(self, entry: Entry) -> Updates:
        """Return updates that show the recipe of an entry; ValueError if its file cannot be written."""
        recipe, name = Recipe.of(entry), file_name("recipe", entry.prompt, seed=entry.seed, ending="json")
        try:
            file = hand_out(recipe.to_json().encode(), name)
        except OSError as error:
            raise ValueError(f"the file could not be written: {error.strerror or error}") from error
        try:
            link, note = recipe.to_fragment(), ""
        except ValueError as error:
            link, note = "", str(error)
        status = f'<span role="status" data-recipe="{html.escape(link)}">{html.escape(note)}</span>'
        return {
            self.made: gr.update(visible=True),
            self.file: file,
            self.copy: gr.update(interactive=bool(link)),
            self.link: status,
        }


class RecipeBox:
    """Box that opens a recipe, and above the history a panel that says what it is, shows it in Generate and runs it."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._recipe = gr.State(None)  # the one that is open
        # the page's script puts the link there with which the page was opened
        self.link = gr.Textbox(label="Recipe: a link", visible="hidden", elem_id="recipe-link")
        with gr.Accordion("Open a recipe", open=False, elem_id="recipe-box"), gr.Row(equal_height=True):
            self.upload = gr.File(label="Recipe: a file", height=140, min_width=280, elem_id="recipe-file")
            self.text = gr.Textbox(
                label="Recipe: a link or JSON",
                placeholder="Paste a link that ends in #recipe=… or the content of a recipe file.",
                lines=4,
                max_lines=4,
                min_width=280,
                elem_id="recipe-text",
            )
        self.fault = gr.Markdown(elem_id="recipe-fault", elem_classes="note")
        with gr.Row(visible=False, equal_height=False, elem_id="recipe") as self.details:
            with gr.Column(scale=2, min_width=320):
                gr.Markdown(OPENED)
                self.summary = gr.HTML(elem_id="recipe-summary", elem_classes=["figures-table", "bare"])
            with gr.Column(scale=3, min_width=320):
                self.actions = action_row(desk, "Run it", ident="recipe-run", running={})
                self.result = gr.HTML(elem_id="recipe-result", elem_classes="bare")
                with gr.Row():
                    self.open = gr.Button("Open it in Generate", size="sm", min_width=120, elem_id="recipe-open")
                    self.close = gr.Button("Close the recipe", size="sm", min_width=120, elem_id="recipe-close")

    def wire(self, links: TabLinks) -> None:
        """Connect the events."""
        self._links = links
        opened = [self._recipe, self.fault, self.details, self.summary, self.actions.line, self.result]
        self.text.change(self._on_text, {self.text}, opened, **LATEST)
        self.link.change(self._on_link, {self.link}, opened, **LATEST)
        self.close.click(self._on_close, None, [*opened, self.text, self.link], **QUIETLY)
        self.upload.upload(self._on_file, {self.upload}, [*opened, self.upload], **QUIETLY)
        self.open.click(self._on_open, {self._recipe, *links.entry_inputs}, links.entry_outputs, **WITH_MESSAGES)
        self.actions.wire()
        self.actions.start.click(self._on_run, {self._recipe}, [*self.actions.outputs, self.result], **STREAMING)

    def _on_text(self, values: Values) -> Updates:
        return self._read(values[self.text])

    def _on_link(self, values: Values) -> object:
        """Open a link; one that was taken away closes nothing, for something else may have been pasted meanwhile."""
        return self._read(values[self.link]) if values[self.link] else gr.skip()

    def _on_close(self) -> Updates:
        return self._closed("") | {self.text: "", self.link: ""}

    def _read(self, value: object) -> Updates:
        text = str(value or "")
        if not text.strip():
            return self._closed("")
        try:
            return self._opened(Recipe.from_text(text))
        except ValueError as error:
            return self._closed(str(error))

    def _on_file(self, values: Values) -> Updates:
        """Open an uploaded file; the box is emptied, so that the next one can be dragged into it."""
        try:
            file = Path(str(values[self.upload]))
            return {self.upload: None} | self._opened(Recipe.read(read_bytes(file, limit=LARGEST), name=file.name[:80]))
        except ValueError as error:
            return {self.upload: None} | self._closed(str(error))

    def _opened(self, recipe: Recipe) -> Updates:
        return {
            self._recipe: recipe,
            self.fault: "",
            self.details: gr.update(visible=True),
            self.summary: recipe_html(recipe, here=self._model_here(recipe)),
            self.actions.line: "",
            self.result: "",
        }

    def _closed(self, fault: str) -> Updates:
        return {
            self._recipe: None,
            self.fault: f"⚠ {markdown_text(fault)}" if fault else "",
            self.details: gr.update(visible=False),
        }

    def _model_here(self, recipe: Recipe) -> str:
        """Return a sentence on the model of this name that is here, if any."""
        try:
            recipe.check_model([info.name for info in self._desk.library.available()])
        except NotFound as error:
            return f"Not here: {error}."
        history, folder = self._desk.history, self._desk.library.checkpoint(recipe.model).path
        weights = history.weights_of(folder) if history else None
        if not weights or not recipe.weights:
            return "Here; whether it has the same weights is found out by a run."
        return (
            "Here, with the same weights."
            if weights == recipe.weights
            else "Here, with other weights: the text will differ."
        )

    @shows_errors
    def _on_open(self, values: Values) -> object:
        recipe = self._opened_recipe(values)
        recipe.check_model([info.name for info in self._desk.library.available()])
        return self._links.open_entry(recipe.to_entry(self._desk.library.tokenizer(recipe.model)), values)

    def _on_run(self, values: Values, request: gr.Request) -> Iterator[Updates]:
        """Generate by the recipe, and say whether the same text came out."""

        def work(call: Call) -> Generator[Updates, None, None]:
            recipe = self._opened_recipe(values)

            def show(result: GenerationResult, verdict: Verdict) -> Updates:
                tokenizer = self._desk.library.tokenizer(recipe.model)
                return {self.result: repeated_html(recipe.to_entry(tokenizer), result, verdict, tokenizer)}

            yield {self.result: ""}
            yield from repeat(self._desk, recipe, call, actions=self.actions, show=show)

        yield from self.actions.run(work, request)

    def _opened_recipe(self, values: Values) -> Recipe:
        recipe = values[self._recipe]
        if not isinstance(recipe, Recipe):
            raise ValueError("no recipe is open; choose a file or paste a link")
        return recipe
