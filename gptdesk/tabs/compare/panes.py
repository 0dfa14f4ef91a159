"""Texts and tokens of models as HTML, each character of them as the character it is."""

import html
import json
from collections.abc import Sequence

import gradio as gr

from gptdesk.comparison import Stage
from gptdesk.comparison.divergence import Divergence
from gptdesk.comparison.strip import Expected, Strip, StripToken
from gptdesk.comparison.words import BANDS
from gptdesk.markup import markdown_text

CSS = """
.bare .html-container { padding: 0 !important; }
.bare > div, .bare .prose { height: 100%; }
.panes { flex-wrap: wrap; }
.panes > * { flex: 1 1 280px !important; }
.pane { border: 1px solid var(--border-color-primary); border-radius: var(--radius-lg); padding: 10px 12px;
  background: var(--background-fill-primary); height: 100%; }
.pane h4 { margin: 0 0 6px; font-size: .9rem; }
.pane .text { white-space: pre-wrap; overflow-wrap: anywhere; min-height: 9rem; max-height: 26rem; overflow-y: auto; }
.pane .given { opacity: .6; }
.pane mark { background: var(--color-accent-soft); color: inherit; outline: 2px solid var(--color-accent);
  border-radius: 3px; }
.figures-table { overflow-x: auto; }
.figures-table table { width: 100%; font-size: .9rem; }
.figures-table :is(table, thead, tbody, tr) { border: 0 !important; }
.figures-table th, .figures-table td { text-align: left; padding: 4px 10px !important; vertical-align: top;
  border: 0 !important; border-bottom: 1px solid var(--border-color-primary) !important;
  font-variant-numeric: tabular-nums; }
.figures-table tbody th { font-weight: 400; opacity: .85; }
.figures-table tbody th[colspan] { font-weight: 700; padding-top: 12px !important; }
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

# A click, or Enter on a token that has the focus, shows what was expected there; hovering shows it as a tooltip.
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


def doing(stage: Stage) -> str:
    """What is being done, as Markdown."""
    done = "" if stage.done is None else f" ({stage.done:.0%})"
    return f"{markdown_text(stage.text[:1].upper() + stage.text[1:])}{done} …"


def new_pane(i: int, *, prefix: str, visible: bool = True) -> gr.HTML:
    """An empty pane for side `i`."""
    return gr.HTML(pane("", "", ""), elem_id=f"{prefix}{i + 1}", elem_classes="bare", visible=visible, min_width=280)


def pane(name: str, prompt: str, text: str, *, mark: tuple[int, int] | None = None) -> str:
    """A text under its name, the prompt paler than the rest; `mark` is the start and the end of what stands out."""
    start, end = mark or (len(text), len(text))
    marked = f"<mark>{html.escape(text[start:end])}</mark>" if mark else ""
    body = f"{html.escape(text[:start])}{marked}{html.escape(text[end:])}"
    given = f'<span class="given">{html.escape(prompt)}</span>'
    return f'<div class="pane"><h4>{html.escape(name)}</h4><div class="text">{given}{body}</div></div>'


def marks(divergence: Divergence) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
    """What stands out in the reference's text and in the candidate's: the tokens that differ."""
    found = []
    for token in (divergence.reference, divergence.candidate):
        start = divergence.characters
        found.append(None if divergence.identical or token is None else (start, start + max(1, len(token))))
    return found[0], found[1]


def strip_html(strip: Strip, names: Sequence[str]) -> str:
    """The strip, its key, and a place for the token that is picked."""
    spans = "".join(_span(token, names) for token in strip.tokens)
    steps = [0.0, *(most for most, _ in BANDS)]
    key = "".join(f'<span class="kl-{i}">{_range(i, steps)}</span> ' for i in range(len(steps)))
    return (
        f'<div class="strip"><div class="key">KL divergence in nats, each part read from its beginning: {key}</div>'
        f'<div class="tokens"><span>{html.escape(strip.first)}</span>{spans}</div>'
        '<div class="picked-token">Click a token, or point at it, to see what both sides expected there.</div></div>'
    )


def _range(i: int, steps: Sequence[float]) -> str:
    return f"{steps[i]:g} to {steps[i + 1]:g}" if i + 1 < len(steps) else f"{steps[i]:g} and more"


def _span(token: StripToken, names: Sequence[str]) -> str:
    step = sum(token.kl >= most for most, _ in BANDS)
    told = html.escape(_told(token, names), quote=True).replace("\n", "&#10;")
    return f'<span class="kl-{step}" tabindex="0" title="{told}">{html.escape(token.text)}</span>'


def _told(token: StripToken, names: Sequence[str]) -> str:
    both = f"{names[0]} {token.reference:.1%}, {names[1]} {token.candidate:.1%}"
    lines = [f"{json.dumps(token.text, ensure_ascii=False)}: {both}; KL {token.kl:.4f} nats"]
    for name, top in zip(names, (token.reference_top, token.candidate_top), strict=True):
        lines.append(f"{name} expected {_list(top)}")
    return "\n".join(lines)


def _list(top: Expected) -> str:
    return ", ".join(f"{json.dumps(text, ensure_ascii=False)} {p:.1%}" for text, p in top)
