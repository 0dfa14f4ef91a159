"""Continuous batching: tokens of several generations are computed in one step of their engine.

There is no waiting window. Whoever finds the engine free leads: it computes the next tokens of everybody, step after
step, until it has choices of its own to take. A generation that says what follows a choice is carried on meanwhile,
whatever its thread does, and its thread is woken for several choices at once: to wake a thread for each takes longer
than to compute it.
"""

import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
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


ENOUGH, LONGEST_WAIT = 16, 0.02  # choices, and seconds of waiting for at least one, after which a thread is woken
MOST_AHEAD = 32  # choices that a thread has not taken yet, at which its generation pauses
MOST_ROWS = 32  # of a step, unless one request has more: a token of each must not take long


class _Item(Generic[Choice]):
    """Steps of one generation: tokens (B, 1) that continue a cache, and the function of the logits (B, V) after them.

    It ends after one step, or `goes_on` while the function says what follows. Its thread takes the choices. All but
    `is_due` needs the lock of the batcher.
    """

    def __init__(
        self, tokens: Tensor, cache: KVCache, choose: Callable[[Tensor], Choice], *, goes_on: bool = False
    ) -> None:
        self.tokens, self.cache, self.choose = tokens, cache, choose
        self.has_ended = False  # there is nothing more to compute
        self.has_left = False  # nobody takes its choices any more; set without the lock
        self.error: BaseException | None = None  # at the end
        self.choices: list[Choice] = []  # those that its thread has not taken yet
        self.waits = self.leads = False  # whether its thread waits for `turn`; whether it leads, or is then to lead
        self.turn = threading.Lock()
        self.turn.acquire()
        self.late = 0.0  # when its thread has waited for LONGEST_WAIT
        self._following = choose.following if goes_on and isinstance(choose, Chooser) else None

    @property
    def key(self) -> object:
        """Key of those whose functions can be called together with its own; None if there are none."""
        return self.choose.key if isinstance(self.choose, Chooser) else None

    @property
    def pauses(self) -> bool:
        """True if it is as far ahead of its thread as it may be."""
        return len(self.choices) >= MOST_AHEAD

    @property
    def is_due(self) -> bool:
        """True if its thread is to take what there is."""
        made = len(self.choices)
        return self.has_ended or made >= ENOUGH or bool(made and time.perf_counter() >= self.late)

    def settle(self, choice: Choice | BaseException) -> None:
        """Keep what the function has returned or raised."""
        if isinstance(choice, BaseException):
            self.error, self.has_ended = choice, True
            return
        self.choices.append(choice)
        following = self._following(choice) if self._following else None
        if following is None:
            self.has_ended = True
        else:
            self.tokens = following

    def wake(self) -> None:
        """Let its thread go on, which waits."""
        self.waits = False
        self.turn.release()


