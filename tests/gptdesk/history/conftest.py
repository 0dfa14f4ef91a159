"""Shared by tests of the history: a desk whose home has the model `tiny`."""

import shutil
from pathlib import Path

import pytest

from gptdesk.desk import Desk
from gptdesk.settings import Settings


@pytest.fixture
def home(tmp_path: Path, tiny_folder: Path) -> Path:
    shutil.copytree(tiny_folder / "tiny", tmp_path / "models" / "tiny")
    return tmp_path


@pytest.fixture
def desk(home: Path) -> Desk:
    return Desk(Settings(home=home))
