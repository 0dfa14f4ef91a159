"""Options of a training run: of the training, of the model, and of the text's encoding and validation split."""

import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from gptdesk.encodings import AUTO, COMMON, checked_encoding
from models.gpt import LIMITS, PRESETS
from samplers.options import Options

MOST_STEPS = 10_000_000
MUON_RATE, ADAMW_RATE = 6e-3, 2e-3  # peaks of the learning rate for a new model
BASE_MODEL_RATE = 5e-4  # the same for a base model, which a higher rate would make forget
MOST_WARMUP, MOST_BETWEEN = 50, 100  # steps of warmup, and between evaluations, that are chosen automatically
TOKENIZER = re.compile(r"auto|chars|gpt2|bpe(:\d+)?")


class TrainingOptions(Options):
    """Options of training as chosen. A field that is None follows from the others: see `resolve`.

    The defaults suit networks of 1 to 5 million parameters on a CPU.
    """

    steps: int = Field(default=1500, ge=1, le=MOST_STEPS, description="updates of the weights")
    batch_size: int = Field(default=24, ge=1, le=MOST_STEPS, description="rows of text in each step")
    accumulation: int = Field(
        default=1, ge=1, le=MOST_STEPS, description="parts a batch is computed in, one by one: less memory, same result"
    )
    optimizer: Literal["adamw", "muon"] = Field(
        default="muon",
        description="muon for the layers' matrices, which takes far fewer steps, or adamw for all weights",
    )
    learning_rate: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description=f"its peak, after the warmup; automatic: {MUON_RATE:g} for muon, {ADAMW_RATE:g} for adamw, "
        f"{BASE_MODEL_RATE:g} for a base model",
    )
    schedule: Literal["cosine", "linear"] = Field(
        default="cosine", description="how the learning rate falls after the warmup"
    )
    warmup_steps: int | None = Field(
        default=None,
        ge=0,
        le=MOST_STEPS,
        description=f"steps until the learning rate is at its peak; automatic: a tenth, at most {MOST_WARMUP}",
    )
    floor: float = Field(default=0.0, ge=0, le=1, description="where the learning rate ends, as a share of its peak")
    weight_decay: float = Field(default=0.1, ge=0, le=10, description="pull of the matrices towards zero")
    beta1: float = Field(default=0.9, ge=0, lt=1, description="decay of AdamW's mean of gradients")
    beta2: float = Field(default=0.99, ge=0, lt=1, description="decay of AdamW's mean of squared gradients")
    clip: float = Field(
        default=1.0, gt=0, le=1e6, description="clipping threshold: a larger gradient norm is scaled down to it"
    )
    dropout: float = Field(
        default=0.0, ge=0, lt=1, description="share of activations set to zero; for text read more than 4 times"
    )
    average: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="decay of the running mean of the weights, which is then what is saved; 0: none",
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto", description="what to multiply in; auto tries both and takes the faster"
    )
    evaluate_every: int | None = Field(
        default=None,
        ge=1,
        le=MOST_STEPS,
        description=f"steps between validation losses; automatic: a fifteenth, at most {MOST_BETWEEN}",
    )
    evaluation_tokens: int = Field(
        default=16_384,
        ge=1,
        le=10**9,
        description="tokens of the validation split that a validation loss is measured on",
    )
    patience: int = Field(
        default=8, ge=0, le=MOST_STEPS, description="evaluations without a better one before it stops; 0: never"
    )
    log_every: int = Field(default=10, ge=1, le=MOST_STEPS, description="steps between two points of the curves")
    save_every: int = Field(default=500, ge=1, le=MOST_STEPS, description="steps between two checkpoints")
    max_minutes: float = Field(default=0.0, ge=0, le=1e6, description="time to train; 0: no limit")
    max_tokens: int = Field(default=0, ge=0, le=10**15, description="tokens to train on; 0: as the steps say")
    seed: int = Field(default=0, ge=0, lt=2**63, description="of the first weights, the order of the text, and dropout")

    @model_validator(mode="after")
    def _check_together(self) -> "TrainingOptions":
        if self.warmup_steps is not None and self.warmup_steps >= self.steps:
            raise ValueError(f"warmup_steps must be less than the {self.steps} steps, not {self.warmup_steps}")
        if self.accumulation > self.batch_size:
            raise ValueError(
                f"accumulation must be at most the batch_size of {self.batch_size}, not {self.accumulation}: "
                "each part needs a row"
            )
        return self

    def resolve(self, *, base_model: bool = False) -> "ResolvedTraining":
        """Return the options with each None replaced by the default that suits the others.

        With a `base_model` training continues that of another model, at a lower learning rate.
        """
        rate = ADAMW_RATE if self.optimizer == "adamw" else MUON_RATE
        automatic = {
            "learning_rate": BASE_MODEL_RATE if base_model else rate,
            "warmup_steps": min(MOST_WARMUP, self.steps // 10),
            "evaluate_every": max(1, min(MOST_BETWEEN, self.steps // 15)),
        }
        return ResolvedTraining(
            **(automatic | {name: value for name, value in dict(self).items() if value is not None})
        )


class ResolvedTraining(TrainingOptions):
    """Options of training in which nothing is left to be chosen automatically."""

    learning_rate: float
    warmup_steps: int
    evaluate_every: int

    def ending_after(self, steps: int) -> "ResolvedTraining":
        """Return the options of a run of at most `steps`, with the same schedule and number of evaluations."""
        if steps >= self.steps:
            return self
        steps = max(1, steps)
        shorter = {
            "steps": steps,
            "warmup_steps": self.warmup_steps * steps // self.steps,
            "evaluate_every": max(1, self.evaluate_every * steps // self.steps),
        }
        return ResolvedTraining(**(dict(self) | shorter))


AUTOMATIC = tuple(name for name, field in TrainingOptions.model_fields.items() if field.default is None)


class ModelOptions(Options):
    """Options of the model: a new network with a tokenizer, or a base model whose training continues."""

    start: str = Field(default="", max_length=80, description="base model, whose training continues; empty: a new one")
    tokenizer: str = Field(
        default="auto", description="auto, chars, bpe (trained on the text), bpe:SIZE or gpt2; for a new model"
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
    """Options of the text: its encoding and its validation split."""

    encoding: str = Field(
        default=AUTO,
        max_length=60,
        description=f"of the text files, such as {', '.join(COMMON[2:5])}; auto: detected from their bytes",
    )

    split: Literal["auto", "document", "position"] = Field(
        default="auto",
        description="validation split: whole documents, or the end of the text; auto: documents if there are many",
    )
    validation_share: float = Field(default=0.1, ge=0, le=0.5, description="share of the text in the validation split")

    @field_validator("encoding")
    @classmethod
    def _is_an_encoding(cls, name: str) -> str:
        return checked_encoding(name)
