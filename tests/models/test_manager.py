"""The manager: that concurrent lends load once, its memory budget, and that failures cost nothing."""

import gc
import logging
import random
import shutil
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from network_checks import shaken
from torch import Tensor

from models.checkpoint import About, Checkpoint, save_checkpoint
from models.engine import Engine
from models.gpt import GPT, GPTConfig
from models.library import ModelLibrary
from models.manager import LoadedModel, ModelKey, ModelManager
from models.precision import PRECISIONS
from models.tokenizer import character_tokenizer

CONFIG = GPTConfig(vocab_size=20, block_size=16, n_layer=1, n_head=2, n_embd=64)  # no row needs padding
pytestmark = pytest.mark.usefixtures("torch_kernels")  # which take the bytes that are told before loading
BYTES = PRECISIONS["float32"].memory_bytes(CONFIG)
IDS = torch.arange(9)[None]
TOKENIZER = character_tokenizer("abcdefghij \n")


def network(seed: int) -> GPT:
    torch.manual_seed(seed)
    return shaken(GPT(CONFIG))


def save(path: Path, *, seed: int = 0) -> None:
    save_checkpoint(path, network(seed), tokenizer=TOKENIZER, about=About(source="test"))


def spoil(path: Path) -> None:
    """NaN in place of the last weight: the headers stay good."""
    weights = path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\xff\xff\xff\xff")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed, name in enumerate("abc"):
        save(tmp_path / "models" / name, seed=seed)
    return tmp_path / "models"


@pytest.fixture
def manager(folder: Path) -> ModelManager:
    return ModelManager(ModelLibrary(folder, cache_folder=folder.parent))


def lent(manager: ModelManager, name: str) -> LoadedModel:
    """A model after a loan of no length."""
    with manager.lend(ModelKey(name)) as loaded:
        return loaded


