"""Text of a new run on the form: pasted, uploaded, by path or from the library."""

import json
import os
import re
import threading
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component

from gptdesk import datasets
from gptdesk.desk import Desk
from gptdesk.markup import markdown_text
from gptdesk.page.option_widgets import QUIETLY, Updates, Values
from gptdesk.page.tabs.train.library import STOPPED, LibraryPanel
from gptdesk.page.visitors import event_visitor
from gptdesk.training.plan import RunPlan
from gptdesk.training.text_input import TextInput

PASTED, FILES, PLACE, LIBRARY = "Paste a text", "Choose files", "A folder on this computer", "From the library"
SOURCES = (PASTED, FILES, PLACE, LIBRARY)
# in the browser: answers that overtake each other would switch to and fro without end
SHOWN = f"source => {json.dumps(SOURCES)}.map(one => ({{__type__: 'update', visible: one === source}}))"
LONGEST_PASTED = 200_000  # characters in the text box; the page's script hands over a longer text as a file
FEW = 200  # characters among which they are
MOST_NAMED = 5  # lost files that are named
FIRST = 4  # words of a pasted text that its run is named after


class TextSourcePanel:
    """Choice of the source, and the widget of each of them, of which one is visible."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        gr.Markdown("### 1. Text")
        self.source = gr.Radio(
            SOURCES, value=PASTED, label="Source of the text", show_label=False, container=False, elem_id="train-source"
        )
        self.text = gr.Textbox(
            label="Text",
            placeholder="Paste a text that the model should learn to write like: a few pages for a base model, "
            "a book for a new one.",
            lines=6,
            max_lines=12,
            elem_id="train-text",
        )
        with gr.Column(visible=False) as self._files_box:
            self.files = gr.File(
                label="Text files; a long pasted text becomes one",
                file_count="multiple",
                type="filepath",
                height=150,
                elem_id="train-files",
            )
            self.lost = gr.Markdown(elem_id="train-files-lost", elem_classes="note")
        self.place = gr.Textbox(
            label="Folder or file",
            info="Its path on this computer; all text files in a folder and its subfolders are read.",
            visible=False,
            elem_id="train-place",
        )
        with gr.Column(visible=False) as self._library_box:
            self.library = LibraryPanel(desk)

    @property
    def remembered(self) -> dict[str, Component]:
        """Widgets to remember, by name."""
        chosen = {"source": self.source, "text": self.text, "files": self.files, "place": self.place}
        return chosen | {"library": self.library.choice}

    @property
    def inputs(self) -> set[Block]:
        """Widgets whose values `text` needs."""
        return set(self.remembered.values())

    @property
    def outputs(self) -> list[Block]:
        """Widgets that `restore` updates beside the remembered ones."""
        return [*self._by_source, self.library.note, self.lost]

    @property
    def _by_source(self) -> list[Block]:
        return [self.text, self._files_box, self.place, self._library_box]

    def wire(self) -> None:
        """Connect the choice of the source, and the library."""
        self.library.wire()
        self.source.change(None, self.source, self._by_source, js=SHOWN, **QUIETLY)
        self.files.upload(None, None, self.lost, js="() => ''", **QUIETLY)

    def restore(self, kept: dict[str, object]) -> Updates:
        """Return updates that show the remembered source, and the texts of the library that exist now."""
        source = kept.get("source", PASTED)
        names = dict(zip(SOURCES, ("text", None, "place", None), strict=True))
        updates = self.library.show(kept.get("library"))
        for one, box in zip(SOURCES, self._by_source, strict=True):
            # this update replaces that of the saved value, so it has the value, too
            value = {"value": kept[name]} if (name := names[one]) in kept else {}
            updates[box] = gr.update(visible=source == one) | value
        return updates | (self._restored_files(kept["files"]) if "files" in kept else {})

    def _restored_files(self, kept: object) -> Updates:
        """Return updates that show the uploads that are there still, else which files must be chosen again."""
        paths = [str(path) for path in kept] if isinstance(kept, list) else []
        lost = [Path(path).name for path in paths if not self._is_there(path)]
        names = markdown_text(", ".join(lost[:MOST_NAMED]) + (" …" if lost[MOST_NAMED:] else ""))
        sentence = (
            f"Choose {names} again: files that were chosen are kept while the desk runs, for a day." if lost else ""
        )
        return {self.files: gr.update(value=None if lost else paths or None), self.lost: sentence}

    def _is_there(self, path: str) -> bool:
        """Return whether the browser of the present event has uploaded a file to this path, and it is there still."""
        owns = self._desk.owns_upload
        return owns is not None and owns(event_visitor(), path) and Path(path).is_file()

    def fill(self, plan: RunPlan) -> Updates:
        """Return updates that show the text of a plan; ValueError if that is in several places, or is gone.

        A plan without a text, as one of a recipe, changes nothing.
        """
        if not plan.data:
            return {}
        if plan.pasted:
            try:
                text = Path(plan.pasted).read_text(encoding="utf-8-sig")
            except OSError as error:
                raise ValueError(f"the text of the run {plan.name} cannot be read: {error.strerror}") from error
            if len(text) > LONGEST_PASTED:
                return self.restore({"source": PLACE, "place": plan.pasted}) | {self.source: PLACE}
            return self.restore({"source": PASTED, "text": text}) | {self.source: PASTED}
        place = plan.data[0] if len(plan.data) == 1 else ""
        folders = {Path(path).parent for path in plan.data}
        if len(folders) == 1 and (folder := folders.pop()).parts[-2:] == ("pasted", plan.name):
            place = str(folder)  # that of the run's copies has no other files
        if not place or not Path(place).exists():
            raise ValueError(f"the text of the run {plan.name} is not in one file or folder; choose it in a new run")
        return self.restore({"source": PLACE, "place": place}) | {self.source: PLACE}

    def title(self, values: Values) -> str:
        """Return a name for a run on the chosen text; ValueError if none is chosen."""
        source = values[self.source]
        if source == PASTED:
            return first_words(str(values[self.text] or "")) or "pasted"
        if source == FILES:
            return self._uploads(values)[0].stem
        if source == PLACE:
            return self._path(values).stem
        return self.library.name(values).removeprefix(datasets.CLASSIC)

    def obtain(self, values: Values, line: gr.Markdown, stop: threading.Event) -> Iterator[Updates | TextInput]:
        """Yield the text, after updates of `line` while one of the library is generated or downloaded.

        Without a text at the end if that was stopped. Raises ValueError if none is chosen.
        """
        source = values[self.source]
        if source == PASTED:
            yield TextInput(pasted=str(values[self.text] or ""))
        elif source == FILES:
            yield TextInput(uploads=tuple(self._uploads(values)))
        elif source == PLACE:
            yield TextInput(paths=(self._path(values),))
        else:
            for event in self.library.obtain(self.library.name(values), line, stop):
                if isinstance(event, tuple):
                    yield TextInput(paths=tuple(map(Path, event)))
                    return
                yield event
            yield {line: STOPPED}

    def _uploads(self, values: Values) -> list[Path]:
        files = values[self.files]
        uploads = [Path(str(file)) for file in files] if isinstance(files, list) else []
        if not uploads:
            raise ValueError("no file is chosen; choose one or more, or paste a text")
        return uploads

    def _path(self, values: Values) -> Path:
        path = str(values[self.place] or "").strip()
        if not path:
            raise ValueError("no folder is named; type its path, or paste a text")
        return Path(os.path.expanduser(path))


def first_words(text: str) -> str:
    """Return the first words of a text in ASCII, for a name; empty if they have no such letters."""
    words = re.findall(r"[^\W_]+", text[:FEW])[:FIRST]
    return " ".join(in_ascii(" ".join(words).casefold()).split())


def in_ascii(text: str) -> str:
    """Return a text with letters instead of accented ones, without what ASCII lacks."""
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
