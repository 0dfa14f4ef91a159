"""The manager and the precisions: what it offers, what it quantizes, and how it keeps the kernels it chose."""

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from network_checks import ALPHABET
from network_checks import NARROW as CONFIG

from models.gpt import GPTConfig
from models.library import ModelLibrary
from models.manager import KERNELS, LoadedModel, ModelKey, ModelManager
from models.precision import PRECISIONS
from models.tokenizer import character_tokenizer

TOKENIZER = character_tokenizer(ALPHABET)
IDS = torch.arange(9)[None]
ROOT = Path(__file__).parents[2]
HERE = tuple(name for name, precision in PRECISIONS.items() if precision.missing() is None)
REASON = "this processor was made before there were numbers"


@pytest.fixture
def manager(folder: Path) -> ModelManager:
    return ModelManager(ModelLibrary(folder, cache_folder=folder.parent))


def anew(manager: ModelManager) -> ModelManager:
    """A manager of the same folders that has nothing in memory."""
    return ModelManager(ModelLibrary(manager.library.folder, cache_folder=manager.library.cache_folder))


def lent(manager: ModelManager, text: str) -> LoadedModel:
    with manager.lend(manager.library.key(text)) as loaded:
        return loaded


# What there is


def test_a_float_model_offers_all_and_a_quantized_one_its_own_precision(manager: ModelManager) -> None:
    manager.library.quantize("a", "int8")
    manager.library.quantize("a", "bfloat16")
    listed = {info.name: info.precisions for info in manager.library.available()}
    first = ("bfloat16", *(name for name in HERE if name != "bfloat16"))  # what it was made for
    assert listed == {"a": HERE, "a-bfloat16": first, "a-int8": ("int8",), "b": HERE}


@pytest.mark.parametrize("name", HERE)
def test_every_precision_is_lent_on_the_fly_and_from_a_file_with_the_same_bits(
    name: str, manager: ModelManager
) -> None:
    on_the_fly = lent(manager, f"a:{name}")
    assert (on_the_fly.key, on_the_fly.model.precision) == (ModelKey("a", name), PRECISIONS[name])
    assert on_the_fly.memory_bytes == on_the_fly.model.memory_bytes > 0
    if name != "float32":
        info = manager.library.quantize("a", name)
        assert (info.name, info.problem) == (f"a-{name}", None)
        assert info.size_bytes < manager.library.info("a").size_bytes
        from_file = lent(manager, f"a-{name}:{name}")
        assert torch.equal(from_file.model(IDS), on_the_fly.model(IDS))
        assert from_file.tokenizer.encode("face") == TOKENIZER.encode("face")
    assert len(manager.loaded()) == 1 + (name != "float32")


def test_a_quantized_model_is_not_lent_at_another_precision(manager: ModelManager) -> None:
    manager.library.quantize("a", "int8")
    for other in ("float32", "int4"):
        with pytest.raises(ValueError, match=r"^a-int8 is quantized to int8 and can only run so$"):
            lent(manager, f"a-int8:{other}")
    assert manager.loaded() == []


def test_the_budget_counts_what_the_precision_takes(folder: Path) -> None:
    budget = PRECISIONS["float32"].memory_bytes(CONFIG) - 1
    manager = ModelManager(ModelLibrary(folder, cache_folder=folder.parent), memory_budget=budget)
    with pytest.raises(ValueError, match=r"a · float32 needs .* does not fit the budget of 0 MB"):
        lent(manager, "a")
    for name in HERE[1:]:
        loaded = lent(manager, f"a:{name}")
        assert loaded.memory_bytes <= budget
        assert manager._loaded_models.memory_bytes() <= budget


def test_a_device_runs_what_it_can_and_the_cpu_the_rest(folder: Path) -> None:
    manager = ModelManager(ModelLibrary(folder, cache_folder=folder.parent), device=torch.device("meta"))
    devices = {name: lent(manager, f"a:{name}").model.device.type for name in HERE}
    expected = {"float32": "meta", "bfloat16": "meta"}
    assert devices == {name: expected.get(name, "cpu") for name in HERE}


