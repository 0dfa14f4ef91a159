"""The manager and the precisions: what it offers, what it quantizes, and how it keeps the kernels it chose."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.checkpoint import About, Checkpoint, save_checkpoint
from models.gpt import GPT, GPTConfig
from models.manager import KERNELS, LoadedModel, ModelKey, ModelManager
from models.precision import PRECISIONS
from models.tokenizer import character_tokenizer

CONFIG = GPTConfig(vocab_size=40, block_size=16, n_layer=1, n_head=2, n_embd=64)
TOKENIZER = character_tokenizer("abcdefghij \n")
IDS = torch.arange(9)[None]
ROOT = Path(__file__).parents[2]
HERE = tuple(name for name, precision in PRECISIONS.items() if precision.missing() is None)
REASON = "this processor was made before there were numbers"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed, name in enumerate("ab"):
        torch.manual_seed(seed)
        save_checkpoint(tmp_path / "models" / name, GPT(CONFIG), tokenizer=TOKENIZER, about=About(source="test"))
    return tmp_path / "models"


@pytest.fixture
def manager(folder: Path) -> ModelManager:
    return ModelManager(folder, cache_folder=folder.parent)


def lent(manager: ModelManager, text: str) -> LoadedModel:
    with manager.lend(manager.key(text)) as loaded:
        return loaded


# What there is


def test_a_float_model_offers_all_and_a_quantized_one_its_own_precision(manager: ModelManager) -> None:
    manager.quantize("a", "int8")
    manager.quantize("a", "bfloat16")
    listed = {info.name: info.precisions for info in manager.available()}
    first = ("bfloat16", *(name for name in HERE if name != "bfloat16"))  # what it was made for
    assert listed == {"a": HERE, "a-bfloat16": first, "a-int8": ("int8",), "b": HERE}


def test_a_bare_name_runs_at_the_first_precision_it_can(manager: ModelManager) -> None:
    manager.quantize("a", "int4")
    assert manager.key(" a ") == ModelKey("a", "float32")
    assert manager.key("a-int4") == ModelKey("a-int4", "int4")
    assert manager.key("a:int8") == ModelKey("a", "int8")
    assert manager.key("unheard-of:int8") == ModelKey("unheard-of", "int8")  # whoever lends it will be told
    with pytest.raises(ValueError, match="there is no model 'unheard-of'; the models here are: a, a-int4, b"):
        manager.key("unheard-of")
    with pytest.raises(ValueError, match="there is no precision 'int3'; there is: float32, bfloat16, int8"):
        manager.key("a:int3")


@pytest.mark.parametrize("name", HERE)
def test_every_precision_is_lent_on_the_fly_and_from_a_file_with_the_same_bits(
    name: str, manager: ModelManager
) -> None:
    on_the_fly = lent(manager, f"a:{name}")
    assert (on_the_fly.key, on_the_fly.model.precision) == (ModelKey("a", name), PRECISIONS[name])
    assert on_the_fly.memory_bytes == on_the_fly.model.memory_bytes > 0
    if name != "float32":
        info = manager.quantize("a", name)
        assert (info.name, info.problem) == (f"a-{name}", None)
        assert info.size_bytes < manager.info("a").size_bytes
        from_file = lent(manager, f"a-{name}:{name}")
        assert torch.equal(from_file.model(IDS), on_the_fly.model(IDS))
        assert from_file.tokenizer.encode("face") == TOKENIZER.encode("face")
    assert len(manager.loaded()) == 1 + (name != "float32")


def test_a_quantized_model_is_not_lent_at_another_precision(manager: ModelManager) -> None:
    manager.quantize("a", "int8")
    for other in ("float32", "int4"):
        with pytest.raises(ValueError, match=r"^a-int8 is quantized to int8 and can only run so$"):
            lent(manager, f"a-int8:{other}")
    assert manager.loaded() == []


def test_the_budget_counts_what_the_precision_takes(folder: Path) -> None:
    budget = PRECISIONS["float32"].memory_bytes(CONFIG) - 1
    manager = ModelManager(folder, cache_folder=folder.parent, memory_budget=budget)
    with pytest.raises(ValueError, match=r"a · float32 needs .* does not fit the budget of 0 MB"):
        lent(manager, "a")
    for name in HERE[1:]:
        loaded = lent(manager, f"a:{name}")
        assert loaded.memory_bytes <= budget
        assert manager._residents.memory_bytes() <= budget


def test_a_device_runs_what_it_can_and_the_cpu_the_rest(folder: Path) -> None:
    manager = ModelManager(folder, cache_folder=folder.parent, device=torch.device("meta"))
    devices = {name: lent(manager, f"a:{name}").model.device.type for name in HERE}
    expected = {"float32": "meta", "bfloat16": "meta"}
    assert devices == {name: expected.get(name, "cpu") for name in HERE}


# Quantizing


def test_quantizing_again_replaces_the_older_one(manager: ModelManager, folder: Path) -> None:
    manager.quantize("a", "int8")
    first = lent(manager, "a-int8").model(IDS)
    torch.manual_seed(5)
    save_checkpoint(folder / "a", GPT(CONFIG), tokenizer=TOKENIZER, about=About(source="newer"))
    info = manager.quantize("a", "int8")
    assert info.path == folder / "a-int8"
    assert Checkpoint.open(info.path).about.source == "newer, as int8"
    assert not torch.equal(lent(manager, "a-int8").model(IDS), first)
    manager.quantize("a", "int4", to="small")
    assert manager.info("small").precisions == ("int4",)
    assert sorted(path.name for path in folder.iterdir()) == ["a", "a-int8", "b", "small"]


def test_no_other_model_is_overwritten(folder: Path) -> None:
    bundled = folder.parent / "app" / "starter" / "checkpoint"
    save_checkpoint(bundled, GPT(CONFIG), tokenizer=TOKENIZER, about=About())
    manager = ModelManager(folder, cache_folder=folder.parent, bundled=[bundled], reserved=lambda: ["long"])
    before = {file: file.read_bytes() for file in folder.parent.rglob("*") if file.is_file()}
    sentences = {
        "a": "^there is a model a already; choose another name$",
        "b": "^there is a model b already; choose another name$",
        "starter": "^there is a bundled model starter already; choose another name$",
        "STARTER": "^STARTER differs from the bundled model starter only in capitals, and on some systems both ",
        "B": "^B differs from the model b only in capitals, and on some systems both would be one ",
        "Long": "^Long differs from the run long only in capitals",
        "long": "^there is a run long already; choose another name$",
        "aux.int8": "^'aux.int8' cannot be a name, for Windows keeps it for a device; choose another name$",
        "small.": r"^'small\.' cannot be a name, for Windows drops a dot at the end; leave the dot out$",
    }
    for to, sentence in sentences.items():
        with pytest.raises(ValueError, match=sentence):
            manager.quantize("a", "int8", to=to)
    assert {file: file.read_bytes() for file in folder.parent.rglob("*") if file.is_file()} == before
    assert manager.quantize("starter", "int8").path == folder / "starter-int8"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("a", "float32"), "^a is as precise as it gets; quantize it to one of bfloat16, int8, int8-dynamic, int4$"),
        (("a", "int3"), "^there is no precision 'int3'; there is: float32"),
        (("c", "int8"), "^there is no model 'c'; the models here are: a, a-int8, b$"),
        (("../a", "int8"), "cannot be a model"),
        (("a-int8", "int8"), "^a-int8 is quantized already, to int8; take the original$"),
        (("a-int8", "bfloat16"), "^a-int8 is quantized already, to int8; take the original$"),
    ],
)
def test_what_cannot_be_quantized_is_refused(manager: ModelManager, arguments: tuple[str, str], sentence: str) -> None:
    manager.quantize("a", "int8")
    listed = manager.available()
    with pytest.raises(ValueError, match=sentence):
        manager.quantize(*arguments)
    assert manager.available() == listed


def test_a_model_that_happens_to_have_the_name_of_a_copy_is_kept(manager: ModelManager) -> None:
    for name in ("b-int8", "B-BFLOAT16"):
        save_checkpoint(manager.folder / name, GPT(CONFIG), tokenizer=TOKENIZER, about=About())
    sentences = {
        "int8": "^there is a model b-int8 already",
        "bfloat16": "^b-bfloat16 differs from the model B-BFLOAT16 ",
    }
    for precision, sentence in sentences.items():
        with pytest.raises(ValueError, match=sentence):
            manager.quantize("b", precision)
    assert manager.quantize("a", "int8") == manager.quantize("a", "int8")  # over the older copy
    with pytest.raises(ValueError, match=r"^A-int8 differs from the model a-int8 only in capitals"):
        manager.quantize("a", "int8", to="A-int8")


def test_a_choice_made_by_another_process_is_taken_and_kept(manager: ModelManager) -> None:
    other = ModelManager(manager.folder, cache_folder=manager.cache_folder)
    lent(manager, "a:int8")
    lent(other, "a:int4")
    assert manager.kernels().items() <= other.kernels().items()
    assert ModelManager(manager.folder, cache_folder=manager.cache_folder).kernels() == other.kernels()


def test_a_name_that_is_none_is_refused(manager: ModelManager) -> None:
    for to in ("../x", "x y", "."):
        with pytest.raises(ValueError, match="cannot be a model"):
            manager.quantize("a", "int8", to=to)
    assert [info.name for info in manager.available()] == ["a", "b"]


LIMITED = """
import resource, signal, sys
from pathlib import Path
from models.manager import ModelManager
folder = Path(sys.argv[1])
manager = ModelManager(folder, cache_folder=folder.parent)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for limit in (100, 5000, 40_000, 10_000_000):  # too small for a document, the tokenizer, the weights; enough
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        manager.quantize("a", "int8")
    except OSError:
        assert sorted(path.name for path in folder.iterdir()) == ["a", "b"]
        print("refused")
