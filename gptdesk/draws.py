"""Draws of a generation: the next tokens and their log-probabilities, for generations of equal chains together."""

from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from typing import TypeAlias, cast

import torch
from torch import Tensor

from gptdesk.token_logprobs import Alternatives, log_probabilities
from models.batching import Chooser
from models.cache import KVCache
from models.engine import Engine
from samplers import Chain, Sampling
from samplers.chain import join_rows

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
        engine: Engine,
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
        self._engine, self._sampling, self._tokens, self._cache, self._top = engine, sampling, tokens, cache, top
        self.key = None if sampling.key is None else (sampling.key, top)

    def __call__(self, logits: Tensor) -> Drawn:
        """Draw the next tokens (B,) from the logits (B, V), and return their log-probabilities, too."""
        drawn = self._sampling(logits, self._tokens[:, : self._cache.length])
        return self._added(drawn, self._log_probabilities(logits.float().cpu(), drawn))

    def together(self, choosers: Sequence[Chooser[Drawn]], logits: Sequence[Tensor]) -> list[Drawn | Exception]:
        """Draw for several generations of equal chains at once: each as alone, from its logits (B, V)."""
        draws = [cast(Draws, chooser) for chooser in choosers]
        drawn = Sampling.together([one._sampling for one in draws], logits)
        pairs = [(one, rows) for one, rows in zip(drawn, logits, strict=True) if not isinstance(one, ValueError)]
        found: Iterator[tuple[float, Alternatives]] = iter(())
        if pairs:
            tokens, rows = torch.cat([one for one, _ in pairs]), join_rows([rows for _, rows in pairs])
            found = iter(self._log_probabilities(rows, tokens))
        return [
            one if isinstance(one, ValueError) else own._added(one, [*islice(found, len(one))])
            for own, one in zip(draws, drawn, strict=True)
        ]

    def following(self, choice: Drawn) -> Tensor | None:
        """Return the tokens (B, 1) of a draw, which the model reads next; None if the text is complete with them."""
        drawn, _ = choice
        if self._ends:
            self._running -= {row for row, token in enumerate(drawn.tolist()) if token in self._ends}
        if not self._running or self._cache.length + 1 >= self._most:
            return None
        return drawn.unsqueeze(1)

    def _log_probabilities(self, logits: Tensor, drawn: Tensor) -> list[tuple[float, Alternatives]]:
        """Return those of drawn tokens (B,) under logits (B, V), in nats, with as many alternatives as wanted."""
        return log_probabilities(self._engine, logits, drawn, top=self._top)

    def _added(self, drawn: Tensor, found: list[tuple[float, Alternatives]]) -> Drawn:
        """Add drawn tokens (B,) to the text; return them with their log-probabilities."""
        self._tokens.select(1, self._cache.length).copy_(drawn)
        return drawn, found
