"""Prefix cache: prompts that a model has read, so that the same or a longer one is not read from its beginning."""

import threading
from dataclasses import dataclass

import torch
from torch import Tensor

from models.cache import KVCache

MOST_BYTES = 256_000_000  # of all KV caches kept for one model
MOST_PROMPTS = 4


@dataclass(frozen=True, eq=False)
class Prefix:
    """The start of a prompt that has been read."""

    cache: KVCache  # a copy, for its caller to append to
    logits: Tensor | None  # (1, V) after the last token, if it is the whole prompt


@dataclass(frozen=True, eq=False)
class _Prompt:
    """A prompt that has been read."""

    tokens: Tensor  # (T,)
    cache: KVCache  # its first T tokens are the prompt's; others may append to it, not rewind
    logits: Tensor | None  # (1, V) after the last of them, if they were computed as a prompt's


class PrefixCache:
    """The prompts read last, safe from any thread. A prefix is bit-exact, as if the prompt had been read afresh.

    For that, a prompt must be read in chunks of one size from its beginning, since another division gives other bits.
    So a number of whole chunks of another prompt is reused, or all of it.
    """

    def __init__(self) -> None:
        self._prompts: list[_Prompt] = []  # the one used last at the end
        self._lock = threading.Lock()

    def find(self, tokens: Tensor, *, chunk: int, capacity: int) -> Prefix | None:
        """Return the longest known start of the prompt `tokens` (T,), copied to a KV cache for `capacity` tokens.

        None if no chunk of `chunk` tokens is known.
        """
        with self._lock:
            # tokens in common, by prompt
            shared = {prompt: _shared(prompt, tokens, chunk) for prompt in self._prompts}
            best = max(shared, key=shared.__getitem__, default=None)
            if best is None or not shared[best]:
                return None
            # the one used last at the end
            self._prompts.remove(best)
            self._prompts.append(best)
        # outside the lock: copying takes a while, and the first tokens of a prompt do not change
        whole = shared[best] == len(tokens)
        cache = best.cache.copy(capacity=capacity, length=shared[best])
        return Prefix(cache, best.logits if whole else None)

    def keep(self, tokens: Tensor, cache: KVCache, logits: Tensor | None) -> None:
        """Store a prompt (T,) just read into `cache`, with the logits (1, V) after it, and evict the oldest ones.

        Without logits, its whole chunks alone are reused.
        """
        # most of it is room for a text to come
        if cache.capacity > 2 * len(tokens):
            cache = cache.copy(capacity=len(tokens), length=len(tokens))
        if cache.nbytes > MOST_BYTES:
            return
        with self._lock:
            if logits is None and any(torch.equal(prompt.tokens, tokens) for prompt in self._prompts):
                return
            others = [prompt for prompt in self._prompts if not torch.equal(prompt.tokens, tokens)]
            self._prompts = [*others, _Prompt(tokens, cache, logits)][-MOST_PROMPTS:]
            # the newest stays, however large it is
            while len(self._prompts) > 1 and self.nbytes > MOST_BYTES:
                del self._prompts[0]

    @property
    def nbytes(self) -> int:
        """Bytes of all KV caches kept."""
        return sum(prompt.cache.nbytes for prompt in self._prompts)


def _shared(prompt: _Prompt, wanted: Tensor, chunk: int) -> int:
    """Return how many tokens of `wanted` (T,) need not be read again, as the known prompt begins with them."""
    known = prompt.tokens
    if prompt.logits is not None and torch.equal(known, wanted):
        return len(wanted)
    length = min(len(known), len(wanted))
    # ones up to the first difference: (length,) -> their number
    same = int((known[:length] == wanted[:length]).long().cumprod(0).sum())
    # `known` is as long or longer, and the logits at this place were not kept
    if same == len(wanted):
        same -= 1
    # another division into chunks would give other bits
    return same // chunk * chunk
