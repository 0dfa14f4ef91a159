"""Scheduler: concurrency limit, exclusive measurements, order of arrival, no starvation, no leaked places."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from gptdesk import scheduler as module
from gptdesk.errors import Busy
from gptdesk.scheduler import OpenCounter, Place, Scheduler

LONG = 60.0  # seconds; nobody waits so long unless something is wrong


class User:
    """Somebody in the queue, whose block ends when it is told to."""

    def __init__(self, scheduler: Scheduler, *, alone: bool = False, memory: int = 0) -> None:
        self._stack = ExitStack()
        self.place: Place = self._stack.enter_context(scheduler.queue(alone=alone, memory=memory))

    def computes(self) -> bool:
        return self.place.wait()

    def leaves(self) -> None:
        self._stack.close()


@pytest.mark.parametrize("places", [1, 3])
def test_so_many_at_once_and_no_more(places: int) -> None:
    scheduler = Scheduler(places)
    users = [User(scheduler) for _ in range(places + 2)]
    assert [user.computes() for user in users] == [True] * places + [False] * 2
    assert [user.place.number for user in users] == [0] * places + [1, 2]
    users[0].leaves()
    assert users[places].computes()
    assert users[places + 1].place.number == 1
    assert not users[places + 1].computes()


@pytest.mark.parametrize("places", [1, 3])
def test_who_is_alone_excludes_all(places: int) -> None:
    scheduler = Scheduler(places)
    measurement, second, text = User(scheduler, alone=True), User(scheduler, alone=True), User(scheduler)
    assert measurement.computes()
    assert not second.computes()
    assert not text.computes()
    measurement.leaves()
    assert second.computes()
    assert not text.computes()
    second.leaves()
    assert text.computes()


def test_nobody_is_alone_while_one_is_there() -> None:
    scheduler = Scheduler(3)
    text, measurement = User(scheduler), User(scheduler, alone=True)
    assert text.computes()
    assert not measurement.computes()
    text.leaves()
    assert measurement.computes()


def test_texts_come_in_the_order_in_which_they_were_asked_for() -> None:
    """Also if somebody later looks first when a place becomes free."""
    scheduler = Scheduler(1)
    users = [User(scheduler) for _ in range(4)]
    assert users[0].computes()
    users[0].leaves()
    assert not users[3].computes()
    assert not users[2].computes()
    assert users[1].computes()
    users[2].leaves()  # it gave up
    users[1].leaves()
    assert users[3].computes()


def test_a_text_passes_a_measurement_that_has_just_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """But not for ever: from some time on it holds them back until it has had its turn."""
    scheduler = Scheduler(2)
    long_text, measurement, newcomer = User(scheduler), User(scheduler, alone=True), User(scheduler)
    assert long_text.computes()
    assert not measurement.computes()
    assert newcomer.computes()
    late = User(scheduler)
    newcomer.leaves()
    monkeypatch.setattr(module, "OVERTAKEN", 0.0)
    assert not late.computes()
    long_text.leaves()
    assert not late.computes()
    assert measurement.computes()
    measurement.leaves()
    assert late.computes()


def test_who_does_not_look_any_more_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check that a place that no longer polls is overtaken, and is first again when it polls."""
    scheduler = Scheduler(1)
    first, lost, second, third = (User(scheduler) for _ in range(4))
    assert first.computes()
    first.leaves()
    assert not second.computes()
    monkeypatch.setattr(module, "ABSENT", -1.0)
    assert second.computes()
    monkeypatch.setattr(module, "ABSENT", 60.0)
    second.leaves()
    assert not third.computes()
    assert lost.computes()


def test_an_owner_computes_one_thing_at_a_time_and_others_pass_the_rest() -> None:
    scheduler = Scheduler(2)
    with ExitStack() as stack:
        first, second, third = (
            stack.enter_context(scheduler.queue(owner=owner)) for owner in ("here", "here", "elsewhere")
        )
        assert first.wait()
        assert not second.wait()
        assert third.wait()
        assert not second.wait()


def test_an_owner_has_a_request_in_work_and_one_that_waits() -> None:
    scheduler = Scheduler(9)
    with scheduler.admitted("here"), scheduler.admitted("here"), scheduler.admitted("elsewhere"):
        with pytest.raises(ValueError, match="another waits"), scheduler.admitted("here"):
            pass
        with scheduler.admitted(None), scheduler.admitted(None), scheduler.admitted(None):
            pass
    with scheduler.admitted("here"), scheduler.admitted("here"):
        pass


