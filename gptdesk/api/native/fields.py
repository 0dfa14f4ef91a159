"""Fields of the desk's own routes; what each means stands in the OpenAPI document."""

from typing import Annotated, ClassVar, Self

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from gptdesk.api.errors import REQUEST
from gptdesk.encodings import without_surrogates
from gptdesk.generation import (
    MAX_SEED,
    MOST_ALTERNATIVES,
    MOST_CHOICES,
    MOST_PHRASES,
    MOST_STOPS,
    MOST_WORDS,
    GenerationRequest,
    StopText,
)
from gptdesk.inspection import MOST_LISTED
from samplers import Chain, OptionError, Options, chain_of, default_chain

MOST_PROMPTS = 64  # of a batch
LONGEST_TEXT = 1_000_000  # characters
LONGEST_CHAIN = 64  # samplers
SAMPLING = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")  # fields that change the default chain
Ids = Annotated[list[int], Field(max_length=LONGEST_TEXT)]
Text = Annotated[
    str,
    BeforeValidator(lambda text: without_surrogates(text) if isinstance(text, str) else text),
    Field(max_length=LONGEST_TEXT),
]
ModelName = Annotated[str, Field(max_length=300)]


class ModelFields(Options):
    """Model of a request."""

    model_config = ConfigDict(strict=True)  # true is no number, and 1.0 no id
    name: ClassVar[str] = REQUEST

    model: ModelName = Field("starter", description="NAME, or NAME:PRECISION as in starter:int8")


class SamplerFields(ModelFields):
    """Precision and samplers of a request: a chain, a preset, or options that differ from the default chain's."""

    precision: str | None = Field(
        None, max_length=100, description="number format of the weights, where model does not name it"
    )
    temperature: float | None = Field(None, ge=0, le=2, description="of the default chain; 0: the most probable token")
    top_k: int | None = Field(None, ge=0, description="of the default chain: number of tokens kept; 0: all")
    top_p: float | None = Field(
        None, gt=0, le=1, description="of the default chain: share of the probability kept; 1: all"
    )
    min_p: float | None = Field(
        None, ge=0, le=1, description="of the default chain: lowest share of the most probable token's probability kept"
    )
    repetition_penalty: float | None = Field(
        None, ge=0.1, le=10, description="of the default chain: factor against repeated tokens; 1: none"
    )
    chain: list[dict[str, object]] | None = Field(
        None,
        max_length=LONGEST_CHAIN,
        description='samplers in order, as in [{"name": "top_k", "top_k": 50}]; none: the default chain',
    )
    preset: str | None = Field(None, max_length=100, description="name of a preset, instead of a chain")

    @model_validator(mode="after")
    def _have_one_chain(self) -> Self:
        if self.chain is not None and self.preset is not None:
            raise ValueError("give either chain or preset, and leave out the other")
        whole = next((name for name in ("chain", "preset") if getattr(self, name) is not None), None)
        if whole and (given := next(iter(self.sampler_options()), None)):
            raise ValueError(f"{whole} has all samplers, so {given} is not allowed beside it; leave out one of them")
        return self

    def sampler_options(self) -> dict[str, object]:
        """Return the options of samplers that are given."""
        given = {name: getattr(self, name) for name in SAMPLING}
        return {name: value for name, value in given.items() if value is not None}

    def given_chain(self) -> dict[str, Chain]:
        """Return the chain by its name in a GenerationRequest, if there is one; the preset is left to the desk."""
        if self.chain is not None:
            try:
                return {"chain": Chain.from_data(self.chain)}
            except ValueError as error:
                raise OptionError(str(error), option="chain") from None
        if options := self.sampler_options():
            return {"chain": chain_of([sampler.name for sampler in default_chain().samplers], options)}
        return {}


class PromptFields(SamplerFields):
    """Prompt and samplers of a request."""

    prompt: Text = Field("", description="text to continue; empty: a new text")
    prompt_ids: Ids | None = Field(None, description="token ids to continue, instead of the prompt")

    @model_validator(mode="after")
    def _have_one_prompt(self) -> Self:
        if self.prompt and self.prompt_ids is not None:
            raise ValueError("give either prompt or prompt_ids, and leave out the other")
        return self

    def options(self) -> dict[str, object]:
        """Return prompt and chain as options of a GenerationRequest; the preset is left to the desk."""
        given: dict[str, object] = {"prompt": self.prompt, **self.given_chain()}
        if self.prompt_ids is not None:
            given["prompt_ids"] = tuple(self.prompt_ids)
        return given


