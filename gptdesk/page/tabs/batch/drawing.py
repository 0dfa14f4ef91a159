"""HTML of a batch: its progress, rows and failures, with every character escaped."""

import html
from collections.abc import Mapping, Sequence

from gptdesk.batch import BatchPlan
from gptdesk.batch.job import BatchStatus

LONGEST = 400  # characters of a text that are shown before a click; the export has all
MOST = 20_000  # ... and after it
Record = Mapping[str, object]

CSS = """
#batch-progress .batch-bar { height: 6px; border-radius: 3px; overflow: hidden;
  background: var(--border-color-primary); }
.batch-bar i { display: block; height: 100%; background: var(--color-accent); }
.batch-table { overflow-x: auto; border: 1px solid var(--border-color-primary); border-radius: var(--radius-lg);
  background: var(--background-fill-primary); }
.batch-table table { width: 100%; margin: 0; padding: 0; font-size: .9rem; border-collapse: collapse; }
.batch-table :is(table, thead, tbody, tr) { border: 0 !important; background: none !important; }
.batch-table :is(th, td) { text-align: left; vertical-align: top; padding: 8px 10px !important; border: 0 !important;
  border-top: 1px solid var(--border-color-primary) !important; font-variant-numeric: tabular-nums; }
.batch-table thead th { border-top: 0 !important; }
.batch-table tbody th { font-weight: 400; opacity: .8; }
.batch-table .with { white-space: nowrap; }
.batch-table .text { white-space: pre-wrap; overflow-wrap: anywhere; min-width: 180px; line-height: 1.5; }
.batch-table .text + .text { margin-top: 8px; padding-top: 8px; border-top: 1px dashed var(--border-color-primary); }
.batch-table summary { cursor: pointer; list-style-position: inside; }
.batch-table details:not([open]) summary > i, .batch-table details[open] .short { display: none; }
.batch-table .given { color: var(--body-text-color-subdued); }
#batch-failures h4 { margin: 8px 0 6px; font-size: .9rem; }
#batch-failures .batch-table { border-color: var(--error-border-color, #b91c1c); }
#batch-actions { align-items: center; }
#batch-actions > button { flex: 0 1 auto; }
"""


def progress_html(status: BatchStatus) -> str:
    """Return a progress bar."""
    done = (status.done + status.failed) / max(1, status.total)
    return f'<div class="batch-bar"><i style="width:{min(done, 1):.1%}"></i></div>'


def rows_html(rows: Sequence[Record], plan: BatchPlan) -> str:
    """Return finished rows as a table; model and preset have columns where the plan has several."""
    several_models, several_chains = len(plan.models) > 1, len(plan.chains) > 1
    head = ["Row", *["Model"] * several_models, *["Preset"] * several_chains, "Prompt and text"]
    lines = []
    for row in rows:
        cells = [f"<th scope='row'>{_number(row)}</th>"]
        if several_models:
            cells.append(f'<td class="with">{_escaped(row.get("model"))}<br>{_escaped(row.get("precision"))}</td>')
        if several_chains:
            cells.append(f'<td class="with">{_escaped(row.get("chain"))}</td>')
        texts = row.get("texts")
        shown = [_text(row.get("prompt"), text) for text in texts] if isinstance(texts, list) else []
        cells.append(f"<td>{''.join(shown)}</td>")
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return _table(head, lines) if lines else ""


def failures_html(failures: Sequence[Record], count: int) -> str:
    """Return rows that failed as a table of their sentences, under their number."""
    lines = [
        f"<tr><th scope='row'>{_number(row)}</th>"
        f'<td class="with">{_escaped(row.get("model"))} · {_escaped(row.get("precision"))}</td>'
        f'<td><div class="text"><span class="given">{_escaped(row.get("prompt"))}</span></div></td>'
        f'<td><div class="text">{_escaped(row.get("error"))}</div></td></tr>'
        for row in failures
    ]
    more = f", the first {len(failures)} of which are" if count > len(failures) else ""
    title = f"<h4>{count:,} failed{more}:</h4>"
    return title + _table(["Row", "Model", "Prompt", "Reason"], lines) if lines else ""


def _table(head: Sequence[str], lines: Sequence[str]) -> str:
    top = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    table = f"<table><thead><tr>{top}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
    # what scrolls can be scrolled by keys
    return f'<div class="batch-table" tabindex="0" role="region" aria-label="Rows">{table}</div>'


def _number(row: Record) -> str:
    number = row.get("row")
    return f"{number + 1:,}" if isinstance(number, int) else ""


def _text(prompt: object, text: object) -> str:
    """Return a text after its paler prompt; what is cut opens in full."""
    short = f'<span class="given">{_escaped(prompt)}</span>{_escaped(text)}'
    if all(len(str(one or "")) <= LONGEST for one in (prompt, text)):
        return f'<div class="text">{short}</div>'
    full = f'<span class="given">{_escaped(prompt, MOST)}</span>{_escaped(text, MOST)}'
    summary = f'<summary><span class="short">{short}</span><i>Show less</i></summary>'
    return f'<details class="text">{summary}{full}</details>'


def _escaped(value: object, most: int = LONGEST) -> str:
    text = "" if value is None else str(value)
    return html.escape(text[:most] + (" …" if len(text) > most else ""))
