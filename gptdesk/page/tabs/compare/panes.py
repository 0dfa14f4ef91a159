"""Texts, divergences and token heat maps as HTML, with every character escaped."""

import html
import json
from collections.abc import Sequence

import gradio as gr

from gptdesk.comparison import Stage
from gptdesk.comparison.divergence import Divergence
from gptdesk.comparison.heat_map import Expected, HeatMap, HeatMapToken
from gptdesk.comparison.verdict import BANDS
from gptdesk.markup import markdown_text, pane

CSS = """
.strip .tokens { white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.9; }
.strip .tokens span { border-radius: 3px; padding: 2px 0; cursor: pointer; }
.strip .tokens span:focus-visible, .strip .tokens span.picked { outline: 2px solid var(--color-accent); }
.strip .kl-1 { background: rgba(234, 179, 8, .28); }
.strip .kl-2 { background: rgba(249, 115, 22, .42); }
.strip .kl-3 { background: rgba(220, 38, 38, .55); }
.strip .key { font-size: .85rem; opacity: .85; margin: 4px 0 10px; }
.strip .key span { padding: 1px 6px; border-radius: 3px; }
.strip .picked-token { min-height: 3rem; margin-top: 10px; white-space: pre-wrap; font-size: .9rem;
  font-variant-numeric: tabular-nums; }
"""

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
    done = "" if stage.done is None else f" ({stage.done:.0%})"
    return f"{markdown_text(stage.text[:1].upper() + stage.text[1:])}{done} …"


def empty_pane(i: int, *, prefix: str, visible: bool = True) -> gr.HTML:
    """Return an empty pane for side `i`."""
    return gr.HTML(pane("", "", ""), elem_id=f"{prefix}{i + 1}", elem_classes="bare", visible=visible, min_width=280)


def divergence_marks(divergence: Divergence) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
    """Return the character ranges of the tokens that differ, in the reference's text and in the candidate's."""
    marks: list[tuple[int, int] | None] = []
    for token in (divergence.reference, divergence.candidate):
        start = divergence.characters
        marks.append(None if divergence.identical or token is None else (start, start + max(1, len(token))))
    return marks[0], marks[1]


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
    both = f"{names[0]} {token.reference:.1%}, {names[1]} {token.candidate:.1%}"
    lines = [f"{json.dumps(token.text, ensure_ascii=False)}: {both}; KL {token.kl:.4f} nats"]
    for name, top in zip(names, (token.reference_top, token.candidate_top), strict=True):
        lines.append(f"{name} expected {_list(top)}")
    return "\n".join(lines)


def _list(top: Expected) -> str:
    return ", ".join(f"{json.dumps(text, ensure_ascii=False)} {p:.1%}" for text, p in top)
