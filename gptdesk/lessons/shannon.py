"""Shannon's game: the next word of a story is guessed, and the bits of the guess are set beside those of models.

After Shannon, Prediction and Entropy of Printed English (1951). A guess counts as a distribution: as much as the player
is sure of goes to the guessed word, the rest to all other words as the unigram model has them.
"""

import math
import random
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate

from gptdesk.lessons.material import lend_starter
from gptdesk.starter.stories import Story, generate_stories, stories
from gptdesk.token_logprobs import score_tokens
from models.manager import LoadedModel, ModelManager

COUNTED = 150  # stories whose words the unigram model counts
FIRST = 12  # words of the story that are shown at first
MOST_WORDS = 100  # of a game
SURE = (0.1, 0.3, 0.5, 0.7, 0.9)  # how sure a player can be
LONGEST_GUESS = 40  # characters
_WORD = re.compile(r"(?<= )[A-Za-z]+")
_UNIGRAM_SEED = 77


@dataclass(frozen=True)
class Guess:
    """A guessed word, and what it and the models had cost, in bits."""

    word: str
    guessed: str
    player: float
    starter: float
    int4: float  # the starter at int4
    unigram: float

    @property
    def right(self) -> bool:
        """True if the word was guessed."""
        return same_word(self.word, self.guessed)


@dataclass(frozen=True)
class Game:
    """A story whose words are guessed one after the other, and the guesses so far."""

    story: str
    places: tuple[tuple[int, int], ...]  # begin and end of each word to guess
    bits: tuple[float, ...]  # of the starter for each of them
    int4_bits: tuple[float, ...]  # of the starter at int4
    choices: float  # bits of all choices of the story's generator
    guesses: tuple[Guess, ...] = ()

    @property
    def over(self) -> bool:
        """True if no word is left."""
        return len(self.guesses) == len(self.places)

    @property
    def floor(self) -> float:
        """Bits per word of the generator's choices, the mean of the whole story: what its words cost at least."""
        return self.choices / len(self.story.split())

    @property
    def shown(self) -> str:
        """The story before the word to guess; all of it at the end."""
        return self.story if self.over else self.story[: self.places[len(self.guesses)][0]]


def new_game(manager: ModelManager, source: random.Random) -> Game:
    """Return a game with a new story; ValueError if the starter cannot be loaded."""
    seed = source.randrange(10_000, 1_000_000)
    with lend_starter(manager) as loaded:
        story, ids = _fitting_story(loaded, seed)
        bits = _token_bits(loaded, ids)
        ends = list(accumulate((len(loaded.tokenizer.token_bytes(token)) for token in ids), initial=0))
    with lend_starter(manager, "int4") as loaded:
        int4_bits = _token_bits(loaded, ids)
    text = story.text
    places, costs, int4_costs = [], [], []
    for found in list(_WORD.finditer(text))[FIRST : FIRST + MOST_WORDS]:
        # the space in front belongs to the first token of a word
        begin, end = len(text[: found.start() - 1].encode()), len(text[: found.end()].encode())
        if begin in ends and end in ends:
            tokens = slice(ends.index(begin), ends.index(end))
            places.append(found.span())
            costs.append(sum(bits[tokens]))
            int4_costs.append(sum(int4_bits[tokens]))
    return Game(text, tuple(places), tuple(costs), tuple(int4_costs), story.nats / math.log(2))


def _fitting_story(loaded: LoadedModel, seed: int) -> tuple[Story, list[int]]:
    """Return the first plain story of a collection that fits the context, and its tokens."""
    for story in generate_stories(seed, 100):
        ids = loaded.tokenizer.encode(story.text)
        if story.form == "plain" and len(ids) <= loaded.config.block_size:
            return story, ids
    raise ValueError("no story fits the starter's context; start a new one")


def _token_bits(loaded: LoadedModel, ids: list[int]) -> list[float]:
    """Return the bits of each token given those before it, 0 for the first."""
    return [0.0 if one.logprob is None else -one.logprob / math.log(2) for one in score_tokens(loaded, ids)]


def guess(game: Game, word: str, sure: float) -> Game:
    """Return the game after a guess, of which the player is so `sure`; ValueError for what is no guess."""
    word = word.strip()
    if game.over:
        raise ValueError("the story is over; start a new one")
    if not word or len(word) > LONGEST_GUESS:
        raise ValueError(f"a guess is a word of at most {LONGEST_GUESS} letters; type one")
    if sure not in SURE:
        raise ValueError("choose how sure you are")
    number = len(game.guesses)
    begin, end = game.places[number]
    truth = game.story[begin:end]
    unigram, of_guess = _unigram(truth), _unigram(word)
    # the rest is spread over all other words
    chance = sure if same_word(truth, word) else (1 - sure) * unigram / (1 - of_guess)
    made = Guess(truth, word, -math.log2(chance), game.bits[number], game.int4_bits[number], -math.log2(unigram))
    return replace(game, guesses=(*game.guesses, made))


def same_word(one: str, other: str) -> bool:
    """Return whether two words are the same but for capital letters."""
    return one.lower() == other.lower()


def _unigram(word: str) -> float:
    """Return the share of a word among those of COUNTED stories, one added to each count and for unknown words."""
    counts = _counts()
    return (counts.get(word.lower(), 0) + 1) / (sum(counts.values()) + len(counts) + 1)


@lru_cache(maxsize=1)
def _counts() -> Mapping[str, int]:
    """Return how often each word occurs in COUNTED stories."""
    return Counter(word.lower() for story in stories(_UNIGRAM_SEED, COUNTED) for word in _WORD.findall(story))