def test_unknown_models_and_precisions_are_refused_with_the_known_ones(manager: ModelManager, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^there is no model 'd'; the models here are: a, b, c$"):
        lent(manager, "d")
    with pytest.raises(ValueError, match=r"^there is no precision 'int3'; there is: float32"):
        ModelKey.parse("a:int3")
    with pytest.raises(ValueError, match="the models here are: none"):
        lent(ModelManager(ModelLibrary(tmp_path / "nowhere", cache_folder=tmp_path)), "a")


def test_a_lent_model_is_ready_for_inference(manager: ModelManager) -> None:
    with manager.lend(ModelKey("a")) as loaded:
        assert manager.loaded() == [ModelKey("a")]
        assert (loaded.config, loaded.memory_bytes, loaded.key) == (CONFIG, BYTES, ModelKey("a"))
        assert loaded.model.kernels
        logits = loaded.model(IDS)
        assert not logits.requires_grad
        torch.testing.assert_close(logits, network(0)(IDS))
        assert loaded.tokenizer.encode("abc")
    assert lent(manager, "a") is loaded  # it stays in memory


def test_concurrent_lends_load_once(manager: ModelManager) -> None:
    barrier = threading.Barrier(8)

    def one(number: int) -> LoadedModel:
        barrier.wait()
        return lent(manager, "ab"[number % 2])

    with ThreadPoolExecutor(8) as pool:
        models = list(pool.map(one, range(8)))
    assert len({id(loaded) for loaded in models}) == 2
    assert sorted(manager.loaded(), key=str) == [ModelKey("a"), ModelKey("b")]


def test_a_lent_model_can_be_lent_while_another_one_loads(manager: ModelManager) -> None:
    lent(manager, "a")
    with manager._loading:  # as if a slow load were under way
        assert lent(manager, "a").key.name == "a"


def test_the_least_recently_used_model_makes_room(folder: Path) -> None:
    manager = ModelManager(ModelLibrary(folder, cache_folder=folder), memory_budget=2 * BYTES)
    for name in "abab":
        lent(manager, name)
    lent(manager, "a")
    lent(manager, "c")
    assert manager.loaded() == [ModelKey("a"), ModelKey("c")]
    with manager.lend(ModelKey("a")) as used:
        lent(manager, "c")
        lent(manager, "b")  # a was used longer ago than c, but it is in use
        assert manager.loaded() == [ModelKey("a"), ModelKey("b")]
        assert lent(manager, "a") is used


def test_what_does_not_fit_beside_the_models_in_use_is_refused_and_nothing_is_lost(folder: Path) -> None:
    manager = ModelManager(ModelLibrary(folder, cache_folder=folder), memory_budget=2 * BYTES)
    with manager.lend(ModelKey("a")), manager.lend(ModelKey("b")):
        with pytest.raises(
            ValueError, match=r"c · float32 needs .* does not fit .* while a · float32, b · float32 is in use"
        ):
            lent(manager, "c")
        assert manager.loaded() == [ModelKey("a"), ModelKey("b")]
    assert lent(manager, "c").key.name == "c"
    small = ModelManager(ModelLibrary(folder, cache_folder=folder), memory_budget=BYTES - 1)
    with pytest.raises(ValueError, match="does not fit the budget of 0 MB: raise memory_gb"):
        lent(small, "a")


def test_a_float_network_counts_in_the_budget_while_it_is_lent(folder: Path) -> None:
    size = 4 * CONFIG.parameters()
    library = ModelLibrary(folder, cache_folder=folder.parent)
    manager = ModelManager(library, memory_budget=BYTES + size - 1)
    lent(manager, "a")
    with manager.lend_network("b") as first:
        assert manager.loaded() == []  # made room
        assert manager.memory_bytes() == size
        assert torch.equal(first(IDS), network(1)(IDS))
        with pytest.raises(ValueError, match=r"c · float32 needs .* while b · float32 is in use; try again when that"):
            lent(manager, "c")
        with pytest.raises(ValueError, match=r"does not fit"), manager.lend(ModelKey("b")):
            pass
    assert manager.memory_bytes() == 0
    with manager.lend(ModelKey("c")), pytest.raises(ValueError, match=r"while c · float32"), manager.lend_network("b"):
        pass
    spoil(folder / "b")
    with pytest.raises(ValueError, match="not finite"), manager.lend_network("b"):
        pass
    assert manager.loaded() == [ModelKey("c")]  # a failure costs nothing
    assert manager.memory_bytes() == lent(manager, "c").memory_bytes


def test_a_failed_load_leaves_what_is_in_memory(folder: Path) -> None:
    manager = ModelManager(ModelLibrary(folder, cache_folder=folder), memory_budget=BYTES)
    first = lent(manager, "a")
    spoil(folder / "b")
    for _ in range(2):
        with pytest.raises(ValueError, match=r"the checkpoint b in .* not finite"):
            lent(manager, "b")
    assert manager.loaded() == [ModelKey("a")]
    assert lent(manager, "a") is first
    save(folder / "b")
    assert lent(manager, "b").key.name == "b"
    assert manager.loaded() == [ModelKey("b")]


def test_a_checkpoint_that_changes_is_loaded_anew_unless_it_got_worse(
    manager: ModelManager, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with manager.lend(ModelKey("a")) as old:
        save(folder / "a", seed=9)
        new = lent(manager, "a")
        torch.testing.assert_close(new.model(IDS), network(9)(IDS))
        torch.testing.assert_close(old.model(IDS), network(0)(IDS))
        assert manager.loaded() == [ModelKey("a")]
    spoil(folder / "a")
    with caplog.at_level(logging.WARNING):
        assert lent(manager, "a") is new
        assert lent(manager, "a") is new
    assert len(caplog.records) == 1  # it is not read again before it changes again
    save(folder / "a", seed=10)
    assert lent(manager, "a") is not new
    shutil.rmtree(folder / "a")
    with pytest.raises(ValueError, match="there is no model 'a'"):
        lent(manager, "a")


def test_the_newest_checkpoint_of_a_run_is_read_though_the_one_before_is_deleted(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = folder.parent / "run"
    library = ModelLibrary(folder, cache_folder=folder.parent, supplier=lambda: {"run@latest": max(run.iterdir())})
    manager, whole = ModelManager(library), library.open

    def overtaken(path: Path, *, keep: bool = True) -> Checkpoint:
        if int(path.name) % 2 and path.exists():
            save(path.with_name(str(int(path.name) + 1)), seed=int(path.name) + 1)
            shutil.rmtree(path)
        return whole(path, keep=keep)

    monkeypatch.setattr(library, "open", overtaken)
    for step in (1, 3):  # the second time, an older one is in memory
        save(run / str(step), seed=step)
        torch.testing.assert_close(lent(manager, "run@latest").model(IDS), network(step + 1)(IDS))
    save(run / "5", seed=5)
    assert library.checkpoint("run@latest").path == run / "6"
    spoil(run / "6")
    with pytest.raises(ValueError, match="not finite"):
        lent(ModelManager(library), "run@latest")


def test_unloading_frees_the_memory_once_nobody_uses_the_model(manager: ModelManager) -> None:
    alive: list[weakref.ref[Engine]] = []
    for name in "abc":
        alive.append(weakref.ref(lent(manager, name).model))
    manager.unload(ModelKey("a"))
    manager.unload(ModelKey("a"))
    assert manager.loaded() == [ModelKey("b"), ModelKey("c")]
    with manager.lend(ModelKey("b")) as used:
        manager.unload()
        assert manager.loaded() == []
        again = lent(manager, "b")
        assert again is not used
        gc.collect()
        assert [model() is None for model in alive] == [True, False, True]
    del used
    gc.collect()
    assert alive[1]() is None
    assert manager.loaded() == [ModelKey("b")]


def test_an_exception_in_the_block_gives_the_model_back(folder: Path) -> None:
    manager = ModelManager(ModelLibrary(folder, cache_folder=folder), memory_budget=BYTES)

    def fail() -> None:
        with manager.lend(ModelKey("a")):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert lent(manager, "b").key.name == "b"


ROOM = 6 * BYTES  # for one more than five threads can use, each of them another save of b at worst


def test_many_threads_lending_unloading_and_saving_never_see_a_mix(folder: Path) -> None:
    manager = ModelManager(ModelLibrary(folder, cache_folder=folder), memory_budget=ROOM)
    known = {seed: network(seed)(IDS).detach() for seed in range(9)}
    actions: list[Callable[[str, int], object]] = [
        lambda name, _: check_whole(manager, name, known),
        lambda name, _: check_whole(manager, name, known),
        lambda name, _: manager.unload(ModelKey(name)),
        lambda name, _: manager.library.available(),
    ]

    def worker(seed: int) -> None:
        source = random.Random(seed)
        for step in range(30):
            source.choice(actions)(source.choice("abc"), step)

    with ThreadPoolExecutor(6) as pool:
        jobs = [pool.submit(worker, seed) for seed in range(5)]
        for seed in range(3, 9):
            save(folder / "b", seed=seed)
        for job in jobs:
            job.result()
    assert manager._loaded_models.memory_bytes() <= ROOM
    assert all(slot.users == 0 and not slot.retired for slot in manager._loaded_models._slots)


def check_whole(manager: ModelManager, name: str, known: dict[int, Tensor]) -> None:
    """What is lent is a model as it was saved, of its own name."""
    with manager.lend(ModelKey(name)) as loaded:
        logits = loaded.model(IDS)
        seeds = [seed for seed, expected in known.items() if torch.allclose(logits, expected, atol=1e-4)]
        assert len(seeds) == 1
        assert seeds[0] in {"a": (0,), "b": (1, *range(3, 9)), "c": (2,)}[name]
