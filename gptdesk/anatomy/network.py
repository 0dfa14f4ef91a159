"""Float network of a model, lent to be looked into, and the tokens of a text for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from models.gpt import GPT
from models.manager import ModelManager
from models.tokenizer import Tokenizer

LARGEST = 200_000_000  # parameters; GPT-2 small has 124 million
MOST_TOKENS = 64  # of a text that is looked at
LARGE, FEW_TOKENS = 30_000_000, 32  # parameters of a network from which on it reads fewer tokens, to take seconds
LONGEST_TEXT = 20_000  # characters


@dataclass(frozen=True)
class LentNetwork:
    """A network in float32 on the CPU with its tokenizer. Callers must not keep it beyond the end of the loan."""

    name: str
    network: GPT
    tokenizer: Tokenizer


@dataclass(frozen=True)
class GivenTokens:
    """Tokens at the beginning of a text."""

    ids: tuple[int, ...]  # MOST_TOKENS at most
    total: int  # tokens of the whole text

    @property
    def tensor(self) -> Tensor:
        """The ids (1, T)."""
        return torch.tensor(self.ids, dtype=torch.int64)[None]


@contextmanager
def lend_network(manager: ModelManager, name: str) -> Iterator[LentNetwork]:
    """Read the float weights of a model for the length of the block.

    Raises ValueError if it is larger than LARGEST, and as `ModelManager.lend_network`.
    """
    checkpoint = manager.library.checkpoint(name)
    if checkpoint.parameters > LARGEST:
        raise ValueError(
            f"{name} has {checkpoint.parameters / 1e6:,.0f} million parameters, and models of up to "
            f"{LARGEST / 1e6:,.0f} million are shown from the inside; choose a smaller one"
        )
    with manager.lend_network(name) as network:
        yield LentNetwork(name, network, manager.library.tokenizer(name))


def given_tokens(lent: LentNetwork, text: str, *, most: int = MOST_TOKENS) -> GivenTokens:
    """Return the first tokens of a text, at most `most`, the context, and FEW_TOKENS for a large network.

    Raises ValueError if the text is empty or too long, or cannot be spelled.
    """
    if len(text) > LONGEST_TEXT:
        raise ValueError(f"the text has {len(text):,} characters, and {LONGEST_TEXT:,} can be read here; shorten it")
    ids = lent.tokenizer.encode_prompt(text)
    if not ids:
        raise ValueError("the text is empty; write one")
    config = lent.network.config
    most = min(most, config.block_size, FEW_TOKENS if config.parameters() > LARGE else MOST_TOKENS)
    return GivenTokens(tuple(ids[:most]), len(ids))
