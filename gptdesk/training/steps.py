"""Steps of training: what a trainer yields after each, and the state from which the next one follows."""

from dataclasses import dataclass, field

from torch import Tensor

from gptdesk.training.time_budget import Replan

WEIGHTS, AVERAGE = "weights.", "average."  # prefixes of the tensors of a state


@dataclass(frozen=True)
class TrainingStep:
    """One update of the weights. Losses are in nats per token, the validation loss is that after the update."""

    step: int  # from 1
    train_loss: float
    validation_loss: float | None
    learning_rate: float
    grad_norm: float  # before clipping
    tokens_per_second: float
    seconds: float  # of training so far, without pauses
    tokens: int  # seen so far
    epoch: float  # times the text has been read so far
    best: bool = False  # no evaluation before had a smaller validation loss
    steps: int | None = None  # at which a run with a time budget ends, as planned after this step


@dataclass(frozen=True)
class TrainerState:
    """State that the next step depends on, beside the options and the rows."""

    step: int = 0
    seconds: float = 0.0
    best_step: int = 0
    best_loss: float | None = None
    planned: tuple[int, float] | None = None  # steps and minutes, of a run with a time budget
    replans: tuple[Replan, ...] = ()
    tensors: dict[str, Tensor] = field(default_factory=dict)  # weights, moments and running mean, by name


class TrainingDiverged(ValueError):
    """Loss or gradient that is not finite; the weights are still those before that step."""
