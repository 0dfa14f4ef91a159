"""`gptdesk runs`: the training runs there are, and orders to one of them."""

import json
from collections.abc import Sequence

from gptdesk.cli.parsing import UsageError, verb_parser
from gptdesk.cli.train import run_as_json
from gptdesk.desk import Desk
from gptdesk.training import control as training_runs
from gptdesk.training.run_directory import Order

ORDERS: dict[str, Order] = {"pause": "pause", "continue": "run", "stop": "stop"}


def runs(desk: Desk, arguments: Sequence[str]) -> int:
    """List the runs, or order one to pause, continue or stop."""
    parser = verb_parser("runs", "List the training runs, or give an order to one.")
    parser.add_argument("order", nargs="?", choices=list(ORDERS), metavar="ORDER", help=", ".join(ORDERS))
    parser.add_argument("name", nargs="?", metavar="RUN", help="the run that is meant")
    options = parser.parse_args(arguments)
    places = desk.places
    if options.order:
        if not options.name:
            raise UsageError(f"`runs {options.order}` needs the name of a run")
        training_runs.order(places, options.name, ORDERS[options.order])
        return 0
    found = training_runs.listing(places)
    if options.json:
        print(json.dumps([run_as_json(info) for info in found], indent=1))
        return 0
    print(f"{'NAME':24} {'STATE':12} {'STEP':>15} {'LOSS':>8} {'BEST':>8}  ")
    for info in found:
        status = info.status
        step = f"{info.last.get('step', status.step)}/{status.steps}"
        best = "" if status.best_loss is None else f"{status.best_loss:.4f}"
        loss = info.last.get("train_loss")
        told = "" if loss is None else f"{loss:.4f}"
        print(
            f"{info.name:24} {info.state:12} {step:>15} {told:>8} {best:>8}  {info.problem or status.message}".rstrip()
        )
    return 0
