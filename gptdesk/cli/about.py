"""`gptdesk about`: this computer as the desk sees it: what computes, and which precisions it can run."""

import json
from collections.abc import Sequence

import torch

from gptdesk import __version__
from gptdesk.cli.parsing import verb_parser
from gptdesk.desk import Desk
from models.engine import THREADS, get_device
from models.precision import PRECISIONS, missing_here


def about(desk: Desk, arguments: Sequence[str]) -> int:
    """Say what the desk found here; a kernel is known once a model has been loaded at its precision."""
    options = verb_parser("about", "Show what the desk runs on, and how.").parse_args(arguments)
    found = {
        "gptdesk": __version__,
        "torch": torch.__version__,
        "home": str(desk.settings.home),
        "device": str(get_device(desk.settings.device)),
        "processor": torch.backends.cpu.get_cpu_capability(),
        "threads": THREADS,
        "precisions": {name: missing_here().get(name, precision.title) for name, precision in PRECISIONS.items()},
        "kernels": desk.manager.kernels(),
    }
    if options.json:
        print(json.dumps(found, indent=1))
        return 0
    for name, value in found.items():
        print(f"{name:12} {'' if isinstance(value, dict) else value}".rstrip())
        if isinstance(value, dict):
            for key, words in value.items():
                print(f"    {key}: {words}")
    return 0
