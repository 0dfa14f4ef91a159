"""Text as HTML and Markdown, with all characters escaped, and what a policy allows of a page."""

import base64
import hashlib
import html
import re
from collections.abc import Sequence

CSS = """
.bare .html-container { padding: 0 !important; }
.bare > div, .bare .prose { height: 100%; }
.panes { flex-wrap: wrap; }
.panes > * { flex: 1 1 280px !important; }
.pane { border: 1px solid var(--border-color-primary); border-radius: var(--radius-lg); padding: 10px 12px;
  background: var(--background-fill-primary); height: 100%; }
.pane h4 { margin: 0 0 6px; font-size: .9rem; }
.pane .text { white-space: pre-wrap; overflow-wrap: anywhere; min-height: 9rem; max-height: 26rem; overflow-y: auto;
  padding: 3px; }
.pane .given { color: var(--body-text-color-subdued); }
.pane mark { background: var(--color-accent-soft); color: inherit; outline: 2px solid var(--color-accent);
  border-radius: 3px; margin-inline: 2px; }
.figures-table { overflow-x: auto; }
.figures-table table { width: 100%; font-size: .9rem; }
.figures-table :is(table, thead, tbody, tr) { border: 0 !important; }
.figures-table th, .figures-table td { text-align: left; padding: 4px 10px !important; vertical-align: top;
  border: 0 !important; border-bottom: 1px solid var(--border-color-primary) !important;
  font-variant-numeric: tabular-nums; }
.figures-table tbody th { font-weight: 400; opacity: .85; }
.figures-table tbody th[colspan] { font-weight: 700; padding-top: 12px !important; }
"""


# characters with a meaning in Markdown, and those without which Gradio makes no link of an address
SPECIAL = re.compile(r"[\\`*_{}\[\]<>()#+\-!|~$&@]|:(?=//)|(?<=www)\.", re.IGNORECASE)


def markdown_text(text: str) -> str:
    """Return Markdown that shows `text` literally."""
    return SPECIAL.sub(r"\\\g<0>", text)


def pane(name: str, prompt: str, text: str, *, mark: tuple[int, int] | None = None) -> str:
    """Return a text under its name, the prompt paler; `mark` is the start and the end of a highlight."""
    return html_pane(name, prompt, marked_html(text, mark))


def marked_html(text: str, mark: tuple[int, int] | None) -> str:
    """Return a text with a highlight from the start to the end of `mark`, without the white space around its word."""
    if mark is None:
        return html.escape(text)
    start, end = mark
    if word := text[start:end].strip():
        start = text.index(word, start)
        end = start + len(word)
    return f"{html.escape(text[:start])}<mark>{html.escape(text[start:end])}</mark>{html.escape(text[end:])}"


def html_pane(name: str, prompt: str, body: str) -> str:
    """Return a text, as HTML, under its name, the prompt paler; keys scroll it where it is long."""
    name = html.escape(name)
    given = f'<span class="given">{html.escape(prompt)}</span>'
    text = f'<div class="text" tabindex="0" role="group" aria-label="{name or "Text"}">{given}{body}</div>'
    return f'<div class="pane"><h4 aria-level="2">{name}</h4>{text}</div>'


def html_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table with escaped cells; a row of one cell is a heading."""
    top = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    body = "".join(_html_row(row, len(head)) for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _html_row(row: Sequence[str], columns: int) -> str:
    if len(row) == 1:
        return f'<tr><th colspan="{columns}">{html.escape(row[0])}</th></tr>'
    return f"<tr><th>{html.escape(row[0])}</th>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row[1:])}</tr>"


def csp_source(text: str) -> str:
    """Return the source of a Content-Security-Policy that allows an inline script or style: its SHA-256."""
    digest = base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
    return f"'sha256-{digest}'"
