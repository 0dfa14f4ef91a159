"""Threads that help with a step; one that fails ends the step, and the next step has new ones."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

log = logging.getLogger(__name__)

# more pieces than any phase has: where all counters say so, no piece is left and nobody waits
ALL_DONE = 2**62


class Helpers:
    """Threads that run the same step as their caller, each with a number of its own; any thread may call `run`."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._size = 0
        self._warned = False
        self._lock = threading.Lock()  # of all three; held for moments

    def run(self, step: Callable[..., object], given: tuple[Any, ...], counters: Any, *, threads: int) -> None:
        """Call step(me, *given) in so many threads, of which the caller is number 0; return when it is done.

        `counters` are those by which the threads share the step. Raises RuntimeError if one of them fails; then none
        of them is in the step any more.
        """
        failures: list[BaseException] = []

        def help_with(me: int) -> None:
            try:
                step(me, *given)
            except BaseException as error:  # whatever it is, the others must not wait for its piece
                failures.append(error)
                counters[:] = ALL_DONE

        futures = self._submit(help_with, threads - 1)
        try:
            step(0, *given)
        except BaseException:
            # an error of the caller, or an interrupt: the memory of the step is in use until the helpers have left it
            counters[:] = ALL_DONE
            self._leave(futures)
            raise
        if failures:
            self._leave(futures)
            self._renew()
            error = failures[0]
            log.error("a thread of the compiled step failed", exc_info=error)
            raise RuntimeError(
                f"a thread that computes this model failed ({error!r}), so the text ends here; generate again, with "
                "new threads"
            ) from error

    def _submit(self, function: Callable[[int], None], count: int) -> "list[Future[None]]":
        """Let `count` threads call function(1), function(2) ...; fewer if the system gives no more threads."""
        futures: list[Future[None]] = []
        if count < 1:
            return futures
        with self._lock:
            if self._size < count:
                self._close()
                self._pool, self._size = ThreadPoolExecutor(count, thread_name_prefix="step"), count
            assert self._pool is not None
            try:
                for me in range(1, count + 1):
                    futures.append(self._pool.submit(function, me))
            except RuntimeError as error:  # no new thread can be started: those that run, and the caller, suffice
                if not self._warned:
                    log.warning("the compiled step runs in fewer threads than it should: %s", error)
                self._warned = True
                self._close()
        return futures

    def _renew(self) -> None:
        """Let the next step start new threads."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        """Let the threads end once they have nothing to do; the lock must be held."""
        if self._pool is not None:
            self._pool.shutdown(wait=False)
        self._pool, self._size = None, 0

    @staticmethod
    def _leave(futures: "list[Future[None]]") -> None:
        """Wait until no thread is in the step; those that have not begun do not begin."""
        wait([future for future in futures if not future.cancel()])