def test_a_block_is_waited_for_by_its_name() -> None:
    counter = OpenCounter()
    assert not counter.wait_for("a", 0.0)
    waiting: list[bool] = []
    thread = threading.Thread(target=lambda: waiting.append(counter.wait_for("a", LONG)))
    thread.start()
    with counter.counted("b"), counter.counted("a"):
        thread.join()
    assert waiting == [True]


def test_open_blocks_are_counted_by_name_however_they_end() -> None:
    counter = OpenCounter()
    with counter.counted("a") as one, counter.counted("a") as two:
        assert (one, two) == (1, 2)
        assert "a" in counter
        assert "b" not in counter
    with pytest.raises(RuntimeError), counter.counted("a"):
        raise RuntimeError
    assert "a" not in counter


def test_a_place_that_is_given_back_goes_to_who_waits() -> None:
    scheduler = Scheduler(1)
    first, second = User(scheduler), User(scheduler)
    assert first.computes()
    got: list[bool] = []
    thread = threading.Thread(target=lambda: got.append(second.place.wait(LONG)))
    thread.start()
    first.leaves()
    thread.join(LONG / 2)
    assert got == [True]


def test_who_waits_in_vain_is_told_and_leaves_nothing_behind() -> None:
    scheduler = Scheduler(1)
    first, second, third = User(scheduler), User(scheduler, alone=True), User(scheduler)
    assert first.computes()
    assert not second.place.wait(0.02)
    second.leaves()
    assert third.place.number == 1
    first.leaves()
    assert third.computes()


def test_a_measurement_stands_back_between_two_texts_for_who_has_come() -> None:
    scheduler = Scheduler(2)
    measurement = User(scheduler, alone=True)
    assert measurement.computes()
    steps: list[str] = []

    def measured() -> Iterator[int]:
        for i in range(4):
            steps.append(f"timed {i}")
            yield i

    stream = measurement.place.shared(measured())
    assert next(stream) == 0
    assert next(stream) == 1  # nobody is there
    text = User(scheduler)
    assert not text.computes()  # a text is being timed

    def compute() -> None:
        assert text.place.wait(LONG)
        steps.append("text")
        text.leaves()

    other = threading.Thread(target=compute)
    other.start()
    assert next(stream) == 2
    assert list(stream) == [3]
    other.join()
    assert steps == ["timed 0", "timed 1", "text", "timed 2", "timed 3"]
    assert measurement.place.wait()  # it has its place again


def test_who_stands_back_and_is_stopped_ends_at_once() -> None:
    scheduler = Scheduler(1)
    stop = threading.Event()
    with scheduler.queue(stop=stop) as place:
        assert place.wait()
        stream = place.shared(iter(range(3)))
        next(stream)
        text = User(scheduler)
        waiting = threading.Thread(target=lambda: text.place.wait(LONG))
        waiting.start()
        timer = threading.Timer(0.05, stop.set)
        timer.start()
        assert next(stream) == 1  # though the text, which has the place by then, keeps it
        waiting.join()
        timer.join()
        assert text.place.wait()
    text.leaves()
    assert User(scheduler, alone=True).computes()


