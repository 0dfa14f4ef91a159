"""View of the history: search, list, an entry with its texts, and the actions on it."""

import threading
from collections.abc import Generator, Iterator

import gradio as gr
from gradio.blocks import Block

from gptdesk.desk import Desk
from gptdesk.generation import GenerationQueued, GenerationResult, GenerationStart
from gptdesk.history import Entry, History, HistoryFilter
from gptdesk.history.exporting import EXPORTS
from gptdesk.markup import markdown_text
from gptdesk.page.downloads import hand_out
from gptdesk.page.long_action import Call, action_row
from gptdesk.page.option_widgets import QUIETLY, STREAMING, WITH_MESSAGES, Updates, Values, shows_errors
from gptdesk.page.tab_links import TabLinks
from gptdesk.page.tabs.history.drawing import entry_facts, entry_texts, entry_title
from gptdesk.recipe import Recipe
from models.manager import ModelKey

LATEST = {"trigger_mode": "always_last"}
LISTED = 30  # entries on a page of the list
RATINGS = {"liked": 1, "disliked": -1}
MARKS = [("none", 0), ("liked", 1), ("disliked", -1)]
ENDINGS = {"json": "json", "csv": "csv", "markdown": "md"}
EMPTY = "Nothing yet: each text that you generate appears here, with all that repeats it."
NOTHING_FITS = "Nothing fits; use fewer words, or clear the filters."


