"""Tree view of the Generate tab: the texts of a prompt and their branches, as a picture."""

from gptdesk.page.tabs.generate.tree.look import CSS, SCRIPT
from gptdesk.page.tabs.generate.tree.view import TreeView

__all__ = ["CSS", "SCRIPT", "TreeView"]
