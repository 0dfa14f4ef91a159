"""Events of the Tokens view: a text's tokens on demand, the table of one that follows the sliders, and branches."""

import json
import logging
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

import gradio as gr
from gradio.blocks import Block

from gptdesk.desk import Desk
from gptdesk.generation import GenerationQueued, GenerationRequest, GenerationResult, encode_prompt
from gptdesk.inspection import branch, find_tokens, logits_after, text_figures
from gptdesk.page.long_action import owner_of
from gptdesk.page.option_widgets import QUIETLY, STREAMING, Updates, Values
from gptdesk.page.tabs.generate.settings_panel import SettingsPanel
from gptdesk.page.tabs.generate.texts import MOST_SEQUENCES, TextCards
from gptdesk.page.tabs.generate.tokens.beside import BesidePicker
from gptdesk.page.tabs.generate.tokens.drawing import fault_html, text_html
from gptdesk.page.tabs.generate.tokens.explaining import heading, next_token_table
from gptdesk.page.tabs.generate.tokens.look import FOLLOW
from gptdesk.page.tabs.generate.tokens.opened_texts import BySession, OpenText, Place, Written, written_by
from gptdesk.page.tabs.generate.tokens.redrawn import RedrawnLine
from gptdesk.page.tabs.generate.writing import Plan
from gptdesk.page.visitors import event_session
from models.manager import LoadedModel, ModelKey

Result = TypeVar("Result")
log = logging.getLogger(__name__)
CLOSED = "the tokens of this text are no longer shown; open them again"
MOST_TOKENS, MOST_PUBLIC_TOKENS = 8_192, 1_024  # of a text whose tokens are shown; the last ones


