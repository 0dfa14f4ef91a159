"""Views of a model's predictions: next-token table, token heat map, flip points of a draw, branches of a text."""

from gptdesk.inspection.branches import branch
from gptdesk.inspection.flip_points import FlipPoints, drawn_token, flip_points, key_of_draw
from gptdesk.inspection.next_token import (
    MOST_LISTED,
    NextToken,
    NextTokens,
    NextTokenTable,
    find_tokens,
    logits_after,
    next_tokens,
    table,
)
from gptdesk.inspection.redrawing import Redrawn, first_redrawn
from gptdesk.inspection.token_figures import TextFigures, TokenFigures, differences, text_figures

__all__ = [
    "MOST_LISTED",
    "FlipPoints",
    "NextToken",
    "NextTokenTable",
    "NextTokens",
    "Redrawn",
    "TextFigures",
    "TokenFigures",
    "branch",
    "differences",
    "drawn_token",
    "find_tokens",
    "first_redrawn",
    "flip_points",
    "key_of_draw",
    "logits_after",
    "next_tokens",
    "table",
    "text_figures",
]
