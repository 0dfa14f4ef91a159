"""Time budget: the learning rate ends at its floor when the minutes end, also on a computer that became slower."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from training_checks import begin, context_in, resume

from gptdesk.training import checkpoints, control, trainer
from gptdesk.training.loader import StreamRows
from gptdesk.training.options import ResolvedTraining, TrainingOptions
from gptdesk.training.run_directory import RunDirectory, RunStatus
from gptdesk.training.steps import TrainingStep
from gptdesk.training.time_budget import replans_of
from gptdesk.training.trainer import Trainer
from models.gpt import GPT, GPTConfig

STEPS = 142  # planned for the minutes
CONFIG = GPTConfig(vocab_size=11, block_size=8, n_layer=1, n_head=1, n_embd=8)


class Clock:
    """Clock of which each step takes `spent` seconds; a step reads it twice."""

    def __init__(self, spent: float) -> None:
        self.spent, self.now = spent, 0.0

    def perf_counter(self) -> float:
        self.now += self.spent
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock(60 / STEPS)
    monkeypatch.setattr(trainer, "time", clock)
    return clock


def options(**chosen: object) -> ResolvedTraining:
    usual = {"steps": STEPS, "batch_size": 2, "max_minutes": 1.0, "patience": 0}
    return TrainingOptions(**(usual | chosen)).resolve()


def made(**chosen: object) -> Trainer:
    torch.manual_seed(0)
    rows = StreamRows(torch.randint(11, (400,)).numpy(), 8, seed=0)
    return Trainer(GPT(CONFIG), rows, options=options(**chosen), validation=torch.randint(11, (2, 9)))


def weights(one: Trainer) -> torch.Tensor:
    return torch.cat([weight.detach().flatten() for weight in one.model.parameters()])


@pytest.mark.parametrize("slower", [1.3, 3.0, 12.0])
def test_the_schedule_ends_with_the_minutes_on_a_slower_computer(clock: Clock, slower: float) -> None:
    clock.spent *= slower
    one = made()
    steps = list(one.run())
    assert one.ended == "time"
    assert 0.85 * 60 <= steps[-1].seconds <= 60 + clock.spent
    rates = [step.learning_rate for step in steps]
    assert rates[-1] < 0.03 * options().learning_rate
    assert max(rates) > 0.8 * options().learning_rate  # the warmup is shorter, too
    assert rates.index(max(rates)) < len(rates) / 2
    assert steps[-1].validation_loss is not None  # the last step counts
    assert steps[-1].step == steps[-1].steps == one.end < STEPS


def test_a_computer_that_becomes_slower_and_faster_again_gets_its_steps_back(clock: Clock) -> None:
    one, ends = made(), []
    for step in one.run():
        clock.spent = 60 / STEPS * (4 if 30 <= step.step < 40 else 0.5 if step.step >= 40 else 0.9)
        ends.append(one.end)
    assert min(ends) < 100
    assert ends[-1] == STEPS == one.step
    assert one.ended == "steps"


def test_steps_that_take_as_long_as_planned_have_the_bits_of_a_run_without_a_budget(clock: Clock) -> None:
    clock.spent *= 0.95  # as planned: see estimate.PLANNED
    timed, counted = made(), made(max_minutes=0)
    assert [step.learning_rate for step in timed.run()] == [step.learning_rate for step in counted.run()]
    assert torch.equal(weights(timed), weights(counted))


def test_a_pause_keeps_the_schedule_and_a_longer_budget_plans_anew(clock: Clock) -> None:
    clock.spent *= 3
    whole, first = made(), made()
    expected = [step.learning_rate for step in whole.run()]
    rates = [step.learning_rate for step in itertools.islice(first.run(), 20)]
    second = made()
    second.restore(first.state())
    assert second.end == first.end < STEPS
    rates += [step.learning_rate for step in second.run()]
    assert len(rates) == pytest.approx(len(expected), abs=2)
    assert rates == pytest.approx(expected[: len(rates)], abs=0.05 * max(expected))
    longer = made(max_minutes=2)
    longer.restore(whole.state())
    assert longer.end == STEPS


def _until(run: RunDirectory, last: int) -> Iterator[TrainingStep]:
    for event in (events := resume(run)):
        if isinstance(event, TrainingStep):
            yield event
            if event.step == last:
                events.close()
                return


def test_a_killed_run_repeats_the_schedule_that_it_recorded(tmp_path: Path, clock: Clock) -> None:
    clock.spent = 0.5
    run = begin(tmp_path, steps=100, max_minutes=0.5, save_every=20, evaluate_every=100, log_every=10)
    assert run.resolved() is None
    before = {step.step: step for step in _until(run, 35)}
    resolved = run.resolved()
    assert resolved is not None
    recorded = replans_of(run.metrics(), resolved.steps)
    assert checkpoints.step_of(checkpoints.folders(run.path)[-1]) == 20
    clock.spent = 0.1  # another speed must not change what was recorded
    after = {step.step: step for step in _until(run, 35)}
    assert min(after) == 21
    for step in after:
        assert after[step].train_loss == before[step].train_loss
        assert after[step].learning_rate == before[step].learning_rate
    assert replans_of(run.metrics(), resolved.steps)[: len(recorded)] == recorded


def test_the_time_that_is_left_is_at_most_that_of_the_budget(tmp_path: Path) -> None:
    run = begin(tmp_path, steps=1000, max_minutes=3)
    run.write_status(RunStatus(state="training", steps=1000))
    run.log_step(TrainingStep(45, 1.0, None, 1e-3, 1.0, 100.0, 45.0, 45 * 64, 0.1))
    info = replace(control.info(context_in(tmp_path), "run"), state="training")
    assert control.seconds_left(info) == pytest.approx(135.0)  # its steps alone would take ten minutes
