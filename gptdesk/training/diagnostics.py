"""What the curves of a run tell, in plain words, to somebody who does not read curves."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from gptdesk.training.curves import Point, series, smooth
from gptdesk.training.options import TrainingOptions
from gptdesk.training.run_directory import Resolved, RunStatus

RISES = 3  # evaluations in a row after which a rise is no accident
FLAT, HARDLY, WORSE = 5, 0.003, 0.01  # evaluations, and shares of the loss: no improvement, a worse one
SPIKE, LATELY = 1.25, 20  # times the usual loss; logged steps that count as recent
CLIPPED, ENOUGH = 0.95, 30  # share of recent steps, of so many logged ones
GAP = 0.25  # share by which the held-out text is harder than the other
READ = 10  # times the text has been read
SLOW = 0.6  # share of the speed of the probe

Level = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Alarm:
    """Something to know about a run, the gravest first."""

    level: Level
    text: str


def alarms(
    metrics: Sequence[Mapping[str, object]],
    *,
    options: TrainingOptions,
    resolved: Resolved | None,
    status: RunStatus,
    state: str = "",
) -> list[Alarm]:
    """What there is to say of a run, from its metrics; `state` is that of its RunInfo, which knows of interruptions."""
    state = state or status.state
    losses, validation = series(metrics, "train_loss"), series(metrics, "val_loss")
    found = [*_about_state(status, state)]
    overfits = list(_overfitting(validation, status))
    found += [
        Alarm("warning", text) for text in (*overfits, *_spike(losses), *_no_better(validation, options, resolved))
    ]
    notes = [*_clipping(metrics, options)]
    if not overfits:
        notes += [*_gap(losses, validation), *_plateau(validation, options, state)]
    notes += [
        *_often_read(metrics, validation, resolved),
        *(_slowness(metrics, resolved) if state == "training" else ()),
    ]
    return found + [Alarm("note", text) for text in notes]


def _about_state(status: RunStatus, state: str) -> Iterator[Alarm]:
    if state == "interrupted":
        saved = f"the save of step {status.saved_step:,}" if status.saved_step else "the beginning"
        yield Alarm(
            "warning", f"the run was interrupted after about step {status.step:,}; resume it to go on from {saved}"
        )
    elif state == "failed":
        yield Alarm("error", status.message)
    elif state == "training" and status.message:
        yield Alarm("warning", status.message)


def _overfitting(validation: Sequence[Point], status: RunStatus) -> Iterator[str]:
    if not validation:
        return
    values = [value for _, value in validation]
    step, best = min(validation, key=lambda point: point[1])
    best_was = f"the best was step {step:,.0f}" + (", saved" if status.saved_step >= status.best_step == step else "")
    rises = 0
    while rises + 1 < len(values) and values[-1 - rises] > values[-2 - rises]:
        rises += 1
    since = len(values) - 1 - values.index(best)
    if rises >= RISES:
        yield f"validation has risen for {rises} evaluations: overfitting; {best_was}"
    elif since >= FLAT and values[-1] > (1 + WORSE) * best:
        yield f"validation has not been better for {since} evaluations ({values[-1]:.2f}): overfitting; {best_was}"


def _spike(losses: Sequence[Point]) -> Iterator[str]:
    """A recent loss far above those before it."""
    recent, before = losses[-LATELY:], losses[-2 * LATELY : -LATELY]
    if len(before) < LATELY:
        return
    usual = statistics.median(value for _, value in before)
    step, highest = max(recent, key=lambda point: point[1])
    if highest <= SPIKE * max(value for _, value in before) + 0.1:
        return
    jumped = f"the loss jumped from {usual:.2f} to {highest:.2f} at step {step:,.0f}"
    recovered = statistics.median(value for _, value in recent[-3:]) <= 1.1 * usual
    yield f"{jumped}, and has recovered" if recovered else f"{jumped}; if it stays there, lower the learning rate"


def _no_better(validation: Sequence[Point], options: TrainingOptions, resolved: Resolved | None) -> Iterator[str]:
    """After the warmup, a loss that simple guessing reaches."""
    if resolved is None or resolved.unigram is None or resolved.chance is None or not validation:
        return
    value = min(value for _, value in validation)
    if validation[-1][0] <= 2 * options.warmup_steps or len(validation) < RISES:
        return
    if value >= resolved.chance:
        yield (
            f"the validation loss of {value:.2f} is no better than blind chance ({resolved.chance:.2f}): "
            "lower the learning rate"
        )
    elif value >= resolved.unigram:
        yield (
            f"the validation loss of {value:.2f} is no better than guessing by how often each token occurs "
            f"({resolved.unigram:.2f}): try another learning rate"
        )


def _plateau(validation: Sequence[Point], options: TrainingOptions, state: str) -> Iterator[str]:
    if len(validation) <= FLAT + 1 or state != "training" or validation[-1][0] > 0.9 * options.steps:
        return
    before, after = (min(value for _, value in part) for part in (validation[:-FLAT], validation[-FLAT:]))
    if after > before * (1 - HARDLY):
        yield f"the validation loss has hardly improved for {FLAT} evaluations ({before:.3f} before, {after:.3f} since)"


def _clipping(metrics: Sequence[Mapping[str, object]], options: TrainingOptions) -> Iterator[str]:
    norms = [value for step, value in series(metrics, "grad_norm") if step > options.warmup_steps][-2 * ENOUGH :]
    if len(norms) >= ENOUGH and sum(norm > options.clip for norm in norms) >= CLIPPED * len(norms):
        yield (
            f"the gradient is clipped at nearly every step (length {statistics.median(norms):.1f}, clip "
            f"{options.clip:g}): a lower learning rate may do better"
        )


def _gap(losses: Sequence[Point], validation: Sequence[Point]) -> Iterator[str]:
    if len(losses) < LATELY or not validation:
        return
    now, held_out = smooth([value for _, value in losses], 0.9)[-1], validation[-1][1]
    if held_out > (1 + GAP) * now:
        yield (
            f"the text it trains on is easier for it ({now:.2f}) than the held-out one ({held_out:.2f}): "
            "it learns by heart"
        )


def _often_read(
    metrics: Sequence[Mapping[str, object]], validation: Sequence[Point], resolved: Resolved | None
) -> Iterator[str]:
    """A text read many times is no harm as long as the held-out one gets easier."""
    epochs = series(metrics[-1:], "epoch")
    values = [value for _, value in validation]
    stale = min(values[-2:]) > min(values) if values else resolved is not None and resolved.validation_tokens < 2
    if epochs and epochs[-1][1] > READ and stale:
        yield f"the text has been read {epochs[-1][1]:,.0f} times; more text, or dropout, would teach it more"


def _slowness(metrics: Sequence[Mapping[str, object]], resolved: Resolved | None) -> Iterator[str]:
    speeds = [value for _, value in series(metrics[-2 * FLAT :], "tokens_per_second")]
    if resolved is None or len(speeds) < FLAT:
        return
    share = statistics.median(speeds) / resolved.tokens_per_second
    if share < SLOW:
        yield f"it runs at {share:.0%} of the speed it was planned with: something else keeps the computer busy"
