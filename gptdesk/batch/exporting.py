"""Exports: JSONL with a line for each row of a batch, CSV with a line for each text; JSON and CSV of a grid."""

import json
from collections.abc import Callable, Iterator

from gptdesk.batch.grid import Grid
from gptdesk.batch.job import BatchJob
from gptdesk.history.exporting import csv_line, spreadsheet_safe

COLUMNS = ("row", "model", "precision", "chain", "seed", "sequence", "finish_reason", "tokens", "prompt", "text")


def as_jsonl(job: BatchJob) -> Iterator[str]:
    """Yield a JSON object for each row with texts, in the order of the plan."""
    for record in _in_order(job):
        yield json.dumps(record, ensure_ascii=False) + "\n"


def as_csv(job: BatchJob) -> Iterator[str]:
    """Yield a header and a line for each text; what a spreadsheet would compute gets an apostrophe before it."""
    yield csv_line(COLUMNS)
    for record in _in_order(job):
        texts, reasons, tokens = (_list(record.get(name)) for name in ("texts", "finish_reasons", "tokens"))
        for i, (text, reason, count) in enumerate(zip(texts, reasons, tokens, strict=False), 1):
            first = [record.get(name) for name in COLUMNS[:5]]
            values = [*first, i, reason, count, record.get("prompt"), text]
            yield csv_line([spreadsheet_safe(value) for value in values])


EXPORTS: dict[str, Callable[[BatchJob], Iterator[str]]] = {"jsonl": as_jsonl, "csv": as_csv}


def grid_json(grid: Grid, *, seed: int) -> str:
    """Return a grid as a JSON object: its sides, the seed, the texts row by row, and the sentence on them."""
    sides = {"down": grid.down.model_dump(), "across": grid.across.model_dump()}
    return json.dumps(sides | {"seed": seed, "texts": grid.texts, "sentence": grid.sentence}, indent=1)


def grid_csv(grid: Grid, *, seed: int) -> str:
    """Return a grid as CSV with a line for each cell; equal texts have the same number."""
    lines = [csv_line((grid.down.option, grid.across.option, "seed", "number", "text"))]
    for y, texts, groups in zip(grid.down.values, grid.texts, grid.groups, strict=True):
        for x, text, group in zip(grid.across.values, texts, groups, strict=True):
            lines.append(csv_line([spreadsheet_safe(value) for value in (y, x, seed, group + 1, text)]))
    return "".join(lines)


def _in_order(job: BatchJob) -> list[dict[str, object]]:
    return sorted(job.rows(), key=lambda record: int(str(record["row"])))


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
