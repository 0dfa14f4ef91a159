"""`gptdesk about`: versions, device and available precisions."""

import json
from collections.abc import Sequence

import torch

from gptdesk import __version__
from gptdesk.cli.parsing import verb_parser
from gptdesk.desk import Desk
from models.engine import THREADS, get_device
from models.precision import PRECISIONS, missing_here


def about(desk: Desk, arguments: Sequence[str]) -> int:
    """Print versions, device and precisions; a kernel is known once a model has been loaded at its precision."""
    options = verb_parser("about", "Show versions, device, and the precisions available here.").parse_args(arguments)
    facts = {
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
        print(json.dumps(facts, indent=1))
        return 0
    for name, value in facts.items():
        print(f"{name:12} {'' if isinstance(value, dict) else value}".rstrip())
        if isinstance(value, dict):
            for key, words in value.items():
                print(f"    {key}: {words}")
    return 0
