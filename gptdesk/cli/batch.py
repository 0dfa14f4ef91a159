"""`gptdesk batch`: many prompts from a file, as a job that Ctrl-C pauses and the same command resumes."""

import argparse
import hashlib
import json
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from gptdesk.batch import BatchJob, BatchPlan, NamedChain, create_job, list_jobs, read_prompt_file, run_batch
from gptdesk.batch.exporting import EXPORTS
from gptdesk.batch.job import PLAN, delete_job, open_job
from gptdesk.cli.parsing import UsageError, add_encoding_option, path, verb_parser
from gptdesk.cli.requests import add_request_options, read_request, stop_on_interrupt
from gptdesk.desk import Desk
from gptdesk.formatting import clock
from gptdesk.generation import draw_seed
from models.json_values import parse_json
from models.storage import move_file
from samplers import Chain

log = logging.getLogger(__name__)
REPORT_EVERY = 1.0  # seconds between two lines of progress
SHOWN = 5  # failures that are printed; all are in the folder


def batch(desk: Desk, arguments: Sequence[str]) -> int:
    """Run or resume a batch and write its results, list all or delete one; 130 if Ctrl-C paused it, 1 with failures."""
    parser = verb_parser("batch", "Continue every prompt of a file. Ctrl-C pauses; the same command resumes.")
    parser.add_argument("file", type=path, nargs="?", metavar="FILE", help="prompts: one a line, or .csv, .jsonl")
    parser.add_argument("--out", type=path, metavar="FILE", help="new file for the results: .jsonl or .csv")
    parser.add_argument("--list", action="store_true", help="list the batches of this home, and do nothing else")
    parser.add_argument("--delete", metavar="ID", help="delete a batch with its prompts and texts, and do nothing else")
    parser.add_argument("--column", default="", metavar="NAME", help="column of the prompts; default: prompt")
    add_encoding_option(parser, of="FILE")
    parser.add_argument("--model", action="append", metavar="NAME[:PRECISION]", help="repeatable; default: starter")
    parser.add_argument("--precision", action="append", metavar="P", help="of models named without; repeatable")
    parser.add_argument("--preset", action="append", default=[], metavar="NAME", help="sampler preset; repeatable")
    chain = 'sampler chain as JSON, such as [{"name": "top_k", "top_k": 5}]; repeatable'
    parser.add_argument("--chain", action="append", default=[], metavar="JSON", help=chain)
    add_request_options(parser, "max_new_tokens", "n", "seed")
    options = parser.parse_args(arguments)
    if options.list:
        return _list(desk, as_json=options.json)
    if options.delete is not None:
        delete_job(open_job(desk.settings.batches, options.delete))
        return 0
    if not options.file or not options.out:
        raise UsageError("a batch needs FILE and --out FILE; see `gptdesk batch --help`")
    out = Path(options.out)
    if out.suffix.lower().removeprefix(".") not in EXPORTS:
        raise ValueError(f"--out must end in .jsonl or .csv, not {out.suffix!r:.20}")
    if out.exists():
        raise ValueError(f"{out} exists; choose another name with --out, or delete it")
    if not out.absolute().parent.is_dir():
        raise ValueError(f"the folder of {out} does not exist; make it, or choose another one with --out")
    return _run(desk, _job(desk, options, out), out, as_json=options.json)


def _job(desk: Desk, options: argparse.Namespace, out: Path) -> BatchJob:
    """Return the batch of this command: the one that it has started before, or a new one."""
    prompts, remarks = read_prompt_file(Path(options.file), column=options.column, encoding=options.encoding)
    for remark in remarks:
        log.warning("%s", remark)
    request = read_request(options, "")
    values: dict[str, object] = {"models": _models(desk, options), "chains": _chains(desk, options, request.chain)}
    values |= {name: getattr(request, name) for name in ("n", "max_new_tokens", "stop", "parse_special")}
    values |= request.constraints()
    plan = BatchPlan(**values, seed=request.seed or 0)
    facts = [plan.to_data(), request.seed, prompts, str(out.absolute())]
    ident = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
    folder = desk.settings.batches / ident
    if (folder / PLAN).is_file():
        return BatchJob(folder)
    if request.seed is None:
        plan = BatchPlan(**values, seed=draw_seed())
    return create_job(desk.settings.batches, plan, prompts, name=Path(options.file).name, ident=ident)


def _models(desk: Desk, options: argparse.Namespace) -> list[tuple[str, str]]:
    keys = []
    for name in options.model or ["starter"]:
        key = desk.library.key(name)
        given = name != key.name  # with its precision
        spelled = [name] if given or not options.precision else [f"{name}:{one}" for one in options.precision]
        keys += [desk.library.key(one) for one in spelled]
    return [(key.name, key.precision) for key in keys]


def _chains(desk: Desk, options: argparse.Namespace, chain: Chain) -> list[NamedChain]:
    """Return the presets and chains that are given, else the one of the sampler options."""
    chains = [NamedChain(name=name, chain=desk.preset(name)) for name in options.preset]
    for text in options.chain:
        try:
            data = parse_json(text.encode())
        except ValueError:
            raise ValueError(f"--chain is not valid JSON: {text!r:.60}") from None
        built = Chain.from_data(data)  # type: ignore[arg-type]
        chains.append(NamedChain(name=f"chain {len(chains) + 1}", chain=built))
    return chains or [NamedChain(name="options", chain=chain)]


def _run(desk: Desk, job: BatchJob, out: Path, *, as_json: bool) -> int:
    log.info("batch %s: %d rows, seed %d, in %s", job.ident, job.total, job.plan.seed, job.folder)
    reported = 0.0
    with stop_on_interrupt() as stop:
        for progress in run_batch(desk, job, stop=stop):
            if time.monotonic() < reported + REPORT_EVERY and progress.done < progress.total:
                continue  # the status counts the rows of the file
            reported = time.monotonic()
            left = job.status().seconds_left
            rest = f", {clock(left)} left" if left is not None else ""
            log.info("%d of %d%s", progress.done, progress.total, rest)
    status = job.status()
    if status.done + status.failed < job.total:
        log.info("paused after %d of %d rows; the same command resumes it", status.done + status.failed, job.total)
        return 130
    _export(job, out)
    for record, _ in zip(job.failures(), range(SHOWN), strict=False):
        log.warning("row %s failed: %s", record["row"], record["error"])
    if as_json:
        print(json.dumps({"id": job.ident, "out": str(out), "seed": job.plan.seed} | asdict(status)))
    elif status.failed:
        log.warning("%d of %d rows failed; the sentences are in %s", status.failed, job.total, job.folder)
    return 1 if status.failed else 0


def _export(job: BatchJob, out: Path) -> None:
    partial = out.with_name(f".{out.name}.partial")
    try:
        with partial.open("wb") as file:
            parts = EXPORTS[out.suffix.lower().removeprefix(".")](job)
            file.writelines(part.encode("utf-8", "replace") for part in parts)
        move_file(partial, out)
    finally:
        partial.unlink(missing_ok=True)


def _list(desk: Desk, *, as_json: bool) -> int:
    jobs = list_jobs(desk.settings.batches)
    rows = [{"id": job.ident, "name": job.name, "created": job.created} | asdict(job.status()) for job in jobs]
    if as_json:
        print(json.dumps(rows, indent=1))
        return 0
    for row in rows:
        failed = f", {row['failed']} failed" if row["failed"] else ""
        print(f"{row['id']:24} {row['state']:9} {row['done']} of {row['total']}{failed}  {row['name']}")
    if not rows:
        print("there are no batches yet", file=sys.stderr)
    return 0
