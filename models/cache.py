"""KV cache: the keys and values of the tokens that a model has read, so that each is computed once."""

import torch
from torch import Tensor

from models.gpt import GPTConfig


def cache_bytes(config: GPTConfig, *, rows: int = 1) -> int:
    """Return the bytes of a KV cache of `rows` sequences that fill the model's context."""
    # a key and a value of n_embd float32 numbers for each token in each layer
    return rows * config.block_size * config.n_layer * 2 * config.n_embd * 4


class KVCache:
    """Keys and values of `rows` sequences of equal length.

    It belongs to one request and is passed to the engine, which appends to it. All memory is allocated at the start:
    at most `cache_bytes`, in float32. Raises ValueError if the model has no such context or the
    computer no such memory.
    """

    def __init__(
        self,
        config: GPTConfig,
        *,
        rows: int = 1,
        capacity: int | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        capacity = config.block_size if capacity is None else capacity
        if not 1 <= capacity <= config.block_size:
            raise ValueError(f"a KV cache can hold 1 to {config.block_size} tokens of this model, not {capacity}")
        if rows < 1:
            raise ValueError(f"a KV cache needs at least one row, not {rows}")
        self.config = config
        self.length = 0  # tokens held, the same in every row
        D = config.n_embd // config.n_head
        # keys and values of a layer lie side by side, so that both are written by one copy
        shape = (config.n_layer, 2, rows, config.n_head, capacity, D)
        # float32 on every device: attention in half precision is slower on a CPU, and gains little elsewhere
        try:
            # (L, 2, B, H, capacity, D)
            self._store = torch.empty(shape, device=device, dtype=torch.float32)
        except RuntimeError as error:
            # torch has no error of its own for a failed allocation
            raise ValueError(
                f"there is not enough memory for n = {rows} sequences of {capacity} tokens; ask for fewer"
            ) from error

    @property
    def rows(self) -> int:
        """Number of sequences."""
        return self._store.shape[2]

    @property
    def capacity(self) -> int:
        """Tokens that a row can hold."""
        return self._store.shape[4]

    @property
    def store(self) -> Tensor:
        """All keys and values, (L, 2, B, H, capacity, D): of each layer the keys, then the values."""
        return self._store

    @property
    def nbytes(self) -> int:
        """Bytes of memory, whatever is held."""
        return self._store.nbytes

    def slots(self, T: int) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Return for each layer where T new keys and values go (2, B, H, T, D), all keys and all values (B, H, S, D).

        All three are views. Callers must fill the slots of every layer, then call `advance`; an interrupted pass leaves
        the cache as it was.
        """
        # S = end: tokens held and T new ones
        end = self.length + T
        # L times (2, B, H, T, D)
        new = self._store[..., self.length : end, :].unbind(0)
        # L times (B, H, S, D)
        keys, values = (self._store[:, i, :, :, :end].unbind(0) for i in (0, 1))
        return list(zip(new, keys, values, strict=True))

    def advance(self, T: int) -> None:
        """Count T more tokens, which have been written into the slots of every layer."""
        assert self.length + T <= self.capacity
        self.length += T

    def rewind(self, length: int) -> None:
        """Forget every token from position `length` on."""
        if not 0 <= length <= self.length:
            # tokens that were never held are not known
            raise ValueError(f"cannot rewind to {length} tokens: the KV cache holds {self.length}")
        self.length = length

    def copy(self, *, rows: int = 1, capacity: int | None = None, length: int | None = None) -> "KVCache":
        """Return a copy of the first `length` tokens (all) of the one row of this cache in each of `rows` rows.

        Raises ValueError if this cache has several rows, and as the constructor.
        """
        if self.rows != 1:
            raise ValueError(f"only a KV cache of one row can be copied, this one has {self.rows}")
        length = self.length if length is None else length
        # with room of its own, so that the copies can be continued apart
        copy = KVCache(self.config, rows=rows, capacity=capacity or self.capacity, device=self._store.device)
        # (L, 2, 1, H, length, D) is broadcast to all rows
        copy._store[..., :length, :] = self._store[..., :length, :]
        copy.length = length
        return copy
