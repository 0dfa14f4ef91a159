"""Where runs find and put things: the folders of a home, and models by their names."""

from dataclasses import dataclass

from gptdesk.settings import Settings
from models.manager import ModelManager


@dataclass(frozen=True)
class Places:
    """What every run of a desk shares."""

    settings: Settings  # its folders
    manager: ModelManager  # the models that a run may go on from
