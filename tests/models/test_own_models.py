"""Renaming and removing models: loans stay valid, links are not followed, crashes and other processes do no harm."""

import json
import os
import shutil
import threading
from pathlib import Path

import pytest
import torch
from network_checks import ALPHABET, NARROW

from models import storage
from models.checkpoint import About, save_checkpoint
from models.gpt import GPT
from models.library import ModelKey, ModelLibrary
from models.manager import ModelManager
from models.own_models import OwnModels
from models.tokenizer import character_tokenizer
from models.trash import TRASH, discard, empty_trash
from models.weight_reading import GROUPS, ReadingProgress, ReadingStopped, group_of, group_sizes, histograms

IDS = torch.arange(9)[None]
BAD_NAMES = {
    **dict.fromkeys(["", ".", "..", "../b", "/tmp/x", "a/b", "a\\b", ".x", "-x", "a b", "ä", "x" * 300], "cannot be a"),
    **{"con": "Windows keeps it", "Aux.txt": "Windows keeps it", "b.": "drops a dot", "a\u0301": "cannot be a"},
    **{"b": "there is a model b already", "B": "only in capitals", "given": "bundled model", "book": "there is a run"},
}


@pytest.fixture
def library(folder: Path) -> ModelLibrary:
    """Return the library of `a` and `b`, with a bundled model and a run, `book`, that has a checkpoint."""
    bundled = folder.parent / "app" / "given" / "checkpoint"
    run = folder.parent / "runs" / "book" / "model"
    for path in (bundled, run):
        shutil.copytree(folder / "a", path)
    return ModelLibrary(
        folder,
        cache_folder=folder.parent / "cache",
        bundled=[bundled],
        supplier=lambda: {"book@4": run},
        reserved=lambda: ["book"],
    )


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder, but the lock."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "models.lock"
    }


def test_a_renamed_model_is_the_same_under_its_new_name_alone(library: ModelLibrary, folder: Path) -> None:
    before = contents(folder / "a")
    library.copy(ModelKey("a", "int8"))
    assert library.stored(library.info("a")) == ("float32", "int8")
    library.last_use.record("a")
    info = library.rename("a", "c")
    assert (info.name, info.path, info.problem) == ("c", folder / "c", None)
    assert contents(folder / "c") == before
    assert library.stored(info) == ("float32",)
    assert library.last_use.time_of("c") is not None
    assert library.last_use.time_of("a") is None
    assert [one.name for one in library.available()] == ["b", "c", "given", "book@4"]
    library.remove("c")
    assert sorted(path.name for path in folder.iterdir()) == ["b"]
    assert library.last_use.time_of("c") is None


@pytest.mark.parametrize("name", BAD_NAMES)
def test_no_other_name_than_a_new_model_could_have(library: ModelLibrary, folder: Path, name: str) -> None:
    before = contents(folder.parent)
    with pytest.raises(ValueError, match=BAD_NAMES[name]) as error:
        library.rename("a", name)
    assert len(str(error.value)) < 400
    assert contents(folder.parent) == before


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("given", "given comes with the desk and cannot be"),
        ("book@4", "book@4 is a checkpoint of a run and cannot be"),
        ("book", "there is no model 'book'"),
        ("../models/a", "there is no model"),
        ("a/", "there is no model"),
        ("A", "there is no model"),
        (".", "there is no model"),
        ("", "there is no model"),
    ],
)
def test_only_the_users_own_models_change(library: ModelLibrary, folder: Path, name: str, sentence: str) -> None:
    before = contents(folder.parent)
    with pytest.raises(ValueError, match=sentence):
        library.rename(name, "new")
    with pytest.raises(ValueError, match=sentence):
        library.remove(name)
    assert contents(folder.parent) == before


