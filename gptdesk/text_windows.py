"""Windows of a text: its tokens, cut to a model's context, each of them to be scored once."""

import re
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from models.tokenizer import END_OF_TEXT, Tokenizer

BREAK = re.compile(f"^{re.escape(END_OF_TEXT)}$", re.MULTILINE)


def windows(tokens: Sequence[int] | Tensor, context: int) -> list[Tensor]:
    """Cut a text's tokens (N,) into windows of up to `context` + 1; each begins with the last token of the one before.

    So each token but the first is scored once, with 1 to `context` tokens before it. Raises ValueError if there is
    none to score.
    """
    ids = torch.as_tensor(tokens, dtype=torch.int64)  # (N,)
    if len(ids) < 2:
        raise ValueError(f"the text is too short (tokens: {len(ids)}, at least 2 are needed); give a longer one")
    return [ids[start : start + context + 1] for start in range(0, len(ids) - 1, context)]


def text_windows(text: str, tokenizer: Tokenizer, *, context: int) -> list[Tensor]:
    """Return the windows of a text; every document begins a new one, if lines of END_OF_TEXT separate them.

    Such a line is the tokenizer's end-of-text token, if it has one: the document before it must end with it, and the
    one behind it begins with it. Raises ValueError as `windows`, or if the tokenizer does not know a character.
    """
    documents = list(_documents(text, tokenizer))
    scorable = [ids for ids in documents if len(ids) > 1] or [max(documents, key=len, default=[])]
    return [row for ids in scorable for row in windows(ids, context)]


def _documents(text: str, tokenizer: Tokenizer) -> Iterator[list[int]]:
    """Yield the tokens of every document that is not empty, with the ends of text around it."""
    documents = BREAK.split(text)
    last = len(documents) - 1
    end = [] if tokenizer.end_of_text is None else [tokenizer.end_of_text]
    begin = [tokenizer.start] if end else []
    for i, document in enumerate(documents):
        before, after = i > 0, i < last
        document = document.removeprefix("\n") if before else document
        if ids := tokenizer.encode(document.removesuffix("\n") if after else document):
            yield [*(begin if before else []), *ids, *(end if after else [])]
