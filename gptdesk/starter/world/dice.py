"""Random source that tracks log-probability: every draw adds its -ln p to a sum."""

import hashlib
import math
import random
from bisect import bisect_right
from dataclasses import dataclass
from functools import cache
from itertools import accumulate


@dataclass(frozen=True, slots=True)
class Odds:
    """Probabilities of a draw: their running sums, the last of them 1, and -ln p of each outcome in nats."""

    sums: tuple[float, ...]
    nats: tuple[float, ...]


def odds(*weights: float) -> Odds:
    """Return odds in proportion to positive weights."""
    total = math.fsum(weights)
    shares = [weight / total for weight in weights]
    return Odds((*list(accumulate(shares))[:-1], 1.0), tuple(-math.log(share) for share in shares))


@cache
def zipf(count: int, flat: float = 3.0) -> Odds:
    """Return the shifted Zipf's law: outcome k of `count` has the weight 1 / (k + flat); larger is more even."""
    return odds(*(1.0 / (k + flat) for k in range(count)))


@cache
def even(count: int) -> Odds:
    """Return odds of `count` equal outcomes."""
    return odds(*[1.0] * count)


@cache
def coin(probability: float) -> Odds:
    """Return odds of outcome 1 with this probability, between 0 and 1 and neither of them, and 0 otherwise."""
    return odds(1 - probability, probability)


class Dice:
    """Random draws, equal for one (seed, index) on every machine; `nats` is the sum of -ln p of all draws.

    Built on `Random.random()` alone, the one method whose sequence Python promises to keep.
    """

    def __init__(self, seed: int, index: int) -> None:
        digest = hashlib.sha256(f"{seed}/{index}".encode()).digest()
        self._random = random.Random(int.from_bytes(digest[:8], "big")).random
        self.nats = 0.0

    def roll(self, table: Odds) -> int:
        """Draw the index of an outcome."""
        outcome = bisect_right(table.sums, self._random())
        self.nats += table.nats[outcome]
        return outcome

    def chance(self, probability: float) -> bool:
        return self.roll(coin(probability)) == 1
