"""Compute scheduler: limits concurrent generations, in the order of arrival; measurements run exclusively."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

Event = TypeVar("Event")

OVERTAKEN = 5.0  # seconds for which newcomers may pass a measurement that waits; then it holds them back
LOOK = 0.1  # seconds between two looks at whether to give up waiting


class Scheduler:
    """A number of places: a generation takes one; a measurement takes all, and so computes alone."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._waiting: list[Place] = []  # in the order of arrival
        self._running: list[Place] = []
        self._changed = threading.Condition()

    @contextmanager
    def queue(self, *, alone: bool = False, stop: threading.Event | None = None) -> Iterator["Place"]:
        """Join the queue for the length of the block; `Place.wait` says when the block may compute.

        `stop` is what ends the work; who stands back gives up waiting when it is set.
        """
        place = Place(self, alone=alone, stop=stop or threading.Event())
        self._join(place)
        try:
            yield place
        finally:
            with self._changed:
                self._remove(place)

    def _join(self, place: "Place") -> None:
        with self._changed:
            self._remove(place)
            place.since = time.monotonic()
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
            if not self._changed.wait_for(lambda: self._may_start(place), timeout):
                return False
            self._waiting.remove(place)
            self._running.append(place)
            return True

    def _may_start(self, place: "Place") -> bool:
        """Return whether there is room, and nobody goes first."""
        if place.alone:
            return not self._running and self._waiting[0] is place
        if len(self._running) >= self._places or any(other.alone for other in self._running):
            return False
        before = self._waiting[: self._waiting.index(place)]
        overdue = time.monotonic() - OVERTAKEN
        return all(other.alone and other.since > overdue for other in before)

    def _number(self, place: "Place") -> int:
        with self._changed:
            return self._waiting.index(place) + 1 if place in self._waiting else 0

    def _others_wait(self) -> bool:
        with self._changed:
            return bool(self._waiting)


class Place:
    """A place in the queue of a Scheduler, and then among those who compute."""

    def __init__(self, scheduler: Scheduler, *, alone: bool, stop: threading.Event) -> None:
        self.alone = alone
        self.stop = stop
        self.since = 0.0  # when it came to the end of the queue, by the monotonic clock
        self._scheduler = scheduler

    @property
    def number(self) -> int:
        """Which place in the queue it is, from 1; 0 once it may compute."""
        return self._scheduler._number(self)

    def wait(self, timeout: float = 0.0) -> bool:
        """Wait up to `timeout` seconds; return whether it may compute."""
        return self._scheduler._start(self, timeout)

    def shared(self, stream: Iterator[Event]) -> Iterator[Event]:
        """Yield the events of a stream, and after each let everybody go first who waits by then.

        What is timed must lie between two events. Once `stop` is set nobody is waited for: the stream ends itself.
        """
        for event in stream:
            yield event
            if self._scheduler._others_wait():
                self._scheduler._join(self)  # at the end of the queue
                while not self.wait(LOOK) and not self.stop.is_set():
                    pass
