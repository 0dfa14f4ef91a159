"""The manager: what it lists, that concurrent lends load once, its memory budget, and that failures cost nothing."""

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
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from models.checkpoint import About, save_checkpoint
from models.engine import Engine
from models.gpt import GPT, GPTConfig
from models.manager import LoadedModel, ModelKey, ModelManager
from models.precision import PRECISIONS
from models.tokenizer import character_tokenizer

CONFIG = GPTConfig(vocab_size=20, block_size=16, n_layer=1, n_head=2, n_embd=16)
BYTES = PRECISIONS["float32"].memory_bytes(CONFIG)
IDS = torch.arange(9)[None]
TOKENIZER = character_tokenizer("abcdefghij \n")
UNSAFE = ["", ".", "..", "../x", "/etc", "a/b", "a\\b", "C:x", "-x", ".hidden", "a b", "ä", "x\n", "a\0", "x" * 81, "~"]


def network(seed: int) -> GPT:
    torch.manual_seed(seed)
    model = GPT(CONFIG).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


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
    return ModelManager(folder, cache_folder=folder.parent)


def lent(manager: ModelManager, name: str) -> LoadedModel:
    """A model after a loan of no length."""
    with manager.lend(ModelKey(name)) as loaded:
        return loaded


def test_keys_are_spelled_printed_and_compared() -> None:
    key = ModelKey.parse("starter:float32")
    assert key == ModelKey.parse(" starter ") == ModelKey("starter")
    assert (str(key), key.spelled, len({key, ModelKey("starter")})) == ("starter · float32", "starter:float32", 1)


@pytest.mark.parametrize("name", UNSAFE)
def test_names_that_could_leave_the_folder_are_no_keys(name: str, manager: ModelManager) -> None:
    with pytest.raises(ValueError, match="cannot be a model: a model's name has up to 80 letters"):
        ModelKey(name)


@given(text=st.text())
def test_a_key_is_a_plain_name_or_no_key_at_all(text: str) -> None:
    try:
        key = ModelKey.parse(text)
    except ValueError as error:
        assert "\n" not in str(error)  # noqa: PT017 - most texts are no keys, some are
    else:
        assert Path("folder", key.name).parent == Path("folder")
        assert ModelKey.parse(key.spelled) == key


