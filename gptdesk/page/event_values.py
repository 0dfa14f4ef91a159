"""Types of event values, checked against the widgets of an event before Gradio sees the request.

Gradio passes on whatever a request says: a list for a number, NaN, too few values, a path on this computer as if it
had been uploaded. What passes here has the types that the widgets of the event have; what a value may be beyond its
type (a range, a name that exists) is for the options and handlers to say.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import gradio as gr
from gradio.blocks import Block, BlockFunction

from gptdesk.api.routes import SESSION
from gptdesk.encodings import without_surrogates

LARGEST_NUMBER = 2.0**63  # beyond it a whole number cannot be sent back as JSON
LONGEST_CHOICE = 1_000  # characters of what is picked from a list
MOST_CHOICES = 1_000
MOST_FILES = 1_000

Owns = Callable[[str], bool]  # whether the sender of a request has uploaded the file at this path
Parse = Callable[[object, Owns], object]


class EventValues:
    """Events of a page, with a parser for each input. Raises TypeError for an input widget that has no parser here."""

    def __init__(self, fns: Mapping[int, BlockFunction]) -> None:
        self._fns = {number: fn for number, fn in fns.items() if fn.fn is not None}  # others are the browser's alone
        self._parsers = {number: [_parser(block) for block in fn.inputs] for number, fn in self._fns.items()}

    def checked(self, body: object, *, queued: bool, owns: Owns) -> dict[str, object]:
        """Return the request with only the fields that the page sends; `queued` if it came through the queue.

        Half surrogate pairs become U+FFFD; an empty list of files none. Raises ValueError with one sentence that does
        not repeat the values, for it may be logged.
        """
        if not isinstance(body, dict):
            raise ValueError("an event is a JSON object")
        number, session, data = body.get("fn_index"), body.get("session_hash"), body.get("data")
        fn = self._fns.get(number) if isinstance(number, int) and not isinstance(number, bool) else None
        if fn is None or fn.queue is not queued:
            raise ValueError("there is no such event; load the page again")
        if not isinstance(session, str) or not SESSION.fullmatch(session):
            raise ValueError("an event needs the name of its session; load the page again")
        parsers = self._parsers[fn._id]
        if not isinstance(data, list) or len(data) != len(parsers):
            raise ValueError(f"this event takes {len(parsers)} values; load the page again")
        trigger = body.get("trigger_id")
        known = isinstance(trigger, int) and any(trigger == target for target, _ in fn.targets)
        return {
            "fn_index": fn._id,
            "session_hash": session,
            "data": [parse(value, owns) for parse, value in zip(parsers, data, strict=True)],
            "trigger_id": trigger if known else None,
        }


def _parser(block: Block) -> Parse:
    """Return the parser for the value of a widget."""
    if isinstance(block, gr.Dropdown):
        return _names if block.multiselect else _name
    if isinstance(block, gr.File):
        return _files if block.file_count == "multiple" else _file
    for kinds, parse in _PARSERS.items():
        if isinstance(block, kinds):
            return parse
    raise TypeError(f"events that read a {type(block).__name__} have no rule in gptdesk/page/event_values.py")


def _text(value: object, owns: Owns) -> str | None:
    if value is None or isinstance(value, str):
        return None if value is None else without_surrogates(value)
    raise ValueError("a text box holds text")


def _number(value: object, owns: Owns) -> int | float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("a number box holds a number")
    if abs(value) >= LARGEST_NUMBER or math.isnan(value):  # in this order: isnan of a huge whole number overflows
        raise ValueError("a number is too large, or none")
    return value


def _truth(value: object, owns: Owns) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    raise ValueError("a check box is ticked or not")


def _name(value: object, owns: Owns) -> str | None:
    if isinstance(value, str) and len(value) > LONGEST_CHOICE:
        raise ValueError(f"a choice has at most {LONGEST_CHOICE:,} characters")
    return _text(value, owns)


def _names(value: object, owns: Owns) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > MOST_CHOICES:
        raise ValueError("several choices are a list")
    names = [name for one in value if (name := _name(one, owns)) is not None]
    if len(set(names)) < len(names):
        raise ValueError("a choice can be made once")
    return names


def _name_or_number(value: object, owns: Owns) -> str | int | float | None:
    return _name(value, owns) if isinstance(value, str) else _number(value, owns)


def _state(value: object, owns: Owns) -> None:
    """Ignore the value of a state, which is stored on the server."""


def _file(value: object, owns: Owns) -> dict[str, object] | None:
    """Return an upload in the form that Gradio takes: its path and name, nothing of a URL or of other keys."""
    if value is None:
        return None
    path = value.get("path") if isinstance(value, dict) else None
    if not isinstance(path, str) or not owns(path):
        raise ValueError("this file was not uploaded from here, or it is gone; choose it again")
    return {"path": path, "orig_name": Path(path).name, "meta": {"_type": "gradio.FileData"}}


def _files(value: object, owns: Owns) -> list[object] | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) > MOST_FILES:
        raise ValueError(f"several files are a list of at most {MOST_FILES:,}")
    return [_file(one, owns) for one in value if one is not None] or None


_PARSERS: dict[tuple[type[Block], ...], Parse] = {
    (gr.Textbox, gr.Button): _text,
    (gr.Number, gr.Slider): _number,
    (gr.Checkbox,): _truth,
    (gr.Radio,): _name_or_number,
    (gr.CheckboxGroup,): _names,
    (gr.State,): _state,
}
