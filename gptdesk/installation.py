"""Facts of this installation: versions, device, threads, precisions, samplers that are not built in."""

import torch

from gptdesk import __version__
from gptdesk.desk import Desk
from models.engine import THREADS, get_device
from models.native import compiled
from models.precision import PRECISIONS, missing_here
from samplers import get, names
from samplers.plugins import is_from_folder

Fact = str | int | dict[str, str]


def installation_facts(desk: Desk) -> dict[str, Fact]:
    """Return versions, device and precisions by name; torch's kernels are known once a model has been loaded."""
    return {
        "gptdesk": __version__,
        "torch": torch.__version__,
        "home": str(desk.settings.home),
        "device": str(get_device(desk.settings.device)),
        "processor": torch.backends.cpu.get_cpu_capability(),
        "threads": THREADS,
        "precisions": {name: missing_here().get(name, precision.title) for name, precision in PRECISIONS.items()},
        "compiled step": compiled.status(),
        "kernels": desk.manager.kernels(),
    }


def added_samplers() -> dict[str, str]:
    """Return the samplers that are not built in, with the file or the package that they come from."""
    origins = {}
    for name in names():
        cls = get(name)
        if is_from_folder(cls):
            origins[name] = "a file in the samplers folder"
        elif not cls.__module__.startswith("samplers."):
            origins[name] = f"the package of {cls.__module__.partition('.')[0]}"
    return origins
