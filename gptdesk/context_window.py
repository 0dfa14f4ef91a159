"""Context window: what is cut from the front of a prompt so that new tokens fit."""


def dropped_tokens(prompt: int, *, wanted: int, context: int) -> int:
    """Return how many of `prompt` tokens are cut from the front so that `wanted` new ones fit the context.

    New tokens get half of the context at most, so that a prompt of at most the other half is never cut, and the number
    of new tokens does not jump as a prompt grows.
    """
    read = min(wanted - 1, context // 2)  # new tokens that enter the context; the last one does not
    return max(0, prompt - (context - read))


def new_tokens_after(prompt: int, *, context: int) -> int:
    """Return how many new tokens fit the context after the `prompt` tokens that are read."""
    return context - prompt + 1  # the last one does not enter it
