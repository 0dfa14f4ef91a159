"""Plan of a batch: models, sampler chains and options of all rows."""

from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from gptdesk.generation import MAX_SEED, MOST_STOPS, Constrained, GenerationRequest, StopText
from models.manager import ModelKey
from samplers import Chain, Options

MOST_MODELS, MOST_CHAINS = 20, 20
Name = Annotated[str, StringConstraints(min_length=1, max_length=1_000)]


class NamedChain(Options):
    """Sampler chain with the name that the results show."""

    name: Name
    chain: Chain


class BatchPlan(Constrained):
    """Options of a batch; with its prompts they determine every text."""

    models: tuple[tuple[Name, Name], ...] = Field(
        min_length=1, max_length=MOST_MODELS, description="name and precision of each model"
    )
    chains: tuple[NamedChain, ...] = Field(min_length=1, max_length=MOST_CHAINS, description="sampler chains")
    n: int = Field(1, ge=1, le=16, description="sequences for each prompt")
    seed: int = Field(0, ge=0, le=MAX_SEED, description="seed of the first prompt; the next one's is greater by one")
    max_new_tokens: int = Field(200, ge=1, le=100_000, description="most tokens to add to each prompt")
    stop: tuple[StopText, ...] = Field((), max_length=MOST_STOPS, description="strings at which a sequence ends")
    parse_special: bool = Field(False, description="special tokens typed in a prompt are those tokens")

    @model_validator(mode="after")
    def _without_repetitions(self) -> Self:
        for what, names in (("model", self.models), ("chain", tuple(one.name for one in self.chains))):
            for i, name in enumerate(names):
                if name in names[:i]:
                    spelled = name if isinstance(name, str) else ":".join(name)
                    raise ValueError(f"the {what} {spelled!r:.60} is given twice; leave one of them out")
        return self

    @classmethod
    def from_data(cls, data: dict[str, object]) -> Self:
        """Return the plan that `to_data` wrote; ValueError for anything else."""
        chains = data.get("chains")
        if not isinstance(chains, list) or not all(isinstance(one, dict) for one in chains):
            raise ValueError("the plan of the batch has no list of chains")
        named = [NamedChain(name=one.get("name"), chain=Chain.from_data(one.get("chain") or [])) for one in chains]
        return cls(**(data | {"chains": named}))

    def to_data(self) -> dict[str, object]:
        """Return the plan as JSON values."""
        chains = [{"name": one.name, "chain": one.chain.to_data()} for one in self.chains]
        return self.model_dump(mode="json", exclude={"chains"}) | {"chains": chains}

    def rows(self, prompts: int) -> int:
        """Return the number of rows for so many prompts."""
        return prompts * len(self.chains) * len(self.models)

    def place(self, row: int, *, prompts: int) -> tuple[ModelKey, NamedChain, int]:
        """Return model, chain and index of the prompt of a row; all rows of a model follow each other."""
        rest, prompt = divmod(row, prompts)
        model, chain = divmod(rest, len(self.chains))
        name, precision = self.models[model]
        return ModelKey(name, precision), self.chains[chain], prompt

    def request(self, prompt: str, *, index: int, chain: Chain) -> GenerationRequest:
        """Return the request of a row; the seed depends on the index of the prompt alone."""
        return GenerationRequest(
            prompt=prompt,
            chain=chain,
            n=self.n,
            seed=(self.seed + index) % (MAX_SEED + 1),
            max_new_tokens=self.max_new_tokens,
            stop=self.stop,
            parse_special=self.parse_special,
            **self.constraints(),
        )
