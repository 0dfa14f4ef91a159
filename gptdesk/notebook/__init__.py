"""The desk in Python: `import gptdesk`, then `gptdesk.Desk()`, in a notebook or a script."""

from gptdesk.notebook.desk import Desk
from gptdesk.notebook.results import (
    Comparison,
    Evaluation,
    Generation,
    NextToken,
    NextTokens,
    ScoredText,
    Sensitivity,
    Token,
)

__all__ = [
    "Comparison",
    "Desk",
    "Evaluation",
    "Generation",
    "NextToken",
    "NextTokens",
    "ScoredText",
    "Sensitivity",
    "Token",
]
