"""Tokens view of the Generate tab: heat map of a text, next-token table, flip points, and branches."""

from gptdesk.page.tabs.generate.tokens.look import CSS, SCRIPT
from gptdesk.page.tabs.generate.tokens.view import TokensView

__all__ = ["CSS", "SCRIPT", "TokensView"]
