"""Contradictions of a story: sentences of a text that cannot be true after those before them, by the world's rules."""

from dataclasses import dataclass

from gptdesk.starter.world.clashes import Finding
from gptdesk.starter.world.reader import Verdict, read

LONGEST = 8_000  # characters of a text
LEAST_KNOWN = 0.5  # share of the sentences that the reader must know in a text of this world
OPENINGS = ("intro", "intro-now", "intro-said", "pair", "day", "weather", "dear", "diary")  # events that begin a story
ENDINGS = ("close", "moral", "moral-said", "love", "night")  # and those that end one, apart from questions
AT_THE_END = ("unresolved", "words")  # contradictions of a story that has reached its end
OF_ITSELF = ("door", "is", "name")  # of a sentence with itself, whatever was before


@dataclass(frozen=True)
class Sentence:
    """Sentence of a text, or a few that belong together, by its place; `known` if the world's reader understands it."""

    begin: int
    end: int
    known: bool


@dataclass(frozen=True)
class Contradiction:
    """A sentence that cannot be true, by its number, and the one before that it breaks, if it is one."""

    kind: str
    sentence: int
    breaks: int | None
    why: str


@dataclass(frozen=True)
class StoryCheck:
    """Sentences of a text and its contradictions; none are sought in a text that is not of this world.

    `uncertain` counts those left out, since the reader does not understand a sentence before them.
    """

    text: str
    of_the_world: bool
    sentences: tuple[Sentence, ...]
    contradictions: tuple[Contradiction, ...]
    uncertain: int = 0

    @property
    def known(self) -> int:
        """Number of sentences that the reader understands."""
        return sum(sentence.known for sentence in self.sentences)

    def part(self, number: int) -> str:
        """Return the text of a sentence."""
        sentence = self.sentences[number]
        return self.text[sentence.begin : sentence.end]


def find_contradictions(text: str) -> StoryCheck:
    """Return the contradictions of a story of the starter's world; its problem may be open if the text breaks off.

    Raises ValueError for a text that is empty or too long.
    """
    if not text.strip():
        raise ValueError("the text is empty; write or generate a story first")
    if len(text) > LONGEST:
        raise ValueError(f"the text has {len(text):,} characters, and at most {LONGEST:,} are checked; shorten it")
    verdict = read(text)
    unclear = set(verdict.unclear)
    order = sorted(range(len(verdict.spans)), key=lambda number: verdict.spans[number])  # the header is read last
    places = {number: place for place, number in enumerate(order)}
    sentences = tuple(Sentence(*verdict.spans[number], number not in unclear) for number in order)
    if sum(sentence.known for sentence in sentences) < LEAST_KNOWN * len(sentences):
        return StoryCheck(text, False, sentences, ())
    ended = _has_ended(verdict)
    found = [one for one in verdict.findings if ended or one.kind not in AT_THE_END]
    sure = [one for one in found if not _in_doubt(one, verdict)]
    contradictions = sorted(
        (
            Contradiction(
                one.kind, places[one.sentence], None if one.breaks is None else places[one.breaks], f"{one.why}."
            )
            for one in sure
        ),
        key=lambda one: one.sentence,
    )
    return StoryCheck(text, True, sentences, tuple(contradictions), len(found) - len(sure))


def _has_ended(verdict: Verdict) -> bool:
    """Return whether a story has reached its end."""
    last = verdict.events[-1] if verdict.events else ""
    return verdict.last not in verdict.unclear and (last in ENDINGS or last.startswith("q-"))


def _in_doubt(one: Finding, verdict: Verdict) -> bool:
    """Return whether an unclear sentence, or a beginning that is not there, may have told what makes it true."""
    if one.kind in (*OF_ITSELF, "words"):
        return False
    if one.breaks is None and (0 in verdict.unclear or verdict.events[0] not in OPENINGS):
        return True
    first = -1 if one.breaks is None else one.breaks
    return any(first < number < one.sentence for number in verdict.unclear)
