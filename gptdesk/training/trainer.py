"""Trainer: the training loop as a stream of steps that can be left after any and resumed bit-exact."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from gptdesk.training.distributed import ProcessGroup, assemble, assemble_model, fill, set_weights
from gptdesk.training.loader import Loader, Rows, draw
from gptdesk.training.optimizer import Average, make_optimizer
from gptdesk.training.options import TrainingOptions
from gptdesk.training.schedule import learning_rate
from gptdesk.training.steps import AVERAGE, WEIGHTS, TrainerState, TrainingDiverged, TrainingStep
from gptdesk.training.time_budget import Replan, TimeBudget, scheduled_step
from gptdesk.training.validation_loss import evaluate
from models.gpt import GPT

EARLY = (8, 4, 2)  # parts of evaluate_every after which a text that has been read by then is evaluated already
LATE = 1.1  # times its minutes after which a run ends, if its steps are too few for a new plan
NOTHING, SAVED_WEIGHTS, STATE = range(3)  # requests of the first process to the others of a sharded group


class Trainer:
    """Trains `model` in place, on the device it is on; every process of a group has one.

    Raises ValueError for rows that do not suit the model.
    """

    def __init__(
        self,
        model: GPT,
        rows: Rows,
        *,
        options: TrainingOptions,
        validation: Tensor | None = None,
        processes: ProcessGroup | None = None,
        bfloat16: bool = False,
    ) -> None:
        self.model, self.options, self.rows = model, options.resolve(), rows
        self.processes = processes or ProcessGroup()
        self.bfloat16 = bfloat16
        self.step, self.seconds = 0, 0.0
        # without validation rows no step is the best one
        self.best_step, self.best_loss = 0, None if validation is None else float("inf")
        self.ended = ""  # why the stream of steps ended
        self.budget = TimeBudget(self.options.steps, seconds=self.options.max_minutes * 60)
        if options.batch_size < self.processes.size:
            raise ValueError(
                f"batch_size must be at least the {self.processes.size} processes, not {options.batch_size}"
            )
        self._validation = validation  # (R, T + 1)
        self._loader = Loader(rows, seed=options.seed)
        # before the optimizer: sharding replaces the weights
        self._loss = self.processes.loss_of(model)
        self._optimizer = make_optimizer(model, self.options)
        self._average = Average(model, options.average) if options.average else None
        self._device = model.wte.weight.device

    @property
    def end(self) -> int:
        """Step at which the run ends, as planned now."""
        return self.budget.end

    @property
    def tokens(self) -> int:
        """Tokens trained on so far."""
        return self.step * self.options.batch_size * (self.rows.width - 1)

    def run(self, stop: threading.Event | None = None) -> Iterator[TrainingStep]:
        """Train from the current step on; yields after each step and may be abandoned after any.

        Once `stop` is set it ends within a part of a batch, as if that step had not begun. Raises TrainingDiverged
        before a step that would put NaN into the weights.
        """
        self.ended = ""
        self.model.train()
        try:
            while not self._reason_to_end():
                start = time.perf_counter()
                update = self._update(stop)
                if update is None:
                    self.ended = "stopped"
                    return
                # evaluation and whatever the caller does between two steps are not counted
                spent = time.perf_counter() - start
                self.seconds += spent
                self._replan(spent)
                yield self._report(*update, spent=spent)
        finally:
            self.model.eval()

    def _reason_to_end(self) -> str:
        options = self.options
        stale = self.step - self.best_step if self.best_step else 0
        late = bool(options.max_minutes) and self.seconds > options.max_minutes * 60 * LATE
        # the order matters: a run whose steps are done has not run out of patience
        if self.step >= self.end:
            self.ended = "steps" if self.end == options.steps else "time"
        elif options.patience and stale >= options.patience * options.evaluate_every:
            self.ended = "patience"
        # clocks differ between processes: if one is late, all end
        elif options.max_minutes and self.processes.sum(late)[0]:
            self.ended = "time"
        return self.ended

    def _replan(self, spent: float) -> None:
        """Let the schedule end with the time budget, after a step that took `spent` seconds."""
        if not self.options.max_minutes:
            return
        end = self.budget.proposed_end(self.step, elapsed=self.seconds, spent=spent)
        # clocks differ between processes: that of the first one counts
        (end_of_all,) = self.processes.sum(end if self.processes.rank == 0 else 0)
        self.budget.move_end(int(end_of_all), after=self.step)

    def _report(self, loss: float, norm: float, rate: float, *, spent: float) -> TrainingStep:
        """Return the step that was made in `spent` seconds, evaluated if it is due."""
        options = self.options
        validation, best = None, False
        if self.best_loss is not None and self._is_evaluated():
            validation = self.evaluate()
            if best := validation < self.best_loss:
                self.best_step, self.best_loss = self.step, validation
        return TrainingStep(
            step=self.step,
            train_loss=loss,
            validation_loss=validation,
            learning_rate=rate,
            grad_norm=norm,
            # of all processes together: each had its share of the batch
            tokens_per_second=options.batch_size * (self.rows.width - 1) / spent,
            seconds=self.seconds,
            tokens=self.tokens,
            epoch=self.step * options.batch_size / self.rows.count,
            best=best,
            steps=self.end if options.max_minutes else None,
        )

    def _is_evaluated(self) -> bool:
        """Return whether this step gets a validation loss."""
        every, read = self.options.evaluate_every, self.step * self.options.batch_size >= self.rows.count
        # on a short text the validation loss may be at its best before the first regular evaluation
        early = read and self.step in (every // part for part in EARLY)
        return early or self.step % every == 0 or self.step == self.end

    def evaluate(self) -> float:
        """Return the mean loss in nats per token over the validation rows, of the weights that would be saved."""
        assert self._validation is not None
        # each process evaluates its share; the sum over all is divided by the number of all rows
        share = self.processes.share(len(self._validation))
        with self._saved_weights() as model:
            loss = evaluate(model, self._validation[share.start : share.stop]) if share else 0.0
        return self.processes.sum(loss * len(share))[0] / len(self._validation)

    @contextmanager
    def saved_weights(self) -> Iterator[GPT]:
        """Yield the model with the weights to save: their running mean if there is one.

        In a sharded group the first process calls this, and `state`, while the others `serve` it.
        """
        self.processes.send_request(SAVED_WEIGHTS)
        with self._saved_weights() as model:
            yield model

    @contextmanager
    def _saved_weights(self) -> Iterator[GPT]:
        weights = self._average.weights if self._average else dict(self.model.named_parameters())
        if self.processes.sharded:
            yield assemble_model(self.model, weights)
        elif self._average is None:
            yield self.model
        else:
            # swapped in place, so that no second network is in memory
            current = {name: weight.detach().clone() for name, weight in self.model.named_parameters()}
            try:
                set_weights(self.model, weights)
                yield self.model
            finally:
                set_weights(self.model, current)

    def state(self) -> TrainerState:
        """Return what `restore` needs; its tensors are those in use, not copies."""
        self.processes.send_request(STATE)
        return self._state()

    def _state(self) -> TrainerState:
        tensors = {WEIGHTS + name: weight.detach() for name, weight in self.model.named_parameters()}
        tensors |= self._optimizer.moments(self.model)
        if self._average:
            tensors |= {AVERAGE + name: weight for name, weight in self._average.weights.items()}
        # infinity, before the first evaluation, is no number that JSON could hold
        best = self.best_loss if self.best_step else None
        # order of the batches and dropout follow from seed and step: no generator is saved
        replans = tuple(self.budget.replans)
        gathered = self.processes.gather(tensors)
        return TrainerState(self.step, self.seconds, self.best_step, best, self._planned, replans, gathered)

    @property
    def _planned(self) -> tuple[int, float] | None:
        minutes = self.options.max_minutes
        return (self.options.steps, minutes) if minutes else None

    def serve(self) -> None:
        """Between two steps of a sharded group, help the first process assemble weights until it continues."""
        self.processes.send_request(NOTHING)
        while request := self.processes.receive_request():
            if request == STATE:
                self._state()
            else:
                with self._saved_weights():
                    pass

    def restore(self, state: TrainerState, *, recorded: Sequence[Replan] = ()) -> None:
        """Set the state of the same run at another step; ValueError if it is that of another run.

        Later decisions on the schedule that were `recorded` are repeated, unless the budget is another one now.
        """
        try:
            set_weights(self.model, {name: state.tensors[WEIGHTS + name] for name, _ in self.model.named_parameters()})
            self._optimizer.restore(self.model, state.tensors, step=state.step)
            if self._average:
                for name, weight in self._average.weights.items():
                    fill(weight, state.tensors[AVERAGE + name])
        # a tensor is missing, or has another shape
        except (KeyError, RuntimeError) as error:
            raise ValueError(f"the saved state is that of another run: {error}") from error
        self.step, self.seconds, self.best_step = state.step, state.seconds, state.best_step
        if state.planned and state.planned == self._planned:
            self.budget.restore(state.replans, recorded)
        # a run without validation rows has no best loss, whatever was saved
        if state.best_loss is not None and self.best_loss is not None:
            self.best_loss = state.best_loss

    def _update(self, stop: threading.Event | None) -> tuple[float, float, float] | None:
        """Make one step; return loss, gradient norm before clipping and learning rate, or None once stopped."""
        batch_size, processes = self.options.batch_size, self.processes
        if self._is_stopped_alone(stop):
            return None
        # (b, T + 1): this process's share of the batch's rows
        share = processes.share(batch_size)
        batch = self._loader.batch(self.step * batch_size + share.start, len(share))
        batch = batch.to(self._device, non_blocking=True)
        if self.model.config.dropout:
            # from seed, step and rank alone: a resumed run drops the same activations
            torch.manual_seed(draw(self.options.seed, self.step * processes.size + processes.rank, "dropout"))
        # (): on the device, so that parts need not wait for each other
        loss = torch.zeros((), device=self._device)
        self._optimizer.zero_grad()
        parts = batch.tensor_split(min(self.options.accumulation, len(share)))
        for part in parts[:-1]:
            # gradients are averaged over the processes once, after the last part
            with self._loss.no_sync():
                loss += self._backward(part)
            if self._is_stopped_alone(stop):
                return None
        loss += self._backward(parts[-1])
        # one sum for both: all processes stop before the same step
        total, stopped = processes.sum(loss, stop is not None and stop.is_set())
        if stopped:
            return None
        norm = assemble(torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.options.clip)).item()
        # the schedule counts updates from 1; checked before the optimizer changes a weight
        scheduled = scheduled_step(self.step + 1, steps=self.options.steps, replans=self.budget.replans)
        rate = learning_rate(scheduled, self.options)
        self._check_finite(rate, loss=total, gradient=norm)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()
        self.step += 1
        # after the update: the mean begins with the weights of step 1
        if self._average:
            self._average.update(self.model, self.step)
        return total, norm, rate

    def _is_stopped_alone(self, stop: threading.Event | None) -> bool:
        # one of several processes must not leave while the others wait for its gradients
        return stop is not None and stop.is_set() and self.processes.size == 1

    def _backward(self, part: Tensor) -> Tensor:
        """Add the gradient of a part (b, T + 1) of the batch; return what it adds to the loss of the whole, ()."""
        with torch.autocast(part.device.type, torch.bfloat16, enabled=self.bfloat16):  # the weights stay float32
            # (b, T) to read, (b, T) to predict; weighted by its share of the batch's rows
            loss = self._loss(part[:, :-1], part[:, 1:]) * (len(part) / self.options.batch_size)
        # times the number of processes: their gradients are averaged, and they should be added
        (loss * self.processes.size).backward()
        return loss.detach()

    def _check_finite(self, rate: float, **values: float) -> None:
        for name, value in values.items():
            # false for NaN, too
            if not abs(value) < float("inf"):
                raise TrainingDiverged(
                    f"the {name} is not finite at step {self.step + 1} (learning rate {rate:.3g}), so training stopped "
                    "before that step; try a lower learning_rate"
                )
