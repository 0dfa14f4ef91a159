"""Shared by tests of networks: a small random network, tokens, and the causality of its logits."""

import dataclasses
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from models.gpt import GPT, GPTConfig
from models.precision import Precision

Network = TypeVar("Network", bound=torch.nn.Module)
CONFIG = GPTConfig(vocab_size=61, block_size=24, n_layer=3, n_head=4, n_embd=32)
VARIANTS = [
    CONFIG,
    dataclasses.replace(CONFIG, bias=False, activation="gelu_erf"),
    dataclasses.replace(CONFIG, tied=False, n_head=1),
]
NARROW = GPTConfig(vocab_size=40, block_size=16, n_layer=1, n_head=2, n_embd=64)
ALPHABET = "abcdefghij \n"


def shaken(model: Network) -> Network:
    """A network with noise added to its weights, so that every part matters, biases and layer norms included."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


def network(config: GPTConfig = CONFIG, *, seed: int = 0) -> GPT:
    """A random network, shaken, without gradients."""
    torch.manual_seed(seed)
    return shaken(GPT(config)).requires_grad_(False)


def tokens(*shape: int, seed: int = 1, vocab_size: int = CONFIG.vocab_size) -> Tensor:
    return torch.randint(vocab_size, shape, generator=torch.Generator().manual_seed(seed))


def check_causality(forward: Callable[[Tensor], Tensor]) -> None:
    """Check that later tokens do not change a single bit of earlier logits, and each token those after it."""
    ids = tokens(1, 24)
    before = forward(ids)
    for position in range(1, 24):
        changed = ids.clone()
        changed[:, position:] = (changed[:, position:] + 1) % CONFIG.vocab_size
        after = forward(changed)
        assert torch.equal(after[:, :position], before[:, :position])
        assert not torch.equal(after[:, position], before[:, position])


def decoded(model: GPT, precision: Precision) -> GPT:
    """The network whose matrices are what the precision makes of those of `model`."""
    config = model.config
    copy = GPT(dataclasses.replace(config, tied=config.tied and not precision.own_head)).eval()
    weights = {"lm_head.weight": model.wte.weight} | model.state_dict()
    for name in precision.matrices(config):
        encoding = precision.encoding(name, config)
        weights[f"{name}.weight"] = encoding.decode(encoding.encode(weights[f"{name}.weight"]))
    copy.load_state_dict({name: weights[name] for name in copy.state_dict()})
    return copy.requires_grad_(False)
