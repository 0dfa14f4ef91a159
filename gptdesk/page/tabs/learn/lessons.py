"""Lessons: their texts, their tasks one after the other, and which of them were solved."""

import html
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component

from gptdesk.desk import Desk
from gptdesk.lessons import LESSONS
from gptdesk.lessons.tasks import ChoiceTask, Lesson, NumberTask, Task, Verdict
from gptdesk.markup import html_pane
from gptdesk.page.languages.blocks import event_text
from gptdesk.page.long_action import action_row
from gptdesk.page.option_widgets import STREAMING, WITH_MESSAGES, Updates, Values, shows_errors
from gptdesk.page.persistence import SavedState
from gptdesk.page.streaming import in_batches
from gptdesk.scheduler import Place

PROGRESS = "Learn: lessons"  # name of the saved progress
TASKS = 3  # of each lesson
# as high as what follows, which has the progress that was saved
_PLACES = "".join(f"<span><span>{html.escape(one.title)}</span> {'○' * TASKS}</span>" for one in LESSONS)
PROGRESS_PLACE = f'<div class="lesson-progress" aria-hidden="true">{_PLACES}</div>'


@dataclass(frozen=True)
class Sitting:
    """A lesson that is being done: its tasks, the present one, and the answers so far."""

    lesson: str
    tasks: tuple[Task, ...]
    at: int = 0
    solved: frozenset[int] = frozenset()
    checked: bool = False  # whether the present task has been answered rightly


