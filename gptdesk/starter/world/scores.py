"""How good texts are as stories of this world: in grammar, made anew or by heart, and without contradictions."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from gptdesk.starter.world.reader import SENTENCE_END, Verdict


@dataclass(frozen=True)
class Score:
    """Of several texts: shares are between 0 and 1."""

    texts: int
    in_grammar: float  # share of the sentences that the world could have said
    unseen: float  # share of those that are not in the training text as they are
    contradictions: float  # a story
    kinds: dict[str, int]  # how often each kind of contradiction was found
    events: int  # different events that were told


def words_of(text: str) -> list[str]:
    """Words and marks."""
    return re.findall(r"\w+(?:'\w+)?|[^\w\s]", text)


def sentences(text: str) -> list[str]:
    """The sentences of a text, one after the other."""
    found, start = [], 0
    for match in SENTENCE_END.finditer(text):
        found.append(text[start : match.end()].strip())
        start = match.end()
    return [*found, rest] if (rest := text[start:].strip()) else found


def score(verdicts: Sequence[Verdict], *, seen: Collection[str] = ()) -> Score:
    """What verdicts come to; `seen` holds the sentences of the training text. ValueError if there are none."""
    if not verdicts:
        raise ValueError("there are no texts to score")
    kinds: dict[str, int] = {}
    for verdict in verdicts:
        for kind in verdict.contradictions:
            kinds[kind] = kinds.get(kind, 0) + 1
    right = [sentence for verdict in verdicts for piece in verdict.right for sentence in sentences(piece)]
    return Score(
        texts=len(verdicts),
        in_grammar=sum(v.in_grammar for v in verdicts) / max(1, sum(v.sentences for v in verdicts)),
        unseen=sum(sentence not in seen for sentence in right) / max(1, len(right)),
        contradictions=sum(kinds.values()) / len(verdicts),
        kinds=dict(sorted(kinds.items(), key=lambda item: (-item[1], item[0]))),
        events=len({event for verdict in verdicts for event in verdict.told}),
    )
