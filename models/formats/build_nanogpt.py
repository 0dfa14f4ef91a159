"""Checkpoints of build-nanogpt: `model`, a pickled `config`, `step` and `val_loss`. Its GELU is the tanh one."""

from models.formats.container import Source
from models.formats.gpt_family import gpt_weights, is_gpt_family
from models.formats.network import Network, numbers_in


def recognises(source: Source) -> bool:
    """Return whether a file has build-nanogpt's names, and its configuration beside the weights."""
    container = source.container
    config = container.details.get("config")
    return isinstance(config, dict) and "n_head" in config and is_gpt_family(container.tensors)


def read(source: Source) -> Network:
    """Return the network in a file; ValueError if it cannot be used."""
    container = source.container
    numbers = numbers_in(container.details, source.settings).or_activation("gelu_tanh")
    return Network("build-nanogpt checkpoint", gpt_weights(container.tensors, container.details), numbers)
