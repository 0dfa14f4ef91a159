"""Compute scheduler: limits concurrent generations, in the order of arrival; measurements run exclusively."""

import math
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from gptdesk.errors import Busy, QueueFull

Event = TypeVar("Event")
Waiting = TypeVar("Waiting")

OVERTAKEN = 5.0  # seconds for which generations may overtake a waiting measurement; after that they queue behind it
TOGETHER = 16  # generations of one model that share a place
AT_MOST = 2  # requests of one owner: one that computes and one that waits
MOST_WAITING = 64  # places in the queue; further requests are refused
LOOK = 0.1  # polling interval of waiting places in seconds
AGAIN = 0.5  # seconds after which a position in the queue is yielded again, so that a closed page is noticed
ABSENT = 2.0  # seconds without polling after which others overtake a waiting place: its caller may be gone


class Scheduler:
    """Scheduler of a number of places: a generation takes one; a measurement takes all, and so runs exclusively.

    Generations of one model may share a place, once one of them has allowed it by `Place.share`.
    `memory` bytes are for the KV caches of the generations that have begun; further ones begin when some have ended.
    As many generations as there are places may begin whatever they need.
    """

    def __init__(self, places: int, *, memory: float = math.inf) -> None:
        self._places = places
        self._memory = memory
        self._waiting: list[Place] = []  # in the order of arrival
        self._running: list[Place] = []
        self._requests = OpenCounter()  # of each owner
        self._changed = threading.Condition()

    @contextmanager
    def admitted(self, owner: str | None) -> Iterator[None]:
        """Count a request of this owner for the length of the block; QueueFull if there are AT_MOST already.

        None: no owner, and no limit.
        """
        if owner is None:
            yield
            return
        with self._requests.counted(owner) as requests:
            if requests > AT_MOST:
                raise QueueFull(
                    "one text from your network address is being generated and another waits; "
                    "wait a moment, then try again"
                )
            yield

    @property
    def waiting(self) -> int:
        """Requests that wait, those that let others compute for a while included."""
        return len(self._waiting)

    @property
    def computing(self) -> int:
        """Requests that compute."""
        return len(self._running)

    @contextmanager
    def queue(
        self,
        *,
        alone: bool = False,
        stop: threading.Event | None = None,
        owner: str | None = None,
        memory: int = 0,
        model: Hashable = None,
    ) -> Iterator["Place"]:
        """Join the queue for the length of the block, which may compute once `Place.positions` has ended.

        `stop` ends the work, and the waiting, too. An `owner` computes one thing at a time; others overtake the rest.
        `memory` is what the block holds from its begin to its end, also while others compute, in bytes. `model` is the
        one that it generates with, None for other work. Raises QueueFull if MOST_WAITING wait already.
        """
        place = Place(self, alone=alone, stop=stop or threading.Event(), owner=owner, memory=memory)
        place.model = model
        with self._changed:
            if len(self._waiting) >= MOST_WAITING:
                raise QueueFull(f"{MOST_WAITING} requests wait already; try again in a minute")
            self._join(place)
        try:
            yield place
        finally:
            with self._changed:
                self._remove(place)

    def _join(self, place: "Place") -> None:
        """Put a place at the end of the queue; the lock must be held."""
        self._remove(place)
        place.since = place.looked = time.monotonic()
        self._waiting.append(place)

    def _remove(self, place: "Place") -> None:
        for places in (self._waiting, self._running):
            if place in places:
                places.remove(place)
        self._changed.notify_all()

    def _start(self, place: "Place", timeout: float) -> bool:
        with self._changed:
            if place in self._running:
                return True
            place.looked = time.monotonic() + timeout
            if not self._changed.wait_for(lambda: self._may_start(place), timeout):
                return False
            self._waiting.remove(place)
            self._running.append(place)
            place.begun, place.started = True, time.monotonic()
            return True

    def _may_start(self, place: "Place") -> bool:
        """Return whether a place is free, and no other goes first."""
        if self._is_held_up(place) or self._lacks_memory(place):
            return False
        now = time.monotonic()
        before = [
            other
            for other in self._waiting[: self._waiting.index(place)]
            if other.looked > now - ABSENT and not self._is_held_up(other)
        ]
        if place.alone:
            return not self._running and not before
        if not self._has_room(place) or any(other.alone for other in self._running):
            return False
        if place.begun:  # a place that lacks memory waits for this one to end, so it must be overtaken
            before = [other for other in before if not self._lacks_memory(other)]
        return all(other.alone and other.since > now - OVERTAKEN for other in before)

    def _has_room(self, place: "Place") -> bool:
        """Return whether a place is free, or one that generations of its model share."""
        together = sum(other.shares_with(place) for other in self._running)
        if together:
            return together < TOGETHER
        # places taken: one by each model that is shared, one by each of the others
        return len({other.model if other.shares else other for other in self._running}) < self._places

    def _is_held_up(self, place: "Place") -> bool:
        """Return whether another place of its owner computes."""
        return place.owner is not None and any(other.owner == place.owner for other in self._running)

    def _lacks_memory(self, place: "Place") -> bool:
        """Return whether it must wait for the end of a generation that has begun, because of its KV cache."""
        if place.alone or place.begun:
            return False
        begun = [other for other in (*self._waiting, *self._running) if other.begun]
        held = sum(other.memory for other in begun)
        return len(begun) >= self._places and held + place.memory > self._memory

    def _share(self, place: "Place") -> None:
        with self._changed:
            place.shares = True
            self._changed.notify_all()

    def _number(self, place: "Place") -> int:
        with self._changed:
            return self._waiting.index(place) + 1 if place in self._waiting else 0

    def _stand_back(self, place: "Place") -> bool:
        """Move a place that computes to the end of the queue if another can start; return whether it was moved."""
        with self._changed:
            late = time.monotonic() - OVERTAKEN
            others = [
                other
                for other in self._waiting
                if not self._lacks_memory(other) and (place.alone or not other.alone or other.since <= late)
            ]
            if others:
                self._join(place)
            return bool(others)


