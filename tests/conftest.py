"""What many tests share: a tiny seeded model with its own tokenizer, as a checkpoint in a home folder."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
import torch

from gptdesk.starter.stories import stories
from models.checkpoint import About, save_checkpoint
from models.gpt import GPT, GPTConfig
from models.manager import LoadedModel, ModelKey, ModelManager
from models.tokenizer import Tokenizer, train_bpe

Made = TypeVar("Made")
WHISPER = '''
from typing import ClassVar
from pydantic import Field
from samplers import Sampler

class Whisper(Sampler):
    """Prefers what is quiet."""
    name: ClassVar[str] = "whisper"
    softness: float = Field(0.5, ge=0, le=2, description="how soft")

    def __call__(self, logits, tokens):
        return logits * (1 - self.softness / 3)
'''
os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
torch.set_num_threads(1)  # the models are tiny: threads that wait for each other cost more than they bring


@pytest.fixture(scope="session")
def in_event_loop() -> Callable[[Callable[[], Made]], Made]:
    """Call something in a running event loop; Gradio makes one for each of its locks otherwise, and closes none."""

    def call(make: Callable[[], Made]) -> Made:
        async def inside() -> Made:
            return make()

        return asyncio.run(inside())

    return call


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return train_bpe(list(stories(seed=3, count=30)), vocab_size=400)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Path:
    """A folder of models holding one random checkpoint, `tiny`."""
    torch.manual_seed(11)
    model = GPT(GPTConfig(vocab_size=400, block_size=64, n_layer=2, n_head=2, n_embd=32))
    with torch.no_grad():  # so that every layer counts and the distribution is neither flat nor a single token
        for weight in model.parameters():
            weight.mul_(8 if weight.ndim == 2 else 1)
    folder = tmp_path_factory.mktemp("models")
    save_checkpoint(folder / "tiny", model, tokenizer=tokenizer, about=About(source="tests/conftest.py"))
    return folder


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    manager = ModelManager(tiny_folder, cache_folder=tmp_path_factory.mktemp("vocabularies"))
    with manager.lend(ModelKey("tiny")) as loaded:
        return loaded
