"""What is in memory: who uses it now, what is out of date, and what goes first when there is need of room."""

import logging
import threading
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from models.listing import Signature

log = logging.getLogger(__name__)


class Sized(Protocol):
    """Anything that takes memory."""

    @property
    def memory_bytes(self) -> int: ...


Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value", bound=Sized)


@dataclass(eq=False)
class Slot(Generic[Key, Value]):
    """One value in memory: how many use it now, and whether it goes when they are done."""

    key: Key
    value: Value
    signature: Signature
    users: int = 0
    retired: bool = False


class LoadedModels(Generic[Key, Value]):
    """Values by key, the least recently used first, bounded by `budget` bytes if there is one. Safe from any thread."""

    def __init__(self, budget: int | None) -> None:
        self.budget = budget
        self._slots: list[Slot[Key, Value]] = []
        self._lock = threading.Lock()  # held for moments

    def use(self, key: Key, signature: Signature | None) -> Slot[Key, Value] | None:
        """Count one more user of what is there, if it is and, with a signature, has not changed on disk."""
        with self._lock:
            for slot in self._slots:
                if slot.key == key and not slot.retired and signature in (None, slot.signature):
                    slot.users += 1
                    self._slots.remove(slot)
                    self._slots.append(slot)
                    return slot
        return None

    def release(self, slot: Slot[Key, Value]) -> None:
        """Count one user less."""
        with self._lock:
            slot.users -= 1
            if slot.retired and not slot.users:
                self._slots.remove(slot)

    def add(self, key: Key, value: Value, signature: Signature) -> Slot[Key, Value]:
        """Let it take the place of its older self and of what the budget has no room for; counted as used once."""
        new = Slot(key, value, signature, users=1)
        with self._lock:
            for slot in [slot for slot in self._slots if slot.key == key]:
                self._retire(slot)
            for slot in [slot for slot in self._slots if not slot.users]:
                if self.budget is None or self.memory_bytes() + value.memory_bytes <= self.budget:
                    break
                log.info("unloading %s to make room for %s", slot.key, key)
                self._retire(slot)
            self._slots.append(new)
        return new

    def remove(self, key: Key | None) -> None:
        """Let one value go, or with None all; those in use go when their last user is done."""
        with self._lock:
            for slot in [slot for slot in self._slots if key in (None, slot.key)]:
                self._retire(slot)

    def keys(self) -> list[Key]:
        """What is there and not about to go."""
        with self._lock:
            return [slot.key for slot in self._slots if not slot.retired]

    def in_use(self, *, but: Key) -> list[Value]:
        """What cannot go now, whatever has this key left out."""
        with self._lock:
            return [slot.value for slot in self._slots if slot.users and slot.key != but]

    def memory_bytes(self) -> int:
        """What all of them take."""
        return sum(slot.value.memory_bytes for slot in list(self._slots))

    def _retire(self, slot: Slot[Key, Value]) -> None:
        slot.retired = True
        if not slot.users:
            self._slots.remove(slot)
