"""Draws of a generation: the next tokens and their log-probabilities, for generations of equal chains together."""

from collections.abc import Collection, Sequence
from typing import TypeAlias, cast

from torch import Tensor

from gptdesk.token_logprobs import Alternatives, log_probability
from models.batching import Chooser
from models.cache import KVCache
from models.engine import Engine
from samplers import Chain, Sampling

Drawn: TypeAlias = tuple[Tensor, list[tuple[float, Alternatives]]]  # tokens (B,) and their log-probabilities


def start_draws(chain: Chain, engine: Engine, *, seed: int, rows: int = 1, first: int = 0) -> Sampling:
    """Return `chain.start`, with the compiled draw of the engine if there is one for the chain."""
    steps = chain.steps()
    return chain.start(seed=seed, rows=rows, first=first, fast=None if steps is None else engine.draw(steps))


class Draws(Chooser[Drawn]):
    """The draws of one generation, whose text is `tokens` (B, T) as far as `cache` goes; each is added to it.

    They go on until the text has `most` tokens, or every row has drawn one of `ends`.
    """

    def __init__(
        self,
        sampling: Sampling,
        tokens: Tensor,
        cache: KVCache,
        *,
        top: int,
        most: int = 0,
        ends: Collection[int] = (),
    ) -> None:
        self._most, self._ends = most, ends
        self._running = set(range(len(tokens)))  # rows that have not drawn an end
        self._sampling, self._tokens, self._cache, self._top = sampling, tokens, cache, top
        self.key = sampling.key

    def __call__(self, logits: Tensor) -> Drawn:
        """Draw the next tokens (B,) from the logits (B, V), and return their log-probabilities, too."""
        return self._added(logits, self._sampling(logits, self._tokens[:, : self._cache.length]))

    def together(self, choosers: Sequence[Chooser[Drawn]], logits: Sequence[Tensor]) -> list[Drawn | Exception]:
        """Draw for several generations of equal chains at once: each as alone, from its logits (B, V)."""
        draws = [cast(Draws, chooser) for chooser in choosers]
        found = Sampling.together([one._sampling for one in draws], logits)
        return [
            drawn if isinstance(drawn, ValueError) else one._added(own, drawn)
            for one, own, drawn in zip(draws, logits, found, strict=True)
        ]

    def following(self, choice: Drawn) -> Tensor | None:
        """Return the tokens (B, 1) of a draw, which the model reads next; None if the text is complete with them."""
        drawn, _ = choice
        if self._ends:
            self._running -= {row for row, token in enumerate(drawn.tolist()) if token in self._ends}
        if not self._running or self._cache.length + 1 >= self._most:
            return None
        return drawn.unsqueeze(1)

    def _added(self, logits: Tensor, drawn: Tensor) -> Drawn:
        """Add drawn tokens (B,) to the text; return them with their log-probabilities, in nats, and alternatives."""
        self._tokens.select(1, self._cache.length).copy_(drawn)
        logits = logits.float().cpu()
        # row by row, which torch does on one thread: waking a second one may take a hundred times as long as the sum
        rows = zip(logits, drawn.tolist(), strict=True)
        return drawn, [log_probability(row, token, top=self._top) for row, token in rows]
