"""Prompt list: many prompts in one go, with a table of their texts and divergences."""

from collections.abc import Iterator

import gradio as gr
from gradio.components import Component

from gptdesk.comparison import Side, Stage, in_turn_note, weights_of
from gptdesk.comparison.export import prompts_document, same_texts_sentence
from gptdesk.comparison.prompts import PromptResult, compare_prompts, read_prompts
from gptdesk.comparison.report import are_coupled
from gptdesk.desk import Desk
from gptdesk.errors import TooLarge
from gptdesk.generation import GenerationQueued
from gptdesk.markup import markdown_text
from gptdesk.page.long_action import action_row
from gptdesk.page.option_widgets import STREAMING, Updates, Values
from gptdesk.page.streaming import in_batches
from gptdesk.page.tabs.compare.exporting import ExportBar
from gptdesk.page.tabs.compare.given import TextOrFile
from gptdesk.page.tabs.compare.panes import progress_line, prompts_html
from gptdesk.page.tabs.compare.sides import SidesPanel
from gptdesk.scheduler import Place

PUBLIC_PROMPTS = 20


class PromptsView:
    """Prompts, and the table of their results."""

    def __init__(self, desk: Desk, sides: SidesPanel) -> None:
        self._desk = desk
        self._sides = sides
        self.prompts = TextOrFile(
            "Prompts",
            info="One prompt a line; \\n stands for a new line.",
            file_label="… or a file of prompts",
            lines=4,
            ident="prompts",
            files=not desk.settings.public,
        )
        self._actions = action_row(desk, "Compare all", ident="compare-all", running=sides.running)
        self.summary = gr.Markdown("No results yet.", elem_id="prompts-said")
        self.table = gr.HTML(elem_id="prompts-table", elem_classes=["figures-table", "bare"])
        self.export = ExportBar(prefix="save-prompts-")

    @property
    def remembered(self) -> dict[str, Component]:
        """Widgets whose values are saved, by name."""
        return {"prompts": self.prompts.box}

    def wire(self) -> None:
        """Connect the button."""
        self._actions.wire()
        inputs = {*self._sides.inputs, *self.prompts.inputs}
        outputs = [*self._actions.outputs, self.summary, self.table, *self.export.buttons.values()]
        self._actions.start.click(self._on_start, inputs, outputs, **STREAMING)

    def _on_start(self, values: Values, request: gr.Request) -> Iterator[Updates]:
        def work(place: Place) -> Iterator[Updates]:
            given = self.prompts.read(values)
            prompts = read_prompts(given.text)
            if self._desk.settings.public and len(prompts) > PUBLIC_PROMPTS:
                raise TooLarge(
                    f"a public desk compares at most {PUBLIC_PROMPTS} prompts in one go, not {len(prompts)}; take some "
                    "away, or run one of your own"
                )
            sides = self._sides.sides(values)
            note = in_turn_note(self._desk.manager, [side.key for side in sides])
            results: list[PromptResult] = []
            shown = 0  # results in the table, which is sent whole: the longer it is, the less often
            stream = compare_prompts(self._desk.manager, sides, prompts, stop=place.stop)
            shared = place.shared(stream, waiting=GenerationQueued)
            for events in in_batches(shared, stop=place.stop, every=0.2):
                updates: Updates = {} if events else {self._actions.line: gr.skip()}
                for event in events:
                    if isinstance(event, Stage):
                        updates[self._actions.line] = progress_line(event)
                    elif isinstance(event, GenerationQueued):
                        updates |= self._actions.waiting(event.position)
                    else:
                        results.append(event)
                if len(results) > shown + shown // 10:
                    updates |= self._show_results(sides, results)
                    shown = len(results)
                yield updates
            ended = "Stopped" if len(results) < len(prompts) else "Done"
            in_turn = f" Not all at once: {note}." if note else ""
            yield {self._actions.line: given.after(f"{ended}: {len(results)} of {len(prompts)} prompts.{in_turn}")}
            if results:
                yield self._show_results(sides, results)
                weights = weights_of(self._desk.manager, sides)
                yield self.export.filled(prompts_document(sides, results, note=note, weights=weights))

        yield from self._actions.run_queued(work, request)

    def _show_results(self, sides: list[Side], results: list[PromptResult]) -> Updates:
        names = [side.name for side in sides]
        sentences = [same_texts_sentence(results, names, i) for i in range(1, len(sides))]
        return {
            self.summary: "\n\n".join(map(markdown_text, sentences)),
            self.table: prompts_html(names, results, coupled=are_coupled(sides)),
        }
