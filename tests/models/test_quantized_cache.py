"""Copies of models at other precisions: made once, used with the same bits, renewed and deleted when they must be."""

import json
import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.checkpoint import HELD_OUT, About, Checkpoint, save_checkpoint
from models.gpt import GPT, GPTConfig
from models.library import ModelLibrary
from models.manager import LoadedModel, ModelKey, ModelManager
from models.precision import PRECISIONS
from models.tokenizer import Tokenizer, character_tokenizer
from models.weights import WEIGHTS

CONFIG = GPTConfig(vocab_size=40, block_size=16, n_layer=1, n_head=2, n_embd=64)
TOKENIZER = character_tokenizer("abcdefghij \n")
IDS = torch.arange(9)[None]
QUANTIZED = tuple(name for name, precision in PRECISIONS.items() if not precision.missing() and name != "float32")
REASON = "this processor was made before there were numbers"


def save(folder: Path, name: str, *, seed: int = 0) -> None:
    torch.manual_seed(seed)
    save_checkpoint(folder / name, GPT(CONFIG), tokenizer=TOKENIZER, about=About(source="test"), held_out="a bad cage")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed, name in enumerate(("a", "a-b", "a-int8", "aa")):
        save(tmp_path / "models", name, seed=seed)
    return tmp_path / "models"


@pytest.fixture
def manager(folder: Path) -> ModelManager:
    return fresh(folder)


def fresh(folder: Path) -> ModelManager:
    """A manager that has nothing in memory."""
    return ModelManager(ModelLibrary(folder, cache_folder=folder.parent / "cache"))


def lent(manager: ModelManager, key: ModelKey) -> LoadedModel:
    with manager.lend(key) as loaded:
        return loaded


def copies(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder.parent / "cache" / "copies").iterdir())


def contents(path: Path) -> dict[str, tuple[int, bytes]]:
    return {file.name: (file.stat().st_mtime_ns, file.read_bytes()) for file in path.iterdir()}


@pytest.mark.parametrize("precision", QUANTIZED)
def test_a_copy_is_made_once_and_lent_with_the_same_bits(folder: Path, precision: str) -> None:
    key = ModelKey("a", precision)
    on_the_fly = lent(fresh(folder), key)
    manager = fresh(folder)
    assert not manager.library.has_copy(key)
    path = manager.library.copy(key)
    assert manager.library.has_copy(key)
    written = contents(path)
    assert written[HELD_OUT][1] == b"a bad cage"
    assert Checkpoint.open(path).is_copy_at(precision)
    assert (manager.library.copy(key), fresh(folder).library.copy(key)) == (path, path)
    assert contents(path) == written
    loaded = lent(manager, key)
    assert torch.equal(loaded.model(IDS), on_the_fly.model(IDS))
    assert (loaded.key, loaded.memory_bytes) == (key, on_the_fly.memory_bytes)


def test_the_copy_is_what_is_read_from_then_on(folder: Path, manager: ModelManager) -> None:
    """Put another model's weights in its place: they are what comes."""
    key = ModelKey("a", "int8")
    path, other = manager.library.copy(key), manager.library.copy(ModelKey("aa", "int8"))
    (path / WEIGHTS).write_bytes((other / WEIGHTS).read_bytes())
    assert torch.equal(lent(manager, key).model(IDS), lent(manager, ModelKey("aa", "int8")).model(IDS))
    assert not torch.equal(lent(fresh(folder), ModelKey("a")).model(IDS), lent(manager, ModelKey("aa")).model(IDS))


def test_a_changed_original_gets_a_new_copy_in_place_of_the_old(folder: Path, manager: ModelManager) -> None:
    key = ModelKey("a", "int8")
    old = manager.library.copy(key)
    before = lent(manager, key).model(IDS)
    save(folder, "a", seed=9)
    assert not manager.library.has_copy(key)
    assert not torch.equal(lent(manager, key).model(IDS), before)  # not from the copy of what was there before
    new = manager.library.copy(key)
    assert new != old
    assert copies(folder) == [new.name]
    assert torch.equal(lent(fresh(folder), key).model(IDS), lent(manager, key).model(IDS))


