"""Events of the Tokens view: the tokens of a text on demand, beside a second model, and branches."""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace

import gradio as gr
from gradio.blocks import Block

from gptdesk.desk import Desk
from gptdesk.generation import GenerationQueued, GenerationRequest, GenerationResult, encode_prompt
from gptdesk.inspection import branch, text_figures
from gptdesk.page.option_widgets import QUIETLY, STREAMING, Updates, Values
from gptdesk.page.tabs.generate.settings_panel import SettingsPanel
from gptdesk.page.tabs.generate.texts import MOST_SEQUENCES, TextCards
from gptdesk.page.tabs.generate.tokens.beside import BesidePicker
from gptdesk.page.tabs.generate.tokens.drawing import text_html
from gptdesk.page.tabs.generate.tokens.look import FOLLOW
from gptdesk.page.tabs.generate.tokens.opened_texts import BySession, OpenText, Written, written_by
from gptdesk.page.tabs.generate.tokens.picked_token import PickedToken
from gptdesk.page.tabs.generate.tokens.reading import CLOSED, TextReading, numbers, shown, waiting
from gptdesk.page.tabs.generate.tokens.redrawn import RedrawnLine
from gptdesk.page.tabs.generate.writing import Plan
from gptdesk.page.visitors import event_session
from models.manager import ModelKey

MOST_TOKENS, MOST_PUBLIC_TOKENS = 8_192, 1_024  # of a text whose tokens are shown; the last ones


class TokensView:
    """Heat map of one text card and the table of one of its tokens, below the cards.

    Nothing is computed while it is closed. The page's script writes what was pressed into two hidden text boxes.
    """

    def __init__(self, desk: Desk, texts: TextCards) -> None:
        self._desk, self._texts = desk, texts
        self._reading = TextReading(desk)
        self._written: BySession[dict[int, Written]] = BySession()  # by card
        self.heat_map = gr.HTML(visible=False, elem_id="token-view", elem_classes="bare")
        self._redrawn = RedrawnLine(desk)
        self._beside = BesidePicker(desk)
        self._picked = PickedToken(desk, self._reading)
        self._moved = gr.Button(visible="hidden", elem_id="token-text-chain")  # pressed by FOLLOW
        self.branched = gr.Textbox(visible="hidden", elem_id="token-branched")

    @property
    def outputs(self) -> list[Block]:
        """Widgets of the view."""
        return [self.heat_map, self._redrawn.line, *self._beside.outputs, *self._picked.outputs]

    def wire(self, settings: SettingsPanel, inputs: set[Block]) -> None:
        """Connect the events; `inputs` are those of a generation."""
        self._settings = settings
        for i, button in enumerate(self._texts.tokens):
            button.click(self._opening(i), inputs, self.outputs, **STREAMING)
        self._beside.chosen.input(self._on_beside, {self._beside.chosen}, self.heat_map, **STREAMING)
        moved = [component.change for component in settings.panel.components]  # type: ignore[attr-defined]
        gr.on(moved, None, js=FOLLOW, **QUIETLY)
        # after the table, which takes no pass
        chain: set[Block] = set(settings.panel.components)
        latest = QUIETLY | {"trigger_mode": "always_last"}
        for event in (self._picked.wire(settings.panel).then, self._moved.click):
            event(self._on_chain_text, chain, self._redrawn.line, **latest)

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
        opened = self._reading.texts.get(event_session())
        if opened is not None and opened.card < len(texts):
            whole = opened.text_before(len(opened.tokens), self._desk.tokenizer(opened.key.name))
            if whole == texts[opened.card]:
                return {}
        return self.close()

    def close(self) -> Updates:
        """Close the view of the present event's page; return its updates."""
        self._reading.texts.put(event_session(), None)
        return self._closed()

    def _closed(self) -> Updates:
        return {
            self.heat_map: gr.update(visible=False, value=""),
            **self._redrawn.closed(),
            **self._beside.closed(),
            **self._picked.closed(),
        }

    def branch(self, values: Values, request: gr.Request) -> Plan:
        """Return the request that continues the text with another token, in a new card.

        Raises ValueError as `inspection.branch`, and where all cards are taken.
        """
        opened, card = self._reading.opened(request), len(self._texts.texts(values))
        index, token = numbers(values[self.branched], "i", "token")
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
            before = self._reading.opened(request)
            text = values[self._texts.boxes[card]]
            if before is not None and before.card == card:
                yield self.close()
                return
            updates = self._read_text(card, str(text or ""), values, request)
            yield from self._reading.explained(updates, lambda fault: self.close() | shown(self.heat_map, fault))

        return toggle

    def _read_text(self, card: int, text: str, values: Values, request: gr.Request) -> Generator[Updates, None, None]:
        written = (self._written.get(request.session_hash or "") or {}).get(card)
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
        for figures in self._reading.computed(key, lambda loaded: text_figures(loaded, tokens[dropped:]), request):
            if isinstance(figures, GenerationQueued):
                yield shown(self.heat_map, waiting(figures))
                continue
            opened = OpenText(card, key, tokens, dropped, len(given), written, figures, context)
            drawn = text_html(self._reading.open(request, opened), tokenizer)
            yield self._closed() | shown(self.heat_map, drawn) | self._beside.opened(key)

    # Second model

    def _on_beside(self, values: Values, request: gr.Request) -> Iterator[Updates]:
        updates = self._read_beside(values, request)
        yield from self._reading.explained(
            updates, lambda fault: shown(self.heat_map, self._drawn_text(request) + fault)
        )

    def _read_beside(self, values: Values, request: gr.Request) -> Generator[Updates, None, None]:
        """Show the tokens by their difference to the chosen model, or without one as before."""
        opened = self._reading.opened(request)
        if opened is None:
            raise ValueError(CLOSED)
        opened = self._reading.open(request, replace(opened, beside=None))
        for event in self._beside.read(values, opened, lambda key, work: self._reading.computed(key, work, request)):
            if isinstance(event, GenerationQueued):
                yield shown(self.heat_map, waiting(event))
                continue
            self._reading.open(request, event)
            yield shown(self.heat_map, self._drawn_text(request))

    def _drawn_text(self, request: gr.Request) -> str:
        """Return the heat map of the text that is open; empty without one."""
        opened = self._reading.opened(request)
        return "" if opened is None else text_html(opened, self._desk.tokenizer(opened.key.name))

    # Samplers that move

    def _on_chain_text(self, values: Values, request: gr.Request) -> Updates:
        """Show where the same seed would leave the text now, if it was generated."""
        opened = self._reading.opened(request)
        if opened is None:
            return {}
        chain = self._settings.panel.chain(values)
        return self._redrawn.read(opened, chain, lambda key, work: self._reading.computed(key, work, request))
