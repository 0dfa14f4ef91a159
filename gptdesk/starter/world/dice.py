"""Private chance that knows how surprising it was: every draw adds its -ln p to an account."""

import hashlib
import math
import random
from bisect import bisect_right
from dataclasses import dataclass
from functools import cache
from itertools import accumulate


@dataclass(frozen=True, slots=True)
class Odds:
    """The probabilities of a draw: their running sums, the last of them 1, and the -ln p of each outcome in nats."""

    sums: tuple[float, ...]
    nats: tuple[float, ...]


def odds(*weights: float) -> Odds:
    """Odds in proportion to positive weights."""
    total = math.fsum(weights)
    shares = [weight / total for weight in weights]
    return Odds((*list(accumulate(shares))[:-1], 1.0), tuple(-math.log(share) for share in shares))


@cache
def zipf(count: int, flat: float = 3.0) -> Odds:
    """Zipf's law, shifted: outcome k of `count` has the weight 1 / (k + flat); a larger `flat` is more even."""
    return odds(*(1.0 / (k + flat) for k in range(count)))


@cache
def even(count: int) -> Odds:
    """`count` outcomes, all alike."""
    return odds(*[1.0] * count)


@cache
def coin(probability: float) -> Odds:
    """Outcome 1 with this probability, which is more than 0 and less than 1; else 0."""
    return odds(1 - probability, probability)


class Dice:
    """The same (seed, index) rolls the same on every machine; `nats` is the code length of all that was rolled.

    Built on `Random.random()` alone, the one method whose sequence Python promises to keep.
    """

    def __init__(self, seed: int, index: int) -> None:
        digest = hashlib.sha256(f"{seed}/{index}".encode()).digest()
        self._random = random.Random(int.from_bytes(digest[:8], "big")).random
        self.nats = 0.0

    def roll(self, table: Odds) -> int:
        """The index of an outcome."""
        found = bisect_right(table.sums, self._random())
        self.nats += table.nats[found]
        return found

    def chance(self, probability: float) -> bool:
        return self.roll(coin(probability)) == 1