def test_many_threads_never_meet_one_that_is_alone() -> None:
    scheduler, lock, inside, seen = Scheduler(3), threading.Lock(), [0, 0], []

    def work(alone: bool) -> None:
        for _ in range(50):
            with scheduler.queue(alone=alone) as place:
                assert place.wait(LONG)
                with lock:
                    inside[alone] += 1
                    seen.append(tuple(inside))
                with lock:
                    inside[alone] -= 1

    threads = [threading.Thread(target=work, args=(i % 4 == 0,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 400
    assert set(seen) <= {(0, 1), (1, 0), (2, 0), (3, 0)}


def test_a_measurement_is_not_starved_by_a_stream_of_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OVERTAKEN", 0.05)
    scheduler, done = Scheduler(2), threading.Event()

    def texts() -> None:
        while not done.is_set():
            with scheduler.queue() as place:
                place.wait(LONG)

    threads = [threading.Thread(target=texts) for _ in range(4)]
    for thread in threads:
        thread.start()
    with scheduler.queue(alone=True) as place:
        assert place.wait(LONG)
    done.set()
    for thread in threads:
        thread.join()
    assert User(scheduler, alone=True).computes()


def test_two_texts_take_turns_when_there_is_one_place() -> None:
    scheduler, written, both = Scheduler(1), [], threading.Barrier(2)

    def write(name: str) -> None:
        with scheduler.queue() as place:
            both.wait()
            for _ in place.positions():
                pass
            for _ in place.shared(iter(range(5))):
                written.append(name)

    threads = [threading.Thread(target=write, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(written) == list("aaaaabbbbb")
    assert "".join(written) not in ("aaaaabbbbb", "bbbbbaaaaa")


def test_a_text_is_not_interrupted_before_its_slice_is_over() -> None:
    scheduler = Scheduler(1)
    first, second = User(scheduler), User(scheduler)
    assert first.computes()
    assert list(first.place.shared(iter(range(5)), every=LONG)) == list(range(5))
    assert not second.computes()


def test_a_text_is_interrupted_by_another_but_not_by_a_measurement_that_has_just_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scheduler = Scheduler(1)
    text, measurement = User(scheduler), User(scheduler, alone=True)
    assert text.computes()
    stream = text.place.shared(iter(range(9)))
    assert [next(stream), next(stream)] == [0, 1]
    assert text.place.number == 0
    monkeypatch.setattr(module, "OVERTAKEN", 0.0)
    thread = threading.Thread(target=lambda: next(stream))
    thread.start()
    assert measurement.place.wait(LONG)
    assert text.place.number == 1
    measurement.leaves()
    thread.join()
    assert text.place.number == 0


def test_memory_limits_how_many_have_begun_and_those_go_on() -> None:
    """Check the limit on KV caches, which generations hold while others compute."""
    scheduler = Scheduler(1, memory=10)
    first, second, third = (User(scheduler, memory=memory) for memory in (4, 6, 1))
    assert first.computes()

    def write_the_first() -> None:
        for _ in first.place.shared(iter(range(3))):
            pass
        first.leaves()

    thread = threading.Thread(target=write_the_first)
    thread.start()
    assert second.place.wait(LONG)
    assert not third.computes()
    assert list(second.place.shared(iter(range(2)))) == [0, 1]  # the first goes on meanwhile, past the third
    assert not third.computes()
    second.leaves()
    thread.join()
    assert third.computes()


@pytest.mark.parametrize("places", [1, 2])
def test_as_many_begin_as_there_are_places_whatever_they_need(places: int) -> None:
    scheduler = Scheduler(places, memory=1)
    users = [User(scheduler, memory=100) for _ in range(places + 1)]
    assert [user.computes() for user in users] == [True] * places + [False]


def test_the_queue_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 2)
    scheduler = Scheduler(1)
    users = [User(scheduler) for _ in range(2)]
    with pytest.raises(Busy, match=r"^2 requests wait already; try again in a minute$"):
        User(scheduler)
    assert users[0].computes()
    User(scheduler).leaves()


def test_positions_are_told_until_it_may_compute_or_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AGAIN", 0.0)
    scheduler, stop = Scheduler(1), threading.Event()
    first = User(scheduler)
    assert list(first.place.positions()) == []
    second, third = User(scheduler), scheduler.queue(stop=stop)
    with third as place:
        positions = place.positions()
        assert [next(positions), next(positions)] == [2, 2]
        second.leaves()
        assert next(positions) == 1
        stop.set()
        with pytest.raises(Busy, match="stopped before it started"):
            next(positions)


def test_generations_of_one_model_share_a_place() -> None:
    """Once one has allowed it, but not with a measurement, and not before those that came earlier."""
    scheduler = Scheduler(1)
    with ExitStack() as stack:

        def join(model: str | None, *, alone: bool = False) -> Place:
            return stack.enter_context(scheduler.queue(model=model, alone=alone))

        first, second, other, third, measurement = (
            join("a"),
            join("a"),
            join("b"),
            join("a"),
            join(None, alone=True),
        )
        assert first.wait()
        assert not second.wait()
        first.share()
        assert second.wait()
        assert not other.wait()
        assert not third.wait()  # the other model came before
        assert not measurement.wait()