def test_capitals_can_be_changed_and_folders_that_cannot_be_used_named_well(
    library: ModelLibrary, folder: Path
) -> None:
    assert library.rename("a", "A").name == "A"
    (folder / "b").rename(folder / "my model")
    assert library.info("my model").problem
    assert library.rename("my model", "b").problem is None
    (folder / "b" / "config.json").write_text("{")
    library.remove("b")
    assert not (folder / "b").exists()


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
def test_nothing_behind_a_link_is_touched(library: ModelLibrary, folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    shutil.copytree(folder / "a", outside / "model")
    (outside / "note.txt").write_text("mine")
    before = contents(outside)
    (folder / "linked").symlink_to(outside / "model")
    (folder / "a" / "inside").symlink_to(outside)
    (folder / "b-int8").symlink_to(outside / "model")
    assert library.rename("linked", "link2").problem is None
    library.remove("link2")
    library.remove("a")
    with pytest.raises(ValueError, match="there is a model b-int8 already"):
        library.quantize("b", "int8")
    (folder / TRASH).symlink_to(outside)
    with pytest.raises(OSError, match="leads elsewhere"):
        library.remove("b")
    empty_trash(folder)
    assert contents(outside) == before
    assert library.info("b").problem is None


def test_a_loan_outlives_the_name_and_the_files(library: ModelLibrary, folder: Path) -> None:
    manager = ModelManager(library)
    with manager.lend(ModelKey("a")) as loaded:
        expected = loaded.model(IDS)
        library.rename("a", "c")
        manager.unload_model("a")
        assert torch.equal(loaded.model(IDS), expected)
        with manager.lend(ModelKey("c")) as again:
            assert torch.equal(again.model(IDS), expected)
            library.remove("c")
            manager.unload_model("c")
            assert torch.equal(again.model(IDS), expected)
        assert torch.equal(loaded.model(IDS), expected)
    assert manager.loaded() == []
    with pytest.raises(ValueError, match="there is no model 'a'"), manager.lend(ModelKey("a")):
        pass


def test_another_process_that_removes_a_model_frees_its_memory_here(library: ModelLibrary, folder: Path) -> None:
    manager = ModelManager(library)
    for name in "ab":
        with manager.lend(ModelKey(name)):
            pass
    ModelLibrary(folder, cache_folder=folder.parent / "cache").remove("a")
    manager.unload_idle(1000)
    assert manager.loaded() == [ModelKey("b")]


def test_idle_models_leave_the_memory_and_used_ones_stay(library: ModelLibrary) -> None:
    manager = ModelManager(library, idle_seconds=0.01)
    with manager.lend(ModelKey("b")):
        with manager.lend(ModelKey("a")):
            pass
        for _ in range(1000):
            if manager.loaded() == [ModelKey("b")]:
                break
            threading.Event().wait(0.01)
        assert manager.loaded() == [ModelKey("b")]
    for _ in range(1000):
        if not manager.loaded():
            break
        threading.Event().wait(0.01)
    assert manager.loaded() == []


def test_a_copy_and_a_removal_exclude_each_other(
    library: ModelLibrary, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OwnModels.locked, "__kwdefaults__", {"shared": False, "patience": 0.05})
    with library.own.locked(shared=True):
        with pytest.raises(
            ValueError, match="another window or program renames, removes, copies or saves a model just now"
        ):
            library.remove("a")
        assert library.quantize("a", "int8").problem is None
    with library.own.locked(), pytest.raises(ValueError, match="another window or program"):
        library.quantize("b", "int8")
    library.remove("a")


def test_a_quantization_that_is_stopped_changes_nothing(library: ModelLibrary, folder: Path) -> None:
    before = contents(folder)
    progress = ReadingProgress()
    progress.stop.set()
    with pytest.raises(ReadingStopped):
        library.quantize("a", "int8", progress=progress)
    assert contents(folder) == before
    progress = ReadingProgress()
    made = library.quantize("a", "int8", progress=progress)
    assert (progress.fraction, made.problem) == (1.0, None)
    plain = library.quantize("a", "int8", to="plain").path
    assert (made.path / "model.safetensors").read_bytes() == (plain / "model.safetensors").read_bytes()


def test_what_a_crashed_save_left_does_not_come_back(library: ModelLibrary, folder: Path) -> None:
    shutil.copytree(folder / "a", storage.previous(folder / "a"))  # a crash after the new folder was in place
    library.remove("a")
    assert [info.name for info in library.available()] == ["b", "given", "book@4"]
    (folder / "b").rename(storage.previous(folder / "b"))  # and one before
    assert library.rename("b", "c").problem is None
    assert sorted(path.name for path in folder.iterdir()) == ["c"]


def test_the_trash_is_emptied_at_the_next_start(library: ModelLibrary, folder: Path) -> None:
    (folder / TRASH).mkdir()
    (folder / "a").rename(folder / TRASH / "x")
    (folder / TRASH / "file").touch()
    assert [info.name for info in library.available()] == ["b", "given", "book@4"]
    library.own.clean_up()
    assert list((folder / TRASH).iterdir()) == []
    discard(folder / "b")
    assert list(folder.iterdir()) == []


def test_verification_reads_every_number(library: ModelLibrary, folder: Path) -> None:
    assert library.verify("a") == library.verify("given") > 10
    weights = folder / "a" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\xff\xff\xff\xff")
    assert library.info("a").problem is None
    with pytest.raises(ValueError, match=r"the checkpoint a in .* not finite numbers"):
        library.verify("a")
    (folder / "b" / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match="the checkpoint b in"):
        library.verify("b")


def test_sizes_by_group_and_histograms_count_every_weight(library: ModelLibrary, folder: Path) -> None:
    for name in ("a", library.quantize("a", "int8").name, library.quantize("a", "int4").name):
        sizes = group_sizes(folder / name)
        size = (folder / name / "model.safetensors").stat().st_size
        assert set(sizes) <= set(GROUPS)
        assert 0 < size - sum(sizes.values()) < 10_000  # the rest is the header
        layers = list(histograms(library.checkpoint(name)))
        assert [layer.title for layer in layers][:2] == ["Tables", "Layer 1"]
        for layer in layers:
            assert all(0.99 < sum(share) <= 1.0001 for share in layer.shares.values())
            assert 0.01 < layer.deviation < 0.1  # they were drawn with 0.02
    assert [group_of(name) for name in ("transformer.h.0.attn.bias", "x", "lm_head.weight")] == [
        "Not used",
        "Not used",
        "Output head",
    ]


def test_a_damaged_header_is_one_sentence(folder: Path) -> None:
    for data in (b"", b"\xff" * 40, (20).to_bytes(8, "little") + b'{"a": {"shape": []}}', b"\x02" + b"\0" * 7 + b"[]"):
        (folder / "a" / "model.safetensors").write_bytes(data)
        if data:
            with pytest.raises(ValueError, match="is damaged or incomplete"):
                group_sizes(folder / "a")


def test_about_json_keeps_what_it_said(library: ModelLibrary, folder: Path) -> None:
    tokenizer = character_tokenizer(ALPHABET)
    save_checkpoint(folder / "d", GPT(NARROW), tokenizer=tokenizer, about=About(source="s", validation_loss=1.5))
    info = library.rename("d", "e")
    assert (info.source, info.validation_loss, info.own_precision) == ("s", 1.5, "float32")
    assert json.loads((folder / "e" / "about.json").read_text())["source"] == "s"
