"""Text boxes of the Generate tab: the sequences shown, the steps that Undo takes back, and their saved copies."""

from collections.abc import Mapping, Sequence
from typing import TypeGuard

import gradio as gr
from gradio.blocks import Block

from gptdesk.desk import Desk
from gptdesk.page.option_widgets import Updates, Values
from gptdesk.page.persistence import MOST_KEPT, SavedState

MOST_SEQUENCES = 8  # text boxes that are laid out; the engine and the command line take more
MOST_STEPS = 20  # that can be undone
Step = dict[str, object]  # {"texts": ..., "chosen": ...} before a generation, {"prompt": ...} before an example


class TextBoxes:
    """Text boxes, the chooser of the one that Continue extends, and the history of both and of the prompt."""

    def __init__(self, desk: Desk, title: str) -> None:
        self._desk = desk
        self._texts, self._steps = f"{title}: texts", f"{title}: undo"  # names in the saved state
        self.chosen = gr.Radio([1], value=1, label="Continue from", visible=False, elem_id="chosen")
        self.boxes = [
            gr.Textbox(
                label="Text" if i == 0 else f"Text {i + 1}",
                lines=8 if i == 0 else 4,
                max_lines=24,
                buttons=["copy"],
                interactive=True,
                visible=i == 0,
                elem_id=f"text-{i + 1}",
            )
            for i in range(MOST_SEQUENCES)
        ]
        # pressed by the page's script once an edit by hand has paused: Gradio's input event knows no paste
        self.edited = gr.Button(visible="hidden", elem_id="text-edited")
        self.shown = gr.State(1)  # number of boxes shown
        self.history = gr.State([])  # Steps, the oldest first

    @property
    def widgets(self) -> list[Block]:
        """Inputs and outputs of the events that read or change the texts."""
        return [self.chosen, *self.boxes, self.shown, self.history]

    def number(self, values: Values) -> int:
        """Return the index of the box that Continue extends."""
        chosen, shown = values[self.chosen], self._count(values)
        return chosen - 1 if isinstance(chosen, int) and 1 <= chosen <= shown else 0

    def texts(self, values: Values) -> list[str]:
        """Return the texts of the boxes shown."""
        return [str(values[box] or "") for box in self.boxes[: self._count(values)]]

    def step(self, values: Values) -> Step:
        """Return the step that brings back the texts as they are."""
        return {"texts": self.texts(values), "chosen": self.number(values) + 1}

    def with_step(self, history: object, step: Step) -> list[Step]:
        """Return the history with one more step, without old ones beyond MOST_STEPS or MOST_KEPT characters."""
        steps = [*_steps(history), step][-MOST_STEPS:]
        while len(steps) > 1 and len(str(steps)) > MOST_KEPT:
            del steps[0]
        return steps

    def layout(self, count: int, *, chosen: int = 1) -> Updates:
        """Return updates that show `count` boxes with the values they have."""
        updates: Updates = {
            self.chosen: gr.update(visible=count > 1, choices=list(range(1, count + 1)), value=min(chosen, count)),
            self.shown: count,
        }
        for i, box in enumerate(self.boxes):
            updates[box] = gr.update(visible=i < count, label="Text" if count == 1 else f"Text {i + 1}")
        return updates

    def show(self, texts: Sequence[str], *, chosen: int = 1) -> Updates:
        """Return updates that show these texts."""
        updates = self.layout(max(1, len(texts)), chosen=chosen)
        for i, (box, text) in enumerate(zip(self.boxes, texts, strict=False)):
            updates[box] = gr.update(visible=True, label="Text" if len(texts) == 1 else f"Text {i + 1}", value=text)
        return updates

    # Saved copies

    def save(self, kept: SavedState, texts: Sequence[str]) -> None:
        """Save the texts shown, unless they are too long."""
        kept.put(self._texts, list(texts) if sum(map(len, texts)) < MOST_KEPT else None)

    def save_some(self, kept: SavedState, texts: Mapping[int, str], *, count: int) -> None:
        """Save these of the `count` texts shown, by index; the others stay as they were saved."""
        saved = [*self.saved(), *[""] * count][:count]
        self.save(kept, [texts.get(i, text) for i, text in enumerate(saved)])

    def save_history(self, kept: SavedState, history: Sequence[Step]) -> None:
        """Save the steps that Undo takes back, unless they are too long."""
        kept.put(self._steps, list(history) if len(str(history)) < 2 * MOST_KEPT else None)

    def saved(self) -> list[str]:
        """Return the saved texts; none where the saved value is damaged."""
        texts = self._desk.page.read().get(self._texts)
        return texts[:MOST_SEQUENCES] if _are_texts(texts) else []

    def restored(self) -> Updates:
        """Return updates that show the saved texts with their history."""
        steps = _steps(self._desk.page.read().get(self._steps))[-MOST_STEPS:]
        texts = self.saved()
        return (self.show(texts) if texts else {}) | {self.history: steps}

    def _count(self, values: Values) -> int:
        count = values[self.shown]
        return count if isinstance(count, int) else 1


def _steps(history: object) -> list[Step]:
    """Return the well-formed steps of a saved history."""
    steps = history if isinstance(history, list) else []
    return [step for step in steps if isinstance(step, dict) and _is_step(step)]


def _is_step(step: Step) -> bool:
    if set(step) == {"prompt"}:
        return isinstance(step["prompt"], str)
    return set(step) == {"texts", "chosen"} and _are_texts(step["texts"]) and type(step["chosen"]) is int


def _are_texts(texts: object) -> TypeGuard[list[str]]:
    """Return whether a saved value is a list of texts that are not too long."""
    return isinstance(texts, list) and all(isinstance(text, str) and len(text) < MOST_KEPT for text in texts)
