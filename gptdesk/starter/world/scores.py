"""Scores of texts as stories of this world: grammar, novelty of sentences, contradictions."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from gptdesk.starter.world.reader import SENTENCE_END, Verdict


@dataclass(frozen=True)
class Score:
    """Scores of several texts; shares are between 0 and 1."""

    texts: int
    in_grammar: float  # share of the sentences that the generator can produce
    unseen: float  # share of those that are not in the training text
    contradictions: float  # per story
    kinds: dict[str, int]  # count by kind of contradiction
    events: int  # number of different events


def words_of(text: str) -> list[str]:
    """Return words and punctuation marks."""
    return re.findall(r"\w+(?:'\w+)?|[^\w\s]", text)


def sentences(text: str) -> list[str]:
    """Return the sentences of a text."""
    parts, start = [], 0
    for match in SENTENCE_END.finditer(text):
        parts.append(text[start : match.end()].strip())
        start = match.end()
    return [*parts, rest] if (rest := text[start:].strip()) else parts


def score(verdicts: Sequence[Verdict], *, seen: Collection[str] = ()) -> Score:
    """Sum up verdicts; `seen` has the sentences of the training text. Raises ValueError if there are no verdicts."""
    if not verdicts:
        raise ValueError("there are no texts to score")
    kinds: dict[str, int] = {}
    for verdict in verdicts:
        for kind in verdict.contradictions:
            kinds[kind] = kinds.get(kind, 0) + 1
    matched = [sentence for verdict in verdicts for piece in verdict.matched for sentence in sentences(piece)]
    return Score(
        texts=len(verdicts),
        in_grammar=sum(v.in_grammar for v in verdicts) / max(1, sum(v.sentences for v in verdicts)),
        unseen=sum(sentence not in seen for sentence in matched) / max(1, len(matched)),
        contradictions=sum(kinds.values()) / len(verdicts),
        kinds=dict(sorted(kinds.items(), key=lambda item: (-item[1], item[0]))),
        events=len({event for verdict in verdicts for event in verdict.events}),
    )
