"""Part of the Generate tab that shows contradictions of a story: closed at first, for models of the story world."""

import html
import threading
from collections.abc import Iterator

import gradio as gr

from gptdesk.desk import Desk
from gptdesk.formatting import plural
from gptdesk.page.long_action import owner_of
from gptdesk.page.option_widgets import STREAMING, Updates, Values
from gptdesk.page.tabs.generate.texts import TextCards
from gptdesk.starter.contradictions import Contradiction, StoryCheck, find_contradictions

NOTE = (
    "The starter's stories take place in a small world whose rules the desk knows. It reads a story sentence by "
    "sentence and underlines what cannot be true after what was told before."
)
READING = "Reading … The first time takes a few seconds, until the rules of the world are loaded."
FOREIGN = "This is not a story of the starter's world, so nothing was checked: {known} of {sentences} are known there."
MOST_QUOTED = 300  # characters of a sentence in the list


class StoryCheckPanel:
    """Closed accordion with the contradictions of the texts shown; nothing is computed until it is opened."""

    def __init__(self, desk: Desk, texts: TextCards) -> None:
        self._desk, self._texts = desk, texts
        with gr.Accordion("Check the story", open=False, elem_id="story-check") as self.panel:
            gr.Markdown(NOTE, elem_classes="note")
            self.result = gr.HTML(elem_id="story-check-result", elem_classes="bare")

    def wire(self) -> None:
        """Connect the event."""
        self.panel.expand(self._on_open, self._texts.inputs, self.result, **STREAMING)

    @property
    def closed(self) -> Updates:
        """Updates that close it, since other texts will be shown."""
        return {self.panel: gr.update(open=False), self.result: ""}

    def _on_open(self, values: Values, request: gr.Request) -> Iterator[Updates]:
        yield {self.result: _note_html(READING)}
        public = self._desk.settings.public
        owner, scheduler = owner_of(request, self._desk.settings) if public else None, self._desk.scheduler
        try:
            with scheduler.admitted(owner), scheduler.queue(stop=threading.Event(), owner=owner) as place:
                for position in place.positions():
                    yield {self.result: _note_html(f"Waiting for others: place {position} in the queue …")}
                texts = self._texts.texts(values)
                parts = [_checked(text, number if len(texts) > 1 else 0) for number, text in enumerate(texts, 1)]
        except ValueError as error:
            parts = [_note_html(f"⚠ {error}")]
        yield {self.result: "".join(parts)}


def _checked(text: str, number: int) -> str:
    """Return the check of a text as HTML, or a sentence why there is none; `number` is 0 for the only text."""
    try:
        return check_html(find_contradictions(text), number)
    except ValueError as error:
        return _note_html(f"⚠ {f'Text {number}: ' if number else ''}{error}")


def check_html(check: StoryCheck, number: int) -> str:
    """Return a story whose contradictions are underlined and numbered, and a list of the reasons."""
    name = f"Text {number}" if number else "Text"
    head = f'<p class="summary"><b>{name}</b> {html.escape(_summary(check))}</p>'
    if not check.of_the_world:
        return f'<section class="story-check" aria-label="Check of {name}">{head}</section>'
    by_sentence: dict[int, list[int]] = {}
    for i, one in enumerate(check.contradictions):
        by_sentence.setdefault(one.sentence, []).append(i)
    body, end = "", 0
    for i, sentence in enumerate(check.sentences):
        body += html.escape(check.text[end : sentence.begin]) + _sentence(check, number, i, by_sentence.get(i, []))
        end = sentence.end
    reasons = "".join(_reason(check, number, i, one) for i, one in enumerate(check.contradictions))
    return (
        f'<section class="story-check" aria-label="Check of {name}">{head}'
        f'<div class="told">{body}{html.escape(check.text[end:])}</div>{f"<ol>{reasons}</ol>" if reasons else ""}'
        "</section>"
    )


def _summary(check: StoryCheck) -> str:
    count, sentences = len(check.contradictions), plural(len(check.sentences), "sentence")
    if not check.of_the_world:
        return FOREIGN.format(known=check.known, sentences=sentences)
    parts = [f"{plural(count, 'contradiction') if count else 'No contradiction'} in {sentences}."]
    if unknown := len(check.sentences) - check.known:
        parts.append(
            f"{plural(unknown, 'sentence')} in grey {'is' if unknown == 1 else 'are'} not known in this world."
        )
    if check.uncertain:
        parts.append(f"{plural(check.uncertain, 'doubt')} left out: such a sentence may explain what follows.")
    return " ".join(parts)


