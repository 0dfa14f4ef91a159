"""What one can choose about a training run: the same classes make the form, the command line and the record of it."""

import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from gptdesk.encodings import AUTO, COMMON, checked_encoding
from models.gpt import LIMITS, PRESETS
from samplers.options import Options

MOST_STEPS = 10_000_000
ADAMW_RATE = 2e-3  # peak, unless another is chosen
GENTLE_RATE = 5e-4  # the same for a model that goes on learning, which a high one would make forget
TOKENIZER = re.compile(r"auto|chars|gpt2|bpe(:\d+)?")


class TrainingOptions(Options):
    """How to train. The defaults suit networks of 1 to 5 million weights on a CPU."""

    steps: int = Field(default=1500, ge=1, le=MOST_STEPS, description="updates of the weights")
    batch_size: int = Field(default=24, ge=1, le=MOST_STEPS, description="rows of text in each step")
    accumulation: int = Field(
        default=1, ge=1, le=MOST_STEPS, description="parts a batch is computed in, one by one: less memory, same result"
    )
    optimizer: Literal["adamw", "muon"] = Field(
        default="muon",
        description="muon for the layers' matrices, which takes far fewer steps, or adamw for all weights",
    )
    learning_rate: float = Field(default=6e-3, gt=0, le=1, description="its peak, after the warmup")
    schedule: Literal["cosine", "linear"] = Field(
        default="cosine", description="how the learning rate falls after the warmup"
    )
    warmup_steps: int = Field(
        default=50, ge=0, le=MOST_STEPS, description="steps until the learning rate is at its peak"
    )
    floor: float = Field(default=0.0, ge=0, le=1, description="where the learning rate ends, as a share of its peak")
    weight_decay: float = Field(default=0.1, ge=0, le=10, description="pull of the matrices towards zero")
    beta1: float = Field(default=0.9, ge=0, lt=1, description="memory of AdamW's mean gradient")
    beta2: float = Field(default=0.99, ge=0, lt=1, description="memory of AdamW's mean squared gradient")
    clip: float = Field(default=1.0, gt=0, le=1e6, description="longest gradient; longer ones are scaled down")
    dropout: float = Field(
        default=0.0, ge=0, lt=1, description="share of activations set to zero; for text read more than 4 times"
    )
    average: float = Field(
        default=0.0, ge=0, lt=1, description="memory of the mean of past weights, which is then what is kept; 0: none"
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto", description="what to multiply in; auto tries both and takes the faster"
    )
    evaluate_every: int = Field(default=100, ge=1, le=MOST_STEPS, description="steps between validation losses")
    evaluation_tokens: int = Field(
        default=16_384, ge=1, le=10**9, description="tokens of held-out text that a validation loss is measured on"
    )
    patience: int = Field(
        default=8, ge=0, le=MOST_STEPS, description="evaluations without a better one before it stops; 0: never"
    )
    log_every: int = Field(default=10, ge=1, le=MOST_STEPS, description="steps between two points of the curves")
    save_every: int = Field(default=500, ge=1, le=MOST_STEPS, description="steps between two saves")
    max_minutes: float = Field(default=0.0, ge=0, le=1e6, description="time to train; 0: no limit")
    max_tokens: int = Field(default=0, ge=0, le=10**15, description="tokens to train on; 0: as the steps say")
    seed: int = Field(default=0, ge=0, lt=2**63, description="of the first weights, the order of the text, and dropout")

    @model_validator(mode="before")
    @classmethod
    def _short_runs_are_measured_often(cls, values: object) -> object:
        """Short runs warm up shortly and are measured often."""
        if not isinstance(values, dict):
            return values  # what it is instead, pydantic says
        fitting: dict[str, object] = {}
        if isinstance(steps := values.get("steps"), int | float) and 0 < steps <= MOST_STEPS:
            fitting["warmup_steps"] = max(0, min(50, int(steps) // 10))
            fitting["evaluate_every"] = max(1, min(100, int(steps) // 15))
        return fitting | values

    @model_validator(mode="after")
    def _adamw_goes_slower(self) -> "TrainingOptions":
        if self.optimizer == "adamw" and "learning_rate" not in self.model_fields_set:
            object.__setattr__(self, "learning_rate", ADAMW_RATE)
        return self

    @model_validator(mode="after")
    def _parts_fit(self) -> "TrainingOptions":
        if self.warmup_steps >= self.steps:
            raise ValueError(f"warmup_steps must be less than the {self.steps} steps, not {self.warmup_steps}")
        if self.accumulation > self.batch_size:
            raise ValueError(
                f"accumulation must be at most the batch_size of {self.batch_size}, not {self.accumulation}: "
                "each part needs a row"
            )
        return self

    def ending_after(self, steps: int) -> "TrainingOptions":
        """The same for a run of at most `steps`: it has the same shape and as many evaluations, in fewer steps."""
        if steps >= self.steps:
            return self
        steps = max(1, steps)
        shorter = {
            "steps": steps,
            "warmup_steps": self.warmup_steps * steps // self.steps,
            "evaluate_every": max(1, self.evaluate_every * steps // self.steps),
        }
        return TrainingOptions(**(dict(self) | shorter))


class ModelOptions(Options):
    """What to train: a network and a tokenizer, both new, or a model that goes on learning."""

    start: str = Field(default="", max_length=80, description="model to go on from; empty: a new one")
    tokenizer: str = Field(
        default="auto", description="auto, chars, bpe (learnt from the text), bpe:SIZE or gpt2; for a new model"
    )
    preset: str = Field(default="mini", description=f"size of a new model: {', '.join(PRESETS)}")
    block_size: int = Field(
        default=0, ge=0, le=LIMITS["block_size"], description="tokens the model sees at once; 0: as the preset says"
    )
    n_layer: int = Field(default=0, ge=0, le=LIMITS["n_layer"], description="layers; 0: as the preset says")
    n_head: int = Field(default=0, ge=0, le=LIMITS["n_head"], description="attention heads; 0: as the preset says")
    n_embd: int = Field(default=0, ge=0, le=LIMITS["n_embd"], description="channels; 0: as the preset says")

    @field_validator("preset")
    @classmethod
    def _is_a_preset(cls, name: str) -> str:
        if name not in PRESETS:
            raise ValueError(f"preset must be one of {', '.join(PRESETS)}, not {name[:60]!r}")
        return name

    @field_validator("tokenizer")
    @classmethod
    def _is_a_tokenizer(cls, kind: str) -> str:
        if not TOKENIZER.fullmatch(kind):
            raise ValueError(f"tokenizer must be auto, chars, bpe, bpe:SIZE or gpt2, not {kind[:60]!r}")
        if kind.startswith("bpe:") and not 257 <= int(kind[4:12]) <= 100_000:
            raise ValueError(
                f"the size of a BPE must be from 257 (256 bytes and the end of text) to 100000, not {kind[4:]}"
            )
        return kind


class DataOptions(Options):
    """How the text is read, and which part of it is held out to measure on."""

    encoding: str = Field(
        default=AUTO,
        max_length=60,
        description=f"of the text files, such as {', '.join(COMMON[2:5])}; auto: found from their bytes",
    )

    split: Literal["auto", "document", "position"] = Field(
        default="auto", description="what is held out: whole documents, or the end; auto: documents if there are many"
    )
    validation_share: float = Field(default=0.1, ge=0, le=0.5, description="share of the text that is held out")

    @field_validator("encoding")
    @classmethod
    def _is_an_encoding(cls, name: str) -> str:
        return checked_encoding(name)
