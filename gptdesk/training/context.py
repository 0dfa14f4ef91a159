"""Where runs find and put things: the folders of a home, and models by their names."""

from dataclasses import dataclass

from gptdesk.settings import Settings
from models import storage
from models.library import ModelLibrary


@dataclass(frozen=True)
class RunContext:
    """What every run of a desk shares."""

    settings: Settings  # its folders
    library: ModelLibrary  # the models that a run may go on from

    def names(self) -> dict[str, str]:
        """Return every name that a new run cannot have, each with what has it: "model", "bundled model" or "run"."""
        return dict.fromkeys(storage.names(self.settings.runs), "run") | self.library.names()
