"""Comparison of the entry that is shown with another one of the list."""

from collections.abc import Sequence

import gradio as gr
from gradio.blocks import Block

from gptdesk.history import Entry, History
from gptdesk.history.comparing import compare_entries
from gptdesk.page.option_widgets import WITH_MESSAGES, Updates, Values, shows_errors
from gptdesk.page.tabs.history.drawing import comparison_html

SCROLL = """
new MutationObserver(() => {
  for (const mark of element.querySelectorAll("mark")) {  // of a long text, the place where it differs is shown
    const text = mark.closest(".text");
    const down = mark.getBoundingClientRect().bottom - text.getBoundingClientRect().bottom;
    if (down > 0) text.scrollTop += down + text.clientHeight / 2;
  }
}).observe(element, {childList: true, subtree: true});
"""


class ComparePanel:
    """List of the other entry, and both texts beside each other with what differs."""

    def __init__(self, history: History) -> None:
        self._history = history
        self.other = gr.Dropdown(
            [],
            value=None,
            label="Compare with",
            info="An entry of the list; search for words to list others.",
            elem_id="history-compare",
        )
        self.result = gr.HTML(elem_id="history-compared", elem_classes="bare", js_on_load=SCROLL)

    @property
    def widgets(self) -> list[Block]:
        """Widgets that `listing` and `cleared` update."""
        return [self.other, self.result]

    def wire(self, shown: gr.State) -> None:
        """Compare whenever another entry is chosen; `shown` holds the id of the entry that is shown."""
        self._shown = shown
        self.other.input(self._on_compare, {shown, self.other}, self.widgets, **WITH_MESSAGES)

    def listing(self, choices: Sequence[tuple[str, int]]) -> Updates:
        """Return updates that offer these entries, by title and id."""
        return {self.other: gr.update(choices=[(f"{number}: {title}", str(number)) for title, number in choices])}

    def cleared(self) -> Updates:
        """Return updates for another entry that is shown: nothing is compared."""
        return {self.other: gr.update(value=None), self.result: ""}

    def compared(self, first: Entry, second: Entry) -> Updates:
        """Return updates that show the first entry beside the second, the older one on the left."""
        older, newer = sorted((first, second), key=lambda entry: entry.id)
        result = comparison_html(compare_entries(older, newer))
        return {self.other: gr.update(value=str(second.id)), self.result: result}

    @shows_errors
    def _on_compare(self, values: Values) -> object:
        first, second = values[self._shown], str(values[self.other] or "")[:20]
        if not isinstance(first, int) or not second.isdecimal():
            raise ValueError("two entries are compared; choose one in the list, and the other one below its text")
        if int(second) == first:
            raise ValueError(f"entry {first} is the one that is shown; choose another to compare it with")
        return self.compared(self._history.entry(first), self._history.entry(int(second)))
