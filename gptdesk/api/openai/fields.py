"""Fields of POST /v1/completions: those of OpenAI's API with its ranges, and ours beside them."""

import reprlib
from collections.abc import Mapping
from typing import Annotated, ClassVar, Self

from pydantic import BeforeValidator, ConfigDict, Field, field_validator, model_validator

from gptdesk.api.errors import REQUEST
from gptdesk.api.native.fields import LONGEST_CHAIN, ConstraintFields
from gptdesk.encodings import without_surrogates
from gptdesk.generation import MAX_SEED, MOST_ALTERNATIVES, StopText
from samplers import Chain, OptionError, Options, build
from samplers.logit_bias import MOST as MOST_BIASES
from samplers.logit_bias import spelled

MOST_STOPS = 4  # as OpenAI's API has them; the desk's own routes allow more
MOST_ROWS = 16  # sequences of one prompt, as in a GenerationRequest
SAMPLING = [
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
]  # fields that make the chain, where none is given


class StreamOptions(Options):
    """Options of a streamed answer."""

    model_config = ConfigDict(extra="ignore", strict=True)

    include_usage: bool = False


def _prompts(prompt: object) -> object:
    """Return a prompt of any of the five forms as a list, of texts or of lists of ids; ValueError for another form."""
    if prompt is None:
        return [""]
    if isinstance(prompt, str):
        return [without_surrogates(prompt)]
    if isinstance(prompt, list) and prompt:
        if all(isinstance(one, str) for one in prompt):
            return [without_surrogates(one) for one in prompt]
        if all(type(one) is int for one in prompt):
            return [prompt]
        if all(isinstance(ids, list) and ids and all(type(one) is int for one in ids) for ids in prompt):
            return prompt
    raise ValueError("prompt must be a text, a list of texts, a list of token ids, or a list of lists of token ids")


def _texts(stop: object) -> object:
    """Return stop strings as a list; ValueError for what is neither a text nor a list of a few."""
    if isinstance(stop, str):
        return [stop]
    if isinstance(stop, list) and len(stop) <= MOST_STOPS and all(isinstance(one, str) for one in stop):
        return stop
    raise ValueError(f"stop must be a text or a list of up to {MOST_STOPS} texts, not {reprlib.repr(stop)}")


