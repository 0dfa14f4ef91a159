"""Download buttons of a comparison, one for each format."""

import gradio as gr

from gptdesk.comparison.export import FORMATS, Document
from gptdesk.page.downloads import hand_out
from gptdesk.page.option_widgets import Updates

LABELS = {"md": "Markdown", "html": "HTML", "json": "JSON", "csv": "CSV"}


class ExportBar:
    """Row of download buttons, enabled once there is a document."""

    def __init__(self, *, prefix: str) -> None:
        with gr.Row():
            self.buttons = {
                name: gr.DownloadButton(
                    f"Save as {LABELS[name]}", interactive=False, size="sm", min_width=120, elem_id=f"{prefix}{name}"
                )
                for name in FORMATS
            }

    def filled(self, document: Document) -> Updates:
        """Write the document's files and return updates that enable the buttons; ValueError if that fails."""
        try:
            files = {name: hand_out(FORMATS[name](document), f"comparison.{name}") for name in self.buttons}
        except OSError as error:
            raise ValueError(f"the files to save could not be written: {error.strerror or error}") from error
        return {button: gr.update(value=files[name], interactive=True) for name, button in self.buttons.items()}
