"""Continuous batching: tokens of several generations that wait for one engine are computed in one step.

There is no waiting window. Whoever finds the engine free leads: it computes its own rows and those of everybody who
waits by then, step after step. A generation that says what follows a choice is carried on without its thread, which is
woken for several choices at once: to wake a thread for each takes longer than to compute it.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar, cast

from torch import Tensor

from models.cache import KVCache
from models.engine import Engine

Choice = TypeVar("Choice")


class Chooser(Generic[Choice]):
    """Function of the logits (B, V) of one generation; those with the same `key` can be called together."""

    key: object = None  # None: with no other

    def __call__(self, logits: Tensor) -> Choice:
        """Return the choice by logits (B, V)."""
        raise NotImplementedError

    def together(self, choosers: "Sequence[Chooser[Choice]]", logits: Sequence[Tensor]) -> list[Choice | Exception]:
        """Return what each of several choosers of this key returns for its logits (B, V), or the error it raises."""
        raise NotImplementedError

    def following(self, choice: Choice) -> Tensor | None:
        """Return the tokens (B, 1) to read after a choice, by which its generation goes on; None at its end."""
        return None


MOST_AHEAD, LONGEST_AHEAD = 16, 0.02  # steps, and seconds, after which the thread of a generation has its choices
MOST_ROWS = 32  # of a step, unless one request has more: a token of each must not take long


class _Item(Generic[Choice]):
    """Steps of one generation: tokens (B, 1) that continue a cache, and the function of the logits (B, V) after them.

    It ends after one step, or `goes_on` while the function says what follows, for a moment.
    """

    def __init__(
        self, tokens: Tensor, cache: KVCache, choose: Callable[[Tensor], Choice], *, goes_on: bool = False
    ) -> None:
        self.tokens, self.cache = tokens, cache
        self.done = self.leads = self.abandoned = False
        self.error: BaseException | None = None
        self.turn = threading.Lock()  # released when it is done, or when its thread is to lead
        self.turn.acquire()
        self.choose = choose
        self.choices: list[Choice] = []
        self._following = choose.following if goes_on and isinstance(choose, Chooser) else None
        self._late = time.perf_counter() + LONGEST_AHEAD

    @property
    def key(self) -> object:
        """Key of those whose functions can be called together with its own; None if there are none."""
        return self.choose.key if isinstance(self.choose, Chooser) else None

    def finish(self, logits: Tensor) -> None:
        """Call the function of the logits (B, V); what it raises is raised in the thread of this item."""
        try:
            choice = self.choose(logits)
        except Exception as error:
            self.fail(error)
        else:
            self.settle(choice)

    def settle(self, choice: Choice | Exception) -> None:
        """Keep what the function has returned or raised."""
        if isinstance(choice, Exception):
            self.fail(choice)
            return
        self.choices.append(choice)
        following = None
        if self._following and len(self.choices) < MOST_AHEAD and time.perf_counter() < self._late:
            following = self._following(choice)
        if following is None:
            self.done = True
        else:
            self.tokens = following

    def fail(self, error: BaseException) -> None:
        """Let its thread raise an error."""
        self.error, self.done = error, True

    def outcome(self) -> Iterator[Choice]:
        """Yield what the function returned, then raise its error, if any."""
        yield from self.choices
        if self.error is not None:
            raise self.error


class Batcher:
    """Steps of an engine, shared by the threads that generate with it at the same time.

    Where the bits of a row would depend on its company, every request computes by itself.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting: list[_Item[object]] = []  # in the order of arrival
        self._busy = False  # whether a thread leads
        self._lock = threading.Lock()  # of both; held for moments

    def step(self, tokens: Tensor, cache: KVCache, choose: Callable[[Tensor], Choice]) -> Choice:
        """Return `choose(logits)`, of the logits (B, V) after `tokens` (B, 1) that continue `cache`.

        `choose` may run in another thread, which computes for this one; nothing else may use the cache, or what
        `choose` uses, meanwhile. Raises what it raises, and as the engine; other requests do not notice.
        """
        if not self._engine.rows_are_independent:
            return choose(self._engine(tokens, cache, last_only=True)[:, -1])
        [choice] = self._computed(_Item(tokens, cache, choose))
        return choice

    def steps(self, tokens: Tensor, cache: KVCache, choose: Chooser[Choice]) -> Iterator[Choice]:
        """Yield the choices of `step` after `tokens` (B, 1), then after those that follow, until `choose` has none.

        The cache, and what `choose` uses, may be some steps ahead of what has been yielded; the errors of a step come
        after the choices of those before it.
        """
        following: Tensor | None = tokens
        while following is not None:
            if self._engine.rows_are_independent:
                for choice in self._computed(_Item(following, cache, choose, goes_on=True)):  # at least one
                    yield choice
            else:
                choice = choose(self._engine(following, cache, last_only=True)[:, -1])
                yield choice
            following = choose.following(choice)

    def _computed(self, item: _Item[Choice]) -> Iterator[Choice]:
        """Return the outcome of an item, which this thread or another one computes."""
        own = cast("_Item[object]", item)
        with self._lock:
            self._waiting.append(own)
            leads, self._busy = not self._busy, True
        if not leads:
            self._wait(own)
        if not item.done:
            self._lead(own)
        return item.outcome()

    def _wait(self, item: _Item[object]) -> None:
        """Wait until an item is done or its thread is to lead."""
        try:
            item.turn.acquire()
        except BaseException:  # an interrupt from the keyboard
            with self._lock:
                item.abandoned = True
                if item in self._waiting:
                    self._waiting.remove(item)
                    if item.leads:
                        self._pass_on()
            raise

    def _lead(self, own: _Item[object]) -> None:
        """Compute the items that wait, of which the thread's own is the first, until that is done."""
        batch: list[_Item[object]] = []
        try:
            while not own.done:
                with self._lock:
                    batch = self._take()
                for items, ready in _groups(batch, self._compute(batch)):
                    _finish(items, ready)
                with self._lock:
                    # those that go on are computed next, with whoever has come meanwhile
                    self._waiting[:0] = [item for item in batch if not (item.done or item.abandoned)]
                for item in batch:
                    if item.done and item is not own:
                        item.turn.release()
                batch = []
        except BaseException as error:  # an interrupt: nobody must wait for this thread
            for item in batch:
                if item is not own and item not in self._waiting:
                    if not item.done:
                        item.fail(error)
                    if item.turn.locked():
                        item.turn.release()
            raise
        finally:
            with self._lock:
                if own in self._waiting:
                    self._waiting.remove(own)
                self._pass_on()

    def _take(self) -> list[_Item[object]]:
        """Remove and return the first items with MOST_ROWS rows together, at least one; the lock must be held."""
        rows = count = 0
        for item in self._waiting:
            rows += len(item.tokens)
            if count and rows > MOST_ROWS:
                break
            count += 1
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        return batch

    def _pass_on(self) -> None:
        """Let the next one lead, if any waits; the lock must be held."""
        if self._waiting:
            self._waiting[0].leads = True
            self._waiting[0].turn.release()
        else:
            self._busy = False

    def _compute(self, batch: list[_Item[object]]) -> list[Tensor | None]:
        """Return the logits (B, V) of each item, None for one that the engine refuses."""
        try:
            return list(self._engine.step([(item.tokens, item.cache) for item in batch]))
        except (ValueError, IndexError):
            # refused before anything was written: each by itself, so that only the faulty one fails
            return [self._alone(item) for item in batch]
        except Exception as error:
            # the step itself failed, for all of them: to repeat it would hide that
            for item in batch:
                item.fail(error)
            return [None] * len(batch)

    def _alone(self, item: _Item[object]) -> Tensor | None:
        """Return the logits (B, V) of one item, None if the engine refuses it."""
        try:
            return self._engine.step([(item.tokens, item.cache)])[0]
        except Exception as error:
            item.fail(error)
            return None


def _groups(
    batch: list[_Item[object]], logits: list[Tensor | None]
) -> Iterator[tuple[list[_Item[object]], list[Tensor | None]]]:
    """Yield items whose functions can be called together, in the order of the first of each group, and their logits."""
    groups: dict[object, tuple[list[_Item[object]], list[Tensor | None]]] = {}
    for item, one in zip(batch, logits, strict=True):
        key = (item.key,) if item.key is not None and one is not None else item
        items, ready = groups.setdefault(key, ([], []))
        items.append(item)
        ready.append(one)
    yield from groups.values()


def _finish(items: list[_Item[object]], logits: list[Tensor | None]) -> None:
    """Call the functions of one group; logits that are None are those of an item that has failed."""
    given = [one for one in logits if one is not None]
    if len(given) < 2:
        for item, one in zip(items, logits, strict=True):
            if one is not None:
                item.finish(one)
        return
    choosers = [cast("Chooser[object]", item.choose) for item in items]
    for item, choice in zip(items, choosers[0].together(choosers, given), strict=True):
        item.settle(choice)
