"""Texts, divergences and token heat maps as HTML, with every character escaped."""

import html
import json
from collections.abc import Sequence

import gradio as gr

from gptdesk.comparison import Stage
from gptdesk.comparison.divergence import Divergence
from gptdesk.comparison.headline import headlines
from gptdesk.comparison.heat_map import Expected, HeatMap, HeatMapToken
from gptdesk.comparison.prompts import PromptResult
from gptdesk.comparison.report import Report
from gptdesk.comparison.verdict import BANDS, divergence_sentence
from gptdesk.formatting import percent
from gptdesk.markup import html_pane, markdown_text, marked_html

CSS = """
.headlines { display: flex; flex-wrap: wrap; gap: 10px; margin: 4px 0 10px; }
.headlines h4 { flex: 1 0 100%; margin: 4px 0 0; font-size: .95rem; }
#summary { padding-right: 48px; } /* beside its copy button */
.headlines > div { flex: 1 1 220px; border: 1px solid var(--border-color-primary); border-radius: var(--radius-lg);
  padding: 12px 16px; background: var(--background-fill-primary); }
.headlines span { font-size: .85rem; opacity: .85; }
.headlines b { display: block; font-size: 1.35rem; line-height: 1.3; margin: 2px 0; }
.prompt-results td, .prompt-results tbody th { min-width: 12rem; }
.prompt-results details:not([open]) .whole { display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 4;
  overflow: hidden; }
.prompt-results .whole { white-space: pre-wrap; overflow-wrap: anywhere; }
.prompt-results summary { cursor: pointer; list-style: none; }
.prompt-results summary::-webkit-details-marker { display: none; }
#compare-given { position: relative; gap: 0; }
#compare-given #compare-use-prompt { position: absolute; top: 6px; right: 10px; z-index: 1; }
#compare-prompt > label > span { margin-bottom: 12px; }
@media (max-width: 640px), (pointer: coarse) {
  #compare-given #compare-use-prompt { top: 2px; }
  #compare-prompt > label > span { margin-bottom: 18px; }
}
.prompt-results summary:focus-visible { outline: 2px solid var(--color-accent); }
.prompt-results mark { background: var(--color-accent-soft); color: inherit; outline: 1px solid var(--color-accent);
  margin-inline: 1px; }
.strip .tokens { white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.9; }
.strip .tokens span { border-radius: 3px; padding: 2px 0; cursor: pointer; }
.strip .tokens span:focus-visible, .strip .tokens span.picked { outline: 2px solid var(--color-accent); }
.strip .kl-1 { background: rgba(234, 179, 8, .28); }
.strip .kl-2 { background: rgba(249, 115, 22, .42); }
.strip .kl-3 { background: rgba(220, 38, 38, .55); }
.strip .key { font-size: .85rem; margin: 4px 0 10px; }
.strip .key span { color: var(--body-text-color); padding: 1px 6px; border-radius: 3px; }
.strip .picked-token { min-height: 3rem; margin-top: 10px; white-space: pre-wrap; font-size: .9rem;
  font-variant-numeric: tabular-nums; }
"""

NO_TEXT = "The text of this side will be here."
# A click, or Enter on a focused token, shows the predictions there below the heat map; hovering, as a tooltip.
PICK = """
const pick = token => {
  if (!token || !token.title) return;
  element.querySelectorAll(".picked").forEach(other => other.classList.remove("picked"));
  token.classList.add("picked");
  element.querySelector(".picked-token").textContent = token.title;
};
const find = event => event.target.closest(".tokens span");
element.addEventListener("click", event => pick(find(event)));
element.addEventListener("keydown", event => { if (event.key === "Enter") pick(find(event)); });
"""


def progress_line(stage: Stage) -> str:
    """Return the current step as Markdown."""
    done = "" if stage.done is None else f" ({percent(stage.done)})"
    return f"{markdown_text(stage.text[:1].upper() + stage.text[1:])}{done} …"


def empty_pane(name: str, *, ident: str, visible: bool = True) -> gr.HTML:
    """Return the pane of a side, by its name, before it has a text."""
    empty = html_pane(name, "", f'<span class="given">{NO_TEXT}</span>')
    return gr.HTML(empty, elem_id=ident, elem_classes="bare", visible=visible, min_width=280)


