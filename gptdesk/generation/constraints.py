"""Constraints of a request by the tokens of a model: banned phrases, choices and word biases."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from gptdesk.context_window import new_tokens_after
from gptdesk.generation.banned_phrases import BannedPhrases
from gptdesk.generation.choices import Choices, spellings
from gptdesk.generation.request import GenerationRequest
from gptdesk.generation.word_bias import WordBias
from models.manager import LoadedModel
from models.tokenizer import Tokenizer


@dataclass(frozen=True, eq=False)
class Constraints:
    """Limits on the text of a request, and its biases, by the tokens of a model."""

    phrases: BannedPhrases
    banned: Tensor  # (V,) bool: tokens that hold a phrase by themselves
    before: str  # end of the prompt, in which a phrase may begin
    choices: Choices | None
    words: WordBias
    room: int  # most tokens to write

    @classmethod
    def of(cls, request: GenerationRequest, loaded: LoadedModel, prompt: Sequence[int]) -> "Constraints":
        """Return the constraints of a request whose prompt is read as these ids.

        Raises ValueError for a choice or a word that cannot be written.
        """
        tokenizer, size = loaded.tokenizer, loaded.config.vocab_size
        phrases = BannedPhrases(request.banned_phrases)
        banned = phrases.tokens(tokenizer, size)
        room = min(request.max_new_tokens, new_tokens_after(len(prompt), context=loaded.config.block_size))
        choices = None
        if request.choices:
            spelled = spellings(tokenizer, size, banned=banned)
            choices = Choices(request.choices, spelled, ends=tokenizer.special_ids.eos, room=room)
        return cls(
            phrases,
            banned,
            _end_of_text(tokenizer, prompt, phrases.longest - 1),
            choices,
            WordBias(request.word_bias, tokenizer),
            room,
        )


def is_constrained(request: GenerationRequest) -> bool:
    """Return whether a request has constraints."""
    return bool(request.constraints())


def _end_of_text(tokenizer: Tokenizer, ids: Sequence[int], characters: int) -> str:
    """Return the last characters of the text of these ids, at most so many; tokens that bound a text have none."""
    if characters < 1:
        return ""
    bounds = tokenizer.special_ids.bounds
    # a character has at most four bytes, and a token at least one
    last = [token for token in ids[-4 * characters :] if token not in bounds]
    return tokenizer.decode(last)[-characters:]
