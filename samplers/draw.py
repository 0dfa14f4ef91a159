"""Random draw of one token per row, with noise by token id, so that one seed suits two models.

Two models that are given the same seed see the same noise on the same token at the same step, and choose different
tokens only where their distributions differ (common random numbers).
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from samplers.ranking import Shortlist

# torch has no unsigned words of 64 bits to compute with, and takes twice as long for an operation on a few numbers
Words = npt.NDArray[np.uint64]
GOLDEN, FIRST, SECOND = map(np.uint64, (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
AHEAD = 16  # steps whose keys are made together


class KeyStream:
    """Stream of 63-bit keys, one per row and step. Row i depends on the seed and on i, not on the number of rows.

    The rows are those from `first` on.
    """

    def __init__(self, seed: int, rows: int, *, first: int = 0) -> None:
        salt = np.arange(first, first + rows, dtype=np.uint64)
        salt += mix(np.array([seed], np.uint64))
        self._salt = torch.from_numpy(mix(salt).view(np.int64))  # (B,)
        self._generators = [torch.Generator().manual_seed(salt) for salt in self._salt.tolist()]
        self._keys: list[Tensor] = []  # of every step so far, and of some that follow: 8 bytes each
        self._step = 0

    def __call__(self) -> Tensor:
        """Return the next key of every row: (B,) int64."""
        if self._step == len(self._keys):
            self._keys += self._made()
        self._step += 1
        return self._keys[self._step - 1]

    def rewind(self, steps: int) -> None:
        """Go back: the keys of the last `steps` steps come again."""
        assert 0 <= steps <= self._step
        self._step -= steps

    def _made(self) -> Sequence[Tensor]:
        """Return the keys of AHEAD more steps."""
        words = [torch.empty(AHEAD, dtype=torch.int64).random_(generator=generator) for generator in self._generators]
        # torch seeds a CPU generator with 32 bits only: the salt keeps apart the rows that coincide in them.
        keys = (torch.stack(words, dim=1) ^ self._salt) & torch.iinfo(torch.int64).max  # (AHEAD, B)
        return keys.unbind()


def draw(shortlist: Shortlist, keys: Tensor) -> Tensor:
    """Draw one id per row from softmax(values): (B, W), (B,) int64 -> (B,) int64, a tensor of its own.

    An exponential race: with E(t) independent and exponential, the argmin of E(t) / p(t) is t with probability
    p(t). Tokens at -inf take no part; every row needs a finite one.
    """
    ids = shortlist.ids
    if ids.shape[1] == 1:
        return ids[:, 0].clone()
    # The logarithm of p(t) / E(t), up to a constant of the row: its argmax is the winner. float64, because in float32
    # the noise of 50,000 tokens would have ties.
    lead = shortlist.values.numpy().astype(np.float64)  # (B, W)
    lead -= lead.max(1, keepdims=True)
    # E(t) = -log(uniform); the logarithms are torch's, whose last bits are not those of numpy
    lead -= noise(keys[:, None], ids).log_().neg_().log_().numpy()
    return torch.from_numpy(ids.numpy()[np.arange(len(ids)), lead.argmax(1)])


def noise(keys: Tensor, ids: Tensor) -> Tensor:
    """Return uniform float64 numbers in the open interval (0, 1), one for each (key, id): int64, int64 -> float64.

    Each is output number `id` of SplitMix64 (Steele, Lea and Flood 2014) started at `key`.
    """
    words = _words(ids) * GOLDEN
    words += GOLDEN
    words = mix(words + _words(keys))
    words >>= np.uint64(11)
    words |= np.uint64(1)  # 53 bits, odd: never 0, and exact in float64
    uniform = words.astype(np.float64)
    uniform *= 2.0**-53
    return torch.from_numpy(uniform)


def mix(words: Words) -> Words:
    """Return SplitMix64's finaliser of 64-bit words: every bit of the result depends on every bit of the word."""
    words = words ^ (words >> np.uint64(30))
    words *= FIRST
    words ^= words >> np.uint64(27)
    words *= SECOND
    words ^= words >> np.uint64(31)
    return words


def _words(numbers: Tensor) -> Words:
    """Return int64 numbers on the CPU as the words that they are in memory."""
    return numbers.numpy().view(np.uint64)
