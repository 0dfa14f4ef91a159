"""minGPT's model.pt: a plain state dict beside the config.json of its trainer. Its GELU is the tanh one."""

from models.formats.container import Source
from models.formats.gpt_family import gpt_weights, is_gpt_family
from models.formats.network import Network, numbers_in

SECTIONS = ("model", "system", "trainer")


def recognises(source: Source) -> bool:
    """Return whether a file has GPT-2's names, and beside it minGPT's configuration."""
    has_sections = all(isinstance(source.settings.get(name), dict) for name in SECTIONS)
    return has_sections and is_gpt_family(source.container.tensors)


def read(source: Source) -> Network:
    """Return the network in a file; ValueError if it cannot be used."""
    numbers = numbers_in(source.settings).or_activation("gelu_tanh")
    return Network("minGPT checkpoint", gpt_weights(source.container.tensors, source.settings), numbers)
