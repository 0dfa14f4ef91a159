"""Streams of generations into the text cards, with their stats, steps for Undo and saved copies."""

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import gradio as gr
from gradio.blocks import Block

from gptdesk.desk import Desk
from gptdesk.generation import GenerationQueued, GenerationRequest, GenerationResult
from gptdesk.history import Branch
from gptdesk.page.long_action import Call, LongActions
from gptdesk.page.option_widgets import Updates, Values
from gptdesk.page.persistence import SavedState
from gptdesk.page.stats import stats_details, stats_line
from gptdesk.page.streaming import in_batches
from gptdesk.page.tabs.generate.prompt_size import left_out
from gptdesk.page.tabs.generate.reading_speed import ReadingPace
from gptdesk.page.tabs.generate.settings_panel import SettingsPanel
from gptdesk.page.tabs.generate.texts import TextCards
from models.manager import ModelKey

SAME_TEXT = "The text is the same as before: same seed. Tick “Draw a new seed” for another one."
SAME_TEXT_CHANGED = "The text is the same as before: what you changed makes no difference with this seed."
STOPPED = "You stopped the text where it is. The model had written more."
STOPPED_KEPT = "You stopped the text where it is. The model had written more, which the history has."
STOPPED_EARLY = "You stopped it before the text began."
SAVE_EVERY = 0.5  # seconds between two saved copies of a text that is being generated


@dataclass(frozen=True)
class Plan:
    """Generation of the tab, with its place in the cards and in the tree."""

    key: ModelKey
    request: GenerationRequest
    prompt: str  # beginning of the texts
    card: int | None = None  # the one that takes the text; None: all
    source: str | None = None  # text that it continues or branches from
    cut: int | None = None  # characters of that text before the token that another replaces


class Stats:
    """Line of stats below the texts, and all others in a closed accordion, which has no place before the first text."""

    def __init__(self) -> None:
        self.line = gr.Markdown(elem_id="figures", elem_classes="note")
        # shown after a text with the seed of the one before; the History tab shows both
        with gr.Row(elem_id="after-text"):
            self.compare = gr.Button(
                "Compare with the text before", size="sm", visible=False, elem_id="compare-before", min_width=120
            )
            # the History tab shows the recipe of the newest entry
            self.recipe = gr.Button(
                "Share: a link that repeats it", size="sm", visible=False, elem_id="share-text", min_width=120
            )
        with gr.Accordion("Details", open=False, visible=False, elem_id="details", elem_classes="quiet") as self.panel:
            self.details = gr.Markdown(elem_id="all-stats", elem_classes="note")

    @property
    def outputs(self) -> list[Block]:
        """Widgets that `show` updates, but for the line, which is that of the tab's actions."""
        return [self.compare, self.recipe, self.panel, self.details]

    def show(self, result: GenerationResult, key: ModelKey, *, left_out: str, pace: str) -> Updates:
        """Return updates that show the stats of a generation so far; `left_out` and `pace` as in `stats_line`."""
        line = stats_line(result, left_out=left_out, pace=pace)
        return {self.line: line, self.details: stats_details(result, key)}

    def replace(self, line: str) -> Updates:
        """Return updates that show this line, since other texts are shown than those that were counted."""
        return {self.line: line} | {one: gr.update(visible=False) for one in (self.compare, self.recipe, self.panel)}

    def begin(self) -> Updates:
        """Return updates for the time until a generation begins."""
        return {self.line: "Reading the prompt …"} | {
            one: gr.update(visible=False) for one in (self.compare, self.recipe)
        }


