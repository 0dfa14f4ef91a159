"""Export of the history: JSON with all that is known, CSV for spreadsheets, Markdown to read."""

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from datetime import datetime

from gptdesk.history.entry import Entry

COLUMNS = (
    *("id", "created", "origin", "model", "precision", "weights", "seed", "sequence", "finish_reason"),
    *("tokens", "tokens_per_second", "rating", "tags", "note", "chain", "prompt", "text"),
)
FORMULA = (*"=+-@\t\r\n", *"\uff1d\uff0b\uff0d\uff20")  # beginnings that spreadsheets compute, also full-width


def as_json(entries: Iterable[Entry]) -> Iterator[str]:
    """Yield a JSON array of all entries, part by part."""
    separator = "[\n"
    for entry in entries:
        yield separator + json.dumps(asdict(entry), ensure_ascii=False)
        separator = ",\n"
    yield "[]\n" if separator == "[\n" else "\n]\n"


def as_csv(entries: Iterable[Entry]) -> Iterator[str]:
    """Yield a header and a line for each sequence; what a spreadsheet would compute gets an apostrophe before it."""
    yield csv_line(COLUMNS)
    for entry in entries:
        for row, sequence in enumerate(entry.sequences, 1):
            chain = json.dumps(entry.chain, ensure_ascii=False)
            values: tuple[object, ...] = (
                *(entry.id, _when(entry.created), entry.origin, entry.model, entry.precision, entry.weights or ""),
                *(entry.seed, row, sequence.finish_reason or "", len(sequence.tokens), entry.tokens_per_second or ""),
                *(entry.rating or "", " ".join(entry.tags), entry.note, chain, entry.prompt, sequence.text),
            )
            yield csv_line([spreadsheet_safe(value) for value in values])


def as_markdown(entries: Iterable[Entry]) -> Iterator[str]:
    """Yield a section for each entry; texts stand in fences longer than any in them."""
    for entry in entries:
        stars = {1: ", liked", -1: ", disliked"}.get(entry.rating or 0, "")
        yield f"## {entry.id}: {_inline(entry.model)} · {_inline(entry.precision)}, {_when(entry.created)}{stars}\n\n"
        yield f"Seed {entry.seed}, `{json.dumps(entry.request.get('chain'), ensure_ascii=True)}`\n\n"
        if entry.tags:
            yield f"Tags: {', '.join(map(_inline, entry.tags))}\n\n"
        if entry.note:
            yield f"Note:\n\n{_fenced(entry.note)}\n\n"
        for sequence in entry.sequences:
            yield f"{_fenced(entry.prompt + sequence.text)}\n\n"


EXPORTS: dict[str, Callable[[Iterable[Entry]], Iterator[str]]] = {
    "json": as_json,
    "csv": as_csv,
    "markdown": as_markdown,
}


def csv_line(values: Iterable[object]) -> str:
    """Return a line of CSV with its line end."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerow(values)
    return buffer.getvalue()


def spreadsheet_safe(value: object) -> object:
    """Return the value, with an apostrophe before a text that a spreadsheet would compute."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")


def _fenced(text: str) -> str:
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


def _inline(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>()#|!~])", r"\\\1", " ".join(text.split()))
