"""Table of the token that was picked in a text, with its flip points; it follows the sliders of the samplers."""

from collections.abc import Generator, Iterator
from dataclasses import replace

import gradio as gr
from gradio.blocks import Block
from gradio.events import Dependency

from gptdesk.desk import Desk
from gptdesk.generation import GenerationQueued
from gptdesk.inspection import find_tokens, logits_after
from gptdesk.page.option_widgets import QUIETLY, STREAMING, ChainPanel, Updates, Values
from gptdesk.page.tabs.generate.tokens.drawing import fault_html
from gptdesk.page.tabs.generate.tokens.explaining import heading, next_token_table
from gptdesk.page.tabs.generate.tokens.opened_texts import OpenText, Place
from gptdesk.page.tabs.generate.tokens.reading import CLOSED, TextReading, numbers, shown, waiting


class PickedToken:
    """Heading, table and search of one token. The page's script writes which one into a hidden text box."""

    def __init__(self, desk: Desk, reading: TextReading) -> None:
        self._desk, self._reading = desk, reading
        self._heading = gr.HTML(visible=False, elem_id="token-heading", elem_classes="bare")
        self.table = gr.HTML(visible=False, elem_id="token-explanation", elem_classes="bare")
        with gr.Column(visible=False, elem_id="token-search-box") as self._search_box:
            self._search = gr.Textbox(
                label="Find a token",
                placeholder="Its text or its id",
                max_lines=1,
                max_length=200,
                elem_id="token-search",
            )
        self._moved = gr.Button(visible="hidden", elem_id="token-chain")  # pressed by FOLLOW
        self._picked = gr.Textbox(visible="hidden", elem_id="token-picked")

    @property
    def outputs(self) -> list[Block]:
        """Widgets that `closed` updates."""
        return [self._heading, self.table, self._search_box, self._search]

    def closed(self) -> Updates:
        """Return updates that hide the token."""
        return {
            self._heading: gr.update(visible=False, value=""),
            self.table: gr.update(visible=False, value=""),
            self._search_box: gr.update(visible=False),
            self._search: "",
        }

    def wire(self, panel: ChainPanel) -> Dependency:
        """Connect the events; return the one that comes last where the samplers of the panel have moved."""
        self._panel = panel
        chain: set[Block] = set(panel.components)
        self._picked.change(self._on_pick, {self._picked, *chain}, self.outputs, **STREAMING)
        latest = QUIETLY | {"trigger_mode": "always_last"}
        self._search.change(self._on_search, {self._search, *chain}, self.table, **latest)
        # first the table, then the flip points, which take longer
        changed = self._moved.click(self._on_chain, chain, self.table, **latest)
        return changed.then(self._on_chain_flips, chain, self._heading, **latest)

    def _on_pick(self, values: Values, request: gr.Request) -> Iterator[Updates]:
        hidden: Updates = {self._heading: gr.update(visible=False)}
        updates = self._read(values, request)
        yield from self._reading.explained(updates, lambda fault: hidden | shown(self.table, fault))

    def _read(self, values: Values, request: gr.Request) -> Generator[Updates, None, None]:
        opened = self._reading.opened(request)
        [index] = numbers(values[self._picked], "i")
        if opened is None:
            raise ValueError(CLOSED)
        before = opened.before(index)
        for logits in self._reading.computed(opened.key, lambda loaded: logits_after(loaded, before), request):
            if isinstance(logits, GenerationQueued):
                yield shown(self.table, waiting(logits))
                continue
            opened = self._reading.open(request, replace(opened, place=Place(index, logits)))
            yield {
                self._heading: gr.update(visible=True, value=self._flips(opened, values)),
                self.table: gr.update(visible=True, value=self._rows(opened, values)),
                self._search_box: gr.update(visible=True),
                self._search: "",
            }

    def _on_search(self, values: Values, request: gr.Request) -> Updates:
        opened = self._reading.opened(request)
        if opened is None or opened.place is None:
            return {}
        found = tuple(find_tokens(self._desk.tokenizer(opened.key.name), str(values[self._search] or "")))
        if found == opened.place.found:
            return {}
        opened = self._reading.open(request, replace(opened, place=replace(opened.place, found=found)))
        return {self.table: self._drawn(opened, values)}

    def _on_chain(self, values: Values, request: gr.Request) -> Updates:
        """Draw the table anew from its logits."""
        opened = self._reading.opened(request)
        if opened is None or opened.place is None:
            return {}
        return {self.table: self._drawn(opened, values)}

    def _on_chain_flips(self, values: Values, request: gr.Request) -> Updates:
        """Work out the flip points anew; an error is shown in place of the table."""
        opened = self._reading.opened(request)
        if opened is None or opened.place is None:
            return {}
        try:
            return {self._heading: self._flips(opened, values)}
        except ValueError:
            return {}

    def _rows(self, opened: OpenText, values: Values) -> str:
        return next_token_table(opened, self._panel.chain(values), self._desk.tokenizer(opened.key.name))

    def _flips(self, opened: OpenText, values: Values) -> str:
        return heading(opened, self._panel.chain(values), self._desk.tokenizer(opened.key.name))

    def _drawn(self, opened: OpenText, values: Values) -> str:
        try:
            return self._rows(opened, values)
        except ValueError as error:
            return fault_html(error)