class ConstraintFields(Options):
    """Constraints on the texts of a request."""

    banned_phrases: list[StopText] = Field(
        default_factory=list,
        max_length=MOST_PHRASES,
        description="texts that must not be written: generation goes back to where one began, and writes on",
    )
    choices: list[StopText] = Field(
        default_factory=list,
        max_length=MOST_CHOICES,
        description="texts of which the answer is exactly one, with a space before it where it needs one",
    )
    word_bias: dict[StopText, float] = Field(
        default_factory=dict,
        max_length=MOST_WORDS,
        description='number from -100 to 100 to add to the logits of a word\'s tokens, as in {"dragon": 3}',
    )

    def constraints(self) -> dict[str, object]:
        """Return these fields as options of a GenerationRequest."""
        phrases, choices = tuple(self.banned_phrases), tuple(self.choices)
        return {"banned_phrases": phrases, "choices": choices, "word_bias": self.word_bias}


class TextFields(SamplerFields, ConstraintFields):
    """Length, number and ends of the texts of a request."""

    max_new_tokens: int = Field(200, ge=1, le=100_000, description="most tokens to add")
    max_length: int | None = Field(
        None, ge=1, le=100_000, description="most tokens of prompt and text together, instead of max_new_tokens"
    )
    n: int = Field(1, ge=1, le=16, description="sequences from the same prompt")
    seed: int | None = Field(None, ge=0, le=MAX_SEED, description="same seed, same text; none: a new one is drawn")
    stop: list[StopText] = Field(
        default_factory=list,
        max_length=MOST_STOPS,
        description="strings at which a sequence ends; not part of the text",
    )
    top_logprobs: int = Field(0, ge=0, le=MOST_ALTERNATIVES, description="most probable tokens to report at each step")

    @model_validator(mode="after")
    def _have_one_length(self) -> Self:
        if self.max_length is not None and "max_new_tokens" in self.model_fields_set:
            raise ValueError("give either max_length or max_new_tokens, and leave out the other")
        return self


class GenerateFields(PromptFields, TextFields):
    """Body of POST /generate."""

    stream: bool = Field(False, description="answer with server-sent events, one for each token")

    def request(self, chain: Chain | None) -> GenerationRequest:
        """Return the request; `chain` is that of the preset, if there is one."""
        given = self.options() | ({"chain": chain} if chain else {})
        return GenerationRequest(
            max_new_tokens=self.max_new_tokens,
            n=self.n,
            seed=self.seed,
            stop=tuple(self.stop),
            top_logprobs=self.top_logprobs,
            **self.constraints(),
            **given,
        )

    def new_tokens(self, prompt_tokens: int) -> int:
        """Return how many tokens may be added to a prompt of this many; OptionError if max_length leaves no room."""
        if self.max_length is None:
            return self.max_new_tokens
        if self.max_length <= prompt_tokens:
            sentence = (
                f"max_length counts prompt and text together and must be above the prompt's {prompt_tokens:,} tokens, "
                f"not {self.max_length:,}; raise it, or give max_new_tokens"
            )
            raise OptionError(sentence, option="max_length")
        return self.max_length - prompt_tokens


class BatchFields(TextFields):
    """Body of POST /generate/batch: prompts with the same options, or requests with options of their own."""

    prompts: list[Text] | None = Field(
        None, min_length=1, max_length=MOST_PROMPTS, description="texts to continue, with the other fields for each"
    )
    requests: list[GenerateFields] | None = Field(
        None,
        min_length=1,
        max_length=MOST_PROMPTS,
        description="bodies of /generate, answered in their order, instead of prompts and all other fields",
    )

    @model_validator(mode="after")
    def _have_one_list(self) -> Self:
        if (self.prompts is None) == (self.requests is None):
            raise ValueError('give either prompts, as in {"prompts": ["Once", "The dog"]}, or requests')
        if self.requests is not None and (others := sorted(self.model_fields_set - {"requests", "prompts"})):
            raise ValueError(f"{others[0]} is not allowed beside requests; put it into each of them")
        return self

    def bodies(self) -> list[GenerateFields]:
        """Return the body of each prompt or request."""
        if self.prompts is None:
            return self.requests or []
        shared = {name: getattr(self, name) for name in self.model_fields_set & TextFields.model_fields.keys()}
        return [GenerateFields(prompt=prompt, **shared) for prompt in self.prompts]


class LogitsFields(PromptFields):
    """Body of POST /logits."""

    top: int = Field(10, ge=1, le=MOST_LISTED, description="tokens to list, the most probable first")


class TokenizeFields(ModelFields):
    """Body of POST /tokenize."""

    text: Text = Field(description="text to split into tokens")
    parse_special: bool = Field(
        False, description="special tokens in the text, such as <|endoftext|>, are those tokens"
    )


class DetokenizeFields(ModelFields):
    """Body of POST /detokenize."""

    ids: Ids = Field(description="token ids")


class CompareFields(GenerateFields):
    """Body of POST /compare: one request for several models."""

    models: list[ModelName] = Field(min_length=2, max_length=3, description="the first is the reference")
