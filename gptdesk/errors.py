"""Kinds of refusal that a caller can distinguish; each is a ValueError with a sentence for the user.

The API answers NotFound with 404, TooLarge with 413, QueueFull with 429, Busy with 503, other ValueErrors with 400.
"""


class NotFound(ValueError):
    """The thing requested by name does not exist."""


class TooLarge(ValueError):
    """The request exceeds the limits of this desk."""


class Busy(ValueError):
    """The desk is busy; the same request may succeed later."""


class QueueFull(Busy):
    """As many requests wait as may, of all callers or of this one."""