def divergence_marks(divergence: Divergence) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
    """Return the character ranges of the tokens that differ, in the reference's text and in the candidate's."""
    marks: list[tuple[int, int] | None] = []
    for token in (divergence.reference, divergence.candidate):
        start = divergence.characters
        marks.append(None if divergence.identical or token is None else (start, start + max(1, len(token))))
    return marks[0], marks[1]


def headlines_html(report: Report) -> str:
    """Return size, speed and quality of each candidate as large figures."""
    return "".join(
        f'<div class="headlines"><h4>{html.escape(report.names[i])} against {html.escape(report.names[0])}</h4>'
        + "".join(
            f"<div><span>{one.title}</span><b>{html.escape(one.figure)}</b><span>{html.escape(one.details)}</span></div>"
            for one in headlines(report, i)
        )
        + "</div>"
        for i in range(1, len(report.sides))
    )


def prompts_html(names: Sequence[str], rows: Sequence[PromptResult], *, coupled: bool) -> str:
    """Return the table of a prompt list: each prompt, the text of every side, and the divergences in words.

    A cell shows four lines, and all of its text once it is clicked. The tokens that differ are marked.
    """
    head = ["Prompt", *names, *(f"{name} beside {names[0]}" for name in names[1:])]
    body = []
    for row in rows:
        marks = [divergence_marks(one) for one in row.divergences]
        marked = [marks[0][0], *(mark for _, mark in marks)]
        texts = [_whole(one.texts[0], mark) for one, mark in zip(row.results, marked, strict=True)]
        said = [
            html.escape(divergence_sentence(one, names[0], names[i], coupled=coupled))
            for i, one in enumerate(row.divergences, 1)
        ]
        cells = "".join(f"<td>{cell}</td>" for cell in (*texts, *said))
        body.append(f'<tr><th scope="row">{_whole(row.prompt, None)}</th>{cells}</tr>')
    top = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in head)
    return f'<table class="prompt-results"><thead><tr>{top}</tr></thead><tbody>{"".join(body)}</tbody></table>'


def _whole(text: str, mark: tuple[int, int] | None) -> str:
    """Return a text that is cut by the style sheet until it is clicked."""
    body = marked_html(text, mark) or "(empty)"
    return f'<details><summary><span class="whole" dir="auto">{body}</span></summary></details>'


def heat_map_html(heat_map: HeatMap, names: Sequence[str]) -> str:
    """Return the heat map as HTML, with its legend and a line for the picked token."""
    spans = "".join(_span(token, names) for token in heat_map.tokens)
    steps = [0.0, *(most for most, _ in BANDS)]
    key = "".join(f'<span class="kl-{i}">{_range(i, steps)}</span> ' for i in range(len(steps)))
    return (
        f'<div class="strip"><div class="key">KL divergence in nats, each part read from its beginning: {key}</div>'
        f'<div class="tokens"><span>{html.escape(heat_map.first)}</span>{spans}</div>'
        '<div class="picked-token">Click a token, or point at it, to see what both sides expected there.</div></div>'
    )


def _range(i: int, steps: Sequence[float]) -> str:
    return f"{steps[i]:g} to {steps[i + 1]:g}" if i + 1 < len(steps) else f"{steps[i]:g} and more"


def _span(token: HeatMapToken, names: Sequence[str]) -> str:
    step = sum(token.kl >= most for most, _ in BANDS)
    title = html.escape(_tooltip(token, names), quote=True).replace("\n", "&#10;")
    return f'<span class="kl-{step}" tabindex="0" title="{title}">{html.escape(token.text)}</span>'


def _tooltip(token: HeatMapToken, names: Sequence[str]) -> str:
    both = f"{names[0]} {percent(token.reference, 1)}, {names[1]} {percent(token.candidate, 1)}"
    lines = [f"{json.dumps(token.text, ensure_ascii=False)}: {both}; KL {token.kl:.4f} nats"]
    for name, top in zip(names, (token.reference_top, token.candidate_top), strict=True):
        lines.append(f"{name} expected {_list(top)}")
    return "\n".join(lines)


def _list(top: Expected) -> str:
    return ", ".join(f"{json.dumps(text, ensure_ascii=False)} {percent(p, 1)}" for text, p in top)