class CompletionFields(ConstraintFields):
    """Body of a request; unknown fields are ignored, and null is the default of every optional one."""

    model_config = ConfigDict(extra="ignore", strict=True)
    name: ClassVar[str] = REQUEST

    model: str = Field(
        max_length=300, description="NAME, or NAME:PRECISION as in starter:int8, of the list at /v1/models"
    )
    prompt: Annotated[list[str] | list[list[int]], BeforeValidator(_prompts)] = Field(
        description="text to continue, or token ids, or a list of either; null: a new text"
    )
    best_of: int | None = Field(
        None, ge=1, le=MOST_ROWS, description="sequences to generate, of which the n most probable are returned"
    )
    echo: bool = Field(False, description="return the prompt before the text")
    frequency_penalty: float = Field(
        0.0, ge=-2, le=2, description="taken from a token's logit for each time it occurs already"
    )
    logit_bias: dict[str, float] = Field(
        default_factory=dict, max_length=MOST_BIASES, description="number to add to a token's logit, by token id"
    )
    logprobs: int | None = Field(
        None, ge=0, le=MOST_ALTERNATIVES, description="most probable tokens to report at each step"
    )
    max_tokens: int = Field(16, ge=0, le=100_000, description="most tokens to add")
    n: int = Field(1, ge=1, le=MOST_ROWS, description="sequences to return for each prompt")
    presence_penalty: float = Field(0.0, ge=-2, le=2, description="taken from a token's logit if it occurs already")
    seed: int | None = Field(None, ge=0, le=MAX_SEED, description="same seed, same text; none: a new one is drawn")
    stop: Annotated[list[StopText], BeforeValidator(_texts)] = Field(
        default_factory=list, max_length=MOST_STOPS, description="text, or list of texts, at which a sequence ends"
    )
    stream: bool = Field(False, description="answer with server-sent events, a token each")
    stream_options: StreamOptions | None = Field(
        None, description='of a streamed answer: {"include_usage": true} adds the numbers of tokens at its end'
    )
    suffix: str | None = Field(None, description="not supported: leave it out")
    temperature: float = Field(1.0, ge=0, le=2, description="divisor of the logits; 0: the most probable token")
    top_p: float = Field(
        1.0, ge=0, le=1, description="draw from the most probable tokens that together have this probability"
    )
    user: str | None = Field(None, description="taken for OpenAI's clients, and not used")
    chain: list[dict[str, object]] | None = Field(
        None,
        max_length=LONGEST_CHAIN,
        description="samplers in order, with their options, instead of the fields for sampling",
    )
    top_k: int = Field(0, ge=0, description="draw from this many most probable tokens; 0: from all")
    min_p: float = Field(
        0.0, ge=0, le=1, description="leave out tokens below this share of the most probable one's probability"
    )
    precision: str | None = Field(
        None, max_length=100, description="number format of the weights; none: the model's own"
    )

    @classmethod
    def read(cls, body: object) -> Self:
        """Return the fields of a parsed body; ValueError with one sentence for the first that is wrong."""
        if not isinstance(body, Mapping):
            raise ValueError('the body must be a JSON object such as {"model": "starter", "prompt": "Once"}')
        return cls(**{name: value for name, value in body.items() if value is not None or name == "prompt"})

    @field_validator("suffix")
    @classmethod
    def _there_is_no_suffix(cls, suffix: str | None) -> str | None:
        if suffix:
            raise ValueError("suffix is not supported: these models continue a text and cannot insert; leave it out")
        return suffix

    @field_validator("logit_bias")
    @classmethod
    def _are_biases(cls, biases: dict[str, float]) -> dict[str, float]:
        for token, bias in biases.items():
            if not (token.isascii() and token.isdecimal() and len(token) < 19):
                raise ValueError(f"logit_bias has token ids as its keys, not {token!r:.60}")
            if not -100 <= bias <= 100:
                raise ValueError(f"logit_bias takes numbers from -100 to 100, not {bias!r:.60}")
        return biases

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.best_of is not None and self.best_of < self.n:
            raise ValueError(f"best_of must be at least n, {self.n}, not {self.best_of}")
        if self.stream and self.rows > self.n:
            raise ValueError("best_of cannot be streamed, for the best is known at the end; leave out one of them")
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options is allowed only with stream; leave it out or set stream")
        if self.chain is not None and (given := [name for name in SAMPLING if name in self.model_fields_set]):
            raise ValueError(f"chain has all samplers, in order, so {given[0]} is not allowed beside it; put it there")
        return self

    @property
    def rows(self) -> int:
        """Sequences to generate from each prompt, of which the n best are returned."""
        return self.best_of or self.n

    def sampler_chain(self) -> Chain:
        """Return the samplers: those of `chain`, or of the fields, in the order that the page has at first."""
        if self.chain is not None:
            try:
                return Chain.from_data(self.chain)
            except ValueError as error:
                raise OptionError(str(error), option="chain") from None
        biases = {int(token): bias for token, bias in self.logit_bias.items()}
        penalties = {name: getattr(self, name) for name in ("presence_penalty", "frequency_penalty")}
        # a nucleus of nothing is the most probable token alone
        nucleus = build("top_p", top_p=self.top_p) if self.top_p else build("top_k", top_k=1)
        links = [
            build("logit_bias", logit_bias=spelled(biases)),
            build("presence_frequency", **penalties),
            build("temperature", temperature=self.temperature),
            build("top_k", top_k=self.top_k),
            nucleus,
            build("min_p", min_p=self.min_p),
        ]
        return Chain(samplers=tuple(links))
