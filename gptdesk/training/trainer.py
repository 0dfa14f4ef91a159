"""The training loop: AdamW with warmup, a cosine to zero and clipping, as a stream of steps that anyone may watch."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.optim import AdamW

from models.gpt import GPT
from samplers.options import Options


class TrainingOptions(Options):
    """What one can choose about a training run. The defaults suit networks of 1 to 5 million weights on a CPU."""

    steps: int = Field(default=1500, ge=1, le=10_000_000, description="updates of the weights")
    batch_size: int = Field(default=24, ge=1, le=65_536, description="rows of tokens in each step")
    learning_rate: float = Field(default=2e-3, gt=0, le=1, description="its peak, reached after the warmup")
    warmup_steps: int = Field(
        default=50, ge=0, le=1_000_000, description="steps until the learning rate is at its peak"
    )
    weight_decay: float = Field(default=0.1, ge=0, le=10, description="pull of the matrices towards zero")
    beta1: float = Field(default=0.9, ge=0, lt=1, description="memory of AdamW's mean gradient")
    beta2: float = Field(default=0.99, ge=0, lt=1, description="memory of AdamW's mean squared gradient")
    clip: float = Field(default=1.0, gt=0, le=1e6, description="longest gradient; longer ones are scaled down")
    evaluate_every: int = Field(default=100, ge=1, le=10_000_000, description="steps between validation losses")
    bfloat16: bool = Field(default=False, description="multiply in bfloat16, if the hardware can")
    seed: int = Field(default=0, ge=0, lt=2**63, description="of the order of the rows")

    @model_validator(mode="after")
    def _warmup_ends(self) -> "TrainingOptions":
        if self.warmup_steps >= self.steps:
            raise ValueError(f"warmup_steps must be less than the {self.steps} steps, not {self.warmup_steps}")
        return self


@dataclass(frozen=True)
class TrainingStep:
    """One update of the weights. Losses are in nats per token, the validation loss is that after the update."""

    step: int  # from 1
    train_loss: float
    validation_loss: float | None
    learning_rate: float
    grad_norm: float  # before clipping
    tokens_per_second: float


class TrainingDiverged(ValueError):
    """The loss or its gradient is no longer a number; the weights are still those before that step."""


def learning_rate(step: int, options: TrainingOptions) -> float:
    """The learning rate of step 1, 2, ...: linear warmup, then half a cosine that would reach zero after the last."""
    if step <= options.warmup_steps:
        return options.learning_rate * step / options.warmup_steps
    done = (step - 1 - options.warmup_steps) / (options.steps - options.warmup_steps)
    return options.learning_rate * (1 + math.cos(math.pi * done)) / 2


def make_optimizer(model: GPT, options: TrainingOptions, *, fused: bool = True) -> AdamW:
    """AdamW (Loshchilov and Hutter 2019) that decays matrices but not biases and layer norms.

    Fused, a step takes a tenth of the time on a CPU.
    """
    matrices = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    groups = [{"params": matrices, "weight_decay": options.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return AdamW(groups, lr=options.learning_rate, betas=(options.beta1, options.beta2), fused=fused)


def shuffled_batches(tokens: Tensor, *, batch_size: int, seed: int) -> Iterator[Tensor]:
    """Batches (B, T + 1) of the rows of `tokens` (R, T + 1), for ever; each pass over them has a new order."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.empty(0, dtype=torch.int64)
    while True:
        while len(order) < batch_size:
            order = torch.cat([order, torch.randperm(len(tokens), generator=generator)])
        yield tokens[order[:batch_size]]
        order = order[batch_size:]


@torch.inference_mode()
def evaluate(model: GPT, tokens: Tensor, *, batch_size: int = 32) -> float:
    """Mean loss in nats per token over the rows of `tokens` (R, T + 1)."""
    training = model.training
    model.eval()
    total = 0.0
    for rows in tokens.split(batch_size):
        rows = rows.to(model.wte.weight.device)
        total += model.loss(rows[:, :-1], rows[:, 1:]).item() * len(rows)
    model.train(training)
    return total / len(tokens)


def train(
    model: GPT, tokens: Tensor, *, options: TrainingOptions, validation: Tensor | None = None
) -> Iterator[TrainingStep]:
    """Train `model` in place on the rows of `tokens` (R, T + 1): each position learns to predict the next one.

    Yields after each step and may be abandoned after any. The `validation` rows are never trained on. Raises
    ValueError for rows that do not suit the model, TrainingDiverged when a step would put NaN into the weights.
    """
    for rows in (tokens,) if validation is None else (tokens, validation):
        _check_rows(rows, model)
    optimizer = make_optimizer(model, options)
    batches = shuffled_batches(tokens, batch_size=options.batch_size, seed=options.seed)
    model.train()
    try:
        for step in range(1, options.steps + 1):
            start = time.perf_counter()
            batch = next(batches).to(model.wte.weight.device)
            loss, norm, rate = _update(model, batch, optimizer, step=step, options=options)
            seconds = time.perf_counter() - start
            measured = step % options.evaluate_every == 0 or step == options.steps
            yield TrainingStep(
                step=step,
                train_loss=loss,
                validation_loss=evaluate(model, validation) if validation is not None and measured else None,
                learning_rate=rate,
                grad_norm=norm,
                tokens_per_second=batch[:, 1:].numel() / seconds,
            )
    finally:
        model.eval()


def _update(
    model: GPT, batch: Tensor, optimizer: AdamW, *, step: int, options: TrainingOptions
) -> tuple[float, float, float]:
    """One step on a batch (B, T + 1); returns loss, norm of the gradient before clipping, and learning rate."""
    rate = learning_rate(step, options)
    for group in optimizer.param_groups:
        group["lr"] = rate
    with torch.autocast(batch.device.type, torch.bfloat16, enabled=options.bfloat16):  # the weights stay float32
        loss = model.loss(batch[:, :-1], batch[:, 1:])
    optimizer.zero_grad()
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), options.clip)
    for what, value in (("loss", loss), ("gradient", norm)):
        if not value.isfinite():
            raise TrainingDiverged(
                f"the {what} is not finite at step {step} (learning rate {rate:.3g}), so training stopped before that "
                "step; try a lower learning_rate"
            )
    optimizer.step()
    return loss.item(), norm.item(), rate


def _check_rows(rows: Tensor, model: GPT) -> None:
    longest = model.config.block_size + 1
    if rows.ndim != 2 or not len(rows) or not 2 <= rows.shape[1] <= longest:
        raise ValueError(f"training needs rows of 2 to {longest} tokens for this model, not {tuple(rows.shape)}")
    if rows.min() < 0 or rows.max() >= model.config.vocab_size:
        raise ValueError(
            f"the tokens go from {rows.min()} to {rows.max()}, outside the {model.config.vocab_size} known"
        )
