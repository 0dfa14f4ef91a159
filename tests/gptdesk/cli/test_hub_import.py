"""`gptdesk models import` of a model of the Hub: killed, stopped, resumed; names and paths."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from cli_checks import Capture, answer, complaint
from hub_checks import COMMIT, FakeHub, let_the_client_connect, repository, serving_hub
from safetensors.torch import load, load_file

from gptdesk import importing
from gptdesk.__main__ import main
from models.hub import look_up

ROOT = Path(__file__).parents[3]


@pytest.fixture
def hub(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    let_the_client_connect(monkeypatch)
    with serving_hub(FakeHub(repository(tiny_folder / "tiny"))) as served:
        yield served


def test_a_killed_or_stopped_import_leaves_no_model_and_the_next_one_resumes(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    hub.pause, cache = 600, tmp_path / "hf"
    weights, home = hub.files["model.safetensors"], tmp_path / "home"
    environment = {"HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
    monkeypatch.setenv("GPTDESK_HOME", str(home))
    command = ["models", "import", hub.id]
    process = subprocess.Popen(
        [sys.executable, "-m", "gptdesk", *command],
        env=os.environ | environment | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    while not arrived(cache):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.kill()
    said = process.communicate(timeout=30)[1]
    assert f"{len(weights):,} bytes" in said
    assert "MB to download into" in said
    assert models_in(home) == []

    monkeypatch.setattr(importing, "look_up", partial(look_up, endpoint=hub.url, cache=cache))
    for _ in range(2):  # Ctrl-C as soon as there is more
        before, hub.ranges = arrived(cache), []
        hub.after_piece = partial(interrupt, cache, before)
        assert main(command) == 130
        assert hub.ranges == [f"bytes={before}-"]
        assert models_in(home) == []
    before, hub.ranges, hub.pause, hub.after_piece = arrived(cache), [], 0, lambda: None
    capsys.readouterr()
    made = answer(capsys, *command)
    assert hub.ranges == [f"bytes={before}-"]
    assert before < len(weights)
    assert (made["name"], made["format"], models_in(home)) == ("tiny", "Hugging Face folder", ["tiny"])
    assert load_file(home / "models" / "tiny" / "model.safetensors").keys() == load(weights).keys()
    about = json.loads((home / "models" / "tiny" / "about.json").read_text())
    assert about["source"].startswith(f"imported from someone/tiny of the Hugging Face Hub at {COMMIT[:12]} (")


def arrived(cache: Path) -> int:
    """The bytes of unfinished weights."""
    return sum(path.stat().st_size for path in cache.rglob(f"{'?' * 64}.*.incomplete"))


def interrupt(cache: Path, before: int) -> None:
    while arrived(cache) <= before:
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)


def models_in(home: Path) -> list[str]:
    return [path.name for path in (home / "models").glob("*")]


def test_names_and_paths_are_checked_before_the_hub_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(importing, "look_up", lambda *_, **__: pytest.fail("asked"))
    monkeypatch.setenv("GPTDESK_HOME", str(tmp_path))
    command = ("models", "import")
    assert "cannot be a model" in complaint(capsys, *command, "gpt2", "--name", "a/b")
    assert "there is a bundled model starter already" in complaint(capsys, *command, "gpt2", "--name", "starter")
    assert "no such file or folder" in complaint(capsys, *command, "no/such/model")
    assert "--revision is for a model of the Hugging Face Hub" in complaint(
        capsys, *command, str(tmp_path), "--revision", "v1"
    )
