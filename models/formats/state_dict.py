"""Plain state dicts with GPT-2's names, as tutorials save them: the numbers are in a config.json, or nowhere."""

from models.formats.container import Source
from models.formats.gpt_family import gpt_weights, is_gpt_family
from models.formats.network import Network, numbers_in


def recognises(source: Source) -> bool:
    """Return whether a file has GPT-2's names."""
    return is_gpt_family(source.container.tensors)


def read(source: Source) -> Network:
    """Return the network in a file; ValueError if it cannot be used."""
    settings = source.container.details, source.settings, source.meta
    return Network("state dict", gpt_weights(source.container.tensors, *settings), numbers_in(*settings))
