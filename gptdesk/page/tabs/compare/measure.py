"""Measure view: timing of the sides, their quality on a text, and the report."""

from collections.abc import Iterator, Sequence

import gradio as gr
from gradio.components import Component

from gptdesk.comparison import MOST_SIDES, Side, Stage
from gptdesk.comparison.export import report_document, table_rows
from gptdesk.comparison.heat_map import heat_map
from gptdesk.comparison.measuring import MOST_REPEATS
from gptdesk.comparison.report import Report, caveats, disturbance, divergence_sentences, study, summary_sentences
from gptdesk.comparison.texts import find_held_out_text, unreadable_because
from gptdesk.desk import Desk
from gptdesk.errors import Busy, TooLarge
from gptdesk.generation import GenerationQueued
from gptdesk.markup import html_table, markdown_text, pane
from gptdesk.page.chart import Line, chart
from gptdesk.page.long_action import action_row
from gptdesk.page.option_widgets import STREAMING, WITH_MESSAGES, Updates, Values, shows_errors
from gptdesk.page.streaming import in_batches
from gptdesk.page.tabs.compare.exporting import ExportBar
from gptdesk.page.tabs.compare.given import BOX, GivenText, TextOrFile
from gptdesk.page.tabs.compare.panes import (
    PICK,
    divergence_marks,
    empty_pane,
    headlines_html,
    heat_map_html,
    progress_line,
)
from gptdesk.page.tabs.compare.sides import SidesPanel
from gptdesk.scheduler import Place
from gptdesk.training.curves import thin
from models.manager import ModelKey

PUBLIC_REPEATS, PUBLIC_TOKENS, PUBLIC_CHARACTERS = 5, 200, 200_000
LOOK = 0.5  # seconds between two progress updates; more of them would slow down the timed generation
PATIENCE = 2.0  # seconds that a part of the heat map waits for the scheduler
NOTHING = (
    "No measurement yet. Measure times every side alone, one after the other, and evaluates it on a text. Here will be "
    "three figures for each candidate (size, speed, quality) with a sentence, then both texts, and the text it was "
    "evaluated on, token by token."
)


