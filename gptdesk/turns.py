"""Whose turn it is to compute: a few may generate at once, and who measures is alone."""

import threading


class Turns:
    """A number of places; each generation takes one, a measurement takes all."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._taken = 0
        self._waiting_alone = 0  # measurements that wait: no generation begins before them
        self._changed = threading.Condition()

    def take(self, *, alone: bool = False, timeout: float = 0.0) -> bool:
        """Take a place, or all of them, within `timeout` seconds; whether that worked. Who has taken gives back."""
        with self._changed:
            self._waiting_alone += alone
            try:
                if not self._changed.wait_for(lambda: self._free(alone), timeout):
                    return False
                self._taken += self._places if alone else 1
                return True
            finally:
                self._waiting_alone -= alone
                self._changed.notify_all()  # those that were held back, should it have been in vain

    def claim(self, *, drop: bool = False) -> None:
        """Let no generation begin before who wants to be alone, also while it is not in `take`; or `drop` that."""
        with self._changed:
            self._waiting_alone += -1 if drop else 1
            self._changed.notify_all()

    def give_back(self, *, alone: bool = False) -> None:
        """Return what `take` took."""
        with self._changed:
            self._taken -= self._places if alone else 1
            self._changed.notify_all()

    def _free(self, alone: bool) -> bool:
        if alone:
            return self._taken == 0
        return self._taken < self._places and not self._waiting_alone