class TokensView:
    """Heat map of one text card and the table of one of its tokens, below the cards.

    Nothing is computed while it is closed. The page's script writes what was pressed into two hidden text boxes.
    """

    def __init__(self, desk: Desk, texts: TextCards) -> None:
        self._desk, self._texts = desk, texts
        self._open: BySession[OpenText] = BySession()
        self._written: BySession[dict[int, Written]] = BySession()  # by card
        self.heat_map = gr.HTML(visible=False, elem_id="token-view", elem_classes="bare")
        self._redrawn = RedrawnLine(desk)
        self._beside = BesidePicker(desk)
        self._heading = gr.HTML(visible=False, elem_id="token-heading", elem_classes="bare")
        self.explanation = gr.HTML(visible=False, elem_id="token-explanation", elem_classes="bare")
        with gr.Column(visible=False, elem_id="token-search-box") as self._search_box:
            self._search = gr.Textbox(
                label="Find a token",
                placeholder="Its text or its id",
                max_lines=1,
                max_length=200,
                elem_id="token-search",
            )
        # pressed by FOLLOW
        self._moved = gr.Button(visible="hidden", elem_id="token-chain")
        self._moved_alone = gr.Button(visible="hidden", elem_id="token-text-chain")
        self._picked = gr.Textbox(visible="hidden", elem_id="token-picked")
        self.branched = gr.Textbox(visible="hidden", elem_id="token-branched")

    @property
    def outputs(self) -> list[Block]:
        """Widgets of the view."""
        table = [self._heading, self.explanation, self._search_box, self._search]
        return [self.heat_map, self._redrawn.line, *self._beside.outputs, *table]

    def wire(self, settings: SettingsPanel, inputs: set[Block]) -> None:
        """Connect the events; `inputs` are those of a generation."""
        self._settings = settings
        for i, button in enumerate(self._texts.tokens):
            button.click(self._opening(i), inputs, self.outputs, **STREAMING)
        self._beside.chosen.input(self._on_beside, {self._beside.chosen}, self.heat_map, **STREAMING)
        chain: set[Block] = set(settings.panel.components)
        table_outputs = [self._heading, self.explanation, self._search_box, self._search]
        self._picked.change(self._on_pick, {self._picked, *chain}, table_outputs, **STREAMING)
        latest = QUIETLY | {"trigger_mode": "always_last"}
        self._search.change(self._on_search, {self._search, *chain}, self.explanation, **latest)
        moved = [component.change for component in settings.panel.components]  # type: ignore[attr-defined]
        gr.on(moved, None, js=FOLLOW, **QUIETLY)
        # first the table, then the flip points and the text, which take longer
        changed = self._moved.click(self._on_chain, chain, self.explanation, **latest)
        flips = changed.then(self._on_chain_flips, chain, self._heading, **latest)
        flips.then(self._on_chain_text, chain, self._redrawn.line, **latest)
        self._moved_alone.click(self._on_chain_text, chain, self._redrawn.line, **latest)

    # Generations

    def recorder(
        self, request: gr.Request, key: ModelKey, generation: GenerationRequest, prompt: str
    ) -> Callable[[GenerationResult, int], None]:
        """Return what takes the result of a generation into the cards from an index on, whose texts begin `prompt`."""

        def record(result: GenerationResult, first: int) -> None:
            start = result.start
            if start is None:
                return
            session = request.session_hash or ""
            cards = dict(self._written.get(session) or {})
            for row, text in enumerate(result.texts):
                drawn = tuple(result.tokens[row])
                cards[first + row] = Written(
                    key, generation, start.seed, row, start.dropped_tokens, prompt + text, drawn
                )
            self._written.put(session, cards)

        return record

    def wrote(self, texts: Sequence[str], key: ModelKey, request: GenerationRequest) -> bool | None:
        """Return whether a request with a seed has written the texts of the cards; None if none is known to have."""
        return written_by(self._written.get(event_session()) or {}, texts, key, request)

    def close_unless_among(self, texts: Sequence[str]) -> Updates:
        """Close the view unless its text is that of its card among these."""
        opened = self._open.get(event_session())
        if opened is not None and opened.card < len(texts):
            whole = opened.text_before(len(opened.tokens), self._desk.tokenizer(opened.key.name))
            if whole == texts[opened.card]:
                return {}
        return self.close()

    def close(self) -> Updates:
        """Close the view of the present event's page; return its updates."""
        self._open.put(event_session(), None)
        return self._closed()

    def _closed(self) -> Updates:
        return {
            self.heat_map: gr.update(visible=False, value=""),
            **self._redrawn.closed(),
            **self._beside.closed(),
            self._heading: gr.update(visible=False, value=""),
            self.explanation: gr.update(visible=False, value=""),
            self._search_box: gr.update(visible=False),
            self._search: "",
        }

    def branch(self, values: Values, request: gr.Request) -> Plan:
        """Return the request that continues the text with another token, in a new card.

        Raises ValueError as `inspection.branch`, and where all cards are taken.
        """
        opened, card = self._open.get(request.session_hash or ""), len(self._texts.texts(values))
        index, token = _numbers(values[self.branched], "i", "token")
        if opened is None or opened.place is None:
            raise ValueError(CLOSED)
        if card >= MOST_SEQUENCES:
            raise ValueError(f"there are {card} texts already, which is the most; keep one of them, then continue")
        size = opened.place.logits.shape[1]
        ids = branch(opened.tokens, index, token, vocabulary=size, dropped=opened.dropped)
        _, generation = self._settings.request(values, "", n=1)
        tokenizer = self._desk.tokenizer(opened.key.name)
        return Plan(
            opened.key,
            generation.model_copy(update={"prompt_ids": ids}),
            prompt=opened.text(index, token, tokenizer),
            card=card,
            source=opened.text_before(len(opened.tokens), tokenizer),
            cut=len(opened.text_before(index, tokenizer)),
        )

    # Tokens of a text

    def _opening(self, card: int) -> Callable[..., Iterator[Updates]]:
        """Return the handler that shows the tokens of a card, or closes them."""

        def toggle(values: Values, request: gr.Request) -> Iterator[Updates]:
            session = request.session_hash or ""
            before = self._open.get(session)
            text = values[self._texts.boxes[card]]
            if before is not None and before.card == card:
                yield self.close()
                return
            updates = self._read_text(card, str(text or ""), values, request)
            yield from self._explained(updates, lambda fault: self.close() | _shown(self.heat_map, fault))

        return toggle

    def _read_text(self, card: int, text: str, values: Values, request: gr.Request) -> Generator[Updates, None, None]:
        session = request.session_hash or ""
        written = (self._written.get(session) or {}).get(card)
        if written is not None and written.text != text:
            written = None
        key = written.key if written else self._settings.model.key(values)
        tokenizer = self._desk.tokenizer(key.name)
        if written:
            given = encode_prompt(tokenizer, written.request)
            tokens = (*given, *written.drawn)
        else:
            tokens = tuple(tokenizer.encode(text)) or (tokenizer.start,)
            given = list(tokens)
        context = self._desk.model(key.name).context
        most = min(context + 1, MOST_PUBLIC_TOKENS if self._desk.settings.public else MOST_TOKENS)
        dropped = max(written.dropped if written else 0, len(tokens) - most)
        for figures in self._computed(key, lambda loaded: text_figures(loaded, tokens[dropped:]), request):
            if isinstance(figures, GenerationQueued):
                yield {self.heat_map: gr.update(visible=True, value=_waiting(figures))}
                continue
            opened = OpenText(card, key, tokens, dropped, len(given), written, figures, context)
            self._open.put(session, opened)
            shown = _shown(self.heat_map, text_html(opened, tokenizer))
            yield self._closed() | shown | self._beside.opened(key)

    # Second model

    def _on_beside(self, values: Values, request: gr.Request) -> Iterator[Updates]:
        updates = self._read_beside(values, request)
        yield from self._explained(updates, lambda fault: _shown(self.heat_map, self._drawn_text(request) + fault))

    def _read_beside(self, values: Values, request: gr.Request) -> Generator[Updates, None, None]:
        """Show the tokens by their difference to the chosen model, or without one as before."""
        session = request.session_hash or ""
        opened = self._open.get(session)
        if opened is None:
            raise ValueError(CLOSED)
        self._open.put(session, opened := replace(opened, beside=None))
        for event in self._beside.read(values, opened, lambda key, work: self._computed(key, work, request)):
            if isinstance(event, GenerationQueued):
                yield _shown(self.heat_map, _waiting(event))
                continue
            self._open.put(session, event)
            yield _shown(self.heat_map, self._drawn_text(request))

    def _drawn_text(self, request: gr.Request) -> str:
        """Return the heat map of the text that is open; empty without one."""
        opened = self._open.get(request.session_hash or "")
        return "" if opened is None else text_html(opened, self._desk.tokenizer(opened.key.name))

    # Table of a token

    def _on_pick(self, values: Values, request: gr.Request) -> Iterator[Updates]:
        hidden: Updates = {self._heading: gr.update(visible=False)}
        updates = self._read_place(values, request)
        yield from self._explained(updates, lambda fault: hidden | _shown(self.explanation, fault))

    def _read_place(self, values: Values, request: gr.Request) -> Generator[Updates, None, None]:
        session = request.session_hash or ""
        opened = self._open.get(session)
        [index] = _numbers(values[self._picked], "i")
        if opened is None:
            raise ValueError(CLOSED)
        before = opened.before(index)
        for logits in self._computed(opened.key, lambda loaded: logits_after(loaded, before), request):
            if isinstance(logits, GenerationQueued):
                yield {self.explanation: gr.update(visible=True, value=_waiting(logits))}
                continue
            opened = replace(opened, place=Place(index, logits))
            self._open.put(session, opened)
            yield {
                self._heading: gr.update(visible=True, value=self._flips(opened, values)),
                self.explanation: gr.update(visible=True, value=self._table(opened, values)),
                self._search_box: gr.update(visible=True),
                self._search: "",
            }

    def _on_search(self, values: Values, request: gr.Request) -> Updates:
        session = request.session_hash or ""
        opened = self._open.get(session)
        if opened is None or opened.place is None:
            return {}
        found = find_tokens(self._desk.tokenizer(opened.key.name), str(values[self._search] or ""))
        if tuple(found) == opened.place.found:
            return {}
        opened = replace(opened, place=replace(opened.place, found=tuple(found)))
        self._open.put(session, opened)
        return {self.explanation: self._drawn(opened, values)}

    def _on_chain(self, values: Values, request: gr.Request) -> Updates:
        """Draw the table anew from its logits."""
        opened = self._open.get(request.session_hash or "")
        if opened is None or opened.place is None:
            return {}
        return {self.explanation: self._drawn(opened, values)}

    def _on_chain_flips(self, values: Values, request: gr.Request) -> Updates:
        """Work out the flip points anew; an error is shown in place of the table."""
        opened = self._open.get(request.session_hash or "")
        if opened is None or opened.place is None:
            return {}
        try:
            return {self._heading: self._flips(opened, values)}
        except ValueError:
            return {}

    def _on_chain_text(self, values: Values, request: gr.Request) -> Updates:
        """Show where the same seed would leave the text now, if it was generated."""
        opened = self._open.get(request.session_hash or "")
        if opened is None:
            return {}
        chain = self._settings.panel.chain(values)
        return self._redrawn.read(opened, chain, lambda key, work: self._computed(key, work, request))

    def _table(self, opened: OpenText, values: Values) -> str:
        return next_token_table(opened, self._settings.panel.chain(values), self._desk.tokenizer(opened.key.name))

    def _flips(self, opened: OpenText, values: Values) -> str:
        return heading(opened, self._settings.panel.chain(values), self._desk.tokenizer(opened.key.name))

    def _drawn(self, opened: OpenText, values: Values) -> str:
        try:
            return self._table(opened, values)
        except ValueError as error:
            return fault_html(error)

    # Work on a model

    def _computed(
        self, key: ModelKey, work: Callable[[LoadedModel], Result], request: gr.Request
    ) -> Iterator[GenerationQueued | Result]:
        """Yield positions in the queue, then the result of `work` with the model."""
        public = self._desk.settings.public
        owner = owner_of(request, self._desk.settings) if public else None
        with self._desk.scheduler.admitted(owner):
            yield from self._desk.read(key, work, stop=threading.Event(), owner=owner)

    def _explained(
        self, updates: Generator[Updates, None, None], failed: Callable[[str], Updates]
    ) -> Iterator[Updates]:
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


def _shown(place: gr.HTML, content: str) -> Updates:
    return {place: gr.update(visible=True, value=content)}


def _waiting(queued: GenerationQueued) -> str:
    return f'<p class="token-fault">Waiting for others: place {queued.position} in the queue …</p>'


def _numbers(text: object, *names: str) -> list[int]:
    """Return whole numbers of a JSON object that the page's script has written; ValueError for anything else."""
    try:
        data = json.loads(str(text))
    except ValueError:
        data = None
    given = [data.get(name) for name in names] if isinstance(data, dict) else []
    numbers = [one for one in given if isinstance(one, int) and not isinstance(one, bool)]
    if not numbers or len(numbers) < len(names):
        raise ValueError("there is no such token; choose one of those shown")
    return numbers
