"""View of the history: search, list, an entry with its texts, and the actions on it."""

import threading
from collections.abc import Generator, Iterator

import gradio as gr
from gradio.blocks import Block

from gptdesk.desk import Desk
from gptdesk.history import Entry, History, HistoryFilter
from gptdesk.history.exporting import EXPORTS
from gptdesk.markup import markdown_text
from gptdesk.page.downloads import SAVE_AT_ONCE, link_to
from gptdesk.page.long_action import Call, action_row
from gptdesk.page.option_widgets import QUIETLY, STREAMING, WITH_MESSAGES, Updates, Values, shows_errors
from gptdesk.page.tab_links import TabLinks
from gptdesk.page.tabs.history.comparing import ComparePanel
from gptdesk.page.tabs.history.drawing import entry_facts, entry_row, entry_texts, entry_title
from gptdesk.page.tabs.history.recipes import RecipeExport
from gptdesk.page.tabs.history.repeating import repeat
from gptdesk.recipe import Recipe

LATEST = {"trigger_mode": "always_last"}
LISTED = 30  # entries on a page of the list
RATINGS = {"liked": 1, "disliked": -1}
MARKS = [("none", 0), ("liked", 1), ("disliked", -1)]
ENDINGS = {"json": "json", "csv": "csv", "markdown": "md"}
EMPTY = "Nothing yet: each text that you generate appears here, with all that repeats it."
# on a phone the entry is below the list
REVEAL = """() => {
  if (matchMedia("(max-width: 900px)").matches)
    document.getElementById("history-texts")?.scrollIntoView({block: "start", behavior: "smooth"});
  return [];
}"""
NOTHING_FITS = "Nothing fits; use fewer words, or clear the filters."


