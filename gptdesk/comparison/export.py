"""Export of comparisons: Markdown, HTML, JSON and CSV of the same document."""

import csv
import html
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gptdesk.comparison import Side
from gptdesk.comparison.prompts import PromptResult
from gptdesk.comparison.report import (
    RECIPE,
    Json,
    Report,
    are_coupled,
    caveats,
    divergence_sentences,
    summary_sentences,
    to_json,
)
from gptdesk.comparison.table import report_table
from gptdesk.comparison.verdict import divergence_sentence
from gptdesk.markup import html_table, markdown_text
from gptdesk.recipe import Recipe
from models.storage import json_bytes

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; }
th, td { text-align: left; padding: .25rem .75rem; border-bottom: 1px solid #8886; font-variant-numeric: tabular-nums; }
tbody th { font-weight: normal; }
pre { white-space: pre-wrap; border: 1px solid #8886; padding: .75rem; }
""".strip()


LONGEST_PROMPT = 200  # characters of a prompt in the table


@dataclass(frozen=True)
class Document:
    """Content of an export, the same in every format."""

    title: str
    sentences: Sequence[str]
    head: Sequence[str]  # of the table
    rows: Sequence[Sequence[str]]
    texts: Sequence[tuple[str, str]]  # heading and text
    notes: Sequence[str]
    data: Json
    records: Sequence[Json]  # of the CSV file; not all need have the same fields


def report_document(report: Report) -> Document:
    """Return the document of a report."""
    prompt = report.sides[0].request.prompt
    results = report.measurement.results
    data = to_json(report)
    sides = data["sides"]
    assert isinstance(sides, list)
    return Document(
        title=f"{' and '.join(side.key.spelled for side in report.sides)}, compared",
        sentences=[*summary_sentences(report), *divergence_sentences(report)],
        head=["", *report.names],
        rows=table_rows(report),
        texts=[(side.name, prompt + result.texts[0]) for side, result in zip(report.sides, results, strict=True)],
        notes=caveats(report),
        data=data,
        records=[_flat({name: value for name, value in side.items() if name != RECIPE}) for side in sides],
    )


def prompts_document(
    sides: Sequence[Side],
    rows: Sequence[PromptResult],
    *,
    note: str | None = None,
    weights: Sequence[str | None] | None = None,
) -> Document:
    """Return the document of a list of prompts; `note` is a further remark.

    With the SHA-256 of each side's `weights`, its data has a recipe of each text.
    """
    coupled = are_coupled(sides)
    names = [side.name for side in sides]
    records = [
        {"prompt": row.prompt, "model": side.key.spelled, "text": result.texts[0], "tokens": len(result.tokens[0])}
        for row in rows
        for side, result in zip(sides, row.results, strict=True)
    ]
    return Document(
        title=f"{' and '.join(side.key.spelled for side in sides)}, on {len(rows)} prompts",
        sentences=[same_texts_sentence(rows, names, i) for i in range(1, len(sides))],
        head=["Prompt", *(f"{name} beside {names[0]}" for name in names[1:])],
        rows=[
            [
                _short(row.prompt),
                *(
                    divergence_sentence(one, names[0], names[i], coupled=coupled)
                    for i, one in enumerate(row.divergences, 1)
                ),
            ]
            for row in rows
        ],
        texts=[
            (f"{row.prompt} ({name})", row.prompt + result.texts[0])
            for row in rows
            for name, result in zip(names, row.results, strict=True)
        ],
        notes=[f"Seeds: {', '.join(f'{side.name} {side.request.seed}' for side in sides)}.", *([note] if note else [])],
        data={"sides": [side.key.spelled for side in sides], "results": _with_recipes(records, sides, rows, weights)},
        records=records,
    )


def _with_recipes(
    records: list[Json], sides: Sequence[Side], rows: Sequence[PromptResult], weights: Sequence[str | None] | None
) -> list[Json]:
    """Return the records, of all sides for each prompt, with their recipes."""
    if weights is None:
        return records
    recipes = [
        Recipe.of_result(side.key, side.request.model_copy(update={"prompt": row.prompt}), result, weights=hashed)
        for row in rows
        for side, result, hashed in zip(sides, row.results, weights, strict=True)
    ]
    pairs = zip(records, recipes, strict=True)
    return [record | {RECIPE: recipe.model_dump(mode="json")} for record, recipe in pairs]


def same_texts_sentence(rows: Sequence[PromptResult], names: Sequence[str], i: int) -> str:
    """Return a sentence that says on how many prompts side `i` generated the same text as the first."""
    count = sum(row.divergences[i - 1].identical for row in rows)
    return f"{names[i]} wrote the same as {names[0]} on {count} of {len(rows)} prompts."


def table_rows(report: Report) -> list[list[str]]:
    """Return the report's figures as rows of text, label first; a row of one cell is a heading.

    The reason for an empty cell is said once in its column, and further cells with it are dashes; a row that would
    consist of such dashes is left out.
    """
    rows: list[list[str]] = []
    section, said = "", set[tuple[int, str]]()
    for line in report_table(report):
        reasons = {(i, line.notes[i]) for i, cell in enumerate(line.cells) if not cell}
        if reasons <= said and len(reasons) >= len(line.cells) - 1 and reasons:
            continue
        rows += [[line.section]] if line.section != section else []
        cells = [
            cell or ("-" if (i, line.notes[i]) in said else f"absent: {line.notes[i]}")
            for i, cell in enumerate(line.cells)
        ]
        rows.append([line.label, *cells])
        section, said = line.section, said | reasons
    return rows


def as_markdown(document: Document) -> bytes:
    """Return the document as Markdown, in UTF-8."""
    rule = "|".join(["", *(["---"] * len(document.head)), ""])
    columns = len(document.head)
    rows = [_markdown_row([*row, *[""] * (columns - len(row))], heading=len(row) == 1) for row in document.rows]
    table = [_markdown_row(document.head), rule, *rows]
    texts = [f"## {_inline(heading)}\n\n{_fenced(text)}" for heading, text in document.texts]
    notes = [f"*{_inline(note)}*" for note in document.notes]
    sentences = [_inline(sentence) for sentence in document.sentences]
    parts = [f"# {_inline(document.title)}", *sentences, "\n".join(table), *texts, *notes]
    return ("\n\n".join(parts) + "\n").encode()


def as_html(document: Document) -> bytes:
    """Return the document as a self-contained HTML page, in UTF-8."""
    title = html.escape(document.title)
    sentences = "".join(f"<p>{html.escape(sentence)}</p>\n" for sentence in document.sentences)
    texts = "".join(
        f"<h2>{html.escape(head)}</h2>\n<pre>\n{html.escape(text)}</pre>\n" for head, text in document.texts
    )
    notes = "".join(f"<p><small>{html.escape(note)}</small></p>\n" for note in document.notes)
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n<h1>{title}</h1>\n"
        f"{sentences}{html_table(document.head, document.rows)}\n{texts}{notes}</html>\n"
    ).encode()


def as_json(document: Document) -> bytes:
    """Return the data of the document as JSON, in UTF-8."""
    return json_bytes(document.data)


def as_csv(document: Document) -> bytes:
    """Return the records of the document as CSV, in UTF-8 with a byte order mark, which spreadsheets need."""
    fields = list(dict.fromkeys(name for record in document.records for name in record))
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, fields)
    writer.writeheader()
    writer.writerows({name: _without_formula(value) for name, value in record.items()} for record in document.records)
    return file.getvalue().encode("utf-8-sig")


def _without_formula(value: object) -> object:
    """Return a value, quoted with an apostrophe if a spreadsheet would run it as a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t") else value


FORMATS: dict[str, Callable[[Document], bytes]] = {
    "md": as_markdown,
    "html": as_html,
    "json": as_json,
    "csv": as_csv,
}


def _short(prompt: str) -> str:
    return prompt if len(prompt) <= LONGEST_PROMPT else f"{prompt[:LONGEST_PROMPT]} …"


def _flat(data: Json, prefix: str = "") -> Json:
    """Flatten nested objects to fields like "a.b"; lists are left out."""
    flat: Json = {}
    for name, value in data.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        elif not isinstance(value, list):
            flat[f"{prefix}{name}"] = value
    return flat


def _markdown_row(cells: Sequence[str], *, heading: bool = False) -> str:
    first = f"**{_inline(cells[0])}**" if heading else _inline(cells[0])
    return f"| {' | '.join([first, *map(_inline, cells[1:])])} |"


def _inline(text: str) -> str:
    """Escape text for one line of Markdown."""
    return re.sub("\r\n|\n|\r", " ⏎ ", markdown_text(text))


def _fenced(text: str) -> str:
    """Return text as a fenced Markdown block; the fence is longer than any in the text."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}text\n{text}\n{fence}"
