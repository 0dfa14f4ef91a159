"""Run context: the folders of a home, and models by their names."""

from dataclasses import dataclass

from gptdesk.settings import Settings
from models import storage
from models.library import ModelLibrary


@dataclass(frozen=True)
class RunContext:
    """Folders and models that all runs of a desk share."""

    settings: Settings  # with the folders
    library: ModelLibrary  # with the models that a run may start from

    def names(self) -> dict[str, str]:
        """Return every name that a new run cannot have, with its owner: "model", "bundled model" or "run"."""
        return dict.fromkeys(storage.names(self.settings.runs), "run") | self.library.names()
