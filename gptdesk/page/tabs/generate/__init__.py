"""Generate tab: one document of prompt and text, with its settings beside it."""

from gptdesk.desk import Desk
from gptdesk.page.tab_links import TabLinks
from gptdesk.page.tabs.generate import look, story_check, tokens, tree
from gptdesk.page.tabs.generate.tab import TITLE, GenerateTab

CSS = look.CSS + tokens.CSS + story_check.CSS + tree.CSS
SCRIPT = look.SCRIPT + tokens.SCRIPT + story_check.SCRIPT + tree.SCRIPT

__all__ = ["CSS", "SCRIPT", "TITLE", "build"]


def build(desk: Desk, links: TabLinks) -> None:
    """Lay out the tab inside the current container and wire it; saved widget state is restored when the page loads."""
    tab = GenerateTab(desk, links.page)
    links.add_pickers(TITLE, tab.settings.model)
    links.add_entry_view(tab)
    tab.wire_links(links)