class Writer:
    """Generations of the tab: into all cards, or into one of them."""

    def __init__(
        self,
        desk: Desk,
        kept: SavedState,
        *,
        texts: TextCards,
        stats: Stats,
        settings: SettingsPanel,
        actions: LongActions,
    ) -> None:
        self._desk, self._kept = desk, kept
        self._texts, self._stats, self._actions = texts, stats, actions
        self._seed, self._reading_speed = settings.seed, settings.reading_speed

    @property
    def outputs(self) -> list[Block]:
        """Widgets that `stream` updates, but for those of the tab's actions."""
        return [self._seed, *self._texts.outputs, *self._stats.outputs]

    def stream(
        self,
        plan: Plan,
        call: Call,
        *,
        values: Values,
        record: Callable[[GenerationResult, int], None] = lambda result, first: None,
        begun: Updates | None = None,
        branch: Branch | None = None,
    ) -> Generator[Updates, None, None]:
        """Yield updates while the texts grow, and save them meanwhile; the texts before stay until the first token.

        With the index of a `card`, that one alone changes; one after those shown is added. `record` gets the result,
        and the card of its first text. The updates `begun` come once the text begins; there are some where the desk has
        kept the seed. `branch`: as `Desk.generate`. A reading speed slows the showing alone: Stop leaves what is
        shown in the cards, and a page that is closed finds the texts as written.
        """
        key, request, prompt, card = plan.key, plan.request, plan.prompt, plan.card
        pace = ReadingPace(values[self._reading_speed])
        yield self._stats.begin()
        result = GenerationResult(request.n)
        stream = self._desk.generate(key, request, stop=call.stop, owner=call.owner, branch=branch)
        before = self._texts.texts(values)
        count, first = (request.n, 0) if card is None else (max(len(before), card + 1), card)
        saved: float | None = None
        words = ""  # the last ones of those that do not fit the context
        kept = result.texts  # those that the cards have at the end
        try:
            for events in in_batches(stream, stop=call.stop, leaves=True):
                for event in events:
                    result.add(event)
                if saved is None and call.stop.is_set() and not any(result.tokens):
                    break
                if result.start and not words:
                    words = left_out(self._desk, key.name, request, dropped=result.start.dropped_tokens)
                updates: Updates = {}
                if result.start and (events or pace.is_behind):
                    updates = self._progress(prompt, pace.shown(result.texts), first=first)
                    updates |= {self._seed: str(result.start.seed)}
                    updates |= self._stats.show(result, key, left_out=words, pace=pace.note)
                if events and isinstance(events[-1], GenerationQueued):
                    updates |= self._waiting(result, events[-1].position)
                if result.start and saved is None:
                    updates = self._begun(
                        values, updates, count=None if count == len(before) and card is not None else count
                    )
                    updates |= begun or {}
                    self._texts.save(self._kept, [""] * count if card is None else [*before, ""][:count])
                    saved = 0.0
                yield updates or gr.skip()
                if saved is not None and time.monotonic() > saved + SAVE_EVERY:
                    self._save(prompt, kept, first=first, count=count)
                    saved = time.monotonic()
            if saved is None:
                yield {self._stats.line: STOPPED_EARLY}
                return
            kept = yield from self._catch_up(pace, call, prompt, result.texts, first=first)
            if self._desk.history is not None:
                yield {self._stats.recipe: gr.update(visible=True)}
            line = stats_line(result, left_out=words, pace=pace.note)
            if kept != result.texts:
                yield {self._stats.line: f"{line}\n\n{STOPPED_KEPT if self._desk.history else STOPPED}"}
            elif card is None and request.seed is not None and any(before):
                yield self._compared(line, is_same=before == [prompt + new for new in kept], is_kept=bool(begun))
        finally:  # also where the page was closed or loaded again
            if saved is not None:
                self._save(prompt, kept, first=first, count=count)
                record(result, first)

    def _catch_up(
        self, pace: ReadingPace, call: Call, prompt: str, texts: Sequence[str], *, first: int
    ) -> Generator[Updates, None, list[str]]:
        """Yield updates until the new texts, which have ended, are shown whole, or until Stop; return what is shown."""
        shown = pace.shown(texts)
        if pace.note:
            yield self._progress(prompt, shown, first=first)
        while pace.is_behind and not call.stop.wait(pace.wait):
            shown = pace.shown(texts)
            yield self._progress(prompt, shown, first=first)
        return shown

    def _begun(self, values: Values, updates: Updates, *, count: int | None) -> Updates:
        """Return the updates with a step more in the history, and with a layout of `count` cards, if any."""
        before = self._texts.step(values) | {"settings": {"seed": str(values[self._seed] or "")}}
        steps = self._texts.with_step(values[self._texts.history], before)
        self._texts.save_history(self._kept, steps)
        layout = {} if count is None else self._texts.layout(count)
        for box, update in layout.items():
            if box in updates and isinstance(update, dict):
                layout[box] = update | {"value": updates[box]}
        return updates | layout | {self._texts.history: steps, self._stats.panel: gr.update(visible=True)}

    def _save(self, prompt: str, new: Sequence[str], *, first: int, count: int) -> None:
        texts = dict(enumerate([prompt + one for one in new], first))
        self._texts.save_some(self._kept, texts, count=count)

    def _compared(self, line: str, *, is_same: bool, is_kept: bool) -> Updates:
        """Return updates of the end of a text with the seed of the one before: it is the same, or is compared.

        `is_kept` says that the desk has kept the seed because a setting was changed.
        """
        if is_same:
            return {self._stats.line: f"{line}\n\n{SAME_TEXT_CHANGED if is_kept else SAME_TEXT}"}
        return {self._stats.compare: gr.update(visible=self._desk.history is not None)}

    def _progress(self, prompt: str, new: Sequence[str], *, first: int) -> Updates:
        """Return updates that show new texts after their prompt, in the cards from index `first` on."""
        return dict(zip(self._texts.boxes[first:], [prompt + one for one in new], strict=False))

    def _waiting(self, result: GenerationResult, position: int) -> Updates:
        """Return updates that show the position in the queue, after the stats of a text that has begun."""
        if result.start is None:
            return self._actions.waiting(position)
        return {self._stats.line: f"{stats_line(result)} · waiting for others: place {position} in the queue …"}
