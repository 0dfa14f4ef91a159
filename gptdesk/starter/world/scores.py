"""How good texts are as stories of this world: in grammar, without contradictions, and not copied."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gptdesk.starter.world.reader import Verdict, read


@dataclass(frozen=True)
class Score:
    """Of several texts: shares are between 0 and 1, runs are in words."""

    texts: int
    in_grammar: float  # share of the sentences that the world could have said
    contradictions: float  # a story
    kinds: dict[str, int]  # how often each kind of contradiction was found
    events: int  # different events that were told


@dataclass(frozen=True)
class Novelty:
    """Of texts beside a reference, such as what a model was trained on. Compare with held-out stories, never with 0."""

    longest_run: int  # the longest run of words that stands in the reference, too
    usual_run: int  # 95 of 100 texts have no longer one
    unseen: dict[int, float]  # share of the runs of n words that the reference does not have, for each n


def tokens(text: str) -> list[str]:
    """Words and marks."""
    return re.findall(r"\w+(?:'\w+)?|[^\w\s]", text)


def score(texts: Iterable[str], *, whole: bool = True) -> Score:
    """Read all `texts`; those that were cut off (not `whole`) may leave their goals open."""
    verdicts = [read(text, whole=whole) for text in texts]
    if not verdicts:
        raise ValueError("there are no texts to score")
    kinds: dict[str, int] = {}
    for verdict in verdicts:
        for kind in verdict.contradictions:
            kinds[kind] = kinds.get(kind, 0) + 1
    return Score(
        texts=len(verdicts),
        in_grammar=_share(verdicts),
        contradictions=sum(kinds.values()) / len(verdicts),
        kinds=dict(sorted(kinds.items(), key=lambda item: (-item[1], item[0]))),
        events=len({event for verdict in verdicts for event in verdict.told}),
    )


def _share(verdicts: Sequence[Verdict]) -> float:
    return sum(verdict.in_grammar for verdict in verdicts) / max(1, sum(verdict.sentences for verdict in verdicts))


class Reference:
    """Texts to compare others with; the runs of n words are gathered when n is first asked for."""

    SEED = 6  # words; runs of this length are looked up and then made longer

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = [tokens(text) for text in texts]
        self._runs: dict[int, set[tuple[str, ...]]] = {}
        self._starts: dict[tuple[str, ...], list[tuple[int, int]]] = {}
        for number, words in enumerate(self._texts):
            for start, run in enumerate(_runs(words, self.SEED)):
                self._starts.setdefault(run, []).append((number, start))

    def has(self, run: Sequence[str]) -> bool:
        """Whether some text contains these words in a row."""
        n = len(run)
        if n not in self._runs:
            self._runs[n] = {run for text in self._texts for run in _runs(text, n)}
        return tuple(run) in self._runs[n]

    def longest_run(self, text: str) -> int:
        """Words of the longest run in `text` that stands in the reference."""
        words = tokens(text)
        longest = 0
        for start, run in enumerate(_runs(words, self.SEED)):
            for number, at in self._starts.get(run, ()):
                longest = max(longest, _common(words, start, self._texts[number], at))
        if longest:
            return longest
        return max((n for n in range(1, self.SEED) if any(map(self.has, _runs(words, n)))), default=0)


def _common(first: Sequence[str], start: int, second: Sequence[str], at: int) -> int:
    """How many words are the same in both, from there on."""
    same = 0
    for one, other in zip(first[start:], second[at:], strict=False):
        if one != other:
            break
        same += 1
    return same


def _runs(words: Sequence[str], n: int) -> Iterable[tuple[str, ...]]:
    return zip(*(words[start:] for start in range(n)), strict=False)


def novelty(texts: Sequence[str], reference: Reference, *, lengths: Sequence[int] = (2, 4, 6, 8, 12)) -> Novelty:
    """How new `texts` are beside the reference."""
    if not texts:
        raise ValueError("there are no texts to compare")
    longest = sorted(map(reference.longest_run, texts))
    unseen = {}
    for n in lengths:
        runs = [run for text in texts for run in _runs(tokens(text), n)]
        unseen[n] = sum(not reference.has(run) for run in runs) / max(1, len(runs))
    return Novelty(longest[-1], longest[(len(longest) - 1) * 95 // 100], unseen)
