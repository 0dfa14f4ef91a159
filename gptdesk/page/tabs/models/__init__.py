"""Models tab: the models on disk, what is known of one, and import, verification, quantization, renaming, removal."""

from gptdesk.desk import Desk
from gptdesk.page.tab_links import TabLinks
from gptdesk.page.tabs.models.drawing import CSS, SCRIPT
from gptdesk.page.tabs.models.view import ModelsView

__all__ = ["CSS", "OWNER_ONLY", "SCRIPT", "TITLE", "build"]

TITLE = "Models"
OWNER_ONLY = True  # a public desk has no such tab


def build(desk: Desk, links: TabLinks) -> None:
    """Lay out the tab inside the current container and connect it; the chosen model is restored when the page loads."""
    ModelsView(desk, TITLE).wire(links)
