"""Run of a batch: rows that are not done yet, each through the gate of the desk, a few at a time."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from gptdesk.batch.job import BatchJob
from gptdesk.desk import Desk
from gptdesk.errors import Busy
from gptdesk.generation import collect
from gptdesk.history import Origin

POLL = 0.2  # seconds between looks at orders from outside
IN_FLIGHT = 1  # rows computed at a time; more pay only where the desk computes several generations together

Record = dict[str, object]


@dataclass(frozen=True)
class BatchProgress:
    """Rows so far, after one was finished or failed."""

    done: int  # with texts or failed, of all runs
    total: int
    record: Record  # of the row, as it was saved


def run_batch(
    desk: Desk,
    job: BatchJob,
    *,
    stop: threading.Event | None = None,
    in_flight: int = IN_FLIGHT,
    origin: Origin = "cli",
) -> Iterator[BatchProgress]:
    """Compute the rows that are not done yet and yield the progress after each; each is saved before it is yielded.

    `stop`, or an order in the folder, ends it within a token; rows that were being computed are not saved and come
    again in the next run. A row that fails is saved as a failure and the others go on. Raises ValueError if the batch
    is running elsewhere, Busy if the desk takes no more work, and OSError if the disk refuses a row; the batch is then
    paused.
    """
    stop = stop or threading.Event()
    prompts = job.prompts()
    with job.lock(), ThreadPoolExecutor(in_flight, thread_name_prefix="batch") as pool:
        job.begin()
        done = job.repair()
        finished = len(done)
        waiting = (row for row in range(job.total) if row not in done)
        running: dict[Future[Record | None], int] = {}
        row = next(waiting, None)
        try:
            while running or row is not None:
                # rows of the next model start when those of the last one have ended, so that each is loaded once
                while row is not None and len(running) < in_flight and not stop.is_set():
                    model = job.plan.place(row, prompts=len(prompts))[0]
                    others = {job.plan.place(other, prompts=len(prompts))[0] for other in running.values()}
                    if others - {model}:
                        break
                    running[pool.submit(_record, desk, job, prompts, row, stop, origin)] = row
                    row = next(waiting, None)
                if not running:
                    return
                ended, _ = wait(running, timeout=POLL, return_when=FIRST_COMPLETED)
                for future in ended:
                    del running[future]
                    if (record := future.result()) is not None:
                        job.append(record)
                        finished += 1
                        yield BatchProgress(finished, job.total, record)
                if job.obey():
                    stop.set()
        finally:
            stop.set()  # also where the caller leaves early: the pool waits for its threads


def _record(
    desk: Desk, job: BatchJob, prompts: list[str], row: int, stop: threading.Event, origin: Origin
) -> Record | None:
    """Return the finished row, or one with an `error`; None if it was stopped. Busy if the desk takes no more work."""
    key, named, index = job.plan.place(row, prompts=len(prompts))
    record: Record = {"row": row, "model": key.name, "precision": key.precision, "chain": named.name}
    try:
        request = job.plan.request(prompts[index], index=index, chain=named.chain)
        record |= {"samplers": named.chain.to_data(), "seed": request.seed, "prompt": request.prompt}
        result = collect(desk.generate(key, request, stop=stop, origin=origin), n=request.n)
    except Busy:
        if stop.is_set():
            return None
        raise
    except ValueError as error:
        return None if stop.is_set() else record | {"error": str(error), "ended": time.time()}
    reasons = result.finish_reasons
    if result.start is None or None in reasons or "stopped" in reasons:
        return None
    return record | {
        "texts": result.texts,
        "finish_reasons": reasons,
        "tokens": [len(tokens) for tokens in result.tokens],
        "seconds": round(result.seconds, 4),
        "ended": time.time(),
    }
