"""Import on the Models tab in a real browser: path, upload, missing numbers, broken file, Hub; Verify."""

import pickle
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from format_checks import CHARACTERS, C, FusedGPT, H, L, T, V, difference, write_characters
from hub_checks import FakeHub, repository, serving_hub
from page_checks import NEEDS_BROWSER, RunningDesk, choose, settle, unfold, watched_page

from models.checkpoint import Checkpoint

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = NEEDS_BROWSER
LONG = 60_000  # milliseconds that an import may take on a busy machine


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def hub(tiny_folder: Path) -> Iterator[FakeHub]:
    with serving_hub(FakeHub(repository(tiny_folder / "tiny"))) as hub:
        yield hub


@pytest.fixture(scope="module")
def desk(home: Path, hub: FakeHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDesk]:
    """Return a desk whose Hub is the local one."""
    cache = str(tmp_path_factory.mktemp("hub"))
    online = {"HF_ENDPOINT": hub.url, "HF_HUB_CACHE": cache, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
    desk = RunningDesk(home, OMP_NUM_THREADS="1", NO_PROXY="*", no_proxy="*", **online)
    yield desk
    assert "Traceback" not in desk.close()


@pytest.fixture
def page(browser: "sync_api.Browser", desk: RunningDesk) -> Iterator["sync_api.Page"]:
    with watched_page(browser, desk) as page:
        page.get_by_role("tab", name="Models").click()
        page.get_by_role("button", name="Import a model").click()
        yield page


@dataclass
class Form:
    """The form of the import."""

    page: "sync_api.Page"

    def source(self, name: str) -> None:
        self.page.locator("#models-import-source").get_by_label(name).check()

    def fill(self, name: str, text: object) -> None:
        self.page.locator(f"#models-import-{name}").locator("input, textarea").first.fill(str(text))

    def start(self) -> None:
        self.page.locator("#models-import").click()

    def expect(self, words: str | re.Pattern[str]) -> None:
        sync_api.expect(self.page.locator("#models-import-line")).to_contain_text(words, timeout=LONG)


def write_nanogpt(folder: Path) -> Path:
    """Return a ckpt.pt as nanoGPT writes it, with the characters of its text beside it."""
    folder.mkdir()
    numbers = {"n_layer": L, "n_head": H, "n_embd": C, "block_size": T, "bias": True, "vocab_size": V, "dropout": 0.0}
    torch.save({"model": FusedGPT().state_dict(), "model_args": numbers, "config": {}}, folder / "ckpt.pt")
    numbered = dict(enumerate(CHARACTERS))
    meta = {"vocab_size": V, "itos": numbered, "stoi": {c: i for i, c in numbered.items()}}
    (folder / "meta.pkl").write_bytes(pickle.dumps(meta))
    return folder / "ckpt.pt"


def test_a_path_is_imported_and_verified_and_listed_in_the_other_tabs(
    page: "sync_api.Page", home: Path, tmp_path: Path
) -> None:
    form = Form(page)
    form.fill("path", write_nanogpt(tmp_path / "shakespeare"))
    form.start()
    form.expect("Imported as shakespeare: a nanoGPT")
    sync_api.expect(page.locator("#models-chosen input")).to_have_value("shakespeare")
    assert difference(FusedGPT(), Checkpoint.open(home / "models" / "shakespeare")) < 1e-4
    verified = page.locator("#models-verify-line")
    unfold(page, "models-more-verify")
    page.locator("#models-verify").click()
    sync_api.expect(verified).to_contain_text("shakespeare is whole", timeout=LONG)
    weights = home / "models" / "shakespeare" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-4:] = b"\x00\x00\xc0\x7f"  # not a number
    weights.write_bytes(data)
    page.locator("#models-verify").click()
    sync_api.expect(verified).to_contain_text("⚠ the checkpoint shakespeare", timeout=LONG)
    page.get_by_role("tab", name="Generate").click()
    choose(page, "model", "shakespeare")


def test_missing_numbers_are_asked_for_and_broken_files_refused(
    page: "sync_api.Page", home: Path, tmp_path: Path
) -> None:
    form, folder = Form(page), tmp_path / "tutorial"
    folder.mkdir()
    torch.save(FusedGPT(gelu="tanh", mask=True).state_dict(), folder / "model.pt")
    write_characters(folder)
    form.start()
    form.expect("⚠ no file or folder is named")
    heads = page.locator("#models-import-n-head input")
    sync_api.expect(heads).to_be_hidden()
    form.fill("path", f'"{folder}"')  # as file managers copy a path
    form.start()
    form.expect("It does not say how many heads it has and which activation")
    sync_api.expect(heads).to_be_visible()
    settle(page)
    assert int(heads.input_value()) in (1, 2, 4)
    heads.fill(str(H))
    choose(page, "models-import-activation", "gelu_tanh")
    form.fill("name", "asked")
    form.start()
    form.expect("Imported as asked: a state dict")
    sync_api.expect(heads).to_be_hidden()
    assert difference(FusedGPT(gelu="tanh"), Checkpoint.open(home / "models" / "asked")) < 1e-4

    canary = tmp_path / "canary"
    torch.save({"model": Touch(canary)}, folder / "model.pt")
    form.start()
    form.expect("cannot be imported")
    (folder / "model.pt").write_bytes(b"PK\x03\x04 and nothing")
    form.fill("name", "asked")
    form.start()
    form.expect("⚠ there is a model asked already")
    assert not canary.exists()
    assert not (home / "models" / "tutorial").exists()


class Touch:
    """Object whose unpickling would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_uploaded_files_are_imported_together(page: "sync_api.Page", home: Path, tmp_path: Path) -> None:
    form, file = Form(page), write_nanogpt(tmp_path / "source")
    file = file.rename(file.with_name("sonnets.pt"))
    form.source("Upload files")
    form.start()
    form.expect("⚠ no file is chosen")
    files = page.locator("#models-import-uploads input[type=file]")
    files.set_input_files([str(file), str(file.with_name("meta.pkl"))])
    sync_api.expect(page.locator("#models-import-uploads")).to_contain_text("meta", timeout=LONG)
    form.start()
    form.expect("Imported as sonnets: a nanoGPT")
    checkpoint = Checkpoint.open(home / "models" / "sonnets")
    assert difference(FusedGPT(), checkpoint) < 1e-4
    assert checkpoint.about.source == "imported from sonnets.pt (nanoGPT checkpoint)"
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_model_of_the_hub_is_listed_stopped_and_resumed(page: "sync_api.Page", home: Path, hub: FakeHub) -> None:
    form = Form(page)
    form.source("Hugging Face Hub")
    box = page.locator("#models-import-hub input")
    box.fill("someone/other")
    box.press("Enter")
    form.start()
    form.expect("there is no model someone/other on the Hugging Face Hub")
    box.fill(hub.id)
    box.press("Enter")
    form.fill("revision", "v1")
    form.start()
    form.expect("Press Import again to start")
    sync_api.expect(page.locator("#models-import-files")).to_contain_text("model.safetensors")
    assert hub.ranges == []
    hub.pause = 0.3
    form.start()
    form.expect(re.compile(r"Downloading: .*\([1-9]\d?%\)"))  # something has come that can be resumed
    page.locator("#models-import-stop").click()
    form.expect("the next import resumes")
    assert not (home / "models" / "tiny").exists()
    hub.pause = 0
    form.start()
    form.expect("Imported as tiny")
    assert hub.ranges[-1].startswith("bytes=")
    assert Checkpoint.open(home / "models" / "tiny").about.source.startswith(f"imported from {hub.id}")
    shutil.rmtree(home / "models" / "tiny")