class HistoryView:
    """Widgets of the tab and their event handlers."""

    def __init__(self, desk: Desk, history: History, name: str) -> None:
        self._desk, self._history, self._name = desk, history, name
        self._recipe = RecipeExport(history)
        self._deleted = gr.State([])  # ids that Undo brings back
        self._shown = gr.State(None)  # id of the entry that is shown, which a search may have left out of the list
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
        with gr.Row(elem_id="history-export-row"):
            self.format = gr.Dropdown(list(EXPORTS), value="json", label="Export format", elem_id="history-format")
            self.export = gr.Button("Export what is found", size="sm", min_width=120, elem_id="history-export")
        self.file = gr.HTML(visible=False, elem_id="history-file", js_on_load=SAVE_AT_ONCE)

    def _lay_out_entry(self, desk: Desk) -> None:
        self.texts = gr.HTML(elem_id="history-texts", elem_classes="bare")
        with gr.Row():
            self.open = gr.Button("Open in Generate", variant="primary", min_width=120, elem_id="history-open")
            self.as_tree = gr.Button("Open as a tree", min_width=120, elem_id="history-tree")
            self._recipe.lay_out_button()
            self.delete = gr.Button("Delete", min_width=80, elem_id="history-delete")
        self._recipe.lay_out_result()
        running: dict[str, threading.Event] = {}
        self._repeating = action_row(desk, "Repeat", ident="history-repeat", running=running, primary=False)
        self._compare = ComparePanel(self._history)
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
        return [
            self.entries,
            self.count,
            self.older,
            self.newest,
            self.model,
            self.export,
            self.file,
            self._last,
            self._compare.other,
        ]

    @property
    def _entry(self) -> list[Block]:
        """Widgets that `_show_entry` updates."""
        marks = [self.mark, self.note, self.tags]
        shown = [self._shown, self._details, self.texts, self.facts]
        return [*shown, *marks, self._repeating.line, *self._compare.widgets, *self._recipe.widgets]

    def wire(self, links: TabLinks) -> None:
        """Connect the widgets; the list is read again whenever the tab is opened."""
        lists, entry = self._list, self._entry
        of_list, both = self._filters | {self._shown}, list(dict.fromkeys([*lists, *entry]))
        links.on_open(self._name, self._on_open, of_list, both)
        # one event for all: of two, the list of the earlier one might come last
        filters = [self.words.change, self.rating.input, self.model.input]
        gr.on(filters, self._show_list, of_list, lists, **(QUIETLY | LATEST))
        self.newest.click(self._show_list, of_list, lists, **QUIETLY)
        self.older.click(self._on_older, of_list | {self._last}, lists, **QUIETLY)
        picked = self.entries.input(self._on_entry, self.entries, entry, **(WITH_MESSAGES | LATEST))
        picked.then(None, js=REVEAL, **QUIETLY)
        marks = {self.mark, self.note, self.tags}
        self.save.click(self._on_save, of_list | marks, lists, **WITH_MESSAGES)
        after = [*both, self._deleted, self.undo]
        self.delete.click(self._on_delete, of_list, after, **WITH_MESSAGES)
        self.undo.click(self._on_undo, of_list | {self._deleted}, after, **WITH_MESSAGES)
        self.export.click(self._on_export, self._filters | {self.format}, self.file, **WITH_MESSAGES)
        self._links = links
        self._recipe.wire(self._shown)
        self.open.click(self._on_generate, {self._shown, *links.entry_inputs}, links.entry_outputs, **WITH_MESSAGES)
        self.as_tree.click(self._on_tree, {self._shown, *links.entry_inputs}, links.entry_outputs, **WITH_MESSAGES)
        self._compare.wire(self._shown)
        for button in links.compare_buttons:
            button.click(self._on_newest, of_list, [links.tabs, *both], **WITH_MESSAGES)
        for button in links.recipe_buttons:
            button.click(self._on_newest_recipe, of_list, [links.tabs, *both], **WITH_MESSAGES)
        self._repeating.wire()
        self._repeating.start.click(self._on_repeat, {self._shown}, self._repeating.outputs, **STREAMING)

    # The list

    def _on_open(self, values: Values) -> Updates:
        """Return updates of the list; the entry that is shown stays as it is unless it was deleted in another window.

        They leave what is chosen in the list: it may be on its way here, or there since the tab was opened.
        """
        if values[self._shown] is not None and self._show_entry(values[self._shown])[self._shown] is None:
            return self._show_both({**values, self._shown: None}, None)
        updates = self._show_list(values)
        entries: dict[str, object] = updates[self.entries]  # type: ignore[assignment]
        del entries["value"]
        return updates

    @shows_errors
    def _on_newest(self, values: Values) -> object:
        """Open the newest entry, compared with the one before."""
        newest = self._history.search(limit=2)
        if len(newest) < 2:
            raise ValueError("the history has no two texts to compare; generate another one")
        first, second = (self._history.entry(one.id) for one in newest)
        both = self._show_both({**values, self._shown: first.id}, first.id)
        compared = self._compare.compared(first, second)
        other = self._compare.other
        both[other] = {**both[other], **compared.pop(other)}  # type: ignore[dict-item]
        return both | compared | {self._links.tabs: gr.update(selected=self._name)}

    @shows_errors
    def _on_newest_recipe(self, values: Values) -> object:
        """Open the newest entry with its recipe."""
        newest = self._history.search(limit=1)
        if not newest:
            raise ValueError("the history has no text to share; generate one")
        entry = self._history.entry(newest[0].id)
        both = self._show_both({**values, self._shown: entry.id}, entry.id)
        return both | self._recipe.made_of(entry) | {self._links.tabs: gr.update(selected=self._name)}

    def _on_older(self, values: Values) -> Updates:
        last = values[self._last]
        return self._show_list(values, before=last if isinstance(last, int) else None)

    def _show_both(self, values: Values, number: object) -> Updates:
        """Return the updates of `_show_list` and `_show_entry`, which share a widget."""
        lists, entry = self._show_list(values), self._show_entry(number)
        both, other = lists | entry, self._compare.other
        if other in lists and other in entry:
            both[other] = {**lists[other], **entry[other]}  # type: ignore[dict-item]
        return both

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
            return {
                self.entries: gr.update(choices=[], value=None),
                self.count: "\n\n".join([*self._faults(), f"⚠ {markdown_text(str(error))}"]),
                self.export: gr.update(interactive=False),
            }
        listed, picked = found[:LISTED], values.get(self._shown)
        choices = [(entry_row(one), one.id) for one in listed]
        words = f"{count:,} {'entry' if count == 1 else 'entries'}" if models else EMPTY
        words = words if count or not models else NOTHING_FITS
        return {
            self.entries: gr.update(choices=choices, value=picked if picked in [one.id for one in listed] else None),
            self.count: "\n\n".join([*self._faults(), words]),
            self.export: gr.update(interactive=count > 0),
            self.older: gr.update(interactive=len(found) > LISTED),
            self.newest: gr.update(interactive=before is not None),
            self.model: gr.update(choices=[("all", ""), *((name, name) for name in models)]),
            self.file: gr.update(visible=False),
            self._last: listed[-1].id if listed else None,
        } | self._compare.listing([(entry_title(one), one.id) for one in listed])

    def _faults(self) -> list[str]:
        """Return what went wrong when texts were saved, as lines of Markdown."""
        return [f"⚠ {markdown_text(fault)}." for fault in self._history.faults.values()]

    # The entry

    @shows_errors
    def _on_entry(self, number: object) -> object:
        return self._show_entry(number)

    def _show_entry(self, number: object) -> Updates:
        """Return updates that show an entry; hide the details if there is none."""
        try:
            if not isinstance(number, int):
                return {self._details: gr.update(visible=False), self._shown: None}
            entry = self._history.entry(number)
        except ValueError:  # deleted in another window; the list no longer has it
            return {self._details: gr.update(visible=False), self._shown: None}
        return (
            {
                self._shown: entry.id,
                self._details: gr.update(visible=True),
                self.texts: entry_texts(entry),
                self.facts: entry_facts(entry),
                self.mark: gr.update(value=entry.rating or 0),
                self.note: gr.update(value=entry.note),
                self.tags: gr.update(value=" ".join(entry.tags)),
                self._repeating.line: "",
            }
            | self._compare.cleared()
            | self._recipe.hidden()
        )

    @shows_errors
    def _on_generate(self, values: Values) -> object:
        return self._links.open_entry(self._entry_of(values[self._shown]), values)

    @shows_errors
    def _on_tree(self, values: Values) -> object:
        return self._links.open_entry(self._entry_of(values[self._shown]), values, as_tree=True)

    def _entry_of(self, number: object) -> Entry:
        if not isinstance(number, int):
            raise ValueError("no entry is chosen; choose one in the list")
        return self._history.entry(number)

    @shows_errors
    def _on_save(self, values: Values) -> object:
        entry, mark = self._entry_of(values[self._shown]), values[self.mark]
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
        entry = self._entry_of(values[self._shown])
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
        return self._show_both({**values, self._shown: None}, None) | buttons

    @shows_errors
    def _on_export(self, values: Values) -> object:
        kind = str(values[self.format])
        if kind not in EXPORTS:
            raise ValueError(f"format is one of {', '.join(EXPORTS)}, not {kind!r:.40}")
        data = "".join(EXPORTS[kind](self._history.entries(self._conditions(values)))).encode()
        return gr.update(value=link_to(data, f"history.{ENDINGS[kind]}"), visible=True)

    def _on_repeat(self, values: Values, request: gr.Request) -> Iterator[Updates]:
        """Generate the text of the entry once more, and say whether it came out the same."""

        def work(call: Call) -> Generator[Updates, None, None]:
            recipe = Recipe.of(self._entry_of(values[self._shown]))
            yield from repeat(self._desk, recipe, call, actions=self._repeating)

        yield from self._repeating.run(work, request)
