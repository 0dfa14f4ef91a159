"""The desk's own texts: stories of the starter's world, and classics that a button fetches."""

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

EVERY = 0.2  # seconds between two signs of progress
STOPPED = "You stopped it."


class LibraryPanel:
    """Which text, what is known of it, and a button that fetches it beforehand; `obtained` does so when it is used."""

    def __init__(self, desk: Desk) -> None:
        self._texts = desk.settings.texts
        self.choice = gr.Dropdown(
            self._listed(), value=datasets.STORY_WORLD, label="Text from the library", elem_id="train-library"
        )
        self.told = gr.Markdown(self._about(datasets.STORY_WORLD), elem_id="train-library-note", elem_classes="note")
        self._actions = action_row(desk, "Fetch it now", ident="train-fetch", running={}, primary=False)

    def wire(self) -> None:
        """Connect the list and the button."""
        self._actions.wire()
        self.choice.change(self._about, self.choice, self.told, **QUIETLY)
        outputs = [*self._actions.outputs, self.choice, self.told]
        self._actions.start.click(self._on_fetch, {self.choice}, outputs, **STREAMING)

    def name(self, values: Values) -> str:
        """The text that is chosen; ValueError if there is none."""
        chosen = str(values[self.choice] or "")
        if not chosen:
            raise ValueError("no text is chosen; choose one of the library, or paste one")
        return chosen

    def obtained(self, name: str, line: gr.Markdown, stop: threading.Event) -> Iterator[Updates | tuple[str, ...]]:
        """Updates of `line` while the text is made or fetched; at last the places of its files, unless stopped."""
        said = 0.0
        for event in datasets.obtain([name], self._texts):
            if stop.is_set():
                return
            if not isinstance(event, TextProgress):
                yield event
            elif time.monotonic() - said > EVERY:
                said = time.monotonic()
                yield {line: _doing(event)}

    def shown(self, name: object) -> Updates:
        """Updates that show what is there now, and choose this text."""
        known = name if name in {source.name for source in self._sources()} else datasets.STORY_WORLD
        return {self.choice: gr.update(choices=self._listed(), value=known), self.told: self._about(str(known))}

    def _on_fetch(self, values: Values, request: gr.Request) -> Iterator[Updates]:
        def work(place: Place) -> Iterator[Updates]:
            name = self.name(values)
            done = False
            for event in self.obtained(name, self._actions.line, place.stop):
                if isinstance(event, tuple):
                    done = True
                else:
                    yield event
            said = "It is on this computer now." if done else STOPPED
            yield {self._actions.line: said} | self.shown(name)

        yield from self._actions.run_queued(work, request)

    def _sources(self) -> list[datasets.Source]:
        return datasets.listing(self._texts)

    def _listed(self) -> list[tuple[str, str]]:
        return [(source.title, source.name) for source in self._sources()]

    def _about(self, name: str | None) -> str:
        found = next((source for source in self._sources() if source.name == name), None)
        if found is None:
            return ""
        size = f"{found.size / 1e6:.1f} MB"
        where = f"On this computer, {size}" if found.there else f"Not on this computer yet, about {size}"
        return f"{markdown_text(found.note[:1].upper() + found.note[1:])}. {where}."


def _doing(progress: TextProgress) -> str:
    done = progress.done / progress.total if progress.total else 0
    return f"{markdown_text(progress.stage[:1].upper() + progress.stage[1:])} ({min(done, 1):.0%}) …"
