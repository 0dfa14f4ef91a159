"""Texts of the last comparison: panes and sentences, saved and shown again by a page that opens."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from gptdesk.comparison import MOST_SIDES
from gptdesk.markup import pane
from gptdesk.page.persistence import MOST_KEPT, SavedState

SAVED_AS = "Compare: texts"  # name among the saved values


@dataclass(frozen=True)
class WrittenPane:
    """Text of a side, with the characters of it that are marked."""

    name: str
    prompt: str
    text: str
    mark: tuple[int, int] | None = None

    @property
    def html(self) -> str:
        """The pane as HTML."""
        return pane(self.name, self.prompt, self.text, mark=self.mark)


@dataclass(frozen=True)
class Written:
    """Comparison as it is shown: a pane for each side, and sentences."""

    panes: tuple[WrittenPane, ...]
    sentences: tuple[str, ...] = ()


def save_written(kept: SavedState, written: Written) -> None:
    """Save a comparison, unless its texts are too long."""
    value = asdict(written)
    kept.put(SAVED_AS, value if len(str(value)) < MOST_KEPT else None)


def read_written(value: object) -> Written | None:
    """Return a saved comparison; None where there is none, or where it is damaged."""
    if not isinstance(value, dict):
        return None
    panes, sentences = value.get("panes"), value.get("sentences")
    if not isinstance(panes, list) or not 0 < len(panes) <= MOST_SIDES or not _are_texts(sentences):
        return None
    read = [_read_pane(one) for one in panes]
    return Written(tuple(one for one in read if one), tuple(sentences)) if all(read) else None  # type: ignore[arg-type]


def _read_pane(value: object) -> WrittenPane | None:
    if not isinstance(value, dict):
        return None
    texts, mark = [value.get(name) for name in ("name", "prompt", "text")], value.get("mark")
    if not _are_texts(texts):
        return None
    one = WrittenPane(*texts)  # type: ignore[arg-type]
    is_range = isinstance(mark, list) and len(mark) == 2 and all(type(place) is int for place in mark)
    if is_range and 0 <= mark[0] < mark[1]:  # type: ignore[index]
        return replace(one, mark=(mark[0], mark[1]))  # type: ignore[index]
    return one


def _are_texts(value: object) -> bool:
    return isinstance(value, Sequence) and all(isinstance(text, str) and len(text) < MOST_KEPT for text in value)