def test_copies_of_models_with_similar_names_stay(folder: Path, manager: ModelManager) -> None:
    others = [ModelKey(*names) for names in (("a-b", "int8"), ("a-int8", "int8"), ("aa", "int8"), ("a", "bfloat16"))]
    others += [ModelKey("a", "int8-dynamic")] if "int8-dynamic" in QUANTIZED else []
    kept = {manager.library.copy(key): contents(manager.library.copy(key)) for key in others}
    manager.library.copy(ModelKey("a", "int8"))
    save(folder, "a", seed=9)
    others = [key for key in others if key.name != "a"]
    new = manager.library.copy(ModelKey("a", "int8"))
    assert {path: contents(path) for path in kept} == kept
    assert copies(folder) == sorted([new.name, *(path.name for path in kept)])
    assert all(manager.library.has_copy(key) for key in others)


def truncated(path: Path) -> None:
    (path / WEIGHTS).write_bytes((path / WEIGHTS).read_bytes()[:-100])


def without_weights(path: Path) -> None:
    (path / WEIGHTS).unlink()


def without_config(path: Path) -> None:
    (path / "config.json").write_text("{")


def not_quantized(path: Path) -> None:
    (path / "config.json").write_bytes((path.parents[2] / "models" / "a" / "config.json").read_bytes())


@pytest.mark.parametrize("damage", [truncated, without_weights, without_config, not_quantized])
def test_a_damaged_copy_is_deleted_and_the_original_serves(
    folder: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None]
) -> None:
    key = ModelKey("a", "int8")
    expected = lent(fresh(folder), key).model(IDS)
    manager = fresh(folder)
    path = manager.library.copy(key)
    damage(path)
    with caplog.at_level(logging.WARNING):
        assert torch.equal(lent(manager, key).model(IDS), expected)
    assert sum("is damaged and was deleted" in record.message for record in caplog.records) == 1
    assert not path.exists()
    assert not manager.library.has_copy(key)
    assert manager.library.copy(key) == path
    assert torch.equal(lent(fresh(folder), key).model(IDS), expected)


# What needs no copy, and what cannot have one


def test_a_model_that_is_at_this_precision_is_its_own_copy(folder: Path, manager: ModelManager) -> None:
    manager.library.quantize("aa", "int8")
    for key in (ModelKey("a"), ModelKey("aa-int8", "int8")):
        assert manager.library.has_copy(key)
        assert manager.library.copy(key) == folder / key.name
    assert not (folder.parent / "cache" / "copies").exists()


def test_a_quantized_model_has_no_copy_at_another_precision(folder: Path, manager: ModelManager) -> None:
    manager.library.quantize("aa", "int8")
    key = ModelKey("aa-int8", "int4")
    assert not manager.library.has_copy(key)
    with pytest.raises(ValueError, match=r"^aa-int8 is quantized to int8 and can only run so$"):
        manager.library.copy(key)
    assert not (folder.parent / "cache" / "copies").exists()


def test_a_quantized_model_has_no_float_copy(manager: ModelManager) -> None:
    manager.library.quantize("aa", "int8")
    with pytest.raises(ValueError, match=r"^aa-int8 is quantized"):
        manager.library.copy(ModelKey("aa-int8"))


def test_a_model_that_is_not_there_is_named(manager: ModelManager) -> None:
    for ask in (manager.library.has_copy, manager.library.copy):
        with pytest.raises(ValueError, match=r"^there is no model 'x'; the models here are: a, a-b, a-int8, aa$"):
            ask(ModelKey("x", "int8"))
    with pytest.raises(ValueError, match="there is no model 'x'"):
        ModelManager(manager.library, memory_budget=1).fit([ModelKey("x")])


def test_a_damaged_original_is_one_sentence(folder: Path, manager: ModelManager) -> None:
    truncated(folder / "a")
    with pytest.raises(ValueError, match=r"^the checkpoint a in .* cannot be used: ") as caught:
        manager.library.copy(ModelKey("a", "int8"))
    assert "\n" not in str(caught.value)
    assert not (folder.parent / "cache" / "copies").exists()


