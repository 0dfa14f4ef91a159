"""Random draw of one token per row, with noise by token id, so that one seed suits two models.

Two models that are given the same seed see the same noise on the same token at the same step, and choose different
tokens only where their distributions differ (common random numbers).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from samplers.ranking import Shortlist


def _word(bits: int) -> Tensor:
    """Return 64 bits in torch's signed type, as a tensor: torch would make one of a number at every use."""
    return torch.tensor(bits - (1 << 64) if bits >> 63 else bits)


GOLDEN, FIRST, SECOND = map(_word, (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
SHIFTS = {bits: (_word(bits), _word((1 << (64 - bits)) - 1)) for bits in (11, 27, 30, 31)}
ONE, SCALE = _word(1), torch.tensor(2.0**-53, dtype=torch.float64)
AHEAD = 16  # steps whose keys are made together


class KeyStream:
    """Stream of 63-bit keys, one per row and step. Row i depends on the seed and on i, not on the number of rows.

    The rows are those from `first` on.
    """

    def __init__(self, seed: int, rows: int, *, first: int = 0) -> None:
        self._salt = mix(mix(torch.tensor(seed)) + torch.arange(first, first + rows))  # (B,)
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
    """Draw one id per row from softmax(values): (B, W), (B,) int64 -> (B,) int64.

    An exponential race: with E(t) independent and exponential, the argmin of E(t) / p(t) is t with probability
    p(t). Tokens at -inf take no part; every row needs a finite one.
    """
    ids = shortlist.ids
    if ids.shape[1] == 1:
        return ids[:, 0]
    # The logarithm of p(t) / E(t), up to a constant of the row: its argmax is the winner. float64, because in float32
    # the noise of 50,000 tokens would have ties.
    values = shortlist.values.double()
    lead = values - values.amax(dim=1, keepdim=True)  # (B, W)
    # E(t) = -log(uniform)
    lead -= noise(keys[:, None], ids).log_().neg_().log_()
    return ids.gather(1, lead.argmax(dim=1, keepdim=True)).squeeze(1)


def noise(keys: Tensor, ids: Tensor) -> Tensor:
    """Return uniform float64 numbers in the open interval (0, 1), one for each (key, id): int64, int64 -> float64.

    Each is output number `id` of SplitMix64 (Steele, Lea and Flood 2014) started at `key`.
    """
    words = mix(ids * GOLDEN + (keys + GOLDEN))
    words = _shift(words, 11).bitwise_or_(ONE)  # 53 bits, odd: never 0, and exact in float64
    return words.double().mul_(SCALE)


def mix(words: Tensor) -> Tensor:
    """Return SplitMix64's finaliser of 64-bit words: every bit of the result depends on every bit of the word."""
    words = _shift(words, 30).bitwise_xor_(words).mul_(FIRST)
    words = _shift(words, 27).bitwise_xor_(words).mul_(SECOND)
    return _shift(words, 31).bitwise_xor_(words)


def _shift(words: Tensor, bits: int) -> Tensor:
    """Shift right as unsigned; torch's own shift repeats the sign."""
    count, mask = SHIFTS[bits]
    return (words >> count).bitwise_and_(mask)
