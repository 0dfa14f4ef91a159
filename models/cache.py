"""The keys and values of what a model has read, so that each token is computed once."""

import torch
from torch import Tensor

from models.gpt import GPTConfig


class KVCache:
    """The keys and values of `rows` sequences of equal length.

    It belongs to one request and is passed to the engine, which appends to it. All memory is taken at the start:
    8 * n_layer * n_embd * capacity bytes a row in float32. Raises ValueError if the model has no such context or the
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
        shape = (config.n_layer, 2, rows, config.n_head, capacity, D)
        # float32 on every device: attention in half precision is slower on a CPU, and gains little elsewhere
        try:
            self._store = torch.empty(shape, device=device, dtype=torch.float32)  # (L, 2, B, H, capacity, D)
        except RuntimeError as error:  # torch's word for a failed allocation
            raise ValueError(
                f"there is not enough memory for n = {rows} sequences of {capacity} tokens; ask for fewer"
            ) from error

    @property
    def rows(self) -> int:
        return self._store.shape[2]

    @property
    def capacity(self) -> int:
        return self._store.shape[4]

    @property
    def nbytes(self) -> int:
        return self._store.nbytes

    def slots(self, T: int) -> list[tuple[Tensor, Tensor, Tensor]]:
        """For each layer: where T new keys and values go (2, B, H, T, D), and all keys and all values (B, H, S, D).

        Whoever fills the slots of every layer calls `advance`; an interrupted pass leaves no trace.
        """
        end = self.length + T
        new = self._store[..., self.length : end, :].unbind(0)  # L times (2, B, H, T, D)
        keys, values = (self._store[:, i, :, :, :end].unbind(0) for i in (0, 1))  # L times (B, H, S, D)
        return list(zip(new, keys, values, strict=True))

    def advance(self, T: int) -> None:
        """Hold T more tokens, which have been written into the slots of every layer."""
        assert self.length + T <= self.capacity
        self.length += T

    def rewind(self, length: int) -> None:
        """Forget every token from position `length` on."""
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot rewind to {length} tokens: the KV cache holds {self.length}")
        self.length = length

    def copy(self, *, rows: int = 1, capacity: int | None = None, length: int | None = None) -> "KVCache":
        """A copy of the first `length` tokens (all) of the one row of this cache in each of `rows` rows."""
        if self.rows != 1:
            raise ValueError(f"only a KV cache of one row can be copied, this one has {self.rows}")
        length = self.length if length is None else length
        copy = KVCache(self.config, rows=rows, capacity=capacity or self.capacity, device=self._store.device)
        copy._store[..., :length, :] = self._store[..., :length, :]
        copy.length = length
        return copy
