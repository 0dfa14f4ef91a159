"""LRU cache of loaded models, which counts their users."""

import logging
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from models.signature import Signature

log = logging.getLogger(__name__)


class Sized(Protocol):
    """A value with a size in memory."""

    @property
    def memory_bytes(self) -> int:
        """Bytes of memory that it takes."""
        ...


Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value", bound=Sized)


@dataclass(eq=False)
class Slot(Generic[Key, Value]):
    """One value in memory, with the number of its users; a retired one is evicted when they are done."""

    key: Key
    value: Value
    signature: Signature  # of the folder it was read from
    users: int = 0
    retired: bool = False
    used: float = field(default_factory=time.monotonic)  # when the last loan began or ended


class LoadedModels(Generic[Key, Value]):
    """Values by key, the least recently used first, bounded by `budget` bytes if there is one. Safe from any thread."""

    def __init__(self, budget: int | None) -> None:
        self.budget = budget
        self._slots: list[Slot[Key, Value]] = []
        self._reserved: list[tuple[Key, int]] = []  # bytes of values that are not kept here
        self._lock = threading.Lock()  # held for moments

    def use(self, key: Key, signature: Signature | None) -> Slot[Key, Value] | None:
        """Return the slot of a key with one more user, None if it is not in memory.

        With a signature, None too if the value has changed on disk. Callers must release the slot.
        """
        with self._lock:
            for slot in self._slots:
                if slot.key == key and not slot.retired and signature in (None, slot.signature):
                    slot.users += 1
                    slot.used = time.monotonic()
                    self._slots.remove(slot)
                    self._slots.append(slot)
                    return slot
        return None

    def release(self, slot: Slot[Key, Value]) -> None:
        """Count one user less, and evict the value if it is retired and has none."""
        with self._lock:
            slot.users -= 1
            slot.used = time.monotonic()
            if slot.retired and not slot.users:
                self._slots.remove(slot)

    def add(self, key: Key, value: Value, signature: Signature) -> Slot[Key, Value]:
        """Return a new slot with one user, in place of its older self and of what the budget has no room for."""
        new = Slot(key, value, signature, users=1)
        with self._lock:
            for slot in [slot for slot in self._slots if slot.key == key]:
                self._retire(slot)
            self._make_room(key, value.memory_bytes)
            self._slots.append(new)
        return new

    @contextmanager
    def reserved(self, key: Key, size: int) -> Iterator[None]:
        """Count `size` bytes of a value that is not kept here for this block; evict what there is no room for."""
        reservation = (key, size)
        with self._lock:
            self._make_room(key, size)
            self._reserved.append(reservation)
        try:
            yield
        finally:
            with self._lock:
                self._reserved.remove(reservation)

    def remove(self, key: Key | None) -> None:
        """Evict one value, or with None all; those in use are evicted when their last user is done."""
        with self._lock:
            for slot in [slot for slot in self._slots if key in (None, slot.key)]:
                self._retire(slot)

    def remove_idle(self, seconds: float, *, gone: Callable[[Key], bool]) -> float | None:
        """Evict the values without users that nobody has used for so many seconds, and those whose key is `gone`.

        Return the seconds until the next one could be due; None if no value is left.
        """
        with self._lock:
            for slot in [slot for slot in self._slots if not slot.users]:
                if gone(slot.key) or time.monotonic() - slot.used >= seconds:
                    log.info("unloading %s, which nobody uses", slot.key)
                    self._retire(slot)
            due = [slot.used + seconds - time.monotonic() for slot in self._slots if not slot.users]
            return max(min(due, default=seconds), 0.0) if self._slots else None

    def keys(self) -> list[Key]:
        """Return the keys of the values that are not retired, the least recently used first."""
        with self._lock:
            return [slot.key for slot in self._slots if not slot.retired]

    def sizes(self) -> dict[Key, int]:
        """Return the bytes of the values that are not retired, by key."""
        with self._lock:
            return {slot.key: slot.value.memory_bytes for slot in self._slots if not slot.retired}

    def in_use(self, *, but: Key | None) -> list[tuple[Key, int]]:
        """Return keys and bytes of the values that have users, but those of the key `but`, and of the reserved ones."""
        with self._lock:
            used = [slot for slot in self._slots if slot.users and slot.key != but]
            return [(slot.key, slot.value.memory_bytes) for slot in used] + self._reserved

    def memory_bytes(self) -> int:
        """Return the bytes that all values take together, the reserved ones included."""
        kept = sum(slot.value.memory_bytes for slot in list(self._slots))
        return kept + sum(size for _, size in list(self._reserved))

    def _make_room(self, key: Key, size: int) -> None:
        """Evict what nobody uses until the budget has room for `size` bytes more."""
        for slot in [slot for slot in self._slots if not slot.users]:
            if self.budget is None or self.memory_bytes() + size <= self.budget:
                break
            log.info("unloading %s to make room for %s", slot.key, key)
            self._retire(slot)

    def _retire(self, slot: Slot[Key, Value]) -> None:
        slot.retired = True
        if not slot.users:
            self._slots.remove(slot)
