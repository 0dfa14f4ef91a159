"""HTML of the History tab: the title of an entry in the list, its texts, its facts."""

import html
import re
from collections.abc import Mapping, Sequence
from datetime import datetime

from gptdesk.formatting import duration, plural
from gptdesk.generation import GenerationResult, spelled_word_bias
from gptdesk.history import Entry, Summary
from gptdesk.history.comparing import EntryComparison, TextComparison, chain_words
from gptdesk.markup import html_pane, html_table, pane
from gptdesk.page.stats import FINISHES
from gptdesk.recipe import Recipe, Verdict
from models.tokenizer import Tokenizer
from samplers import default_chain, get, names

LONGEST_PROMPT = 300  # characters of a recipe's prompt
LONGEST_NAME = 60  # characters of what differs, above a text that is compared
LONGEST_BEGINNING = 24  # characters of a prompt in the list: entries with equal prompts differ after it
RATED = {1: "liked · ", -1: "disliked · "}
CSS = """
#history-list .wrap { flex-direction: column; flex-wrap: nowrap; gap: 4px; max-height: 36rem; overflow-y: auto; }
#history-list label { width: 100%; padding: 6px 10px; flex: none; }
#history-list label > span { white-space: pre; overflow: hidden; text-overflow: ellipsis; min-width: 0; display: block;
  font-size: .85rem; line-height: 1.5; color: var(--body-text-color-subdued); }
#history-list label > span::first-line { font-size: .95rem; color: var(--body-text-color); }
#history-list label.selected > span, #history-list label.selected > span::first-line { color: inherit; }
#history-list label > input { flex: none; }
#history-export-row { align-items: flex-end; }
#history-export { align-self: flex-end; height: 40px; margin-bottom: 12px; }  /* in line with the box of the format */
#history-texts .panes { display: flex; gap: 10px; }
.compared { display: flex; gap: 10px; margin-top: 10px; }
.compared .text { padding: 2px 4px; }
.compared mark { outline: 0; border-bottom: 2px solid var(--color-accent); padding: 1px 0;
  box-decoration-break: clone; -webkit-box-decoration-break: clone; }
.compared .shared { background: var(--color-accent-soft); border-radius: 3px; }
#recipe { border: 2px solid var(--color-accent); border-radius: var(--radius-lg); padding: 14px;
  background: var(--background-fill-secondary); scroll-margin-top: 12px; }
#recipe h3:focus { outline: none; }
:is(#history-facts, #recipe-summary) td { overflow-wrap: anywhere; }
#recipe-summary td { white-space: pre-wrap; }
"""


def entry_row(summary: Summary) -> str:
    """Return an entry of the list: a line with its text, which is cut at the width of the list, and one with the rest.

    The second has what differs from the default samplers.
    """
    when = datetime.fromtimestamp(summary.created).strftime("%d %b %H:%M")
    words = _first_words(summary) or "(empty)"
    more = [f"{summary.n} texts"] if summary.n > 1 else []
    facts = [when, summary.model, *more, f"seed {summary.seed}", *chain_differences(summary.chain)]
    return f"{words}\n{RATED.get(summary.rating or 0, '')}{' · '.join(facts)}"


def _first_words(summary: Summary) -> str:
    """Return the beginning of the prompt and the text in one line."""
    prompt, whole = " ".join(summary.prompt.split()), " ".join(f"{summary.prompt}{summary.text}".split())
    if len(prompt) <= LONGEST_BEGINNING or prompt == whole:
        return whole
    cut = prompt[:LONGEST_BEGINNING].rsplit(" ", 1)[0]
    return f"{cut} … {whole[len(prompt) :].strip()}"


def chain_differences(chain: Sequence[Mapping[str, object]]) -> list[str]:
    """Return in which options samplers differ from the default ones: "temperature 2.0", "no top_k"."""
    usual = {str(link["name"]): link for link in default_chain().to_data()}
    differences = []
    for link in chain:
        name = str(link.get("name"))
        known = usual.get(name) or _neutral(name)
        changed = [(option, value) for option, value in link.items() if option != "name" and known.get(option) != value]
        differences += [f"{option} {value}" for option, value in changed]
    present = [link.get("name") for link in chain]
    removed = [name for name, link in usual.items() if name not in present and link != {"name": name, **_neutral(name)}]
    return differences + [f"no {name}" for name in removed]


def _neutral(name: str) -> Mapping[str, object]:
    return get(name).neutral if name in names() else {}  # a plugin may be gone


def entry_title(summary: Summary) -> str:
    """Return an entry as one line of a list of choices."""
    when = datetime.fromtimestamp(summary.created).strftime("%d %b %H:%M")
    words = _first_words(summary)
    more = f" (x {summary.n})" if summary.n > 1 else ""
    return f"{RATED.get(summary.rating or 0, '')}{when} · {summary.model} · {words[:90] or '(empty)'}{more}"


def entry_texts(entry: Entry) -> str:
    """Return the texts of an entry beside each other, their prompt paler."""
    panes = [
        pane("Text" if entry.n == 1 else f"Text {i}", entry.prompt, sequence.text)
        for i, sequence in enumerate(entry.sequences, 1)
    ]
    return f'<div class="panes">{"".join(f"<div>{one}</div>" for one in panes)}</div>'


def comparison_html(comparison: EntryComparison) -> str:
    """Return what differs in sentences, then the texts of both entries beside each other, row by row."""
    sentences = "".join(f"<p>{html.escape(sentence)}</p>" for sentence in comparison.sentences())
    rows = "".join(_compared_row(comparison, text) for text in comparison.texts)
    return f'<h3 class="unseen">Comparison</h3><div class="note">{sentences}</div>{rows}'


