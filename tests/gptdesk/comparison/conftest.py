"""Shared by the tests of comparisons: a folder with a family of models, and their manager."""

from pathlib import Path

import pytest
from comparison_checks import save_family

from models.library import ModelLibrary
from models.manager import ModelManager


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_family(tmp_path_factory.mktemp("family"))


@pytest.fixture(scope="module")
def manager(folder: Path) -> ModelManager:
    return ModelManager(ModelLibrary(folder, cache_folder=folder.parent / "cache"))
