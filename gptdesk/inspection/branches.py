"""Branch of a text: its tokens up to a place, then another token, as the prompt of a generation."""

from collections.abc import Sequence


def branch(tokens: Sequence[int], place: int, token: int, *, vocabulary: int, dropped: int = 0) -> tuple[int, ...]:
    """Return the ids of the text before `place`, without the first `dropped`, and then `token`.

    A generation from these `prompt_ids` is one from the edited prompt, to the bit; of a text that the model has read
    before, it reads only what follows the last whole chunk (`models.prefix`). Raises ValueError for a place outside the
    text and its end, or among the tokens that were `dropped` to fit the context, and for an id outside the vocabulary.
    """
    if not 0 <= place <= len(tokens):
        raise ValueError(f"the text has tokens 1 to {len(tokens):,}, and no token {place + 1:,}; choose one of them")
    if place < dropped:
        raise ValueError(
            f"token {place + 1:,} is among the first {dropped:,}, which no longer fit the model's context; "
            f"choose a later one"
        )
    if not 0 <= token < vocabulary:
        raise ValueError(f"the model knows token ids from 0 to {vocabulary - 1:,}, not {token}; choose one of them")
    return (*tokens[dropped:place], token)
