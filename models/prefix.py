"""Prompts that a model has read, so that the same or a longer one need not be read from its beginning."""

import threading
from dataclasses import dataclass

import torch
from torch import Tensor

from models.cache import KVCache

MOST_BYTES = 256_000_000  # of all caches kept for one model
MOST_PROMPTS = 4


@dataclass(frozen=True, eq=False)
class Prefix:
    """The start of a prompt that has been read, in a cache for its reader alone; logits (1, V) if it is all of it."""

    cache: KVCache
    logits: Tensor | None


@dataclass(frozen=True, eq=False)
class _Prompt:
    tokens: Tensor  # (T,)
    cache: KVCache  # of which the first T tokens are the prompt's; whoever keeps it may append, not rewind
    logits: Tensor  # (1, V) after the last of them


class PrefixCache:
    """The prompts read last, for all threads. What it gives is exact: the same bits as reading the prompt afresh.

    For that, a prompt must be read in chunks of one size from its beginning, since another division gives other bits.
    So what is reused of another prompt is a number of whole chunks, or all of it.
    """

    def __init__(self) -> None:
        self._prompts: list[_Prompt] = []  # the one used last at the end
        self._lock = threading.Lock()

    def find(self, tokens: Tensor, *, chunk: int, capacity: int) -> Prefix | None:
        """The longest known start of the prompt `tokens` (T,), copied to a cache for `capacity` tokens."""
        with self._lock:
            shared = {prompt: _shared(prompt.tokens, tokens, chunk) for prompt in self._prompts}
            best = max(shared, key=shared.__getitem__, default=None)
            if best is None or not shared[best]:
                return None
            self._prompts.remove(best)
            self._prompts.append(best)
        whole = shared[best] == len(tokens)
        cache = best.cache.copy(capacity=capacity, length=shared[best])
        return Prefix(cache, best.logits if whole else None)

    def keep(self, tokens: Tensor, cache: KVCache, logits: Tensor) -> None:
        """Remember a prompt (T,) just read into `cache`, with the logits (1, V) after it; old ones make room."""
        if cache.capacity > 2 * len(tokens):  # most of it is room for a text to come
            cache = cache.copy(capacity=len(tokens), length=len(tokens))
        if cache.nbytes > MOST_BYTES:
            return
        with self._lock:
            known = [prompt for prompt in self._prompts if not torch.equal(prompt.tokens, tokens)]
            self._prompts = [*known, _Prompt(tokens, cache, logits)][-MOST_PROMPTS:]
            while len(self._prompts) > 1 and self.nbytes > MOST_BYTES:
                del self._prompts[0]

    @property
    def nbytes(self) -> int:
        """Memory of the prompts that are kept."""
        return sum(prompt.cache.nbytes for prompt in self._prompts)


def _shared(known: Tensor, wanted: Tensor, chunk: int) -> int:
    """How many tokens of `wanted` need not be read again."""
    if torch.equal(known, wanted):
        return len(wanted)
    length = min(len(known), len(wanted))
    same = int((known[:length] == wanted[:length]).long().cumprod(0).sum())
    if same == len(wanted):  # `known` goes on where it ends, and the logits after it are not known
        same -= 1
    return same // chunk * chunk
