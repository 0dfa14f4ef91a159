"""The training loop, as a stream of steps that anyone may watch, leave after any, and take up again to the last bit."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from gptdesk.training.distributed import World, fill, put, whole, whole_model
from gptdesk.training.loader import Loader, Rows, TableRows, draw
from gptdesk.training.optimizer import Average, make_optimizer
from gptdesk.training.options import TrainingOptions
from gptdesk.training.schedule import learning_rate
from models.gpt import GPT

EARLY = (8, 4, 2)  # parts of evaluate_every after which a text that was read by then is measured already
LATE = 1.1  # times its minutes a run may take: its steps were planned to fit, and the last ones matter
WEIGHTS, AVERAGE = "weights.", "average."  # prefixes of the tensors of a state
ON, KEPT, STATE = range(3)  # what the first process of a sharded world needs the others for: nothing, weights, all


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


@dataclass(frozen=True)
class TrainerState:
    """All that the next step depends on, but for the options and the rows."""

    step: int = 0
    seconds: float = 0.0
    best_step: int = 0
    best_loss: float | None = None
    tensors: dict[str, Tensor] = field(default_factory=dict)  # weights, moments and mean, by name


class TrainingDiverged(ValueError):
    """The loss or its gradient is no longer a number; the weights are still those before that step."""


class Trainer:
    """Trains `model` in place, on the device it is on; every process of the `world` has one.

    Raises ValueError for rows that do not suit the model.
    """

    def __init__(
        self,
        model: GPT,
        rows: Rows,
        *,
        options: TrainingOptions,
        validation: Tensor | None = None,
        world: World | None = None,
        bfloat16: bool = False,
    ) -> None:
        self.model, self.options, self.rows = model, options, rows
        self.world = world or World()
        self.bfloat16 = bfloat16
        self.step, self.seconds = 0, 0.0
        self.best_step, self.best_loss = 0, None if validation is None else float("inf")
        self.ended = ""  # why the stream of steps ended
        if options.batch_size < self.world.size:
            raise ValueError(f"batch_size must be at least the {self.world.size} processes, not {options.batch_size}")
        self._validation = validation
        self._loader = Loader(rows, seed=options.seed)
        self._loss = self.world.loss_of(model)  # first: it may replace the weights
        self._optimizer = make_optimizer(model, options)
        self._average = Average(model, options.average) if options.average else None
        self._device = model.wte.weight.device

    @property
    def tokens(self) -> int:
        """How many were learnt from so far."""
        return self.step * self.options.batch_size * (self.rows.width - 1)

    def run(self, stop: threading.Event | None = None) -> Iterator[TrainingStep]:
        """Train from where it stands; yields after each step and may be abandoned after any.

        Once `stop` is set it ends within a part of a batch, as if that step had not begun. Raises TrainingDiverged when
        a step would put NaN into the weights.
        """
        self.ended = ""
        self.model.train()
        try:
            while not self._reason_to_end():
                start = time.perf_counter()
                if (taken := self._update(stop)) is None:
                    self.ended = "stopped"
                    return
                spent = time.perf_counter() - start
                self.seconds += spent
                yield self._report(*taken, spent=spent)
        finally:
            self.model.eval()

    def _reason_to_end(self) -> str:
        options = self.options
        stale = self.step - self.best_step if self.best_step else 0
        late = bool(options.max_minutes) and self.seconds > options.max_minutes * 60 * LATE
        if self.step >= options.steps:
            self.ended = "steps"
        elif options.patience and stale >= options.patience * options.evaluate_every:
            self.ended = "patience"
        elif options.max_minutes and self.world.add_up(late)[0]:
            self.ended = "time"
        return self.ended

    def _report(self, loss: float, norm: float, rate: float, *, spent: float) -> TrainingStep:
        options = self.options
        validation, best = None, False
        if self.best_loss is not None and self._is_measured():
            validation = self.evaluate()
            if best := validation < self.best_loss:
                self.best_step, self.best_loss = self.step, validation
        return TrainingStep(
            step=self.step,
            train_loss=loss,
            validation_loss=validation,
            learning_rate=rate,
            grad_norm=norm,
            tokens_per_second=options.batch_size * (self.rows.width - 1) / spent,
            seconds=self.seconds,
            tokens=self.tokens,
            epoch=self.step * options.batch_size / self.rows.count,
            best=best,
        )

    def _is_measured(self) -> bool:
        """Whether this step is one for a validation loss: a short text can be past its best before the first of all."""
        every, read = self.options.evaluate_every, self.step * self.options.batch_size >= self.rows.count
        early = read and self.step in (every // part for part in EARLY)
        return early or self.step % every == 0 or self.step == self.options.steps

    def evaluate(self) -> float:
        """Mean loss in nats per token over the validation rows, of the weights that would be kept."""
        assert self._validation is not None
        mine = self.world.share(len(self._validation))
        with self._kept() as model:
            loss = evaluate(model, self._validation[mine.start : mine.stop]) if mine else 0.0
        return self.world.add_up(loss * len(mine))[0] / len(self._validation)

    @contextmanager
    def kept(self) -> Iterator[GPT]:
        """The model with the weights that are worth keeping: the mean of past ones if there is one.

        In a sharded world the first process asks for it and for the `state`, while the others `meet` it.
        """
        self.world.call(KEPT)
        with self._kept() as model:
            yield model

    @contextmanager
    def _kept(self) -> Iterator[GPT]:
        weights = self._average.weights if self._average else dict(self.model.named_parameters())
        if self.world.sharded:
            yield whole_model(self.model, weights)
        elif self._average is None:
            yield self.model
        else:
            now = {name: weight.detach().clone() for name, weight in self.model.named_parameters()}
            try:
                put(self.model, weights)
                yield self.model
            finally:
                put(self.model, now)

    def state(self) -> TrainerState:
        """What `restore` needs; its tensors are those in use, not copies."""
        self.world.call(STATE)
        return self._state()

    def _state(self) -> TrainerState:
        tensors = {WEIGHTS + name: weight.detach() for name, weight in self.model.named_parameters()}
        tensors |= self._optimizer.moments(self.model)
        if self._average:
            tensors |= {AVERAGE + name: weight for name, weight in self._average.weights.items()}
        best = self.best_loss if self.best_step else None
        return TrainerState(self.step, self.seconds, self.best_step, best, self.world.gather(tensors))

    def meet(self) -> None:
        """Between two steps of a sharded world the others help the first process until it goes on."""
        self.world.call(ON)
        while what := self.world.listen():
            if what == STATE:
                self._state()
            else:
                with self._kept():
                    pass

    def restore(self, state: TrainerState) -> None:
        """Go back, or on, to a state of the same run; ValueError if it is of another."""
        try:
            put(self.model, {name: state.tensors[WEIGHTS + name] for name, _ in self.model.named_parameters()})
            self._optimizer.restore(self.model, state.tensors, step=state.step)
            if self._average:
                for name, weight in self._average.weights.items():
                    fill(weight, state.tensors[AVERAGE + name])
        except (KeyError, RuntimeError) as error:
            raise ValueError(f"the saved state is that of another run: {error}") from error
        self.step, self.seconds, self.best_step = state.step, state.seconds, state.best_step
        if state.best_loss is not None and self.best_loss is not None:
            self.best_loss = state.best_loss

    def _update(self, stop: threading.Event | None) -> tuple[float, float, float] | None:
        """One step; returns loss, norm of the gradient before clipping and learning rate, or None once stopped."""
        batch_size, world = self.options.batch_size, self.world
        if stop is not None and stop.is_set() and world.size == 1:
            return None
        mine = world.share(batch_size)
        batch = self._loader.batch(self.step * batch_size + mine.start, len(mine)).to(self._device, non_blocking=True)
        if self.model.config.dropout:
            torch.manual_seed(draw(self.options.seed, self.step * world.size + world.rank, "dropout"))
        loss = torch.zeros((), device=self._device)
        self._optimizer.zero_grad()
        parts = batch.tensor_split(min(self.options.accumulation, len(mine)))
        for part in parts[:-1]:
            with self._loss.unshared():
                loss += self._backward(part)
            if stop is not None and stop.is_set() and world.size == 1:
                return None
        loss += self._backward(parts[-1])
        total, stopped = world.add_up(loss, stop is not None and stop.is_set())
        if stopped:
            return None
        norm = whole(torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.options.clip)).item()
        rate = learning_rate(self.step + 1, self.options)
        self._check(rate, loss=total, gradient=norm)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()
        self.step += 1
        if self._average:
            self._average.update(self.model, self.step)
        return total, norm, rate

    def _backward(self, part: Tensor) -> Tensor:
        """Add the gradient of a part (b, T + 1) of the batch; returns what it adds to the loss of the whole."""
        with torch.autocast(part.device.type, torch.bfloat16, enabled=self.bfloat16):  # the weights stay float32
            loss = self._loss(part[:, :-1], part[:, 1:]) * (len(part) / self.options.batch_size)
        (loss * self.world.size).backward()  # the processes take the mean of theirs
        return loss.detach()

    def _check(self, rate: float, **values: float) -> None:
        for what, value in values.items():
            if not abs(value) < float("inf"):
                raise TrainingDiverged(
                    f"the {what} is not finite at step {self.step + 1} (learning rate {rate:.3g}), so training stopped "
                    "before that step; try a lower learning_rate"
                )


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
    """Train `model` in place on the rows of `tokens` (R, T + 1), in float32 unless the options ask for bfloat16.

    Each position learns to predict the next one; the `validation` rows are never trained on. Raises ValueError for
    rows that do not suit the model, and as `Trainer.run`.
    """
    for rows in (tokens,) if validation is None else (tokens, validation):
        _check_rows(rows, model)
    bfloat16 = options.precision == "bfloat16"
    trainer = Trainer(model, TableRows(tokens), options=options, validation=validation, bfloat16=bfloat16)
    yield from trainer.run()


def _check_rows(rows: Tensor, model: GPT) -> None:
    longest = model.config.block_size + 1
    if rows.ndim != 2 or not len(rows) or not 2 <= rows.shape[1] <= longest:
        raise ValueError(f"training needs rows of 2 to {longest} tokens for this model, not {tuple(rows.shape)}")
    if rows.min() < 0 or rows.max() >= model.config.vocab_size:
        raise ValueError(
            f"the tokens go from {rows.min()} to {rows.max()}, outside the {model.config.vocab_size} known"
        )
