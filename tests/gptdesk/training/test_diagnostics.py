"""Diagnostics of curves: each for the curve it is made for, and none for a run that does well."""

import math

import pytest

from gptdesk.training import TrainingOptions
from gptdesk.training.diagnostics import Diagnostic, diagnostics
from gptdesk.training.metrics import Metrics
from gptdesk.training.run_directory import Resolved, RunStatus

OPTIONS = TrainingOptions(steps=1000, warmup_steps=50, evaluate_every=100).resolve()
RESOLVED = Resolved(
    *("digest", "position", "characters", 1000, 64, False, 1000, 10_000, 1000, 5000.0, 10**6),
    chance=4.0,
    unigram=3.3,
    bigram=2.5,
)


def healthy(steps: int = 1000, **series: object) -> list[dict[str, object]]:
    """Metrics of a run that does well; `series` replaces values by functions of the step."""
    lines = []
    for step in range(10, steps + 1, 10):
        loss = 1.5 + 2.5 * math.exp(-step / 200) + 0.05 * math.sin(step)
        line: dict[str, object] = {
            "step": step,
            "train_loss": loss,
            "val_loss": 1.55 + 2.5 * math.exp(-step / 200) if step % 100 == 0 else None,
            "grad_norm": 0.5,
            "tokens_per_second": 4900.0,
            "epoch": step / 200,
        }
        lines.append(line | {name: f(step) for name, f in series.items()})  # type: ignore[operator]
    return lines


def texts(metrics: list[dict[str, object]], *, state: str = "training", **status: object) -> list[str]:
    found = diagnostics(
        Metrics.of(metrics), options=OPTIONS, resolved=RESOLVED, status=RunStatus(**status), state=state
    )  # type: ignore
    return [finding.text for finding in found]


def validation(**values: float):
    """A validation loss that is as told after some steps, by names like at_100."""
    return lambda step: values.get(f"at_{step}", 2.0 - step / 2000) if step % 100 == 0 else None


@pytest.mark.parametrize("steps", [0, 10, 100, 300, 700, 1000])
@pytest.mark.parametrize("state", ["training", "finished", "new"])
def test_nothing_is_said_of_a_run_that_does_well(steps: int, state: str) -> None:
    assert texts(healthy(steps), state=state) == []


def test_overfitting_names_the_best() -> None:
    curve = validation(at_800=1.4, at_900=1.45, at_1000=1.5, at_700=1.3)
    [text] = texts(healthy(val_loss=curve), best_step=700, saved_step=1000)
    assert text == "validation has risen for 3 evaluations: overfitting; the best was step 700, saved"
    [text] = texts(healthy(val_loss=curve), best_step=700, saved_step=600)
    assert text.endswith("the best was step 700")
    assert texts(healthy(900, val_loss=curve)) == []  # two rises may be an accident
    wavy = validation(at_400=1.3, at_500=1.5, at_600=1.45, at_700=1.5, at_800=1.45, at_900=1.5, at_1000=1.49)
    [text] = texts(healthy(val_loss=wavy))
    assert text == "validation has not been better for 6 evaluations (1.49): overfitting; the best was step 400"


def test_a_jump_of_the_loss_is_told_and_whether_it_is_over() -> None:
    usual = 1.5 + 2.5 * math.exp(-700 / 200)
    for last, words in ((900, "if it stays there, lower the learning rate"), (1000, "and has recovered")):
        curve = {"train_loss": lambda step, end=last: 4.0 if 890 <= step <= min(end, 920) else usual}
        [text] = texts(healthy(last, **curve))
        assert text.startswith("the loss jumped from 1.58 to 4.00 at step 890")
        assert text.endswith(words)


def test_a_loss_that_simple_guessing_reaches() -> None:
    assert (
        texts(healthy(200, val_loss=validation(at_100=3.9, at_200=3.8), train_loss=lambda s: 3.7)) == []
    )  # too early to say
    [text] = texts(healthy(300, val_loss=validation(at_100=3.9, at_200=3.8, at_300=3.5), train_loss=lambda s: 3.4))
    assert text.startswith("the validation loss of 3.50 is no better than the unigram baseline (3.30)")
    spoilt = validation(at_100=3.2, at_200=3.3, at_300=3.5)  # by heart, which is not the learning rate's fault
    assert texts(healthy(300, val_loss=spoilt, train_loss=lambda s: 3.4)) == []
    [text] = texts(healthy(300, val_loss=validation(at_100=4.9, at_200=4.8, at_300=4.5), train_loss=lambda s: 4.4))
    assert text.startswith("the validation loss of 4.50 is no better than random guessing (4.00)")


def test_a_plateau_a_gap_and_a_text_read_too_often() -> None:
    flat = healthy(800, val_loss=validation(**{f"at_{step}": 1.6 - step / 1e6 for step in range(300, 900, 100)}))
    assert texts(flat) == ["the validation loss has hardly improved for 5 evaluations (1.600 before, 1.599 since)"]
    assert texts(flat, state="finished") == []
    [text] = texts(healthy(train_loss=lambda step: 1.0))
    assert text == "the training loss (1.00) is far below the validation loss (1.57): the model overfits"
    assert texts(healthy(epoch=lambda step: step / 20)) == []  # the held-out text still gets easier
    text = texts(healthy(epoch=lambda step: step / 20, val_loss=validation(at_800=1.5, at_900=1.6, at_1000=1.6)))[-1]
    assert text == "the text has been read 50 times; more text or dropout would help"


def test_clipping_and_slowness() -> None:
    [text] = texts(healthy(grad_norm=lambda step: 3.0))
    assert text.startswith("the gradient is clipped at nearly every step (gradient norm 3.0, clipping threshold 1)")
    assert texts(healthy(grad_norm=lambda step: 3.0 if step % 50 else 0.9)) == []
    assert texts(healthy(300, grad_norm=lambda step: 3.0)) == []
    [text] = texts(healthy(tokens_per_second=lambda step: 1500.0))
    assert text.startswith("it runs at 30% of the planned speed")
    assert texts(healthy(tokens_per_second=lambda step: 1500.0), state="finished") == []


def test_how_it_stands_comes_first_and_grave_things_before_others() -> None:
    status = RunStatus("training", step=640, saved_step=600)
    metrics = healthy(640, grad_norm=lambda step: 3.0)
    found = diagnostics(Metrics.of(metrics), options=OPTIONS, resolved=RESOLVED, status=status, state="interrupted")
    assert found[0] == Diagnostic(
        "warning", "the run was interrupted after about step 640; resume it from the checkpoint of step 600"
    )
    assert [finding.level for finding in found] == ["warning", "note"]
    failed = diagnostics(Metrics.of([]), options=OPTIONS, resolved=None, status=RunStatus("failed", message="no room"))
    assert failed == [Diagnostic("error", "no room")]
    status = RunStatus("training", message="the run could not be saved")
    full = diagnostics(Metrics.of([]), options=OPTIONS, resolved=None, status=status)
    assert full == [Diagnostic("warning", "the run could not be saved")]
