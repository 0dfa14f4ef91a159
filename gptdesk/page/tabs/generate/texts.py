"""Text cards of the Generate tab: sequences with their actions, steps that Undo takes back, and saved copies."""

from collections.abc import Mapping, Sequence
from typing import TypeGuard

import gradio as gr
from gradio.blocks import Block

from gptdesk.json_store import JsonValues
from gptdesk.page.option_widgets import Updates, Values
from gptdesk.page.persistence import MOST_KEPT, SavedState

MOST_SEQUENCES = 8  # cards that are laid out; the engine and the command line take more
MOST_STEPS = 20  # that can be undone
# what was there before: {"texts": ...}, {"prompt": ...}, or both with the {"settings": ...} by which they were written
Step = dict[str, object]
KEYS = {"texts", "prompt", "settings", "chosen"}  # earlier versions saved the number of a chosen text, too


class TextCards:
    """Cards of a text box and its actions, and the history of the texts and of the prompt.

    Copy is a matter of the page's script, which also hides the actions of an empty card and while a text is written.
    """

    def __init__(self, title: str) -> None:
        self.saved_as, self._steps = f"{title}: texts", f"{title}: undo"  # names in the saved state
        self.boxes: list[gr.Textbox] = []
        self.continues: list[gr.Button] = []
        self.keeps: list[gr.Button] = []
        self.tokens: list[gr.Button] = []
        self._cards = [self._lay_out_card(number) for number in range(1, MOST_SEQUENCES + 1)]
        # pressed by the page's script once an edit by hand has paused: Gradio's input event knows no paste
        self.edited = gr.Button(visible="hidden", elem_id="text-edited")
        self.shown = gr.State(1)  # number of cards shown
        self.history = gr.State([])  # Steps, the oldest first

    def _lay_out_card(self, number: int) -> gr.Column:
        first = number == 1
        with gr.Column(visible=first, elem_id=f"card-{number}", elem_classes="text-card", min_width=160) as card:
            box = gr.Textbox(
                label="Text" if first else f"Text {number}",
                placeholder="The text appears here; you can edit it, and continue it.",
                lines=2,
                max_lines=24,
                interactive=True,
                elem_id=f"text-{number}",
            )
            with gr.Row(elem_classes="card-actions"):
                self.continues.append(
                    gr.Button("Continue", size="sm", elem_id=f"continue-{number}", elem_classes="starts", min_width=60)
                )
                gr.Button("Copy", size="sm", elem_id=f"copy-{number}", elem_classes="copies", min_width=60)
                self.tokens.append(
                    gr.Button("Tokens", size="sm", elem_id=f"tokens-{number}", elem_classes="looks", min_width=60)
                )
                self.keeps.append(
                    gr.Button("Keep only this", size="sm", elem_id=f"keep-{number}", elem_classes="keeps", min_width=60)
                )
        self.boxes.append(box)
        return card

    @property
    def inputs(self) -> set[Block]:
        """Inputs of the events that read the texts."""
        return {*self.boxes, self.shown, self.history}

    @property
    def outputs(self) -> list[Block]:
        """Outputs of the events that change the texts."""
        return [*self._cards, *self.boxes, self.shown, self.history]

    def texts(self, values: Values) -> list[str]:
        """Return the texts of the cards shown."""
        return [str(values[box] or "") for box in self.boxes[: self._count(values)]]

    def text(self, values: Values, index: int) -> str:
        """Return the text of a card; ValueError if it is not shown."""
        texts = self.texts(values)
        if index >= len(texts):
            raise ValueError(f"there is no text {index + 1} any more; choose one of those shown")
        return texts[index]

    def step(self, values: Values) -> Step:
        """Return the step that brings back the texts as they are."""
        return {"texts": self.texts(values)}

    def with_step(self, history: object, step: Step) -> list[Step]:
        """Return the history with one more step, without old ones beyond MOST_STEPS or MOST_KEPT characters."""
        steps = [*_steps(history), step][-MOST_STEPS:]
        while len(steps) > 1 and len(str(steps)) > MOST_KEPT:
            del steps[0]
        return steps

    def layout(self, count: int) -> Updates:
        """Return updates that show `count` cards with the texts they have."""
        updates: Updates = {self.shown: count}
        for i, (card, box) in enumerate(zip(self._cards, self.boxes, strict=True)):
            updates[card] = gr.update(visible=i < count)
            updates[box] = gr.update(label=_label(i, count))
        return updates

    def show(self, texts: Sequence[str]) -> Updates:
        """Return updates that show these texts."""
        updates = self.layout(max(1, len(texts)))
        for i, (box, text) in enumerate(zip(self.boxes, texts, strict=False)):
            updates[box] = gr.update(label=_label(i, len(texts)), value=text)
        return updates

    def keep(self, kept: SavedState, values: Values, index: int) -> Updates:
        """Return updates that show one text alone, and save it; Undo brings back the others."""
        text = self.text(values, index)
        steps = self.with_step(values[self.history], self.step(values))
        self.save_history(kept, steps)
        self.save(kept, [text])
        return self.show([text]) | {self.history: steps}

    # Saved copies

    def save(self, kept: SavedState, texts: Sequence[str]) -> None:
        """Save the texts shown, unless they are too long."""
        kept.put(self.saved_as, list(texts) if sum(map(len, texts)) < MOST_KEPT else None)

    def save_some(self, kept: SavedState, texts: Mapping[int, str], *, count: int) -> None:
        """Save these of the `count` texts shown, by index; the others stay as they were saved."""
        saved = [*self._saved(kept.values()), *[""] * count][:count]
        self.save(kept, [texts.get(i, text) for i, text in enumerate(saved)])

    def save_history(self, kept: SavedState, history: Sequence[Step]) -> None:
        """Save the steps that Undo takes back, unless they are too long."""
        kept.put(self._steps, list(history) if len(str(history)) < 2 * MOST_KEPT else None)

    def _saved(self, stored: JsonValues) -> list[str]:
        """Return the texts among saved values; none where they are damaged."""
        texts = stored.get(self.saved_as)
        return texts[:MOST_SEQUENCES] if _are_texts(texts) else []

    def restored(self, stored: JsonValues) -> Updates:
        """Return updates that show the texts among saved values with their history."""
        steps = _steps(stored.get(self._steps))[-MOST_STEPS:]
        texts = self._saved(stored)
        return (self.show(texts) if texts else {}) | {self.history: steps}

    def _count(self, values: Values) -> int:
        count = values[self.shown]
        return count if isinstance(count, int) else 1


def _label(index: int, count: int) -> str:
    return "Text" if count <= 1 else f"Text {index + 1}"


def _steps(history: object) -> list[Step]:
    """Return the well-formed steps of a saved history."""
    steps = history if isinstance(history, list) else []
    return [step for step in steps if isinstance(step, dict) and _is_step(step)]


def _is_step(step: Step) -> bool:
    return (
        step.keys() <= KEYS
        and bool(step.keys() & {"texts", "prompt"})
        and _are_texts(step.get("texts", []))
        and isinstance(step.get("prompt", ""), str)
        and isinstance(step.get("settings", {}), dict)
    )


def _are_texts(texts: object) -> TypeGuard[list[str]]:
    """Return whether a saved value is a list of texts that are not too long."""
    return isinstance(texts, list) and all(isinstance(text, str) and len(text) < MOST_KEPT for text in texts)
