"""Greedy: always the most probable token."""

from samplers.base import Cutoff
from samplers.ranking import Ranked, Rows


class Greedy(Cutoff):
    """Always take the most probable token (of equal ones the lowest id)."""

    name = "greedy"

    def of_rows(self, rows: Rows) -> Ranked:
        return Ranked(*rows.reaching(rows.top)).first(1)  # all that are equally good

    def of_ranked(self, ranked: Ranked) -> Ranked:
        return ranked.first(1)