class Batcher:
    """Steps of an engine, shared by the threads that generate with it at the same time.

    Where the bits of a row would depend on its company, every request computes by itself.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        # those with tokens to compute, in the order in which they came or were computed last
        self._waiting: list[_Item[object]] = []
        self._busy = False  # whether a thread leads
        self._lock = threading.Lock()  # of both, and of the items; held for moments

    def step(self, tokens: Tensor, cache: KVCache, choose: Callable[[Tensor], Choice]) -> Choice:
        """Return `choose(logits)`, of the logits (B, V) after `tokens` (B, 1) that continue `cache`.

        `choose` may run in another thread, which computes for this one; nothing else may use the cache, or what
        `choose` uses, meanwhile. Raises what it raises, and as the engine; other requests do not notice.
        """
        if not self._engine.rows_are_independent:
            return choose(self._engine(tokens, cache, last_only=True)[:, -1])
        [choice] = self._computed(_Item(tokens, cache, choose))
        return choice

    def steps(self, tokens: Tensor, cache: KVCache, choose: Chooser[Choice]) -> Generator[Choice, None, None]:
        """Yield the choices of `step` after `tokens` (B, 1), then after those that follow, until `choose` has none.

        The cache, and what `choose` uses, may be some steps ahead of what has been yielded, and go on until the
        iterator is closed; the errors of a step come after the choices of those before it.
        """
        if self._engine.rows_are_independent:
            yield from self._computed(_Item(tokens, cache, choose, goes_on=True))
            return
        following: Tensor | None = tokens
        while following is not None:
            choice = choose(self._engine(following, cache, last_only=True)[:, -1])
            yield choice
            following = choose.following(choice)

    def _computed(self, item: _Item[Choice]) -> Iterator[Choice]:
        """Yield the choices of an item, which this thread or another one computes; then raise its error, if any."""
        with self._member(cast("_Item[object]", item)):
            while choices := self._taken(item):
                yield from choices
        if item.error is not None:
            raise item.error

    @contextmanager
    def _member(self, item: _Item[object]) -> Iterator[None]:
        """Let an item be computed within the block."""
        try:
            with self._lock:
                self._waiting.append(item)
            yield
        finally:
            item.has_left = True
            if item.leads:  # an interrupt from the keyboard has kept it from passing that on
                with self._lock:
                    self._pass_on()
            # A generator that nobody closed is closed by the garbage collector, perhaps in a thread that holds the lock
            # just then; the next step sweeps up what stays.
            if self._lock.acquire(timeout=LONGEST_WAIT):
                self._waiting = [other for other in self._waiting if not other.has_left]
                self._lock.release()

    def _taken(self, item: _Item[Choice]) -> list[Choice]:
        """Return the choices that an item has by now, at least one, or none at its end."""
        while True:
            with self._lock:
                # who is to lead does so first, and not after what its thread makes of the choices: nobody else would
                if not item.leads:
                    if item.choices or item.has_ended:
                        choices, item.choices = item.choices, []
                        return choices
                    item.late = time.perf_counter() + LONGEST_WAIT
                    item.waits, item.leads, self._busy = self._busy, not self._busy, True
            if item.leads:
                self._lead(item)
            else:
                item.turn.acquire()

    def _lead(self, own: _Item[Choice]) -> None:
        """Compute all items, step after step, until the thread's own is due."""
        batch: list[_Item[object]] = []
        try:
            while not own.is_due:
                with self._lock:
                    batch = self._take()
                choices = self._choices(batch)
                with self._lock:
                    self._settle(batch, choices)
                batch = []
        except BaseException as error:  # an interrupt: nobody must wait for this thread
            with self._lock:
                lost = [item for item in batch if not item.has_ended and item not in self._waiting]
                self._settle(lost, [error] * len(lost))
            raise
        finally:
            with self._lock:
                self._pass_on()
                own.leads = False

    def _take(self) -> list[_Item[object]]:
        """Remove and return the first items with MOST_ROWS rows together, at least one; the lock must be held."""
        batch: list[_Item[object]] = []
        rows = 0
        self._waiting = [item for item in self._waiting if not item.has_left]
        for item in self._waiting:
            if item.pauses:
                continue
            rows += len(item.tokens)
            if batch and rows > MOST_ROWS:
                break
            batch.append(item)
        self._waiting = [item for item in self._waiting if item not in batch]
        return batch

    def _settle(self, batch: list[_Item[object]], choices: Sequence[object]) -> None:
        """Keep the choices of items or their errors, and wake the threads that are to take them; with the lock."""
        for item, choice in zip(batch, choices, strict=True):
            item.settle(choice)
            if not (item.has_ended or item.has_left):
                self._waiting.append(item)
            if item.waits and item.is_due:
                item.wake()

    def _pass_on(self) -> None:
        """Let the first thread that waits lead, if there is one; the lock must be held."""
        item = next((item for item in self._waiting if item.waits), None)
        self._busy = item is not None
        if item is not None:
            item.leads = True
            item.wake()

    def _choices(self, batch: list[_Item[object]]) -> list[object]:
        """Compute a step, and return the choice of each item, or its error."""
        outcomes: list[object] = list(self._logits(batch))
        groups: dict[object, list[int]] = {}  # those whose functions can be called together
        for i, (item, one) in enumerate(zip(batch, outcomes, strict=True)):
            if isinstance(one, Tensor):
                groups.setdefault(item if item.key is None else (item.key,), []).append(i)
        for places in groups.values():
            choosers = [batch[i].choose for i in places]
            chosen = _called(choosers, [cast(Tensor, outcomes[i]) for i in places])
            for i, choice in zip(places, chosen, strict=True):
                outcomes[i] = choice
        return outcomes

    def _logits(self, batch: list[_Item[object]]) -> Sequence[Tensor | Exception]:
        """Return the logits (B, V) of each item, or the error by which the engine refuses it."""
        try:
            return self._engine.step([(item.tokens, item.cache) for item in batch])
        except (ValueError, IndexError):
            # refused before anything was written: each by itself, so that only the faulty one fails
            return [self._logits_alone(item) for item in batch]
        except Exception as error:
            # the step itself failed, for all of them: to repeat it would hide that
            return [error] * len(batch)

    def _logits_alone(self, item: _Item[object]) -> Tensor | Exception:
        """Return the logits (B, V) of one item, or the error by which the engine refuses it."""
        try:
            return self._engine.step([(item.tokens, item.cache)])[0]
        except Exception as error:
            return error


def _called(choosers: list[Callable[[Tensor], object]], logits: list[Tensor]) -> Sequence[object]:
    """Return the choices of functions that can be called together, for their logits (B, V), or their errors."""
    try:
        if len(choosers) == 1:
            return [choosers[0](logits[0])]
        together = [cast("Chooser[object]", one) for one in choosers]
        return together[0].together(together, logits)
    except Exception as error:
        return [error] * len(choosers)