class HistoryView:
    """Widgets of the tab and their event handlers."""

    def __init__(self, desk: Desk, history: History, name: str) -> None:
        self._desk, self._history, self._name = desk, history, name
        self._deleted = gr.State([])  # ids that Undo brings back
        self._last = gr.State(None)  # id of the oldest entry that is listed
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                self._lay_out_list()
            with gr.Column(scale=3, min_width=320, visible=False) as self._details:
                self._lay_out_entry(desk)

    def _lay_out_list(self) -> None:
        self.words = gr.Textbox(
            label="Search", placeholder="Words in prompts, texts, notes and tags", max_lines=1, elem_id="history-words"
        )
        with gr.Row():
            self.rating = gr.Dropdown(
                [("all", ""), *RATINGS], value="", label="Rating", elem_id="history-rating", min_width=120
            )
            self.model = gr.Dropdown([("all", "")], value="", label="Model", elem_id="history-model", min_width=120)
        self.count = gr.Markdown(elem_id="history-count", elem_classes="note")
        self.undo = gr.Button("Undo the deletion", visible=False, min_width=80, elem_id="history-undo")
        self.entries = gr.Radio([], show_label=False, container=False, elem_id="history-list")
        with gr.Row():
            self.older = gr.Button("Older", size="sm", min_width=80, elem_id="history-older")
            self.newest = gr.Button("Newest", size="sm", min_width=80, elem_id="history-newest")
        with gr.Row():
            self.format = gr.Dropdown(list(EXPORTS), value="json", label="Export format", elem_id="history-format")
            self.export = gr.Button("Export what is found", size="sm", min_width=120, elem_id="history-export")
        self.file = gr.DownloadButton("Save the file", visible=False, size="sm", elem_id="history-file")

    def _lay_out_entry(self, desk: Desk) -> None:
        self.texts = gr.HTML(elem_id="history-texts", elem_classes="bare")
        with gr.Row():
            self.open = gr.Button("Open in Generate", variant="primary", min_width=120, elem_id="history-open")
            self.recipe = gr.Button("Recipe", min_width=80, elem_id="history-recipe")
            self.delete = gr.Button("Delete", min_width=80, elem_id="history-delete")
        self.recipe_file = gr.DownloadButton(
            "Save the recipe: a file that repeats this text", visible=False, size="sm", elem_id="history-recipe-file"
        )
        running: dict[str, threading.Event] = {}
        self._repeating = action_row(desk, "Repeat", ident="history-repeat", running=running, primary=False)
        with gr.Group():
            self.mark = gr.Radio(MARKS, value=0, label="Your rating", elem_id="history-mark")
            self.note = gr.Textbox(label="Note", lines=1, max_lines=6, elem_id="history-note")
            self.tags = gr.Textbox(label="Tags (words)", max_lines=1, elem_id="history-tags")
        self.save = gr.Button("Save rating, note and tags", size="sm", elem_id="history-save")
        self.facts = gr.HTML(elem_id="history-facts", elem_classes=["figures-table", "bare"])

    @property
    def _filters(self) -> set[Block]:
        return {self.words, self.rating, self.model}

    @property
    def _list(self) -> list[Block]:
        """Widgets that `_show_list` updates."""
        return [self.entries, self.count, self.older, self.newest, self.model, self.file, self._last]

    @property
    def _entry(self) -> list[Block]:
        """Widgets that `_show_entry` updates."""
        marks = [self.mark, self.note, self.tags]
        return [self._details, self.texts, self.recipe_file, self.facts, *marks, self._repeating.line]

    def wire(self, links: TabLinks) -> None:
        """Connect the widgets; the list is read again whenever the tab is opened."""
        lists, entry = self._list, self._entry
        links.on_open(self._name, self._on_filter, self._filters | {self.entries}, [*lists, *entry])
        for change in (self.words.change, self.rating.input, self.model.input):
            change(self._on_filter, self._filters | {self.entries}, [*lists, *entry], **(QUIETLY | LATEST))
        self.newest.click(self._on_filter, self._filters | {self.entries}, [*lists, *entry], **QUIETLY)
        self.older.click(self._on_older, self._filters | {self._last}, [*lists, *entry], **QUIETLY)
        self.entries.input(self._on_entry, self.entries, entry, **WITH_MESSAGES)
        marks = [self.entries, self.mark, self.note, self.tags]
        self.save.click(self._on_save, self._filters | set(marks), [*lists, *entry], **WITH_MESSAGES)
        after = [*lists, *entry, self._deleted, self.undo]
        self.delete.click(self._on_delete, self._filters | {self.entries, self._deleted}, after, **WITH_MESSAGES)
        self.undo.click(self._on_undo, self._filters | {self._deleted}, after, **WITH_MESSAGES)
        self.export.click(self._on_export, self._filters | {self.format}, self.file, **WITH_MESSAGES)
        self._links = links
        self.recipe.click(self._on_recipe, self.entries, self.recipe_file, **WITH_MESSAGES)
        self.open.click(self._on_generate, {self.entries, *links.entry_inputs}, links.entry_outputs, **WITH_MESSAGES)
        self._repeating.wire()
        self._repeating.start.click(self._on_repeat, {self.entries}, self._repeating.outputs, **STREAMING)

    # The list

    def _on_filter(self, values: Values) -> Updates:
        return self._show_list(values) | self._show_entry(values[self.entries])

    def _on_older(self, values: Values) -> Updates:
        last = values[self._last]
        return self._show_list(values, before=last if isinstance(last, int) else None) | self._show_entry(None)

    def _conditions(self, values: Values) -> HistoryFilter:
        return HistoryFilter(
            text=str(values[self.words] or "")[:1_000],
            model=str(values[self.model] or ""),
            rating=RATINGS.get(str(values[self.rating])),
        )

    def _show_list(self, values: Values, *, before: int | None = None) -> Updates:
        """Return updates that list the newest entries that fit, or those older than `before`."""
        try:
            conditions = self._conditions(values)
            found = self._history.search(conditions, limit=LISTED + 1, before=before)
            count, models = self._history.count(conditions), self._history.models()
        except ValueError as error:
            return {self.entries: gr.update(choices=[], value=None), self.count: f"⚠ {markdown_text(str(error))}"}
        listed, picked = found[:LISTED], values.get(self.entries)
        choices = [(entry_title(one), one.id) for one in listed]
        words = f"{count:,} {'entry' if count == 1 else 'entries'}" if models else EMPTY
        return {
            self.entries: gr.update(choices=choices, value=picked if picked in [one.id for one in listed] else None),
            self.count: words if count or not models else NOTHING_FITS,
            self.older: gr.update(interactive=len(found) > LISTED),
            self.newest: gr.update(interactive=before is not None),
            self.model: gr.update(choices=[("all", ""), *((name, name) for name in models)]),
            self.file: gr.update(visible=False),
            self._last: listed[-1].id if listed else None,
        }

    # The entry

    @shows_errors
    def _on_entry(self, number: object) -> object:
        return self._show_entry(number)

    def _show_entry(self, number: object) -> Updates:
        """Return updates that show an entry; hide the details if there is none."""
        try:
            if not isinstance(number, int):
                return {self._details: gr.update(visible=False)}
            entry = self._history.entry(number)
        except ValueError:  # deleted in another window; the list no longer has it
            return {self._details: gr.update(visible=False)}
        return {
            self._details: gr.update(visible=True),
            self.texts: entry_texts(entry),
            self.recipe_file: gr.update(visible=False),
            self.facts: entry_facts(entry),
            self.mark: gr.update(value=entry.rating or 0),
            self.note: gr.update(value=entry.note),
            self.tags: gr.update(value=" ".join(entry.tags)),
            self._repeating.line: "",
        }

    @shows_errors
    def _on_generate(self, values: Values) -> object:
        return self._links.open_entry(self._entry_of(values[self.entries]), values)

    @shows_errors
    def _on_recipe(self, number: object) -> object:
        return self._file(Recipe.of(self._entry_of(number)).to_json().encode(), "recipe.json")

    def _file(self, data: bytes, name: str) -> object:
        """Return the update of a download button that hands out this file."""
        try:
            return gr.update(value=hand_out(data, name), visible=True)
        except OSError as error:
            raise ValueError(f"the file could not be written: {error.strerror or error}") from error

    def _entry_of(self, number: object) -> Entry:
        if not isinstance(number, int):
            raise ValueError("no entry is chosen; choose one in the list")
        return self._history.entry(number)

    @shows_errors
    def _on_save(self, values: Values) -> object:
        entry, mark = self._entry_of(values[self.entries]), values[self.mark]
        self._history.annotate(
            entry.id,
            note=str(values[self.note] or ""),
            rating=mark if isinstance(mark, int) else 0,
            tags=str(values[self.tags] or "").split(),
        )
        gr.Info("Saved.")
        return self._show_list(values)

    @shows_errors
    def _on_delete(self, values: Values) -> object:
        entry = self._entry_of(values[self.entries])
        self._history.delete([entry.id])
        gr.Info("Deleted; for a day it can be brought back.")
        return self._after([entry.id], values)

    @shows_errors
    def _on_undo(self, values: Values) -> object:
        deleted = values[self._deleted]
        self._history.restore(deleted if isinstance(deleted, list) else [])
        return self._after([], values)

    def _after(self, deleted: list[int], values: Values) -> Updates:
        buttons: Updates = {self._deleted: deleted, self.undo: gr.update(visible=bool(deleted))}
        return self._show_list(values) | self._show_entry(None) | buttons

    @shows_errors
    def _on_export(self, values: Values) -> object:
        kind = str(values[self.format])
        if kind not in EXPORTS:
            raise ValueError(f"format is one of {', '.join(EXPORTS)}, not {kind!r:.40}")
        data = "".join(EXPORTS[kind](self._history.entries(self._conditions(values)))).encode()
        return self._file(data, f"history.{ENDINGS[kind]}")

    def _on_repeat(self, values: Values, request: gr.Request) -> Iterator[Updates]:
        """Generate the text of the entry once more, and say whether it came out the same."""

        def work(call: Call) -> Generator[Updates, None, None]:
            line = self._repeating.line
            recipe = Recipe.of(self._entry_of(values[self.entries]))
            result, key = GenerationResult(recipe.request.n), ModelKey(recipe.model, recipe.precision)
            stream = self._desk.generate(key, recipe.request, stop=call.stop, owner=call.owner)
            for event in stream:
                result.add(event)
                if isinstance(event, GenerationQueued):
                    yield self._repeating.waiting(event.position)
                elif isinstance(event, GenerationStart):
                    yield {line: "Generating the text once more …"}
            if call.stop.is_set():
                yield {line: "You stopped it; nothing was compared."}
                return
            weights = self._history.weights_of(self._desk.library.checkpoint(recipe.model).path)
            yield {line: markdown_text(recipe.verdict(result, weights=weights).sentence)}

        yield from self._repeating.run(work, request)
