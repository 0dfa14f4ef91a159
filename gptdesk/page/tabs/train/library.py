"""Library on the form: generated stories, and classics that are downloaded."""

import threading
import time
from collections.abc import Iterator

import gradio as gr

from gptdesk import datasets
from gptdesk.datasets import TextProgress
from gptdesk.desk import Desk
from gptdesk.markup import markdown_text
from gptdesk.page.long_action import action_row
from gptdesk.page.option_widgets import QUIETLY, STREAMING, Updates, Values
from gptdesk.scheduler import Place

EVERY = 0.2  # seconds between two updates of the progress
STOPPED = "You stopped it."


class LibraryPanel:
    """Choice of a text, a note about it, and a button that downloads it beforehand; `obtain` does so when needed."""

    def __init__(self, desk: Desk) -> None:
        self._texts = desk.settings.texts
        self.choice = gr.Dropdown(
            self._listed(), value=datasets.STORY_WORLD, label="Text from the library", elem_id="train-library"
        )
        self.note = gr.Markdown(self._about(datasets.STORY_WORLD), elem_id="train-library-note", elem_classes="note")
        self._actions = action_row(desk, "Fetch it now", ident="train-fetch", running={}, primary=False)

    def wire(self) -> None:
        """Connect the list and the button."""
        self._actions.wire()
        self.choice.change(self._about, self.choice, self.note, **QUIETLY)
        outputs = [*self._actions.outputs, self.choice, self.note]
        self._actions.start.click(self._on_fetch, {self.choice}, outputs, **STREAMING)

    def name(self, values: Values) -> str:
        """Return the name of the chosen text; ValueError if there is none."""
        chosen = str(values[self.choice] or "")
        if not chosen:
            raise ValueError("no text is chosen; choose one of the library, or paste one")
        return chosen

    def obtain(self, name: str, line: gr.Markdown, stop: threading.Event) -> Iterator[Updates | tuple[str, ...]]:
        """Yield updates of `line` while the text is generated or downloaded, then the paths of its files."""
        updated = 0.0
        for event in datasets.obtain([name], self._texts):
            if stop.is_set():
                return
            if not isinstance(event, TextProgress):
                yield event
            elif time.monotonic() - updated > EVERY:
                updated = time.monotonic()
                yield {line: _doing(event)}

    def show(self, name: object) -> Updates:
        """Return updates that list the texts, with whether they are on this computer, and choose this one."""
        known = name if name in {source.name for source in self._sources()} else datasets.STORY_WORLD
        return {self.choice: gr.update(choices=self._listed(), value=known), self.note: self._about(str(known))}

    def _on_fetch(self, values: Values, request: gr.Request) -> Iterator[Updates]:
        def work(place: Place) -> Iterator[Updates]:
            name = self.name(values)
            done = False
            for event in self.obtain(name, self._actions.line, place.stop):
                if isinstance(event, tuple):
                    done = True
                else:
                    yield event
            message = "It is on this computer now." if done else STOPPED
            yield {self._actions.line: message} | self.show(name)

        yield from self._actions.run_queued(work, request)

    def _sources(self) -> list[datasets.Source]:
        return datasets.listing(self._texts)

    def _listed(self) -> list[tuple[str, str]]:
        return [(source.title, source.name) for source in self._sources()]

    def _about(self, name: str | None) -> str:
        source = next((source for source in self._sources() if source.name == name), None)
        if source is None:
            return ""
        size = f"{source.size / 1e6:.1f} MB"
        where = f"On this computer, {size}" if source.available else f"Not on this computer yet, about {size}"
        return f"{markdown_text(source.note[:1].upper() + source.note[1:])}. {where}."


def _doing(progress: TextProgress) -> str:
    done = progress.done / progress.total if progress.total else 0
    return f"{markdown_text(progress.stage[:1].upper() + progress.stage[1:])} ({min(done, 1):.0%}) …"