class LessonsView:
    """Widgets of the view and their event handlers."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._kept: SavedState | None = None
        self.lesson = gr.Radio(
            [(lesson.title, lesson.name) for lesson in LESSONS],
            value=LESSONS[0].name,
            label="Lesson",
            elem_id="lesson-choice",
        )
        self.progress = gr.HTML(PROGRESS_PLACE, elem_id="lesson-progress", elem_classes="bare")
        # fixed texts, which are translated with the page
        self.texts = {}
        for i, lesson in enumerate(LESSONS):
            with gr.Column(visible=i == 0) as column:
                gr.Markdown(lesson.text, elem_id=f"lesson-text-{lesson.name}")
            self.texts[lesson.name] = column
        self._start = action_row(desk, "Start the lesson", ident="lesson-start", running={})
        with gr.Column(visible=False, elem_id="lesson-task") as self.task:
            self.question = gr.HTML(elem_id="lesson-question", elem_classes="bare")
            self.choice = gr.Radio([], label="Your answer", elem_id="lesson-answer")
            self.number = gr.Number(label="Your guess", visible=False, elem_id="lesson-number")
            with gr.Row():
                self.check = gr.Button(
                    "Check", variant="primary", elem_id="lesson-check", elem_classes="go", min_width=90
                )
                self.next = gr.Button("Next", interactive=False, elem_id="lesson-next", min_width=90)
            self.verdict = gr.HTML(elem_id="lesson-verdict", elem_classes="bare")
        self.sitting = gr.State(None)
        self.done = gr.State({})  # name of a lesson -> tasks of it that were solved

    @property
    def remembered(self) -> dict[str, Component]:
        """Widgets whose values are saved, by name."""
        return {"lesson": self.lesson}

    @property
    def restored_outputs(self) -> list[Block]:
        """Outputs of an event that returns the updates of `restored`, but for the saved widgets."""
        return [self.done, self.progress, *self.texts.values()]

    def wire(self, kept: SavedState) -> None:
        """Connect the buttons; the progress is saved in `kept`."""
        self._kept = kept
        self._start.wire()
        shown = [self.question, self.choice, self.number, self.check, self.next, self.verdict, self.sitting]
        latest = WITH_MESSAGES | {"trigger_mode": "always_last"}
        start = [self._start.start, self._start.line]
        outputs = [*self.texts.values(), self.task, self.sitting, *start]
        self.lesson.input(self._on_lesson, self.lesson, outputs, **latest)
        self._start.start.click(self._on_start, {self.lesson}, [*self._start.outputs, self.task, *shown], **STREAMING)
        answered: set[Block] = {self.sitting, self.done, self.choice, self.number}
        outputs = [self.verdict, self.check, self.next, self.sitting, self.done, self.progress]
        gr.on([self.check.click, self.number.submit], self._on_check, answered, outputs, **WITH_MESSAGES)
        self.next.click(self._on_next, {self.sitting}, [*shown, self.task, *start], **WITH_MESSAGES)

    def restored(self, saved: dict[str, object], kept: SavedState) -> Updates:
        """Return updates that show the saved progress, and the text of the saved lesson."""
        done = _read_progress(kept.values().get(PROGRESS))
        names = [lesson.name for lesson in LESSONS]
        chosen = saved.get("lesson")
        return {self.done: done, self.progress: _progress_html(done)} | self._text(
            str(chosen) if chosen in names else names[0]
        )

    def _text(self, name: str) -> Updates:
        return {column: gr.update(visible=name == other) for other, column in self.texts.items()}

    def _on_lesson(self, name: str | None) -> Updates:
        """Show the text of another lesson, and end the one that was being done."""
        return self._text(name or "") | self._left("")

    def _on_start(self, values: Values, request: gr.Request) -> Iterator[Updates]:
        def work(place: Place) -> Iterator[Updates]:
            lesson = _lesson(values[self.lesson])
            yield {self._start.line: "The starter prepares the tasks …"}

            def make() -> Iterator[tuple[Task, ...]]:
                yield lesson.make(self._desk.manager, random.Random())

            for batch in in_batches(make(), stop=place.stop):
                for tasks in batch:
                    yield self._shown(Sitting(lesson.name, tasks)) | {
                        self.task: gr.update(visible=True),
                        self._start.start: gr.update(variant="secondary", elem_classes=["starts"]),
                        self._start.line: "",
                    }
                if not batch:
                    yield {}

        yield from self._start.run_queued(work, request)

    def _shown(self, sitting: Sitting) -> Updates:
        """Return updates that show the present task, unanswered."""
        task = sitting.tasks[sitting.at]
        is_choice = isinstance(task, ChoiceTask)
        choices = [option.label for option in task.options] if isinstance(task, ChoiceTask) else []
        return {
            self.question: _question_html(task, sitting),
            self.choice: gr.update(choices=choices, value=None, visible=is_choice),
            self.number: gr.update(value=None, visible=not is_choice),
            self.check: _pressed_next(True),
            self.next: _pressed_next(False, interactive=False),
            self.verdict: "",
            self.sitting: sitting,
        }

    def _left(self, line: str) -> Updates:
        """Return updates that end the lesson, so that one can be started, and show a line below the button."""
        return {
            self.task: gr.update(visible=False),
            self.sitting: None,
            self._start.start: gr.update(variant="primary", elem_classes=["go", "starts"]),
            self._start.line: line,
        }

    @shows_errors
    def _on_check(self, values: Values) -> Updates:
        sitting, done = _sitting(values[self.sitting]), values[self.done]
        task = sitting.tasks[sitting.at]
        verdict = task.check(values[self.number if isinstance(task, NumberTask) else self.choice])
        # a number is guessed once, and may then be looked at; an option can be tried again
        updates: Updates = {self.verdict: _verdict_html(verdict)}
        if verdict.right or isinstance(task, NumberTask):
            updates |= {self.check: _pressed_next(False), self.next: _pressed_next(True)}
        if not verdict.right or sitting.checked:
            first = replace(sitting, checked=sitting.checked or isinstance(task, NumberTask))
            return updates | {self.sitting: first}
        progress = _read_progress(done)
        progress[sitting.lesson] = sorted({*progress.get(sitting.lesson, []), sitting.at})
        if self._kept:
            self._kept.put(PROGRESS, progress)
        return updates | {
            self.sitting: replace(sitting, checked=True, solved=sitting.solved | {sitting.at}),
            self.done: progress,
            self.progress: _progress_html(progress),
        }

    @shows_errors
    def _on_next(self, values: Values) -> Updates:
        sitting = _sitting(values[self.sitting])
        if sitting.at + 1 < len(sitting.tasks):
            return self._shown(replace(sitting, at=sitting.at + 1, checked=False))
        count = len(sitting.solved)
        over = f"The lesson is over: {count} of {len(sitting.tasks)} tasks solved."
        titles = [lesson.title for lesson in LESSONS]
        following = titles[[lesson.name for lesson in LESSONS].index(sitting.lesson) + 1 :]
        next_one = f"The next lesson is {following[0]}; this one" if following else "That was the last lesson; each"
        return self._left(f"{over} {next_one} has new tasks every time.")


def _lesson(name: object) -> Lesson:
    for lesson in LESSONS:
        if lesson.name == name:
            return lesson
    raise ValueError("no lesson is chosen; choose one")


def _sitting(value: object) -> Sitting:
    if not isinstance(value, Sitting):
        raise ValueError("this lesson is over; start it again")
    return value


def _read_progress(value: object) -> dict[str, list[int]]:
    """Return the solved tasks of each lesson from what was saved; what does not fit is left out."""
    saved = value if isinstance(value, dict) else {}
    return {
        lesson.name: [i for i in range(TASKS) if i in solved]
        for lesson in LESSONS
        if isinstance(solved := saved.get(lesson.name), list)
    }


def _progress_html(done: dict[str, list[int]]) -> str:
    counts = [(event_text(lesson.title), len(done.get(lesson.name, []))) for lesson in LESSONS]
    parts = "".join(
        f'<span role="img" aria-label="{html.escape(title)}: {solved} of {TASKS} tasks solved">'
        f"{html.escape(title)} {'●' * solved}{'○' * (TASKS - solved)}</span>"
        for title, solved in counts
    )
    return f'<div class="lesson-progress">{parts}</div>'


def _pressed_next(is_next: bool, *, interactive: bool = True) -> object:
    """Return an update of a button: the primary one, also by Ctrl+Enter, if it is the one to press next."""
    variant = "primary" if is_next else "secondary"
    return gr.update(variant=variant, elem_classes=["go"] if is_next else [], interactive=interactive)


def _question_html(task: Task, sitting: Sitting) -> str:
    return (
        f'<div class="lesson-task"><h4>Task {sitting.at + 1} of {len(sitting.tasks)}</h4>'
        f"<p>{html.escape(task.question)}</p>{_passages_html(task.passages)}</div>"
    )


def _passages_html(passages: Sequence[tuple[str, str]]) -> str:
    panes = "".join(
        f'<div class="{"losses" if name == "Losses" else "passage"}">{html_pane(name, "", html.escape(text))}</div>'
        for name, text in passages
    )
    return f'<div class="panes">{panes}</div>'


def _verdict_html(verdict: Verdict) -> str:
    kind, word = (
        ("right", "Right.")
        if verdict.right
        else ("wrong", "Not quite." if verdict.reply else "Not quite; try another answer.")
    )
    shown = f'<div class="lesson-task">{_passages_html(verdict.passages)}</div>' if verdict.passages else ""
    return f'<div class="verdict {kind}" role="status"><b>{word}</b> {html.escape(verdict.reply)}</div>{shown}'
