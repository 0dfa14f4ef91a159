"""Turns: so many at once, one alone, nobody starved, and nothing left taken."""

import threading
from collections.abc import Callable

import pytest

from gptdesk.turns import Turns

LONG = 60.0  # seconds; nobody waits so long unless something is wrong


class Waiter:
    """Somebody who takes a turn in a thread of its own."""

    def __init__(self, turns: Turns, *, alone: bool = False, timeout: float = LONG) -> None:
        self.got: bool | None = None

        def wait() -> None:
            self.got = turns.take(alone=alone, timeout=timeout)

        self._thread = threading.Thread(target=wait, daemon=True)
        self._thread.start()

    def answer(self) -> bool | None:
        """Whether it got its turn; None if it waits after a long time."""
        self._thread.join(LONG / 12)
        return self.got


def until(true: Callable[[], bool]) -> None:
    """Wait for another thread to come so far."""
    pause = threading.Event()
    for _ in range(2000):
        if true():
            return
        pause.wait(0.005)
    raise AssertionError("it never came to this")


@pytest.mark.parametrize("places", [1, 3])
def test_so_many_at_once_and_no_more(places: int) -> None:
    turns = Turns(places)
    assert [turns.take() for _ in range(places + 2)] == [True] * places + [False] * 2
    turns.give_back()
    assert [turns.take() for _ in range(2)] == [True, False]


@pytest.mark.parametrize("places", [1, 3])
def test_who_is_alone_excludes_all(places: int) -> None:
    turns = Turns(places)
    assert turns.take(alone=True)
    assert not turns.take()
    assert not turns.take(alone=True)
    turns.give_back(alone=True)
    assert [turns.take() for _ in range(places + 1)] == [True] * places + [False]


def test_nobody_is_alone_while_one_is_there() -> None:
    turns = Turns(3)
    assert turns.take()
    assert not turns.take(alone=True, timeout=0.01)
    assert turns.take()  # the attempt left nothing behind
    turns.give_back()
    turns.give_back()
    assert turns.take(alone=True)


def test_a_place_that_is_given_back_goes_to_who_waits() -> None:
    turns = Turns(1)
    assert turns.take()
    waiter = Waiter(turns)
    turns.give_back()
    assert waiter.answer() is True
    assert not turns.take()


@pytest.mark.parametrize("alone", [True, False])
def test_who_waits_in_vain_is_told(alone: bool) -> None:
    turns = Turns(1)
    assert turns.take(alone=True)
    assert Waiter(turns, alone=alone, timeout=0.02).answer() is False
    turns.give_back(alone=True)
    assert turns.take()


def test_who_waits_to_be_alone_is_not_starved_by_newcomers() -> None:
    turns = Turns(2)
    assert turns.take()
    measurement = Waiter(turns, alone=True)
    until(lambda: not _free(turns))  # it waits: the second place, though free, is not for newcomers
    newcomer = Waiter(turns)
    turns.give_back()
    assert measurement.answer() is True
    assert newcomer.got is None
    turns.give_back(alone=True)
    assert newcomer.answer() is True
    assert turns.take()


def test_of_two_who_want_to_be_alone_one_is_at_a_time() -> None:
    turns = Turns(2)
    assert turns.take()
    waiters = [Waiter(turns, alone=True) for _ in range(2)]
    until(lambda: not _free(turns))
    turns.give_back()
    until(lambda: any(waiter.got for waiter in waiters))
    assert [waiter.got for waiter in waiters].count(True) == 1
    turns.give_back(alone=True)
    assert [waiter.answer() for waiter in waiters] == [True, True]
    assert not turns.take()
    turns.give_back(alone=True)
    assert turns.take()


def test_newcomers_go_on_when_who_wanted_to_be_alone_gives_up() -> None:
    turns = Turns(2)
    assert turns.take()
    measurement = Waiter(turns, alone=True, timeout=0.5)
    until(lambda: not _free(turns))
    newcomer = Waiter(turns)
    assert measurement.answer() is False
    assert newcomer.answer() is True  # though nobody gave anything back


def test_many_threads_never_meet_one_that_is_alone() -> None:
    turns, lock, inside, seen = Turns(3), threading.Lock(), [0, 0], []

    def work(alone: bool) -> None:
        for _ in range(50):
            assert turns.take(alone=alone, timeout=LONG)
            with lock:
                inside[alone] += 1
                seen.append(tuple(inside))
            with lock:
                inside[alone] -= 1
            turns.give_back(alone=alone)

    threads = [threading.Thread(target=work, args=(i % 4 == 0,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 400
    assert set(seen) <= {(0, 1), (1, 0), (2, 0), (3, 0)}


def _free(turns: Turns) -> bool:
    """Whether a newcomer would get a place; it is given back at once."""
    if free := turns.take():
        turns.give_back()
    return free


def test_a_claim_holds_newcomers_back_between_two_looks() -> None:
    turns = Turns(2)
    assert turns.take()
    turns.claim()
    assert not turns.take()  # though there is a place
    turns.give_back()
    assert turns.take(alone=True)
    turns.claim(drop=True)
    turns.give_back(alone=True)
    assert turns.take()
