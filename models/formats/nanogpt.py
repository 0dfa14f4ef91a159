"""nanoGPT's ckpt.pt: `model`, and `model_args` with the numbers of the network. Its GELU is the exact one."""

from models.formats.container import Source
from models.formats.gpt_family import gpt_weights, is_gpt_family
from models.formats.network import Network, numbers_in


def recognises(source: Source) -> bool:
    """Return whether a file has nanoGPT's names and numbers."""
    container = source.container
    return isinstance(container.details.get("model_args"), dict) and is_gpt_family(container.tensors)


def read(source: Source) -> Network:
    """Return the network in a file; ValueError if it cannot be used."""
    container = source.container
    numbers = numbers_in(container.details, source.settings).or_activation("gelu_erf")
    return Network("nanoGPT checkpoint", gpt_weights(container.tensors, container.details), numbers)
