"""Batches that run in threads of this process, whatever happens to the page that started them."""

import logging
import threading
import time

from gptdesk.batch.job import BatchJob
from gptdesk.batch.running import run_batch
from gptdesk.desk import Desk
from gptdesk.history import Origin

BEGIN_TIMEOUT, LOOK = 5.0, 0.01  # seconds to wait for a batch to begin, and between two looks at it
log = logging.getLogger(__name__)


class BackgroundBatches:
    """Running batches of this process, and the error that ended the last run of a batch."""

    def __init__(self, desk: Desk, *, origin: Origin) -> None:
        self._desk = desk
        self._origin: Origin = origin
        self._lock = threading.Lock()
        self._running: dict[str, threading.Event] = {}  # stop event by the id of the batch
        self._errors: dict[str, str] = {}

    def start(self, job: BatchJob) -> None:
        """Run the rows that are not done yet in a thread, and return once it has begun.

        Orders in the folder of the batch end it, as do the stop events of the desk. Raises ValueError if it is running
        already, here or in another process.
        """
        with self._lock:
            if job.ident in self._running or job.is_running:
                raise ValueError(f"the batch {job.name[:60]!r} is running already")
            stop = self._running[job.ident] = threading.Event()
            self._errors.pop(job.ident, None)
        thread = threading.Thread(target=self._run, args=(job, stop), name=f"batch {job.ident}", daemon=True)
        thread.start()
        deadline = time.monotonic() + BEGIN_TIMEOUT
        while thread.is_alive() and not job.is_running and time.monotonic() < deadline:
            time.sleep(LOOK)

    def error(self, job: BatchJob) -> str | None:
        """Return why the last run of a batch here ended early; None if it did not."""
        return self._errors.get(job.ident)

    def _run(self, job: BatchJob, stop: threading.Event) -> None:
        self._desk.stops.add(stop)
        try:
            for _ in run_batch(self._desk, job, stop=stop, origin=self._origin):
                pass
        except ValueError as error:
            self._errors[job.ident] = str(error)
        except OSError as error:
            self._errors[job.ident] = f"its rows cannot be saved: {error.strerror or error}"
        except Exception as error:  # a bug of ours, which the page must show as well as the terminal
            log.exception("a batch failed")
            self._errors[job.ident] = f"{error} (details are in the terminal)"
        finally:
            self._desk.stops.discard(stop)
            with self._lock:
                del self._running[job.ident]
