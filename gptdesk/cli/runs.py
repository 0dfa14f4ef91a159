"""`gptdesk runs`: lists the training runs, or pauses, resumes or stops one."""

import json
from collections.abc import Sequence

from gptdesk.cli.parsing import UsageError, verb_parser
from gptdesk.cli.train import run_as_json
from gptdesk.desk import Desk
from gptdesk.training import control, queue

ORDERS = ("pause", "resume", "stop")


def runs(desk: Desk, arguments: Sequence[str]) -> int:
    """List the runs, or pause, resume or stop one; a run that has ended is resumed in a process of its own."""
    parser = verb_parser("runs", "List the training runs, or pause, resume or stop one.")
    parser.add_argument("order", nargs="?", choices=ORDERS, metavar="ORDER", help=", ".join(ORDERS))
    parser.add_argument("name", nargs="?", metavar="RUN", help="name of the run")
    parser.add_argument("--queue", action="store_true", help="resume: wait in the queue while another run trains")
    options = parser.parse_args(arguments)
    if options.queue and options.order != "resume":
        raise UsageError("--queue is for `runs resume`")
    context = desk.run_context
    if options.order:
        if not options.name:
            raise UsageError(f"`runs {options.order}` needs the name of a run")
        if options.queue:
            if place := queue.resume(context, options.name):
                print(f"{options.name} waits in the queue, place {place}; it starts when the runs before it have ended")
        elif options.order == "resume":
            control.resume(context, options.name)
        else:
            control.order(context, options.name, options.order)
        return 0
    listed = control.listing(context)
    if options.json:
        print(json.dumps([run_as_json(info) for info in listed], indent=1))
        return 0
    print(f"{'NAME':24} {'STATE':12} {'STEP':>15} {'LOSS':>8} {'BEST':>8}  ")
    for info in listed:
        status = info.status
        step = f"{info.last.get('step', status.step)}/{status.steps}"
        best = "" if status.best_loss is None else f"{status.best_loss:.4f}"
        last = info.last.get("train_loss")
        loss = "" if last is None else f"{last:.4f}"
        print(
            f"{info.name:24} {info.state:12} {step:>15} {loss:>8} {best:>8}  {info.problem or status.message}".rstrip()
        )
    return 0
