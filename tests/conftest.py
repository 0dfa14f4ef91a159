"""What many tests share: a tiny seeded model with its own tokenizer, as a checkpoint in a home folder."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
import torch
from torch import Tensor

import gptdesk.page  # noqa: F401 - before any test imports gradio, which takes half the time then
import models.engine
from gptdesk.starter.stories import stories
from models.batching import Batcher
from models.checkpoint import About, save_checkpoint
from models.engine import Engine
from models.gpt import GPT, GPTConfig
from models.library import ModelLibrary
from models.manager import LoadedModel, ModelKey, ModelManager
from models.native import compiled
from models.precision import PRECISIONS, Precision
from models.precision.matrix import Encoding
from models.prefix import PrefixCache
from models.tokenizer import Tokenizer, train_bpe
from samplers import registry

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
os.environ |= {
    "GPTDESK_KERNELS": "auto",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
torch.set_num_threads(1)  # the models are tiny: threads that wait for each other cost more than they bring
models.engine.THREADS = 1


def pytest_configure(config: pytest.Config) -> None:
    """Compile the step before the first test, once for each change of its source and for all workers."""
    if not hasattr(config, "workerinput") and compiled.is_incomplete():
        print("compiling the step of the models, once", flush=True)
        subprocess.run([sys.executable, "-m", "models.native"], cwd=Path(__file__).parents[1], check=False)


def encodings(precision: Precision) -> dict[str, Encoding]:
    """Those a precision gives its matrices, by name."""
    config = GPTConfig(vocab_size=64, block_size=64, n_layer=1, n_head=1, n_embd=64)
    return {found.name: found for found in (precision.encoding(name, config) for name in precision.matrices(config))}


def with_kernel(precision: Precision, kernel: str) -> Precision:
    """The precision run by the kernel of this name alone, and by the first able one where that does not apply."""

    def encoding(name: str, config: GPTConfig) -> Encoding:
        whole = precision.encoding(name, config)
        able = [known for known in whole.kernels if known.missing(64, 64) is None]
        chosen = next((known for known in able if kernel.startswith(known.name)), able[0])
        return replace(whole, kernels=(chosen,))

    return replace(precision, encoding=encoding)


def kernels_here() -> list[tuple[str, str]]:
    """Every precision with every kernel that can run it on this computer, by their names."""
    return [
        (precision.name, kernel.name)
        for precision in PRECISIONS.values()
        for kernel in encodings(precision)[precision.name].kernels
        if kernel.missing(64, 64) is None
    ]


class Observed:
    """An engine each of whose passes goes through `observe`, which gets the tokens (B, T) and what computes them."""

    rows_are_independent = False  # so that every pass is a call

    def __init__(self, engine: Engine, observe: Callable[[Tensor, Callable[[], Tensor]], Tensor]) -> None:
        self._engine = engine
        self._observe = observe

    def __getattr__(self, name: str) -> object:
        return getattr(self._engine, name)

    def __call__(self, tokens: Tensor, *arguments: object, **options: object) -> Tensor:
        return self._observe(tokens, lambda: self._engine(tokens, *arguments, **options))  # type: ignore[arg-type]


def observed(loaded: LoadedModel, observe: Callable[[Tensor, Callable[[], Tensor]], Tensor]) -> LoadedModel:
    """The same model, which has read nothing yet, with its passes observed."""
    engine = Observed(loaded.model, observe)
    return replace(loaded, model=engine, prefixes=PrefixCache(), batcher=Batcher(engine))  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _samplers_as_before() -> Iterator[None]:
    """No sampler that a test registers, or a desk within it loads, is there in the next one."""
    with registry.isolated():
        yield


@pytest.fixture
def torch_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch's kernels instead of the compiled step."""
    monkeypatch.setenv("GPTDESK_KERNELS", "torch")


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
    manager = ModelManager(ModelLibrary(tiny_folder, cache_folder=tmp_path_factory.mktemp("vocabularies")))
    with manager.lend(ModelKey("tiny")) as loaded:
        return loaded


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    """Chromium, for the tests of a page."""
    from page_checks import running_browser

    with running_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def desk(home: Path) -> Iterator[object]:
    """A desk in a process of its own, in the `home` of the module that asks for it."""
    from page_checks import RunningDesk

    desk = RunningDesk(home, OMP_NUM_THREADS="1")
    yield desk
    log = desk.close()
    assert "Traceback" not in log, log
    assert "does not fit the page" not in log, log  # of what the page itself has kept
    assert desk.process.returncode == 0
