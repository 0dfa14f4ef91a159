"""The library: keys, the list of models, and that a folder is opened once for as long as it stays as it is."""

from collections import Counter
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models import storage
from models.checkpoint import About, Checkpoint, save_checkpoint
from models.gpt import GPT, GPTConfig
from models.library import MOST_OPENED, ModelKey, ModelLibrary
from models.manager import ModelManager
from models.tokenizer import Tokenizer, character_tokenizer

CONFIG = GPTConfig(vocab_size=20, block_size=16, n_layer=1, n_head=2, n_embd=16)
TOKENIZER = character_tokenizer("abcdefghij \n")
OTHER_TOKENIZER = character_tokenizer("abcdefghijk")
UNSAFE = ["", ".", "..", "../x", "/etc", "a/b", "a\\b", "C:x", "-x", ".hidden", "a b", "ä", "x\n", "a\0", "x" * 81, "~"]
JSON_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json", "about.json")


def save(path: Path, *, seed: int = 0, tokenizer: Tokenizer = TOKENIZER) -> None:
    torch.manual_seed(seed)
    save_checkpoint(path, GPT(CONFIG), tokenizer=tokenizer, about=About(source="test"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed, name in enumerate("abc"):
        save(tmp_path / "models" / name, seed=seed)
    return tmp_path / "models"


@pytest.fixture
def library(folder: Path) -> ModelLibrary:
    return ModelLibrary(folder, cache_folder=folder.parent)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[Path]:
    """How often each JSON file is read from now on."""
    counted: Counter[Path] = Counter()
    read_bytes = storage.read_bytes

    def counting(path: Path, **options: int) -> bytes:
        counted[path] += 1
        return read_bytes(path, **options)

    monkeypatch.setattr(storage, "read_bytes", counting)
    return counted


def once(*folders: Path) -> Counter[Path]:
    return Counter({folder / name: 1 for folder in folders for name in JSON_FILES})


def once_with_ids(*folders: Path) -> Counter[Path]:
    """Each file once, and the two that say what ends a text once more, which tells whether a copy is outdated."""
    again = {folder / name: 1 for folder in folders for name in ("config.json", "generation_config.json")}
    return once(*folders) + Counter(again)


def without(reads: Counter[Path], name: str) -> Counter[Path]:
    return Counter({path: count for path, count in reads.items() if path.name != name})


# Keys


def test_keys_are_spelled_printed_and_compared() -> None:
    key = ModelKey.parse("starter:float32")
    assert key == ModelKey.parse(" starter ") == ModelKey("starter")
    assert (str(key), key.spelled, len({key, ModelKey("starter")})) == ("starter · float32", "starter:float32", 1)


@pytest.mark.parametrize("name", UNSAFE)
def test_names_that_could_leave_the_folder_are_no_keys(name: str) -> None:
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


# The list


def test_the_list_has_all_models_and_says_what_is_wrong_with_the_broken(folder: Path, tmp_path: Path) -> None:
    save(tmp_path / "app" / "starter" / "checkpoint")
    (folder / "b" / "model.safetensors").write_bytes(b"")
    (folder / "c" / "tokenizer.json").unlink()
    (folder / "my model").mkdir()
    (folder / "notes.txt").write_text("not a model")
    (folder / ".a.x.partial").mkdir()
    bundled = [tmp_path / "app" / "starter" / "checkpoint"]
    library = ModelLibrary(folder, bundled=bundled, cache_folder=tmp_path)
    listed = {info.name: info for info in library.available()}
    assert list(listed) == ["a", "b", "c", "my model", "starter"]
    good = listed["starter"]
    assert (good.path, good.parameters, good.context) == (bundled[0], CONFIG.parameters(), 16)
    assert (good.tokenizer, good.problem) == ("characters", None)
    assert good.size_bytes > 4 * CONFIG.parameters()
    assert "the checkpoint b in" in (listed["b"].problem or "")
    assert "has no tokenizer" in (listed["c"].problem or "")
    assert "rename the folder 'my model'" in (listed["my model"].problem or "")
    save(folder / "b")
    listed = {info.name: info for info in library.available()}
    assert listed["b"].problem is None
    assert ModelLibrary(tmp_path / "nowhere", cache_folder=tmp_path).available() == []


def test_a_folder_with_the_name_of_another_model_hides_nothing_and_says_so(folder: Path, tmp_path: Path) -> None:
    if (folder / "B").exists():
        pytest.skip("this file system keeps no two names that differ in capitals")
    bundled = tmp_path / "app" / "starter" / "checkpoint"
    save(bundled, seed=7)
    for name in ("starter", "Starter", "A"):
        save(folder / name)
    library = ModelLibrary(folder, bundled=[bundled], cache_folder=tmp_path)
    listed = {info.name: info for info in library.available()}
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
        assert library.info(name) == listed[name]
    for name in ("Starter", "A"):
        with pytest.raises(ValueError, match="only in capitals"):
            library.checkpoint(name)
    with pytest.raises(ValueError, match=r"the models here are: a, b, c, starter$"):
        library.checkpoint("nobody")
    (folder / "starter").rename(folder / "mine")
    assert library.info("mine").problem is None


# Opened once


def test_a_cold_lend_reads_each_file_once(library: ModelLibrary, folder: Path, reads: Counter[Path]) -> None:
    manager = ModelManager(library)
    with manager.lend(library.key("a")):
        pass
    assert without(reads, "kernels.json") == once(folder / "a")
    assert library.tokenizer("a").encode("abc")
    assert library.info("a").problem is None
    manager.unload()
    with manager.lend(ModelKey("a")), manager.lend(ModelKey("a", "bfloat16")):
        pass
    assert without(reads, "kernels.json") == once(folder / "a")


def test_a_cold_lend_of_a_copy_reads_each_file_of_both_folders_once(folder: Path, reads: Counter[Path]) -> None:
    key = ModelKey("a", "bfloat16")
    copy = ModelLibrary(folder, cache_folder=folder.parent).copy(key)
    reads.clear()
    with ModelManager(ModelLibrary(folder, cache_folder=folder.parent)).lend(key):
        pass
    assert without(reads, "kernels.json") == once_with_ids(folder / "a", copy)


def test_making_a_copy_opens_the_original_once(library: ModelLibrary, folder: Path, reads: Counter[Path]) -> None:
    copy = library.copy(ModelKey("a", "bfloat16"))
    assert library.has_copy(ModelKey("a", "bfloat16"))
    assert reads == once_with_ids(folder / "a", copy)


def test_a_folder_that_changes_is_opened_again(library: ModelLibrary, folder: Path) -> None:
    before = library.checkpoint("a")
    assert library.checkpoint("a") is before
    assert library.tokenizer("a").vocab_size == TOKENIZER.vocab_size
    save(folder / "a", tokenizer=OTHER_TOKENIZER)
    assert library.tokenizer("a").vocab_size == OTHER_TOKENIZER.vocab_size
    assert library.checkpoint("a") is not before
    (folder / "a" / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"the checkpoint a in .* cannot be used: config\.json"):
        library.checkpoint("a")
    with pytest.raises(ValueError, match=r"the checkpoint a in .* cannot be used: config\.json"):
        library.tokenizer("a")


def test_a_checkpoint_keeps_its_tokenizer_until_the_folder_changes(folder: Path, reads: Counter[Path]) -> None:
    checkpoint = Checkpoint.open(folder / "a")
    assert checkpoint.load_tokenizer() is checkpoint.load_tokenizer()
    assert reads[folder / "a" / "tokenizer.json"] == 1
    OTHER_TOKENIZER.save(folder / "a")
    assert checkpoint.load_tokenizer().vocab_size == OTHER_TOKENIZER.vocab_size
    character_tokenizer("abcdefghijklmnopqrstuvwxyz").save(folder / "a")
    with pytest.raises(ValueError, match=r"its tokenizer has 26 tokens, config\.json only 20"):
        checkpoint.load_tokenizer()


def test_the_list_keeps_no_checkpoint_and_few_others_are_kept(library: ModelLibrary, folder: Path) -> None:
    for number in range(MOST_OPENED):
        save(folder / f"m{number}")
    first = library.checkpoint("a")
    library.available()
    assert library.checkpoint("a") is first
    for number in range(MOST_OPENED - 1):
        library.checkpoint(f"m{number}")
        assert library.checkpoint("a") is first  # used most recently but one
    for number in range(MOST_OPENED):
        library.checkpoint(f"m{number}")
    assert library.checkpoint("a") is not first


def test_an_old_name_leads_to_the_new_one(library: ModelLibrary, folder: Path) -> None:
    library.rename("a", "d")
    library.rename("d", "e")
    again = ModelLibrary(folder, cache_folder=folder.parent)
    assert [again.present_name(name) for name in ("a", "d", "e", "b", "none")] == ["e", "e", "e", "b", "none"]
    again.rename("e", "a")  # back to the first name: no circle
    assert [library.present_name(name) for name in ("a", "d", "e")] == ["a", "a", "a"]
    save(folder / "d", seed=4)
    assert library.present_name("d") == "d"
    (folder.parent / "renamed.json").write_text("[")
    assert library.present_name("e") == "e"