def test_unknown_models_and_precisions_are_refused_with_the_known_ones(manager: ModelManager, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^there is no model 'd'; the models here are: a, b, c$"):
        lent(manager, "d")
    with pytest.raises(ValueError, match=r"^there is no precision 'int3'; there is: float32"):
        ModelKey.parse("a:int3")
    with pytest.raises(ValueError, match="the models here are: none"):
        lent(ModelManager(tmp_path / "nowhere", cache_folder=tmp_path), "a")


def test_the_list_has_all_models_and_says_what_is_wrong_with_the_broken(folder: Path, tmp_path: Path) -> None:
    save(tmp_path / "app" / "starter" / "checkpoint")
    (folder / "b" / "model.safetensors").write_bytes(b"")
    (folder / "c" / "tokenizer.json").unlink()
    (folder / "my model").mkdir()
    (folder / "notes.txt").write_text("not a model")
    (folder / ".a.x.partial").mkdir()
    bundled = [tmp_path / "app" / "starter" / "checkpoint"]
    manager = ModelManager(folder, bundled=bundled, cache_folder=tmp_path)
    listed = {info.name: info for info in manager.available()}
    assert list(listed) == ["a", "b", "c", "my model", "starter"]
    good = listed["starter"]
    assert (good.path, good.parameters, good.context) == (bundled[0], CONFIG.parameters(), 16)
    assert (good.tokenizer, good.problem) == ("characters", None)
    assert good.size_bytes > 4 * CONFIG.parameters()
    assert "the checkpoint b in" in (listed["b"].problem or "")
    assert "has no tokenizer" in (listed["c"].problem or "")
    assert "rename the folder 'my model'" in (listed["my model"].problem or "")
    save(folder / "b")
    listed = {info.name: info for info in manager.available()}
    assert listed["b"].problem is None
    assert ModelManager(tmp_path / "nowhere", cache_folder=tmp_path).available() == []


def test_a_folder_with_the_name_of_another_model_hides_nothing_and_says_so(folder: Path, tmp_path: Path) -> None:
    if (folder / "B").exists():
        pytest.skip("this file system keeps no two names that differ in capitals")
    bundled = tmp_path / "app" / "starter" / "checkpoint"
    save(bundled, seed=7)
    for name in ("starter", "Starter", "A"):
        save(folder / name)
    manager = ModelManager(folder, bundled=[bundled], cache_folder=tmp_path)
    listed = {info.name: info for info in manager.available()}
    assert list(listed) == ["A", "Starter", "a", "b", "c", "models/starter", "starter"]
    assert [name for name, info in listed.items() if info.problem is None] == ["a", "b", "c", "starter"]
    assert listed["starter"].path == bundled
    sentences = {
        "models/starter": f"the folder {folder / 'starter'} has the name of a bundled model; rename the folder to use",
        "Starter": f"the folder {folder / 'Starter'} differs from the model starter only in capitals; rename the ",
        "A": f"the folder {folder / 'A'} differs from the model a only in capitals; rename the folder to use it",
    }
    for name, sentence in sentences.items():
        assert (listed[name].problem or "").startswith(sentence)
        assert manager.info(name) == listed[name]
    for name in ("Starter", "A"):
        with pytest.raises(ValueError, match="only in capitals"):
            lent(manager, name)
    with pytest.raises(ValueError, match=r"the models here are: a, b, c, starter$"):
        lent(manager, "nobody")
    (folder / "starter").rename(folder / "mine")
    assert manager.info("mine").problem is None


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
    manager = ModelManager(folder, cache_folder=folder, memory_budget=2 * BYTES)
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
    manager = ModelManager(folder, cache_folder=folder, memory_budget=2 * BYTES)
    with manager.lend(ModelKey("a")), manager.lend(ModelKey("b")):
        with pytest.raises(
            ValueError, match=r"c · float32 needs .* does not fit .* while a · float32, b · float32 is in use"
        ):
            lent(manager, "c")
        assert manager.loaded() == [ModelKey("a"), ModelKey("b")]
    assert lent(manager, "c").key.name == "c"
    small = ModelManager(folder, cache_folder=folder, memory_budget=BYTES - 1)
    with pytest.raises(ValueError, match="does not fit the budget of 0 MB: raise memory_gb"):
        lent(small, "a")


def test_a_failed_load_leaves_what_is_in_memory(folder: Path) -> None:
    manager = ModelManager(folder, cache_folder=folder, memory_budget=BYTES)
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
    manager = ModelManager(folder, cache_folder=folder, memory_budget=BYTES)

    def fail() -> None:
        with manager.lend(ModelKey("a")):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert lent(manager, "b").key.name == "b"


ROOM = 6 * BYTES  # for one more than five threads can use, each of them another save of b at worst


def test_many_threads_lending_unloading_and_saving_never_see_a_mix(folder: Path) -> None:
    manager = ModelManager(folder, cache_folder=folder, memory_budget=ROOM)
    known = {seed: network(seed)(IDS).detach() for seed in range(9)}
    actions: list[Callable[[str, int], object]] = [
        lambda name, _: check_whole(manager, name, known),
        lambda name, _: check_whole(manager, name, known),
        lambda name, _: manager.unload(ModelKey(name)),
        lambda name, _: manager.available(),
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
    assert manager._residents.memory_bytes() <= ROOM
    assert all(slot.users == 0 and not slot.retired for slot in manager._residents._slots)


def check_whole(manager: ModelManager, name: str, known: dict[int, Tensor]) -> None:
    """What is lent is a model as it was saved, of its own name."""
    with manager.lend(ModelKey(name)) as loaded:
        logits = loaded.model(IDS)
        seeds = [seed for seed, expected in known.items() if torch.allclose(logits, expected, atol=1e-4)]
        assert len(seeds) == 1
        assert seeds[0] in {"a": (0,), "b": (1, *range(3, 9)), "c": (2,)}[name]
