"""Comparisons as files to keep and to show around: Markdown, HTML, JSON and CSV of the same document."""

import csv
import html
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gptdesk.comparison import Side
from gptdesk.comparison.prompts import PromptResult
from gptdesk.comparison.report import Json, Report, are_coupled, caveats, partings, sentences, to_json
from gptdesk.comparison.table import Line, lines
from gptdesk.comparison.verdict import parting
from gptdesk.markup import html_table, markdown_text
from models.storage import json_bytes

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; }
th, td { text-align: left; padding: .25rem .75rem; border-bottom: 1px solid #8886; font-variant-numeric: tabular-nums; }
tbody th { font-weight: normal; }
pre { white-space: pre-wrap; border: 1px solid #8886; padding: .75rem; }
""".strip()


SHOWN = 200  # characters of a prompt in the table


@dataclass(frozen=True)
class Document:
    """What every format says."""

    title: str
    sentences: Sequence[str]
    head: Sequence[str]  # of the table
    rows: Sequence[Sequence[str]]
    texts: Sequence[tuple[str, str]]  # heading and text
    notes: Sequence[str]
    data: Json
    records: Sequence[Json]  # of the CSV file; not all need have the same fields


def report_document(report: Report) -> Document:
    """A report of measured sides."""
    prompt = report.sides[0].request.prompt
    results = report.measurement.results
    data = to_json(report)
    sides = data["sides"]
    assert isinstance(sides, list)
    return Document(
        title=f"{' and '.join(side.key.spelled for side in report.sides)}, compared",
        sentences=[*sentences(report), *partings(report)],
        head=["", *report.names],
        rows=table_rows(report),
        texts=[(side.name, prompt + result.texts[0]) for side, result in zip(report.sides, results, strict=True)],
        notes=caveats(report),
        data=data,
        records=[_flat(side) for side in sides],
    )


def prompts_document(sides: Sequence[Side], rows: Sequence[PromptResult], *, note: str | None = None) -> Document:
    """What every side made of a list of prompts; `note` is something else to know."""
    coupled = are_coupled(sides)
    names = [side.name for side in sides]
    records = [
        {"prompt": row.prompt, "model": side.key.spelled, "text": result.texts[0], "tokens": len(result.tokens[0])}
        for row in rows
        for side, result in zip(sides, row.results, strict=True)
    ]
    return Document(
        title=f"{' and '.join(side.key.spelled for side in sides)}, on {len(rows)} prompts",
        sentences=[alike(rows, names, i) for i in range(1, len(sides))],
        head=["Prompt", *(f"{name} beside {names[0]}" for name in names[1:])],
        rows=[
            [
                _short(row.prompt),
                *(parting(one, names[0], names[i], coupled=coupled) for i, one in enumerate(row.divergences, 1)),
            ]
            for row in rows
        ],
        texts=[
            (f"{row.prompt} ({name})", row.prompt + result.texts[0])
            for row in rows
            for name, result in zip(names, row.results, strict=True)
        ],
        notes=[f"Seeds: {', '.join(f'{side.name} {side.request.seed}' for side in sides)}.", *([note] if note else [])],
        data={"sides": [side.key.spelled for side in sides], "results": records},
        records=records,
    )


def alike(rows: Sequence[PromptResult], names: Sequence[str], i: int) -> str:
    """On how many prompts side `i` wrote what the first did."""
    count = sum(row.divergences[i - 1].identical for row in rows)
    return f"{names[i]} wrote the same as {names[0]} on {count} of {len(rows)} prompts."


def table_rows(report: Report) -> list[list[str]]:
    """The report's figures under their labels; an empty cell says why. A row of one cell is a heading."""
    rows, section = [], ""
    for line in lines(report):
        rows += [[line.section]] if line.section != section else []
        rows.append([line.label, *_cells(line)])
        section = line.section
    return rows


def _cells(line: Line) -> list[str]:
    return [cell or f"absent: {line.notes[i]}" for i, cell in enumerate(line.cells)]


def as_markdown(document: Document) -> bytes:
    """For people and repositories."""
    rule = "|".join(["", *(["---"] * len(document.head)), ""])
    columns = len(document.head)
    rows = [_markdown_row([*row, *[""] * (columns - len(row))], heading=len(row) == 1) for row in document.rows]
    table = [_markdown_row(document.head), rule, *rows]
    texts = [f"## {_inline(heading)}\n\n{_fenced(text)}" for heading, text in document.texts]
    notes = [f"*{_inline(note)}*" for note in document.notes]
    said = [_inline(sentence) for sentence in document.sentences]
    parts = [f"# {_inline(document.title)}", *said, "\n".join(table), *texts, *notes]
    return ("\n\n".join(parts) + "\n").encode()


def as_html(document: Document) -> bytes:
    """One page that needs nothing else."""
    title = html.escape(document.title)
    said = "".join(f"<p>{html.escape(sentence)}</p>\n" for sentence in document.sentences)
    texts = "".join(
        f"<h2>{html.escape(head)}</h2>\n<pre>\n{html.escape(text)}</pre>\n" for head, text in document.texts
    )
    notes = "".join(f"<p><small>{html.escape(note)}</small></p>\n" for note in document.notes)
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n<h1>{title}</h1>\n"
        f"{said}{html_table(document.head, document.rows)}\n{texts}{notes}</html>\n"
    ).encode()


def as_json(document: Document) -> bytes:
    """For programs."""
    return json_bytes(document.data)


def as_csv(document: Document) -> bytes:
    """For spreadsheets, which know by the mark at its beginning that it is UTF-8."""
    fields = list(dict.fromkeys(name for record in document.records for name in record))
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, fields)
    writer.writeheader()
    writer.writerows({name: _harmless(value) for name, value in record.items()} for record in document.records)
    return file.getvalue().encode("utf-8-sig")


def _harmless(value: object) -> object:
    """A text that a spreadsheet would take for a formula, with the mark that makes it a text."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t") else value


FORMATS: dict[str, Callable[[Document], bytes]] = {
    "md": as_markdown,
    "html": as_html,
    "json": as_json,
    "csv": as_csv,
}


def _short(prompt: str) -> str:
    return prompt if len(prompt) <= SHOWN else f"{prompt[:SHOWN]} …"


def _flat(data: Json, prefix: str = "") -> Json:
    """Nested objects as fields like "a.b"; lists are left out."""
    found: Json = {}
    for name, value in data.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{name}.")
        elif not isinstance(value, list):
            found[f"{prefix}{name}"] = value
    return found


def _markdown_row(cells: Sequence[str], *, heading: bool = False) -> str:
    first = f"**{_inline(cells[0])}**" if heading else _inline(cells[0])
    return f"| {' | '.join([first, *map(_inline, cells[1:])])} |"


def _inline(text: str) -> str:
    """Text in a line of Markdown, as it is."""
    return re.sub("\r\n|\n|\r", " ⏎ ", markdown_text(text))


def _fenced(text: str) -> str:
    """Text in a block of its own, whatever fences it holds itself."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}text\n{text}\n{fence}"
