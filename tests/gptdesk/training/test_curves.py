"""Curves: smoothed without bias, thinned without losing a peak, runs told apart, and a scale computed by hand."""

import math
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from training_checks import begin, plan, resume

from gptdesk.training import TrainingOptions
from gptdesk.training.baselines import measure_baselines
from gptdesk.training.curves import differences, smooth, thin

Numbers = st.lists(st.floats(-1e6, 1e6), max_size=60)


@given(Numbers, st.floats(0, 0.99))
def test_smoothing_keeps_a_constant_and_stays_within(values: list[float], weight: float) -> None:
    smoothed = smooth(values, weight)
    assert len(smoothed) == len(values)
    for i, value in enumerate(smoothed):
        seen = values[: i + 1]
        slack = 1e-6 * (1 + max(map(abs, seen)))
        assert min(seen) - slack <= value <= max(seen) + slack


def test_smoothing_by_hand() -> None:
    assert smooth([1, 2, 4], 0.5) == pytest.approx([1, (0.25 + 1) / 0.75, (0.125 + 0.5 + 2) / 0.875])
    assert smooth([3, 1, 2], 0) == [3, 1, 2]
    with pytest.raises(ValueError, match=r"^the smoothing must be at least 0 and less than 1, not 1$"):
        smooth([1], 1)


@given(Numbers, st.integers(4, 30))
def test_thinning_keeps_ends_and_extremes(values: list[float], most: int) -> None:
    points = [(float(i), value) for i, value in enumerate(values)]
    kept = thin(points, most)
    assert len(kept) <= most
    assert kept == sorted(set(kept))
    assert set(kept) <= set(points)
    if points:
        assert (kept[0], kept[-1]) == (points[0], points[-1])
        assert min(v for _, v in kept) == min(values)
        assert max(v for _, v in kept) == max(values)
    if len(points) <= most:
        assert kept == points


def test_thinning_a_long_curve_keeps_every_peak_of_its_stretches() -> None:
    points = [(float(i), 1000.0 if i % 1000 == 500 else random.Random(i).random()) for i in range(20_000)]
    kept = thin(points)
    assert 400 < len(kept) <= 500
    assert sum(value == 1000.0 for _, value in kept) == 20
    with pytest.raises(ValueError, match="at least 4 points"):
        thin(points, 3)


def test_runs_are_told_apart_by_what_differs(tmp_path: Path) -> None:
    plans = {
        "one": plan("one"),
        "two": plan("two", learning_rate=1e-3, model={"n_layer": 1}),
        "three": plan("three", learning_rate=1e-3),
    }
    assert differences(plans) == [
        ("n_layer", {"one": 2, "two": 1, "three": 2}),
        ("learning_rate", {"one": TrainingOptions().resolve().learning_rate, "two": 1e-3, "three": 1e-3}),
    ]
    assert differences({"one": plans["one"]}) == differences({}) == []


def test_the_ladder_by_hand() -> None:
    train, held_out = np.array([0, 1, 0, 1, 0, 2], np.uint16), np.array([0, 1, 2, 0], np.uint16)
    single = [(3 + 1) / 9, (2 + 1) / 9, (1 + 1) / 9]
    pairs = [(2 + 2 * single[1]) / (3 + 2), (0 + 1 * single[2]) / (2 + 1), single[0]]  # 0 -> 1, 1 -> 2, 2 -> 0
    found = measure_baselines(train, held_out, vocab_size=3)
    assert found is not None
    assert found.chance == pytest.approx(math.log(3))
    assert found.unigram == pytest.approx(-sum(math.log(single[i]) for i in (1, 2, 0)) / 3)
    assert found.bigram == pytest.approx(-sum(map(math.log, pairs)) / 3)
    assert measure_baselines(train, held_out[:1], vocab_size=3) is None


def test_every_guess_is_a_distribution() -> None:
    dice = np.random.default_rng(1)
    train = dice.integers(0, 7, 300).astype(np.uint16)
    for first in range(8):  # 7 was never seen
        rows = [measure_baselines(train, np.array([first, second], np.uint16), vocab_size=8) for second in range(8)]
        for name in ("unigram", "bigram"):
            assert sum(math.exp(-getattr(row, name)) for row in rows) == pytest.approx(1)


def test_a_run_keeps_its_ladder(tmp_path: Path) -> None:
    run = begin(tmp_path)
    list(resume(run))
    resolved = run.resolved()
    assert resolved is not None
    assert resolved.chance > resolved.unigram > resolved.bigram > 1  # type: ignore[operator]
