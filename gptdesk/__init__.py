"""GPT Desk: a workbench for small GPT models, on samplers and models below it.

In Python: `gptdesk.Desk()`, described in docs/python.md. It is imported when it is first used, for it loads torch.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gptdesk.notebook import Desk

__all__ = ["Desk"]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """Return `Desk`, imported on first use; AttributeError for any other name."""
    if name != "Desk":
        raise AttributeError(f"module 'gptdesk' has no attribute {name!r}")
    from gptdesk.notebook import Desk

    return Desk
