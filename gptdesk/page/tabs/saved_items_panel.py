"""Panel of the user's prompts and presets: order, folders, deletion with undo, export and import."""

import html
from pathlib import Path

import gradio as gr
from gradio.blocks import Block

from gptdesk.desk import Desk
from gptdesk.formatting import plural
from gptdesk.history.comparing import sampler_words
from gptdesk.markup import pane
from gptdesk.page.downloads import SAVE_AT_ONCE, link_to
from gptdesk.page.option_widgets import QUIETLY, WITH_MESSAGES, Updates, Values, shows_errors
from gptdesk.page.tab_links import TabLinks
from gptdesk.saved_items import LARGEST_FILE, SavedItems
from models.storage import read_bytes

EMPTY = {
    "prompts": "No prompts yet: save one in the Generate tab, or import a file.",
    "presets": "No presets of yours yet: move a slider in the Generate tab and save it under a name, or import a file.",
}


class SavedItemsPanel:
    """Widgets of the panel and their event handlers."""

    def __init__(self, desk: Desk) -> None:
        self._items: dict[str, SavedItems] = {"prompts": desk.prompts, "presets": desk.presets}
        self._deleted = gr.State(None)  # kind, name, value and place of what Undo brings back
        with gr.Row(equal_height=False):
            with gr.Column(min_width=320):
                with gr.Row():
                    self.kind = gr.Radio(
                        [("Prompts", "prompts"), ("Presets", "presets")],
                        value="prompts",
                        show_label=False,
                        container=False,
                        elem_id="saved-kind",
                    )
                self.empty = gr.Markdown(elem_id="saved-empty", elem_classes="note")
                self.names = gr.Radio([], label="Saved", elem_id="saved-names", visible=False)
                with gr.Row():
                    self.up = gr.Button("Up", size="sm", min_width=60, elem_id="saved-up")
                    self.down = gr.Button("Down", size="sm", min_width=60, elem_id="saved-down")
                    self.delete = gr.Button("Delete", size="sm", min_width=60, elem_id="saved-delete")
                    self.undo = gr.Button("Undo", size="sm", min_width=60, visible=False, elem_id="saved-undo")
                with gr.Row():
                    self.export = gr.Button("Export all", size="sm", min_width=80, elem_id="saved-export")
                    self.file = gr.HTML(visible=False, elem_id="saved-file", js_on_load=SAVE_AT_ONCE)
                self.upload = gr.File(label="Import a file of prompts or presets", height=150, elem_id="saved-import")
            with gr.Column(min_width=320):
                self.text = gr.HTML(elem_id="saved-text", elem_classes="bare")
                self.new_name = gr.Textbox(
                    label="New name", info="A / makes a folder: poems/sea", max_lines=1, elem_id="saved-new-name"
                )
                self.rename = gr.Button("Rename", size="sm", elem_id="saved-rename")

    def wire(self, title: str, links: TabLinks) -> None:
        """Connect the widgets; the list is read again whenever the tab `title` is opened."""
        chosen: set[Block] = {self.kind, self.names}
        shown: list[Block] = [self.empty, self.names, self.text, self.new_name, self.file, self.undo, self._deleted]
        links.on_open(title, self._on_open, chosen, shown)
        latest = QUIETLY | {"trigger_mode": "always_last"}
        self.kind.input(self._on_open, chosen, shown, **latest)
        self.names.input(self._on_open, chosen, shown, **latest)
        self.up.click(self._on_up, chosen, shown, **WITH_MESSAGES)
        self.down.click(self._on_down, chosen, shown, **WITH_MESSAGES)
        self.delete.click(self._on_delete, chosen, shown, **WITH_MESSAGES)
        self.undo.click(self._on_undo, {*chosen, self._deleted}, shown, **WITH_MESSAGES)
        self.rename.click(self._on_rename, {*chosen, self.new_name}, shown, **WITH_MESSAGES)
        self.export.click(self._on_export, chosen, self.file, **WITH_MESSAGES)
        self.upload.upload(self._on_import, {*chosen, self.upload}, [*shown, self.upload], **WITH_MESSAGES)

    def _kind_of(self, values: Values) -> str:
        kind = str(values[self.kind])
        if kind not in self._items:
            raise ValueError(f"the kind is one of {', '.join(self._items)}, not {kind!r:.40}")
        return kind

    def _chosen(self, values: Values) -> tuple[SavedItems, str]:
        name = values[self.names]
        if not isinstance(name, str) or not name:
            raise ValueError("nothing is chosen; choose a name in the list")
        return self._items[self._kind_of(values)], name

    def _show(self, kind: str, name: object) -> Updates:
        """Return updates that list the items of a kind, and show this one if there is one of that name."""
        items = self._items[kind].read()
        name = name if isinstance(name, str) and name in items else None
        return {
            self.empty: gr.update(value=EMPTY[kind], visible=not items),
            self.names: gr.update(choices=list(items), value=name, visible=bool(items)),
            self.text: pane(name, _text(items[name]), "") if name else "",
            self.new_name: name or "",
            self.file: gr.update(visible=False),
            self.undo: gr.update(visible=False),
            self._deleted: None,
        }

    @shows_errors
    def _on_open(self, values: Values) -> Updates:
        return self._show(self._kind_of(values), values[self.names])

    @shows_errors
    def _on_up(self, values: Values) -> Updates:
        return self._move(values, -1)

    @shows_errors
    def _on_down(self, values: Values) -> Updates:
        return self._move(values, 1)

    def _move(self, values: Values, by: int) -> Updates:
        items, name = self._chosen(values)
        items.move(name, by)
        return self._show(self._kind_of(values), name)

    @shows_errors
    def _on_rename(self, values: Values) -> Updates:
        items, name = self._chosen(values)
        return self._show(self._kind_of(values), items.rename(name, str(values[self.new_name] or "")))

    @shows_errors
    def _on_delete(self, values: Values) -> Updates:
        items, name = self._chosen(values)
        kind, value, place = self._kind_of(values), items.get(name), list(items.read()).index(name)
        items.delete(name)
        return self._show(kind, None) | {
            self._deleted: [kind, name, value, place],
            self.undo: gr.update(visible=True, value="Undo the deletion"),
        }

    @shows_errors
    def _on_undo(self, values: Values) -> Updates:
        deleted = values[self._deleted]
        if not isinstance(deleted, list):
            return {}
        kind, name, value, place = deleted
        items = self._items[kind]
        if name in items.read():
            raise ValueError(f"{name!r} is there again already; rename that one first")
        items.save(name, value)
        items.move(name, place - len(items.read()) + 1)
        return self._show(kind, name)

    @shows_errors
    def _on_export(self, values: Values) -> object:
        kind = self._kind_of(values)
        if not self._items[kind].read():
            raise ValueError(f"there are no {kind} to export; save one first")
        return gr.update(value=link_to(self._items[kind].export(), f"{kind}.json"), visible=True)

    @shows_errors
    def _on_import(self, values: Values) -> Updates:
        kind = self._kind_of(values)
        imported = self._items[kind].import_file(read_bytes(Path(str(values[self.upload])), limit=LARGEST_FILE))
        known = f"; {imported.known} were here already" if imported.known else ""
        gr.Info(html.escape(f"Added {plural(len(imported.added), kind[:-1])}{known}."))
        return self._show(kind, next(iter(imported.added), None)) | {self.upload: None}


def _text(value: object) -> str:
    """Return a prompt, or the samplers of a preset, as text."""
    if not isinstance(value, list):
        return str(value)
    return "\n".join(sampler_words(link) for link in value) or "none"