def _compared_row(comparison: EntryComparison, text: TextComparison) -> str:
    """Return one text of both entries; the beginning that they share is tinted, and the first difference marked."""
    panes = []
    for entry, values in ((comparison.first, "first"), (comparison.second, "second")):
        which = f", text {text.row + 1}" if entry.n > 1 else ""
        different = [f"{one.name} {getattr(one, values)}" for one in comparison.settings]
        # what differs is what they are called by, if that is short
        facts = " · ".join(different)
        if not 0 < len(facts) <= LONGEST_NAME:
            facts = f"{entry.model} · {entry.precision}"
        name = f"Entry {entry.id}{which} · {facts}"
        panes.append(_shared_pane(name, entry.prompt, entry.sequences[text.row].text, text.same_characters))
    return f'<div class="panes compared">{"".join(f"<div>{one}</div>" for one in panes)}</div>'


def _shared_pane(name: str, prompt: str, text: str, shared: int) -> str:
    end = shared + len(re.match(r"\s*\S*", text[shared:])[0])  # type: ignore[index]  # which fits all texts
    same, first, rest = map(html.escape, (text[:shared], text[shared:end], text[end:]))
    marked = f"<mark>{first}</mark>" if first else ""
    return html_pane(name, prompt, f'<span class="shared">{same}</span>{marked}{rest}')


def recipe_html(recipe: Recipe, *, here: str) -> str:
    """Return what a recipe is as a table; `here` is a sentence on its model on this computer."""
    request = recipe.request
    prompt = request.prompt if request.prompt_ids is None else f"{plural(len(request.prompt_ids), 'token id')}"
    tokens = sum(len(text.tokens) for text in recipe.texts)
    stop = [["Stop strings", ", ".join(map(repr, request.stop))]] if request.stop else []
    constraints = _constraint_rows(request.constraints())
    rows = [
        ["Prompt", prompt if len(prompt) <= LONGEST_PROMPT else f"{prompt[:LONGEST_PROMPT]} …"],
        ["Model", f"{recipe.model} · {recipe.precision}"],
        ["On this computer", here],
        ["Samplers", chain_words(request.chain.to_data())],
        ["Seed", str(request.seed)],
        *stop,
        *constraints,
        ["Tokens", f"{plural(tokens, 'token')} in {plural(request.n, 'text')}"],
    ]
    return html_table(["", f"Recipe by GPT Desk {recipe.written_by[:30]}"], rows)


def repeated_html(entry: Entry, result: GenerationResult, verdict: Verdict, tokenizer: Tokenizer) -> str:
    """Return the texts that came out; the first token that differs from those of the recipe's entry is marked."""
    panes = []
    for row, text in enumerate(result.texts):
        mark = None
        if row == verdict.row and verdict.token is not None:
            start = len(tokenizer.decode(result.tokens[row][: verdict.token]))
            end = len(tokenizer.decode(result.tokens[row][: verdict.token + 1]))
            mark = (start, max(end, start + 1))
        name = "Came out now" if entry.n == 1 else f"Text {row + 1}, now"
        panes.append(pane(name, entry.prompt, text, mark=mark))
    return f'<div class="panes compared">{"".join(f"<div>{one}</div>" for one in panes)}</div>'


def _constraint_rows(options: Mapping[str, object]) -> list[list[str]]:
    """Return a row for each constraint that is set among the options of a request."""
    rows = []
    for name, title in (("banned_phrases", "Banned phrases"), ("choices", "Choices"), ("word_bias", "Word bias")):
        if value := options.get(name):
            # an entry has JSON values
            texts = spelled_word_bias(value) if isinstance(value, dict) else map(repr, value)  # type: ignore[call-overload]
            rows.append([title, ", ".join(texts)])
    return rows


def entry_facts(entry: Entry) -> str:
    """Return all else that is known of an entry as a table."""
    ends = [FINISHES.get(sequence.finish_reason or "", "not finished") for sequence in entry.sequences]
    tokens = sum(len(sequence.tokens) for sequence in entry.sequences)
    logprobs = [logprob for sequence in entry.sequences for logprob in sequence.logprobs]
    rows = [
        ["Generated", datetime.fromtimestamp(entry.created).strftime("%Y-%m-%d %H:%M:%S") + f", by the {entry.origin}"],
        ["Model", f"{entry.model} · {entry.precision} by {entry.kernels}"],
        ["Weights", f"SHA-256 {entry.weights[:16]} …" if entry.weights else "hash not known"],
        ["Seed", str(entry.seed)],
        ["Samplers", chain_words(entry.chain)],
        ["Stop strings", ", ".join(map(repr, entry.request.get("stop") or ())) or "none"],  # type: ignore[call-overload]
        *_constraint_rows(entry.request),
        [
            "Tokens",
            f"{entry.prompt_tokens:,} of the prompt, {tokens:,} new{_limit(entry)}",
        ],
        ["Speed", "" if entry.tokens_per_second is None else f"{entry.tokens_per_second:,.0f} tokens/s"],
        ["Time", duration(entry.seconds)],
        ["Mean log-probability", f"{sum(logprobs) / len(logprobs):.3f} nats" if logprobs else ""],
        ["Ended", ", ".join(dict.fromkeys(ends)) if entry.ended else "the program ended before the text did"],
    ]
    return html_table(["", f"Entry {entry.id}, {plural(entry.n, 'text')}"], [row for row in rows if row[1]])


def _limit(entry: Entry) -> str:
    each = " in each" if entry.n > 1 else ""
    return f", at most {entry.request['max_new_tokens']:,}{each}"
