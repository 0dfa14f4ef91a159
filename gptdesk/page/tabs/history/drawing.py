"""HTML of the History tab: the title of an entry in the list, its texts, its facts."""

from datetime import datetime

from gptdesk.formatting import duration, plural
from gptdesk.history import Entry, Summary
from gptdesk.markup import html_table, pane
from gptdesk.page.stats import FINISHES

RATED = {1: "liked · ", -1: "disliked · "}
CSS = """
#history-list .wrap { flex-direction: column; flex-wrap: nowrap; gap: 4px; max-height: 36rem; overflow-y: auto; }
#history-list label { width: 100%; padding: 6px 10px; }
#history-list label > span { white-space: nowrap; overflow: hidden; text-overflow: ellipsis; min-width: 0; }
#history-list label > input { flex: none; }
#history-texts .panes { display: flex; gap: 10px; }
#history-facts td { overflow-wrap: anywhere; }
"""


def entry_title(summary: Summary) -> str:
    """Return an entry as a line of the list."""
    when = datetime.fromtimestamp(summary.created).strftime("%d %b %H:%M")
    words = " ".join(f"{summary.prompt} {summary.text}".split())
    more = f" (x {summary.n})" if summary.n > 1 else ""
    return f"{RATED.get(summary.rating or 0, '')}{when} · {summary.model} · {words[:90] or '(empty)'}{more}"


def entry_texts(entry: Entry) -> str:
    """Return the texts of an entry beside each other, their prompt paler."""
    panes = [
        pane("Text" if entry.n == 1 else f"Text {i}", entry.prompt, sequence.text)
        for i, sequence in enumerate(entry.sequences, 1)
    ]
    return f'<div class="panes">{"".join(f"<div>{one}</div>" for one in panes)}</div>'


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
        ["Samplers", _chain(entry)],
        ["Stop strings", ", ".join(map(repr, entry.request.get("stop") or ())) or "none"],  # type: ignore[call-overload]
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


def _chain(entry: Entry) -> str:
    """Return the samplers with their options: "top_k 50, then temperature 0.8"."""
    return ", then ".join(_sampler(link) for link in entry.chain) or "none"


def _sampler(link: dict[str, object]) -> str:
    options = [f"{value}" if name == link["name"] else f"{name} {value}" for name, value in link.items()]
    return " ".join([str(link["name"]), ", ".join(options[1:])]).rstrip()
