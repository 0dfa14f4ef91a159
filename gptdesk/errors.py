"""Kinds of refusal that a caller can distinguish; each is a ValueError with a sentence for the user.

An API answers NotFound with 404, TooLarge with 413, Busy with 503, and any other ValueError with 400.
"""


class NotFound(ValueError):
    """The thing requested by name does not exist."""


class TooLarge(ValueError):
    """The request exceeds the limits of this desk."""


class Busy(ValueError):
    """The desk is busy; the same request may succeed later."""