def _sentence(check: StoryCheck, number: int, index: int, contradictions: list[int]) -> str:
    """Return a sentence; one with contradictions can have the focus, and names those that it breaks."""
    text = html.escape(check.part(index))
    if not contradictions:
        return f'<span data-s="{index}"{"" if check.sentences[index].known else " class=unknown"}>{text}</span>'
    breaks = [check.contradictions[i].breaks for i in contradictions]
    reasons = " ".join(f"why-{number}-{i}" for i in contradictions)
    marks = ", ".join(str(i + 1) for i in contradictions)
    return (
        f'<span data-s="{index}" class="lie" role="button" tabindex="0" aria-pressed="false" '
        f'data-breaks="{" ".join(str(one) for one in breaks if one is not None)}" aria-describedby="{reasons}">'
        f"{text}<sup>{marks}</sup></span>"
    )


def _reason(check: StoryCheck, number: int, index: int, one: Contradiction) -> str:
    broken = ""
    if one.breaks is not None:
        quoted = check.part(one.breaks)
        quoted = quoted if len(quoted) <= MOST_QUOTED else f"{quoted[:MOST_QUOTED]}…"
        broken = f" It breaks: <q>{html.escape(quoted)}</q>"
    return f'<li id="why-{number}-{index}">{html.escape(one.why)}{broken}</li>'


def _note_html(text: str) -> str:
    return f'<p class="story-check-note" role="status">{html.escape(text)}</p>'


# Focus on an underlined sentence marks the one that it breaks; Enter, Space and a click scroll to it.
SCRIPT = """<script>
(() => {
  const lie = event => event.target.closest?.(".story-check .lie");
  const mark = chosen => {
    const view = chosen.closest(".story-check"), breaks = chosen.dataset.breaks.split(" ").filter(Boolean);
    for (const one of document.querySelectorAll(".story-check :is(.lie, .broken, .current)")) {
      one.classList.remove("broken", "current");
      if (one.matches(".lie")) one.setAttribute("aria-pressed", one === chosen);
    }
    for (const id of chosen.getAttribute("aria-describedby").split(" "))
      document.getElementById(id)?.classList.add("current");
    const broken = breaks.map(s => view.querySelector(`[data-s="${s}"]`));
    for (const one of broken) one.classList.add("broken");
    return broken;
  };
  addEventListener("focusin", event => { if (lie(event)) mark(lie(event)); });
  addEventListener("click", event => { if (lie(event)) mark(lie(event))[0]?.scrollIntoView({block: "nearest"}); });
  addEventListener("keydown", event => {
    if (!lie(event) || !["Enter", " "].includes(event.key) || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    mark(lie(event))[0]?.scrollIntoView({block: "nearest"});
  });
})();
</script>"""

CSS = """
#story-check-result { padding: 0 !important; }
.story-check { padding: 4px; }
.story-check + .story-check { border-top: 1px solid var(--border-color-primary); margin-top: 12px; padding-top: 12px; }
.story-check .summary, .story-check-note { margin: 4px 0 10px; font-size: .9rem; }
.story-check .summary b { margin-right: 6px; }
.story-check .told { white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.75; max-width: 80ch; }
.story-check .unknown { color: var(--body-text-color-subdued); }
.story-check .lie { cursor: pointer; text-decoration: underline wavy #c2410c 1.5px; text-underline-offset: 4px;
  border-radius: 3px; }
.dark .story-check .lie { text-decoration-color: #fb923c; }
.story-check .lie[data-breaks=""] { text-decoration-style: dotted; }
.story-check .lie sup { text-decoration: none; margin-left: 2px; font-size: .7em; }
.story-check .lie:focus-visible { outline: 2px solid var(--color-accent); outline-offset: 2px; }
.story-check .broken { background: color-mix(in srgb, #f0932b 28%, transparent); border-radius: 3px; }
.story-check ol { margin: 12px 0 4px; padding-left: 1.6em; list-style: decimal; font-size: .9rem; line-height: 1.6;
  max-width: 90ch; }
.story-check li { padding: 2px 6px; border-radius: 4px; overflow-wrap: anywhere; }
.story-check li.current { background: color-mix(in srgb, #f0932b 18%, transparent); }
"""