def test_a_precision_that_the_computer_lacks(
    folder: Path, manager: ModelManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = PRECISIONS["int8"]

    def encoding(name: str, config: GPTConfig) -> object:
        found = whole.encoding(name, config)
        return replace(found, kernels=tuple(replace(k, missing=lambda N, K: REASON) for k in found.kernels))

    monkeypatch.setitem(PRECISIONS, "int8", replace(whole, encoding=encoding))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=f"^this computer cannot run a · int8: {REASON}$"):
        manager.library.copy(ModelKey("a", "int8"))
    assert not (folder.parent / "cache" / "copies").exists()


@pytest.mark.parametrize("place", ["cache", "cache/copies"])
def test_a_disk_that_refuses_is_one_sentence(folder: Path, place: str) -> None:
    file = folder.parent / place
    file.parent.mkdir(exist_ok=True)
    file.write_text("mine")
    manager, key = fresh(folder), ModelKey("a", "int8")
    with pytest.raises(ValueError, match=r"^the copy of a at int8 cannot be written: ") as caught:
        manager.library.copy(key)
    assert "\n" not in str(caught.value)
    assert file.read_text() == "mine"
    assert not manager.library.has_copy(key)
    assert lent(manager, key).model(IDS).isfinite().all()  # it runs all the same


def test_two_who_want_a_copy_at_once_make_one(
    folder: Path, manager: ModelManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    opened = Checkpoint.open_weights
    monkeypatch.setattr(Checkpoint, "open_weights", lambda self: made.append(self.path.name) or opened(self))
    together, found = threading.Barrier(4), []

    def want() -> None:
        together.wait()
        found.append(manager.library.copy(ModelKey("a", "int8")))

    threads = [threading.Thread(target=want) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert len(found) == 4
    assert made == ["a"]
    assert copies(folder) == [found[0].name]


# What fits into memory


def test_models_fit_if_all_of_them_together_are_within_the_budget(folder: Path) -> None:
    one, small = (PRECISIONS[name].memory_bytes(CONFIG) for name in ("float32", "int8"))
    keys = [ModelKey("a"), ModelKey("a", "int8"), ModelKey("aa")]
    for budget, count in ((one + small, 2), (one + small - 1, 1), (2 * one + small, 3), (None, 3)):
        manager = ModelManager(ModelLibrary(folder, cache_folder=folder.parent), memory_budget=budget)
        assert [manager.fit(keys[:n]) for n in (1, 2, 3)] == [n <= count for n in (1, 2, 3)]
        assert manager.fit(3 * keys[:1])  # the same model is there once


def test_copies_of_models_that_are_gone_go_too(folder: Path, manager: ModelManager) -> None:
    gone = manager.library.copy(ModelKey("aa", "int8"))
    for file in (folder / "aa").iterdir():
        file.unlink()
    (folder / "aa").rmdir()
    manager.library.copy(ModelKey("a", "int8"))
    assert not gone.exists()


def test_a_copy_without_the_ids_that_its_original_has_is_made_again(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """Earlier versions wrote null for the ids of models made elsewhere."""
    config = replace(CONFIG, vocab_size=tokenizer.vocab_size)
    save_checkpoint(tmp_path / "models" / "it", GPT(config), tokenizer=tokenizer, about=About())
    library = ModelLibrary(tmp_path / "models", cache_folder=tmp_path / "cache")
    key = ModelKey("it", "bfloat16")
    old = library.copy(key)
    for file in (old / "config.json", old / "generation_config.json"):
        data = json.loads(file.read_bytes())
        file.write_text(json.dumps(data | {"bos_token_id": None, "eos_token_id": None}))
    assert not library.has_copy(key)
    new = library.copy(key)
    assert library.has_copy(key)
    assert library.copy(key) == new
    assert json.loads((new / "generation_config.json").read_bytes())["eos_token_id"] == tokenizer.end_of_text
    assert not old.exists()