class MeasureView:
    """Inputs of a measurement, and its report."""

    def __init__(self, desk: Desk, sides: SidesPanel) -> None:
        self._desk = desk
        self._sides = sides
        self.text = TextOrFile(
            "Evaluation text",
            info="Leave empty to use the held-out text of the first model that has one.",
            file_label="… or a text file",
            lines=2,
            ident="judge-text",
            files=not desk.settings.public,
        )
        most = PUBLIC_REPEATS if desk.settings.public else MOST_REPEATS
        self.repeats = gr.Slider(
            1, most, value=5, step=1, label="Repeats", info="How often each side is timed.", elem_id="repeats"
        )
        self._actions = action_row(desk, "Measure the models", ident="measure", running=sides.running)
        self.headlines = gr.HTML(elem_id="headlines", elem_classes="bare")
        self.nothing = gr.Markdown(NOTHING, elem_id="measure-nothing")  # until the first measurement begins
        self.summary = gr.Markdown(elem_id="summary", buttons=["copy"])
        with gr.Column(visible=False) as self.results:
            self._lay_out_results()
        self.judged = gr.State(None)  # content of the heat map: the sides' keys, their names and the text

    def _lay_out_results(self) -> None:
        self.export = ExportBar(prefix="save-")
        with gr.Accordion("All figures", open=False, elem_id="all-figures"):
            self.table = gr.HTML(elem_id="report", elem_classes=["figures-table", "bare"])
            self.plot = gr.HTML(elem_id="latencies", elem_classes="bare")
        with gr.Row(equal_height=True, elem_classes="panes"):
            self.panes = [empty_pane("ABC"[i], ident=f"measured-{i + 1}", visible=i < 2) for i in range(MOST_SIDES)]
        with gr.Column(visible=False) as self.heat_map_box:
            with gr.Row():
                self.part = gr.Slider(1, 2, value=1, step=1, label="Part of the text", elem_id="strip-part")
                self.candidate = gr.Radio(["B"], value="B", label="Beside A", visible=False, elem_id="strip-side")
            self.heat_map = gr.HTML(js_on_load=PICK, elem_id="strip", elem_classes="bare")
        self.notes = gr.Markdown(elem_id="caveats", elem_classes="note")

    @property
    def remembered(self) -> dict[str, Component]:
        """Widgets whose values are saved, by name."""
        return {"text": self.text.box, "repeats": self.repeats}

    def wire(self) -> None:
        """Connect the buttons and the heat map."""
        self._actions.wire()
        inputs = {*self._sides.inputs, *self.text.inputs, self.repeats}
        report_outputs = [
            self.headlines,
            self.nothing,
            self.summary,
            self.results,
            self.table,
            self.plot,
            *self.panes,
            self.notes,
            self.judged,
        ]
        heat_map_outputs = [self.heat_map_box, self.part, self.candidate, self.heat_map]
        outputs = [*self._actions.outputs, *report_outputs, *heat_map_outputs, *self.export.buttons.values()]
        self._actions.start.click(self._on_start, inputs, outputs, **STREAMING)
        latest = WITH_MESSAGES | {"trigger_mode": "always_last", "concurrency_limit": 1}
        for widget in (self.part, self.candidate):
            widget.input(
                self._on_heat_map, [self.judged, self.part, self.candidate], [self.part, self.heat_map], **latest
            )

    def _on_start(self, values: Values, request: gr.Request) -> Iterator[Updates]:
        def work(place: Place) -> Iterator[Updates]:
            sides = self._sides.sides(values)
            given, text, text_name = self.evaluation_text(values, [side.key for side in sides])
            repeats = values[self.repeats]
            if not isinstance(repeats, int):
                raise ValueError(f"repeats must be a whole number between 1 and {MOST_REPEATS}, not {repeats}")
            self._check_modest(sides, text, repeats)
            yield {self.nothing: gr.update(visible=False)}
            stream = study(self._desk.manager, sides, text=text, text_name=text_name, repeats=repeats, stop=place.stop)
            report = None
            shared = place.shared(stream, waiting=GenerationQueued)
            for events in in_batches(shared, stop=place.stop, every=LOOK):
                for event in events:
                    if isinstance(event, Report):
                        report = event
                yield self._progress(events)
            if report is None:
                yield {self._actions.line: "You stopped it; what was measured before is still shown."}
                return
            # all at once: what comes right after the column becomes visible may not find its widgets there yet
            updates = self._shown(report) | {self._actions.line: given.after("Measured.")}
            try:
                updates |= self.export.filled(report_document(report))
                updates |= self._judged(report, text)
            except ValueError as error:  # the report must not be lost
                updates[self._actions.line] = f"⚠ Measured, but {markdown_text(str(error))}"
            yield updates

        yield from self._actions.run_queued(work, request, alone=True)

    def _progress(self, events: Sequence[Stage | Report | GenerationQueued]) -> Updates:
        """Return updates that show the last stage, or the position in the queue while others compute."""
        for event in reversed(events):
            if isinstance(event, GenerationQueued):
                return self._actions.waiting(event.position)
            if isinstance(event, Stage):
                return {self._actions.line: progress_line(event)}
        return {self._actions.line: gr.skip()}

    def _check_modest(self, sides: Sequence[Side], text: str | None, repeats: int) -> None:
        """Raise TooLarge beyond the limits of a public desk, where a timed text would block all other visitors."""
        longest = max(side.request.max_new_tokens for side in sides)
        given = (repeats, PUBLIC_REPEATS), (longest, PUBLIC_TOKENS), (len(text or ""), PUBLIC_CHARACTERS)
        if self._desk.settings.public and any(value > most for value, most in given):
            raise TooLarge(
                f"a public desk measures at most {PUBLIC_REPEATS} repeats of {PUBLIC_TOKENS} tokens and a text of "
                f"{PUBLIC_CHARACTERS:,} characters; run one of your own for more"
            )

    def evaluation_text(self, values: Values, keys: Sequence[ModelKey]) -> tuple[GivenText, str | None, str]:
        """Return what was given, the evaluation text and its name; without a text None, and the reason.

        Raises ValueError if one of the models cannot read the text that was given.
        """
        manager, given = self._desk.manager, self.text.read(values)
        if not given.text and given.name == BOX:
            return given, *find_held_out_text(manager, keys)
        for key in keys:
            if reason := unreadable_because(manager, key.name, given.text):
                text, name = find_held_out_text(manager, keys)
                advice = "give another one" if text is None else f"leave the box empty to use the {name}"
                raise ValueError(f"{given.name} cannot be read by {reason}; {advice}")
        return given, given.text, given.name

    def _shown(self, report: Report) -> Updates:
        sentences = [f"**{markdown_text(sentence)}**" for sentence in summary_sentences(report)]
        disturbed = disturbance(report, public=self._desk.settings.public)
        sentences += [f"⚠ {markdown_text(sentence)}" for sentence in disturbed]
        sentences += [markdown_text(sentence) for sentence in divergence_sentences(report)]
        updates: Updates = {
            self.headlines: headlines_html(report),
            self.summary: "\n\n".join(sentences),
            self.results: gr.update(visible=True),
            self.table: html_table(["", *report.names], table_rows(report)),
            self.plot: _latency_chart(report),
            self.notes: "\n\n".join(map(markdown_text, _rest(report))),
        }
        both = [divergence_marks(one) for one in report.divergences]
        for i, box in enumerate(self.panes):
            if i < len(report.sides):
                side, result = report.sides[i], report.measurement.results[i]
                mark = both[i - 1][1] if i else both[0][0]
                text_pane = pane(side.name, side.request.prompt, result.texts[0], mark=mark)
                updates[box] = gr.update(visible=True, value=text_pane)
            else:
                updates[box] = gr.update(visible=False)
        return updates

    def _judged(self, report: Report, text: str | None) -> Updates:
        """Return updates that show the heat map, if the sides can be compared by tokens, and else hide it."""
        comparable = [i for i in range(1, len(report.sides)) if (pair := report.pair(i)) and pair.closeness]
        if not comparable or text is None:
            return {self.heat_map_box: gr.update(visible=False), self.judged: None}
        names = report.names
        judged: dict[str, object] = {"keys": [side.key.spelled for side in report.sides], "names": names, "text": text}
        chosen = names[comparable[0]]
        part, part_html = self._heat_map(judged, 1, chosen)
        return {
            self.heat_map_box: gr.update(visible=True),
            self.judged: judged,
            self.part: part,
            self.candidate: gr.update(
                choices=[names[i] for i in comparable],
                value=chosen,
                visible=len(comparable) > 1,
                label=f"Beside {names[0]}",
            ),
            self.heat_map: part_html,
        }

    @shows_errors
    def _on_heat_map(self, judged: dict[str, object] | None, part: object, candidate: object) -> object:
        if judged is None:
            return gr.skip()
        with self._desk.scheduler.queue() as place:
            if not place.wait(PATIENCE):
                raise Busy("something else is being measured or generated; choose the part again when that is done")
            return self._heat_map(judged, part, candidate)

    def _heat_map(self, judged: dict[str, object], part: object, candidate: object) -> tuple[object, str]:
        """Return an update of the slider of parts, and one part of the heat map as HTML."""
        names, spelled, text = judged["names"], judged["keys"], str(judged["text"])
        assert isinstance(names, list)
        assert isinstance(spelled, list)
        i = names.index(candidate)
        keys = ModelKey.parse(spelled[0]), ModelKey.parse(spelled[i])
        number = part - 1 if isinstance(part, int) else 0
        heat_map_part = heat_map(self._desk.manager, keys, text, number=number)
        slider = gr.update(maximum=max(2, heat_map_part.of), value=number + 1, visible=heat_map_part.of > 1)
        return slider, heat_map_html(heat_map_part, (names[0], names[i]))


def _rest(report: Report) -> list[str]:
    """Return the caveats that are not shown under the verdict."""
    above = disturbance(report)
    return [note for note in caveats(report) if note not in above]


def _latency_chart(report: Report) -> str:
    """Return the chart of each side's latencies: milliseconds by token, from the second token on."""
    lines = []
    for i, (name, timing) in enumerate(zip(report.names, report.measurement.timings, strict=True)):
        points = [(float(token), seconds * 1e3) for token, seconds in enumerate(timing.latencies, start=2)]
        lines.append(Line(name, thin(points), i))
    return chart("Latency in ms", lines, unit="token")
