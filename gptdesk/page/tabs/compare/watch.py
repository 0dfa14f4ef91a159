"""Watch view: texts of all sides side by side, streamed at once; not for timing."""

from collections.abc import Iterator

import gradio as gr

from gptdesk.comparison import MOST_SIDES, Side, Stage
from gptdesk.comparison.report import are_coupled
from gptdesk.comparison.verdict import divergence_sentence
from gptdesk.comparison.watching import Divergences, SideEvent, watch
from gptdesk.desk import Desk
from gptdesk.generation import GenerationResult, cut_prompt
from gptdesk.markup import markdown_text, pane
from gptdesk.page.long_action import action_row
from gptdesk.page.option_widgets import STREAMING, Updates, Values
from gptdesk.page.stats import FINISHES
from gptdesk.page.streaming import in_batches
from gptdesk.page.tabs.compare.panes import divergence_marks, empty_pane, progress_line
from gptdesk.page.tabs.compare.sides import SidesPanel
from gptdesk.scheduler import Place

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
        self._actions = action_row(desk, "Write side by side", ident="watch", running=sides.running)
        with gr.Row(equal_height=True, elem_classes="panes"):
            self.panes = [empty_pane("ABC"[i], ident=f"watch-{i + 1}", visible=i < 2) for i in range(MOST_SIDES)]
        self.divergences = gr.Markdown(NOTHING, elem_id="watch-parting", elem_classes="note")

    def wire(self) -> None:
        """Connect the button."""
        self._actions.wire()
        outputs = [*self._actions.outputs, *self.panes, self.divergences]
        self._actions.start.click(self._on_start, self._sides.inputs, outputs, **STREAMING)

    def _on_start(self, values: Values, request: gr.Request) -> Iterator[Updates]:
        def work(place: Place) -> Iterator[Updates]:
            sides = self._sides.sides(values)
            yield reset_panes(self.panes, sides) | {self.divergences: NOTE}
            results = [GenerationResult(1) for _ in sides]
            for events in in_batches(watch(self._desk.manager, sides, stop=place.stop), stop=place.stop):
                updates: Updates = {} if events else {self._actions.line: gr.skip()}
                for event in events:
                    if isinstance(event, SideEvent):
                        results[event.side].add(event.event)
                        updates[self.panes[event.side]] = _pane(sides[event.side], results[event.side])
                    elif isinstance(event, Stage):
                        updates[self._actions.line] = progress_line(event)
                    else:
                        updates |= self._ended(sides, results, event)
                yield updates

        yield from self._actions.run_queued(work, request)

    def _ended(self, sides: list[Side], results: list[GenerationResult], last: Divergences) -> Updates:
        updates: Updates = {}
        for i, one in enumerate(last.divergences, 1):
            marks = divergence_marks(one)
            updates[self.panes[i]] = _pane(sides[i], results[i], mark=marks[1])
            if i == 1:
                updates[self.panes[0]] = _pane(sides[0], results[0], mark=marks[0])
        coupled = are_coupled(sides)
        sentences = [
            divergence_sentence(one, sides[0].name, sides[i].name, coupled=coupled)
            for i, one in enumerate(last.divergences, 1)
        ]
        sentences += [f"Not all at once: {last.note}."] if last.note else []
        starts = {side.name: one.start for side, one in zip(sides, results, strict=True)}
        sentences += [f"⚠ {name}: {cut}." for name, start in starts.items() if start and (cut := cut_prompt(start))]
        reasons = dict.fromkeys(FINISHES[reason] for one in results if (reason := one.finish_reasons[0]))
        updates[self.divergences] = "\n\n".join(markdown_text(sentence) for sentence in sentences)
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


def _pane(side: Side, result: GenerationResult, *, mark: tuple[int, int] | None = None) -> str:
    return pane(side.name, side.request.prompt, result.texts[0], mark=mark)