"""


@pytest.mark.skipif(os.name == "nt", reason="there are no limits of this kind on Windows")
def test_a_full_disk_leaves_nothing_behind(folder: Path) -> None:
    command = [sys.executable, "-c", LIMITED, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.stdout.split() == ["refused"] * 3, done.stderr
    assert Checkpoint.open(folder / "a-int8").quantized == PRECISIONS["int8"]


# The kernels chosen


def test_kernels_are_chosen_once_and_kept(folder: Path) -> None:
    cache = folder.parent / "not yet there"
    first = lent(ModelManager(folder, cache_folder=cache), "a")
    known = json.loads((cache / KERNELS).read_text())
    assert set(known.values()) == {first.model.kernels}
    written = (cache / KERNELS).stat().st_mtime_ns
    again = ModelManager(folder, cache_folder=cache)
    assert torch.equal(lent(again, "b:float32").model(IDS), lent(again, "b").model(IDS))
    assert (cache / KERNELS).stat().st_mtime_ns == written


def test_a_kernel_that_is_known_is_not_chosen_anew(folder: Path) -> None:
    cache = folder.parent
    able = [
        kernel.name for kernel in PRECISIONS["float32"].encoding("wte", CONFIG).kernels if not kernel.missing(64, 64)
    ]
    lent(ModelManager(folder, cache_folder=cache), "a")
    places = json.loads((cache / KERNELS).read_text())
    for name in able:
        (cache / KERNELS).write_text(json.dumps(dict.fromkeys(places, name)))
        assert lent(ModelManager(folder, cache_folder=cache), "a").model.kernels == name
        assert json.loads((cache / KERNELS).read_text()) == dict.fromkeys(places, name)


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff", b"{", b'{"x": 3}', b" " * 1_000_001 + b"{}", b"[" * 10_000])
def test_a_damaged_file_of_kernels_is_written_anew(folder: Path, data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    file = folder.parent / KERNELS
    file.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        loaded = lent(ModelManager(folder, cache_folder=folder.parent), "a")
    assert set(json.loads(file.read_bytes()).values()) == {loaded.model.kernels}
    assert len(caplog.records) == (data != b'{"x": 3}')


def test_kernels_that_cannot_be_kept_are_no_reason_not_to_load(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder.parent / KERNELS).mkdir()
    with caplog.at_level(logging.WARNING):
        assert lent(ModelManager(folder, cache_folder=folder.parent), "a").model(IDS).isfinite().all()
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
    manager.quantize("a", "int8")
    without_int8()
    anew = ModelManager(manager.folder, cache_folder=manager.cache_folder)
    listed = {info.name: info for info in anew.available()}
    assert listed["a"].precisions == tuple(name for name in HERE if name != "int8")
    assert listed["a-int8"].problem == f"this computer cannot run int8: {REASON}"
    assert listed["a-int8"].precisions == ()
    for text in ("a:int8", "a-int8:int8", "a-int8"):
        with pytest.raises(ValueError, match=f": {REASON}$") as caught:
            lent(anew, text)
        assert "\n" not in str(caught.value)
    assert lent(anew, "a").key.precision == "float32"
