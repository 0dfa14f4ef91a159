"""Stories as rows of tokens, generated when a step asks for them: none is repeated or stored."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from gptdesk.starter.stories import Story, generate_story
from models.tokenizer import Tokenizer

CLOSE = 7  # distance of the first stories of successive rows, more than a row can hold


class StoryRows:
    """Rows (T + 1,) of an endless collection; row i begins where one of its stories does.

    Stories follow each other with an end of text between them. Every other row has one in front of its first story,
    too: the model must be able to begin after nothing, and with the first word of a prompt.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        seed: int,
        *,
        count: int,
        block_size: int,
        first: int = 0,  # rows of the collection that are left out
        held_out: bool = False,
    ) -> None:
        self.count, self.width, self._first = count, block_size + 1, first
        self._tokenizer, self._seed, self._held_out = tokenizer, seed, held_out

    def take(self, indices: Tensor, *, epoch: int) -> Tensor:
        """Return the rows (n, T + 1) at `indices` (n,)."""
        return torch.from_numpy(np.array([self._row(index, epoch) for index in indices.tolist()], dtype=np.int64))

    def _row(self, index: int, epoch: int) -> list[int]:
        end = self._tokenizer.end_of_text
        assert end is not None
        row = [] if index % 2 else [end]
        for story in self._stories((self._first + epoch * self.count + index) * CLOSE):
            row += [*self._tokenizer.encode(story.text), end]
            if len(row) >= self.width:
                break
        return row[: self.width]

    def _stories(self, first: int) -> Iterator[Story]:
        """Yield the stories from `first` on that belong to this collection."""
        while True:
            story = generate_story(self._seed, first)
            if story.held_out == self._held_out:
                yield story
            first += 1
