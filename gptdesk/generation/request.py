"""Options of a generation, and its random seed."""

import secrets
from typing import Annotated, Self, TypeVar

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from gptdesk.encodings import without_surrogates
from gptdesk.generation.word_bias import LARGEST_BIAS
from samplers import Chain, Options, default_chain

MAX_SEED = 2**63 - 1
LONGEST_STOP = 1_000  # characters of a stop string
MOST_ALTERNATIVES = 5
DRAWN_SEEDS = 2**32  # seeds that we draw are below it, to be short
MOST_STOPS = 16
MOST_PHRASES, MOST_CHOICES, MOST_WORDS = 64, 64, 100

Texts = TypeVar("Texts", tuple[str, ...], dict[str, float])
StopText = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_STOP)]


class Constrained(Options):
    """Options that limit what a text may be."""

    banned_phrases: tuple[StopText, ...] = Field(
        (), max_length=MOST_PHRASES, description="texts that must not be written: generation goes back and writes on"
    )
    choices: tuple[StopText, ...] = Field(
        (), max_length=MOST_CHOICES, description="texts of which a sequence is one, and ends with it"
    )
    word_bias: dict[StopText, Annotated[float, Field(ge=-LARGEST_BIAS, le=LARGEST_BIAS)]] = Field(
        default_factory=dict,
        max_length=MOST_WORDS,
        description="words made more (above 0) or less probable: the number is added to the logits of their tokens",
    )

    def constraints(self) -> dict[str, object]:
        """Return those of these options that are set, by name."""
        return {name: value for name in Constrained.model_fields if (value := getattr(self, name))}

    @model_serializer(mode="wrap")
    def _without_unset(self, serialize: SerializerFunctionWrapHandler) -> dict[str, object]:
        """Leave out constraints that are not set, as in what earlier versions wrote and read."""
        values: dict[str, object] = serialize(self)
        return {name: value for name, value in values.items() if value or name not in Constrained.model_fields}

    @field_validator("banned_phrases", "choices", "word_bias")
    @classmethod
    def _can_be_spelled(cls, texts: Texts, info: ValidationInfo) -> Texts:
        """Refuse U+FFFD, which stands for bytes that are no text, and lone surrogates, which are no characters."""
        for text in texts:
            if info.field_name == "word_bias" and not text.strip():
                raise ValueError("word_bias has an empty word; leave it out")
            if any(character == "\ufffd" or "\ud800" <= character <= "\udfff" for character in text):
                raise ValueError(
                    f"{info.field_name} has characters that cannot be written, in {text!r:.60}; leave them out"
                )
        return texts


class GenerationRequest(Constrained):
    """Options of a generation; the text depends on these and the model alone."""

    prompt: str = Field("", max_length=1_000_000, description="text to continue; empty: a new text")
    prompt_ids: tuple[int, ...] | None = Field(
        None, min_length=1, max_length=1_000_000, description="token ids to continue, instead of the prompt"
    )
    chain: Chain = Field(default_factory=default_chain, description="samplers, in the order in which they apply")
    max_new_tokens: int = Field(
        200,
        ge=1,
        le=100_000,
        description="most tokens to add; where they would not fit, the prompt's front is cut, down to half the context",
    )
    n: int = Field(1, ge=1, le=16, description="sequences to generate from the same prompt")
    seed: int | None = Field(None, ge=0, le=MAX_SEED, description="same seed, same text; none: a new one is drawn")
    stop: tuple[StopText, ...] = Field(
        (), max_length=MOST_STOPS, description="strings at which a sequence ends; they are not part of the text"
    )
    deadline: float | None = Field(None, gt=0, description="seconds after which every sequence ends")
    parse_special: bool = Field(
        False, description="special tokens typed in the prompt, such as <|endoftext|>, are those tokens, not plain text"
    )

    top_logprobs: int = Field(
        0, ge=0, le=MOST_ALTERNATIVES, description="most probable tokens to report at each step, with log-probabilities"
    )

    @model_validator(mode="after")
    def _have_one_prompt(self) -> Self:
        if self.prompt and self.prompt_ids is not None:
            raise ValueError("a request has either a prompt or prompt_ids; leave one of them out")
        return self

    @field_validator("prompt", mode="before")
    @classmethod
    def _without_lone_surrogates(cls, prompt: object) -> object:
        """Replace lone surrogates, which a page or a terminal can send, by U+FFFD."""
        return without_surrogates(prompt) if isinstance(prompt, str) else prompt


def draw_seed() -> int:
    """Return a random seed below DRAWN_SEEDS."""
    return secrets.randbelow(DRAWN_SEEDS)
