"""Draw one token per row with noise that belongs to the token id, so that one seed suits two models.

Two models that are given the same seed see the same noise on the same token at the same step, and choose different
tokens only where their distributions differ (common random numbers).
"""

import torch
from torch import Tensor

from samplers.ranking import Shortlist


def _signed(word: int) -> int:
    return word - (1 << 64) if word >> 63 else word


GOLDEN = _signed(0x9E3779B97F4A7C15)
FIRST, SECOND = _signed(0xBF58476D1CE4E5B9), _signed(0x94D049BB133111EB)


class KeyStream:
    """One fresh 63-bit key per row and step. Row i depends on the seed and on i, not on how many rows there are."""

    def __init__(self, seed: int, rows: int) -> None:
        self._salt = mix(mix(torch.tensor(seed)) + torch.arange(rows))  # (B,)
        self._generators = [torch.Generator().manual_seed(salt) for salt in self._salt.tolist()]

    def __call__(self) -> Tensor:
        """The next key of every row: -> (B,) int64."""
        words = [torch.empty(1, dtype=torch.int64).random_(generator=generator) for generator in self._generators]
        # torch seeds a CPU generator with 32 bits only: the salt keeps apart the rows that coincide in them
        return (torch.cat(words) ^ self._salt) & torch.iinfo(torch.int64).max


def draw(shortlist: Shortlist, keys: Tensor) -> Tensor:
    """Draw one id per row from softmax(values): (B, W), (B,) int64 -> (B,) int64.

    An exponential race: with E(t) independent and exponential, the argmin of E(t) / p(t) is t with probability
    p(t). Tokens at -inf take no part; every row needs a finite one.
    """
    ids = shortlist.ids
    if ids.shape[1] == 1:
        return ids[:, 0]
    values = shortlist.values.double()
    uniform = noise(keys[:, None], ids)
    lead = values - values.amax(dim=1, keepdim=True) - uniform.log_().neg_().log_()
    return ids.gather(1, lead.argmax(dim=1, keepdim=True))[:, 0]


def noise(keys: Tensor, ids: Tensor) -> Tensor:
    """Uniform float64 numbers in the open interval (0, 1), one for each (key, id): int64, int64 -> float64.

    It is output number `id` of SplitMix64 (Steele, Lea and Flood 2014) started at `key`.
    """
    words = _shift(mix(keys + (ids + 1) * GOLDEN), 11) | 1  # 53 bits, odd: never 0, and exact in float64
    return words.double().mul_(2.0**-53)


def mix(words: Tensor) -> Tensor:
    """SplitMix64's finaliser: every bit of the result depends on every bit of the 64-bit words."""
    words = (words ^ _shift(words, 30)).mul_(FIRST)
    words = (words ^ _shift(words, 27)).mul_(SECOND)
    return words ^ _shift(words, 31)


def _shift(words: Tensor, bits: int) -> Tensor:
    """Shift right as unsigned; torch's own shift repeats the sign."""
    return (words >> bits).bitwise_and_((1 << (64 - bits)) - 1)