def test_a_choice_made_by_another_process_is_taken_and_kept(manager: ModelManager) -> None:
    other = anew(manager)
    lent(manager, "a:int8")
    lent(other, "a:int4")
    assert manager.kernels().items() <= other.kernels().items()
    assert anew(manager).kernels() == other.kernels()


# The kernels chosen


@pytest.mark.usefixtures("torch_kernels")
def test_kernels_are_chosen_once_and_kept(folder: Path) -> None:
    cache = folder.parent / "not yet there"
    first = lent(ModelManager(ModelLibrary(folder, cache_folder=cache)), "a")
    known = json.loads((cache / KERNELS).read_text())
    assert set(known.values()) == {first.model.kernels}
    written = (cache / KERNELS).stat().st_mtime_ns
    again = ModelManager(ModelLibrary(folder, cache_folder=cache))
    assert torch.equal(lent(again, "b:float32").model(IDS), lent(again, "b").model(IDS))
    assert (cache / KERNELS).stat().st_mtime_ns == written


@pytest.mark.usefixtures("torch_kernels")
def test_a_kernel_that_is_known_is_not_chosen_anew(folder: Path) -> None:
    cache = folder.parent
    able = [
        kernel.name for kernel in PRECISIONS["float32"].encoding("wte", CONFIG).kernels if not kernel.missing(64, 64)
    ]
    lent(ModelManager(ModelLibrary(folder, cache_folder=cache)), "a")
    places = json.loads((cache / KERNELS).read_text())
    for name in able:
        (cache / KERNELS).write_text(json.dumps(dict.fromkeys(places, name)))
        assert lent(ModelManager(ModelLibrary(folder, cache_folder=cache)), "a").model.kernels == name
        assert json.loads((cache / KERNELS).read_text()) == dict.fromkeys(places, name)


@pytest.mark.usefixtures("torch_kernels")
@pytest.mark.parametrize("data", [b"", b"[]", b"\xff", b"{", b'{"x": 3}', b" " * 1_000_001 + b"{}", b"[" * 10_000])
def test_a_damaged_file_of_kernels_is_written_anew(folder: Path, data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    file = folder.parent / KERNELS
    file.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        loaded = lent(ModelManager(ModelLibrary(folder, cache_folder=folder.parent)), "a")
    assert set(json.loads(file.read_bytes()).values()) == {loaded.model.kernels}
    assert len(caplog.records) == (data != b'{"x": 3}')


@pytest.mark.usefixtures("torch_kernels")
def test_kernels_that_cannot_be_kept_are_no_reason_not_to_load(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder.parent / KERNELS).mkdir()
    with caplog.at_level(logging.WARNING):
        assert lent(ModelManager(ModelLibrary(folder, cache_folder=folder.parent)), "a").model(IDS).isfinite().all()
    assert any("cannot be kept" in record.message for record in caplog.records)


# What this computer lacks


@pytest.fixture
def without_int8(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Take away every kernel of int8."""

    def take_away() -> None:
        whole = PRECISIONS["int8"]

        def encoding(name: str, config: GPTConfig) -> object:
            found = whole.encoding(name, config)
            return replace(found, kernels=tuple(replace(k, missing=lambda N, K: REASON) for k in found.kernels))

        monkeypatch.setitem(PRECISIONS, "int8", replace(whole, encoding=encoding))

    return take_away


def test_a_precision_that_the_computer_lacks_is_not_offered(
    manager: ModelManager, without_int8: Callable[[], None]
) -> None:
    manager.library.quantize("a", "int8")
    without_int8()
    again = anew(manager)
    listed = {info.name: info for info in again.library.available()}
    assert listed["a"].precisions == tuple(name for name in HERE if name != "int8")
    assert listed["a-int8"].problem == f"this computer cannot run int8: {REASON}"
    assert listed["a-int8"].precisions == ()
    for text in ("a:int8", "a-int8:int8", "a-int8"):
        with pytest.raises(ValueError, match=f": {REASON}$") as caught:
            lent(again, text)
        assert "\n" not in str(caught.value)
    assert lent(again, "a").key.precision == "float32"