class Place:
    """Place in the queue of a Scheduler, then among those that compute; released at the end of the block."""

    def __init__(
        self, scheduler: Scheduler, *, alone: bool, stop: threading.Event, owner: str | None, memory: int
    ) -> None:
        self.alone = alone
        self.owner = owner
        self.memory = memory  # bytes
        self.model: Hashable = None  # that it generates with
        self.shares = False  # whether others that generate with its model may compute beside it
        self.stop = stop
        self.begun = False  # whether it has computed before
        self.since = self.looked = 0.0  # when it joined the queue and last polled, by the monotonic clock
        self.started = 0.0  # when it last started to compute, by the same clock
        self._scheduler = scheduler

    def share(self) -> None:
        """Let others of its model compute beside it, whose steps are then computed together."""
        self._scheduler._share(self)

    def shares_with(self, other: "Place") -> bool:
        """Return whether the other one may compute beside it in its place."""
        return self.shares and not other.alone and self.model is not None and self.model == other.model

    @property
    def number(self) -> int:
        """Position in the queue, from 1; 0 once it may compute."""
        return self._scheduler._number(self)

    def wait(self, timeout: float = 0.0) -> bool:
        """Wait up to `timeout` seconds; return whether it may compute."""
        return self._scheduler._start(self, timeout)

    def positions(self) -> Iterator[int]:
        """Yield the position in the queue, from 1, whenever it changes and every AGAIN seconds, until it may compute.

        Raises Busy if `stop` is set before.
        """
        last, due = 0, 0.0
        while not self.wait(LOOK if last else 0.0):
            if self.stop.is_set():
                raise Busy("stopped before it started, while others were computing")
            number = max(1, self.number)
            if number != last or time.monotonic() > due:
                last, due = number, time.monotonic() + AGAIN
                yield number

    def shared(
        self, stream: Iterator[Event], *, every: float = 0.0, waiting: Callable[[int], Waiting] | None = None
    ) -> Iterator[Event | Waiting]:
        """Yield the events of a stream; every `every` seconds let all others that wait compute first.

        While it waits for them, `waiting` makes an event of the position in the queue every AGAIN seconds. Timed work
        must lie between two events. Once `stop` is set there is no more waiting, and the stream ends itself.
        """
        for event in stream:
            yield event
            if time.monotonic() - self.started >= every and self._scheduler._stand_back(self):
                due = time.monotonic() + AGAIN
                while not self.wait(LOOK) and not self.stop.is_set():
                    if waiting and time.monotonic() > due and (number := self.number):
                        due = time.monotonic() + AGAIN
                        yield waiting(number)


class OpenCounter:
    """Thread-safe counts of open blocks, by name."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._changed = threading.Condition()

    @contextmanager
    def counted(self, name: str) -> Iterator[int]:
        """Count the block under this name for its length; yield the count with it."""
        with self._changed:
            count = self._counts[name] = self._counts.get(name, 0) + 1
            self._changed.notify_all()
        try:
            yield count
        finally:
            with self._changed:
                self._counts[name] -= 1
                if not self._counts[name]:
                    del self._counts[name]

    def wait_for(self, name: str, timeout: float) -> bool:
        """Wait up to `timeout` seconds for a block of this name; return whether there is one."""
        with self._changed:
            return self._changed.wait_for(lambda: name in self._counts, timeout)

    def __contains__(self, name: str) -> bool:
        with self._changed:
            return name in self._counts
