"""Kinds of refusal that a caller can tell apart; each is a ValueError with a sentence for the user.

An API answers NotFound with 404, TooLarge with 413, Busy with 503, and any other ValueError with 400.
"""


class NotFound(ValueError):
    """What was asked for by name does not exist."""


class TooLarge(ValueError):
    """More was asked for than this desk does at once."""


class Busy(ValueError):
    """The desk computes something else; the same request may succeed later."""
