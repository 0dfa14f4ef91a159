"""Number of threads of the compiled step: fewer while another program needs a core, all of them when it is quiet."""

import itertools

import pytest

from models.native.thread_count import ThreadCount

NOISE = itertools.cycle([1.0, 1.08, 0.99, 1.3, 1.02, 1.0, 4.0, 1.05])


def quiet(count: int) -> float:
    """Return the seconds of a step: a part is for one thread, memory bounds the rest."""
    return 0.001 + 0.006 / min(count, 6)


def busy(count: int, *, free: int = 1) -> float:
    """Return the seconds of a step while so many cores are free: whoever shares a core makes the others wait."""
    return quiet(count) if count <= free else 0.04


def counts(chosen: ThreadCount, duration, steps: int) -> list[int]:  # type: ignore[no-untyped-def]
    """Return the number of threads of each of so many steps with noisy durations."""
    found = []
    for _ in range(steps):
        found.append(chosen.count)
        chosen.record(chosen.count, duration(chosen.count) * next(NOISE))
    return found


@pytest.mark.parametrize("cores", [2, 4, 6])
def test_as_many_as_help(cores: int) -> None:
    chosen = ThreadCount(cores)
    assert counts(chosen, quiet, 3_000)[500:].count(cores) > 2_400

    # a program comes: one step of 40 ms after the other, but only a few
    found = counts(chosen, busy, 3_000)
    assert found[200:].count(1) > 2_750
    assert sum(count > 1 for count in found[1_000:]) < 25

    # and goes
    found = counts(chosen, quiet, 4_000)
    assert found[2_500:].count(cores) > 1_400


def test_a_desk_that_starts_beside_another_program() -> None:
    chosen = ThreadCount(8)
    found = counts(chosen, lambda count: busy(count, free=4), 3_000)
    assert found[0] == 8
    assert found[300:].count(4) > 2_600


@pytest.mark.parametrize("most", [16, 32, 64])
def test_many_threads_on_half_a_core(most: int) -> None:
    """Of a computer with many cores, of which a container may use half of one: after a while, one and rarely two."""
    found = counts(ThreadCount(most), lambda count: 0.006 * (2 if count == 1 else 2 + count), 2_000)
    assert found[300:].count(1) > 1_600
    assert max(found[300:]) == 2


def test_longer_contexts_and_late_steps_change_nothing() -> None:
    """A step becomes slower with its context, whatever the number of threads; a step of another number says nothing."""
    chosen = ThreadCount(2)
    for i in range(2_000):
        chosen.record(chosen.count, quiet(chosen.count) * (1 + i / 500))
        chosen.record(3 - chosen.count, 9.0)
    assert [chosen.count for _ in range(5)] == [2] * 5


def test_one_core_has_one_thread() -> None:
    assert set(counts(ThreadCount(1), busy, 500)) == {1}
    assert ThreadCount(0).count == 1
