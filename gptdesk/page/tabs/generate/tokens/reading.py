"""Work of the Tokens view on a model, for the text that each page has open; errors as HTML."""

import json
import logging
import threading
from collections.abc import Callable, Generator, Iterator
from typing import TypeVar

import gradio as gr

from gptdesk.desk import Desk
from gptdesk.generation import GenerationQueued
from gptdesk.page.long_action import owner_of
from gptdesk.page.option_widgets import Updates
from gptdesk.page.tabs.generate.tokens.drawing import fault_html
from gptdesk.page.tabs.generate.tokens.opened_texts import BySession, OpenText
from models.manager import LoadedModel, ModelKey

Result = TypeVar("Result")
log = logging.getLogger(__name__)
CLOSED = "the tokens of this text are no longer shown; open them again"


class TextReading:
    """Texts that pages have open, by session, and work on their models."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.texts: BySession[OpenText] = BySession()

    def opened(self, request: gr.Request) -> OpenText | None:
        """Return the text that the page of an event has open."""
        return self.texts.get(request.session_hash or "")

    def open(self, request: gr.Request, text: OpenText) -> OpenText:
        """Keep a text as the one that the page of an event has open; return it."""
        self.texts.put(request.session_hash or "", text)
        return text

    def computed(
        self, key: ModelKey, work: Callable[[LoadedModel], Result], request: gr.Request
    ) -> Iterator[GenerationQueued | Result]:
        """Yield positions in the queue, then the result of `work` with the model."""
        public = self._desk.settings.public
        owner = owner_of(request, self._desk.settings) if public else None
        with self._desk.scheduler.admitted(owner):
            yield from self._desk.read(key, work, stop=threading.Event(), owner=owner)

    def explained(self, updates: Generator[Updates, None, None], failed: Callable[[str], Updates]) -> Iterator[Updates]:
        """Yield the updates, then for an error those of `failed` for its HTML; log one that is no ValueError."""
        try:
            yield from updates
        except ValueError as error:
            yield failed(fault_html(self._public(error)))
        except Exception as error:  # a bug of ours: the page must stay usable, and the traceback be logged
            log.exception("an action of the page failed")
            yield failed(fault_html(f"{self._public(error)} (details are in the terminal)"))

    def _public(self, error: object) -> str:
        """Return an error; on a public desk without the path of the home, which may name its owner."""
        text = str(error)
        return text.replace(str(self._desk.settings.home), "<home>") if self._desk.settings.public else text


def shown(place: gr.HTML, content: str) -> Updates:
    """Return updates that show HTML in its place."""
    return {place: gr.update(visible=True, value=content)}


def waiting(queued: GenerationQueued) -> str:
    """Return the line of one who waits in the queue, as HTML."""
    return f'<p class="token-fault">Waiting for others: place {queued.position} in the queue …</p>'


def numbers(text: object, *names: str) -> list[int]:
    """Return whole numbers of a JSON object that the page's script has written; ValueError for anything else."""
    try:
        data = json.loads(str(text))
    except ValueError:
        data = None
    given = [data.get(name) for name in names] if isinstance(data, dict) else []
    found = [one for one in given if isinstance(one, int) and not isinstance(one, bool)]
    if not found or len(found) < len(names):
        raise ValueError("there is no such token; choose one of those shown")
    return found
