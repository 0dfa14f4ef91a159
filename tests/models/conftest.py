"""Shared by the tests of models: a folder with two of them."""

from pathlib import Path

import pytest
import torch
from network_checks import ALPHABET, NARROW

from models.checkpoint import About, save_checkpoint
from models.gpt import GPT
from models.tokenizer import character_tokenizer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of two random models, `a` and `b`."""
    for seed, name in enumerate("ab"):
        torch.manual_seed(seed)
        tokenizer = character_tokenizer(ALPHABET)
        save_checkpoint(tmp_path / "models" / name, GPT(NARROW), tokenizer=tokenizer, about=About(source="test"))
    return tmp_path / "models"
