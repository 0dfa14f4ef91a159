"""Watch view: texts of all sides side by side, streamed at once; not for timing."""

import time
from collections.abc import Iterator

import gradio as gr
from gradio.blocks import Block

from gptdesk.comparison import MOST_SIDES, Side, Stage
from gptdesk.comparison.report import are_coupled
from gptdesk.comparison.verdict import divergence_sentence
from gptdesk.comparison.watching import Divergences, SideEvent, watch
from gptdesk.desk import Desk
from gptdesk.generation import GenerationResult, cut_prompt
from gptdesk.json_store import JsonValues
from gptdesk.markup import markdown_text, pane
from gptdesk.page.long_action import action_row
from gptdesk.page.option_widgets import STREAMING, Updates, Values
from gptdesk.page.persistence import SavedState
from gptdesk.page.stats import FINISHES
from gptdesk.page.streaming import in_batches
from gptdesk.page.tabs.compare.panes import divergence_marks, empty_pane, progress_line
from gptdesk.page.tabs.compare.saved_texts import SAVED_AS, Written, WrittenPane, read_written, save_written
from gptdesk.page.tabs.compare.sides import SidesPanel
from gptdesk.scheduler import Place

SAVE_EVERY = 0.5  # seconds between two saved copies of texts that are being written
NOTE = "Not for timing: the sides slow each other down. Use Measure for figures."
NOTHING = (
    "Watch writes a text with every side at once, and then says from which token on they differ and how probable both "
    "tokens were to both."
)


class SideBySideView:
    """Panes into which the texts stream, and their divergences."""

    def __init__(self, desk: Desk, sides: SidesPanel) -> None:
        self._desk = desk
        self._sides = sides
        self._kept: SavedState | None = None
        self._actions = action_row(desk, "Write side by side", ident="watch", running=sides.running)
        with gr.Row(equal_height=True, elem_classes="panes"):
            self.panes = [empty_pane("ABC"[i], ident=f"watch-{i + 1}", visible=i < 2) for i in range(MOST_SIDES)]
        self.divergences = gr.Markdown(NOTHING, elem_id="watch-parting", elem_classes="note")

    def wire(self, kept: SavedState) -> None:
        """Connect the button; the texts are saved in `kept`."""
        self._kept = kept
        self._actions.wire()
        outputs = [*self._actions.outputs, *self.restored_outputs]
        self._actions.start.click(self._on_start, self._sides.inputs, outputs, **STREAMING)

    @property
    def restored_outputs(self) -> list[Block]:
        """Outputs of an event that returns the updates of `restored`."""
        return [*self.panes, self.divergences]

    def restored(self, stored: JsonValues) -> Updates:
        """Return updates that show the comparison among saved values; none where there is none."""
        written = read_written(stored.get(SAVED_AS))
        if written is None:
            return {}
        updates: Updates = {}
        for i, box in enumerate(self.panes):
            shown = written.panes[i].html if i < len(written.panes) else None
            updates[box] = gr.update(visible=True, value=shown) if shown else gr.update(visible=False)
        return updates | {self.divergences: _markdown(written.sentences or (NOTE,))}

    def _on_start(self, values: Values, request: gr.Request) -> Iterator[Updates]:
        def work(place: Place) -> Iterator[Updates]:
            sides = self._sides.sides(values)
            yield reset_panes(self.panes, sides) | {self.divergences: NOTE}
            results = [GenerationResult(1) for _ in sides]
            written, saved = Written(()), time.monotonic()
            try:
                for events in in_batches(watch(self._desk.manager, sides, stop=place.stop), stop=place.stop):
                    updates: Updates = {} if events else {self._actions.line: gr.skip()}
                    changed: set[int] = set()
                    last: Divergences | None = None
                    for event in events:
                        if isinstance(event, SideEvent):
                            results[event.side].add(event.event)
                            changed.add(event.side)
                        elif isinstance(event, Stage):
                            updates[self._actions.line] = progress_line(event)
                        else:
                            last = event
                    written = _written(sides, results, last) if changed or last else written
                    updates |= {self.panes[i]: written.panes[i].html for i in changed}
                    yield updates | (self._ended(sides, results, written) if last else {})
                    if time.monotonic() > saved + SAVE_EVERY:
                        self._save(written)
                        saved = time.monotonic()
            finally:  # also where the page was closed or loaded again
                self._save(written)

        yield from self._actions.run_queued(work, request)

    def _save(self, written: Written) -> None:
        """Save the texts, once there are some."""
        if self._kept and any(one.text for one in written.panes):
            save_written(self._kept, written)

    def _ended(self, sides: list[Side], results: list[GenerationResult], written: Written) -> Updates:
        shown = zip(self.panes, written.panes, strict=False)
        updates: Updates = {box: one.html for box, one in shown if one.mark}
        reasons = dict.fromkeys(FINISHES[reason] for one in results if (reason := one.finish_reasons[0]))
        updates[self.divergences] = _markdown(written.sentences)
        seeds = ", ".join(dict.fromkeys(str(side.request.seed) for side in sides))
        updates[self._actions.line] = f"Ended: {', '.join(reasons)}. Seed {seeds}. {NOTE}"
        return updates


def reset_panes(panes: list[gr.HTML], sides: list[Side]) -> Updates:
    """Return updates that show an empty pane for each side, and hide the others."""
    return {
        one: gr.update(visible=i < len(sides), value=pane(sides[i].name, sides[i].request.prompt, ""))
        if i < len(sides)
        else gr.update(visible=False)
        for i, one in enumerate(panes)
    }


def _written(sides: list[Side], results: list[GenerationResult], last: Divergences | None = None) -> Written:
    """Return the texts so far; with the last event, their marks and sentences on them."""
    marks: list[tuple[int, int] | None] = [None] * len(sides)
    sentences: list[str] = []
    if last:
        coupled = are_coupled(sides)
        for i, one in enumerate(last.divergences, 1):
            first, marks[i] = divergence_marks(one)
            marks[0] = first if i == 1 else marks[0]
            sentences.append(divergence_sentence(one, sides[0].name, sides[i].name, coupled=coupled))
        sentences += [f"Not all at once: {last.note}."] if last.note else []
        starts = {side.name: one.start for side, one in zip(sides, results, strict=True)}
        sentences += [f"⚠ {name}: {cut}." for name, start in starts.items() if start and (cut := cut_prompt(start))]
    panes = [
        WrittenPane(side.name, side.request.prompt, result.texts[0], mark)
        for side, result, mark in zip(sides, results, marks, strict=True)
    ]
    return Written(tuple(panes), tuple(sentences))


def _markdown(sentences: tuple[str, ...]) -> str:
    return "\n\n".join(map(markdown_text, sentences))
