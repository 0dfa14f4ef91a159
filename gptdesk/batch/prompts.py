"""Prompts of a batch, read from lines, CSV or JSONL."""

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from gptdesk.encodings import AUTO, checked_encoding, decoded
from gptdesk.stop_strings import unescape
from models.json_values import parse_json
from models.storage import read_bytes

if TYPE_CHECKING:
    import _csv

MOST_PROMPTS = 100_000
LARGEST_FILE = 100_000_000  # bytes
LONGEST_PROMPT = 1_000_000  # characters, as a request takes
COLUMN = "prompt"  # where none is chosen
NAMED = 20  # columns that an error message names
MOST_COLUMNS = 200  # that are listed
TABLES = {".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}


def read_prompt_file(path: Path, *, column: str = "", encoding: str = AUTO) -> tuple[list[str], tuple[str, ...]]:
    """Return the prompts of a file, by its ending CSV, JSONL or one a line, and remarks on its encoding.

    Raises ValueError with one sentence for a file that cannot be read, is no text, or has no such column.
    """
    text = decoded(read_bytes(path, limit=LARGEST_FILE), name=path.name, encoding=checked_encoding(encoding))
    kind = TABLES.get(path.suffix.lower(), "lines")
    return read_prompts(text.text, kind=kind, column=column, name=path.name), tuple(text.reading.remarks(path.name))


def read_columns(path: Path) -> tuple[str, ...]:
    """Return the columns of a CSV file, the keys of the first object of a JSONL file, none of other files.

    Raises ValueError with one sentence for a file that cannot be read or is no text.
    """
    kind = TABLES.get(path.suffix.lower(), "lines")
    if kind == "lines":
        return ()
    text = decoded(read_bytes(path, limit=LARGEST_FILE), name=path.name, encoding=AUTO).text
    names = _header(_csv_lines(text), path.name) if kind == "csv" else _first_keys(text)
    return tuple(dict.fromkeys(name for name in names if name))[:MOST_COLUMNS]


def read_prompts(text: str, *, kind: str = "lines", column: str = "", name: str = "the text") -> list[str]:
    r"""Return the prompts of a text of `kind` lines, csv or jsonl; in lines, \n stands for a new line.

    Empty prompts are left out, equal ones kept. Raises ValueError if there are none, or more than MOST_PROMPTS.
    """
    if column and kind == "lines":
        raise ValueError(f"column applies to CSV and JSONL, and {name} has one prompt a line; leave it out")
    readers = {"csv": _from_csv, "jsonl": _from_jsonl}
    found = readers[kind](text, column, name) if kind in readers else map(unescape, text.split("\n"))
    prompts: list[str] = []
    for number, prompt in enumerate(found, 1):
        if not prompt.strip():
            continue
        if len(prompts) == MOST_PROMPTS:
            raise ValueError(
                f"{name} has more than {MOST_PROMPTS:,} prompts, the most of a batch; split it into several"
            )
        if len(prompt) > LONGEST_PROMPT:
            raise ValueError(f"prompt {number:,} of {name} is longer than {LONGEST_PROMPT:,} characters; shorten it")
        prompts.append(prompt)
    if not prompts:
        raise ValueError(f"{name} has no prompts; write one a line, or give a CSV or JSONL file with a column of them")
    return prompts


def _csv_lines(text: str) -> "_csv.Reader":
    """Return the lines of a CSV, with the delimiter that is most frequent in the first."""
    first = text.lstrip("\n").partition("\n")[0]
    return csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count))


def _header(lines: "_csv.Reader", name: str) -> list[str]:
    try:
        return [cell.strip() for cell in next((line for line in lines if line), [])]
    except csv.Error as error:
        raise _invalid_csv(name, lines, error) from None


def _invalid_csv(name: str, lines: "_csv.Reader", error: csv.Error) -> ValueError:
    return ValueError(f"{name} is not valid CSV: {error} (line {lines.line_num:,}); save it anew")


def _first_keys(text: str) -> list[str]:
    """Return the keys of the first line that is not empty, none if it is no object."""
    line = next((line for line in text.split("\n") if line.strip()), "")
    try:
        value = parse_json(line.encode("utf-8", "replace"))
    except ValueError:
        return []  # said when the prompts are read
    return list(map(str, value)) if isinstance(value, dict) else []


def _from_csv(text: str, column: str, name: str) -> Iterator[str]:
    lines = _csv_lines(text)
    place = _column(_header(lines, name), column, name)
    try:
        for line in lines:
            yield line[place] if place < len(line) else ""
    except csv.Error as error:
        raise _invalid_csv(name, lines, error) from None


def _column(header: list[str], column: str, name: str) -> int:
    """Return the index of the chosen column, else of COLUMN, else of the only one."""
    if not any(header):
        raise ValueError(f"{name} has no header; its first line must name the columns")
    wanted = column or (COLUMN if len(header) > 1 else header[0])
    if wanted not in header:
        raise ValueError(f"{name} has no column {wanted!r:.60}; choose one of: {_names(header)}")
    return header.index(wanted)


def _from_jsonl(text: str, column: str, name: str) -> Iterator[str]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = parse_json(line.encode("utf-8", "replace"))
        except ValueError:
            raise ValueError(f"line {number:,} of {name} is not valid JSON; each line holds one value") from None
        if isinstance(value, dict):
            wanted = column or COLUMN
            if wanted not in value:
                keys = _names(map(str, value)) or "none"
                raise ValueError(f"line {number:,} of {name} has no {wanted!r:.60}; choose one of its keys: {keys}")
            value = value[wanted]
        if not isinstance(value, str):
            raise ValueError(f"line {number:,} of {name} has no text for a prompt; each must be a string")
        yield value


def _names(names: Iterable[str]) -> str:
    every = [name[:60] for name in names]
    more = f" and {len(every) - NAMED:,} more" if len(every) > NAMED else ""
    return ", ".join(every[:NAMED]) + more
