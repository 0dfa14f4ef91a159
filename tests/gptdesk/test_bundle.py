"""`gptdesk bundle`: the archive, the copy that starts from it without network, and refusals of both."""

import errno
import importlib
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from functools import partial
from pathlib import Path

import httpx
import pytest
import torch
from cli_checks import Capture, answer, complaint
from launch_checks import ROOT, Clone, make_wheel
from page_checks import RunningDesk
from safetensors.torch import load_file, save_file

from gptdesk import bundle
from gptdesk.__main__ import main
from gptdesk.bundle import TOP, Bundle, BundledModel, bundled_models, write_bundle
from gptdesk.desk import Desk
from gptdesk.settings import Settings
from models.checkpoint import About, Checkpoint, save_checkpoint

NO_NETWORK = {
    "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
    "PIP_RETRIES": "1",
    **{name: "http://127.0.0.1:9" for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")},
}


@pytest.fixture(scope="module")
def model(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> BundledModel:
    """A model with text that nobody else shall read."""
    tiny = Checkpoint.open(tiny_folder / "tiny")
    path = tmp_path_factory.mktemp("models") / "mine"
    tokenizer = tiny.load_tokenizer()
    made = save_checkpoint(path, tiny.load_model(), tokenizer=tokenizer, about=About(), held_out="secret")
    (path / "weights.pt").write_bytes(b"a pickle")
    (path / "diary.txt").write_text("secret")
    return BundledModel("mine", made, tokenizer)


def online(monkeypatch: pytest.MonkeyPatch, clone: Clone) -> None:
    """Let pip find the packages of the stand-in project."""
    for name in ("PIP_CONFIG_FILE", "PIP_NO_INDEX", "PIP_FIND_LINKS"):
        monkeypatch.setenv(name, clone.variables[name])


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clone:
    made = Clone(tmp_path, dependencies=["tinydep"], verify=["tinydep"])
    online(monkeypatch, made)
    (tmp_path / "out").mkdir()
    return made


def written(clone: Clone, to: Path, *models: BundledModel, replace: bool = False) -> Bundle:
    *_, last = write_bundle(to, models, root=clone.folder, replace=replace)
    assert isinstance(last, Bundle)
    return last


def unpacked(archive: Path, to: Path) -> Path:
    with zipfile.ZipFile(archive) as file:
        file.extractall(to)
    return to / TOP


@pytest.fixture(scope="module")
def copy(model: BundledModel, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """An unpacked bundle, on a computer without network; tests leave it as it is."""
    folder = tmp_path_factory.mktemp("school")
    (folder / "teacher").mkdir()
    (folder / "pupil").mkdir()
    clone = Clone(folder / "teacher", dependencies=["tinydep"], verify=["tinydep"])
    (clone.folder / "gptdesk" / "__pycache__").mkdir()
    (clone.folder / "gptdesk" / "__pycache__" / "x.pyc").touch()
    (clone.folder / "diary.txt").write_text("secret")
    with pytest.MonkeyPatch.context() as monkeypatch:
        online(monkeypatch, clone)
        made = written(clone, folder / "school.zip", model)
    assert sorted(path.name for path in folder.iterdir()) == ["pupil", "school.zip", "teacher"]
    assert (made.size_bytes, made.packages) == ((folder / "school.zip").stat().st_size, 1)
    copy = object.__new__(Clone)
    copy.folder, copy.home = unpacked(made.path, folder / "pupil"), folder / "pupil" / "home"
    shutil.rmtree(folder / "teacher")
    trap = folder / "pupil" / "other"  # packages that the user has configured must not be taken
    trap.mkdir()
    make_wheel(trap, "tinydep", code="raise SystemExit('the wrong package')")
    kept = {name: clone.variables[name] for name in clone.variables if not name.startswith("PIP_")}
    copy.variables = kept | {"GPTDESK_HOME": str(copy.home), "PIP_FIND_LINKS": str(trap), "HOME": str(folder)}
    copy.variables |= NO_NETWORK
    if importlib.util.find_spec("pip"):
        copy.without_ensurepip()
    return copy


def test_the_copy_starts_without_network(copy: Clone) -> None:
    done = copy.run("generate", "a b")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["words"] == ["generate", "a b"]
    assert f"from the packages in {copy.folder / 'bundle' / 'wheels'}, without network, once" in done.stderr
    assert copy.made() == ["env"]
    assert copy.run().stderr == ""  # a second start looks at nothing but the environment


def test_the_archive_has_the_program_the_packages_and_the_models(copy: Clone, model: BundledModel) -> None:
    names = zipfile.ZipFile(copy.folder.parents[1] / "school.zip").namelist()
    assert names[-1] == f"{TOP}/launch.py"  # half an unpacked archive cannot be started
    assert not [name for name in names if "diary" in name or "pycache" in name or "held_out" in name or ".pt" in name]
    assert f"{TOP}/bundle/wheels/tinydep-1.0-py3-none-any.whl" in names
    assert {name.split("/")[1] for name in names} == {
        *("bundle", "constraints.txt", "desktop", "gptdesk", "launch.py", "pyproject.toml", "scripts")
    }
    (packed,) = bundled_models(copy.folder)
    assert packed == copy.folder / "bundle" / "models" / "mine" / "checkpoint"
    weights = "model.safetensors"
    assert (packed / weights).read_bytes() == (model.checkpoint.path / weights).read_bytes()
    assert Checkpoint.open(packed).load_tokenizer().encode("Once") == model.tokenizer.encode("Once")


def test_the_desk_lists_the_models_of_its_bundle(copy: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gptdesk.desk.bundled_models", partial(bundled_models, copy.folder))
    desk = Desk(Settings(home=tmp_path))
    assert desk.model("mine").problem is None
    assert {"mine", "starter"} <= desk.library.listed_names()
    with pytest.raises(ValueError, match="mine comes with the desk and cannot be removed"):
        desk.library.own.remove("mine")
    assert bundled_models() == []  # in a clone


def test_a_model_is_whole_without_its_home(clone: Clone, model: BundledModel, tmp_path: Path) -> None:
    """Shards go along, and the vocabulary of a GPT-2 whose folder has none."""
    folder = tmp_path / "sharded"
    folder.mkdir()
    shutil.copy(model.checkpoint.path / "config.json", folder)
    tensors = load_file(model.checkpoint.path / "model.safetensors")
    names = {name: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, name in enumerate(sorted(tensors))}
    for file in set(names.values()):
        save_file({name: tensors[name] for name in tensors if names[name] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
    sharded = BundledModel("sharded", Checkpoint.open(folder), model.tokenizer)
    made = written(clone, tmp_path / "out" / "school.zip", sharded)
    (packed,) = bundled_models(unpacked(made.path, tmp_path / "pupil"))
    checkpoint = Checkpoint.open(packed)
    assert checkpoint.load_tokenizer().encode("Once") == model.tokenizer.encode("Once")
    ids = torch.tensor([model.tokenizer.encode("Once upon a time")])
    assert torch.equal(checkpoint.load_model()(ids), model.checkpoint.load_model()(ids))


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def for_another(path: Path) -> None:
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | {"made_for": ["3.99", "plan9", "mips"]}))


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        ("wheels/tinydep-1.0-py3-none-any.whl", damage, "tinydep-1.0-py3-none-any.whl is missing or damaged: unpack"),
        ("wheels/tinydep-1.0-py3-none-any.whl", Path.unlink, "any.whl is missing or damaged: unpack the archive again"),
        ("models/mine/checkpoint/model.safetensors", damage, "model.safetensors is missing or damaged: unpack the"),
        ("bundle.json", Path.unlink, "bundle.json is missing or damaged: unpack the archive again"),
        ("bundle.json", damage, "bundle.json is missing or damaged: unpack the archive again"),
        ("bundle.json", for_another, "are for Python 3.99 on plan9 mips, and this is Python 3."),
    ],
)
def test_a_damaged_copy_is_one_sentence(copy: Clone, tmp_path: Path, name: str, change, sentence: str) -> None:
    broken = object.__new__(Clone)
    broken.folder, broken.home = tmp_path / "copy", tmp_path / "home"
    shutil.copytree(copy.folder, broken.folder)
    broken.variables = copy.variables | {"GPTDESK_HOME": str(broken.home)}
    change(broken.folder / "bundle" / name)
    failed = broken.run()
    assert (failed.returncode, failed.stdout, failed.stderr.count("\n")) == (1, "", 1)
    assert sentence in failed.stderr
    assert broken.made() == []


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("out/school.tar", "school.tar does not end in .zip; name the archive"),
        ("the $clone/school.zip", "is inside the clone, which goes into the archive; choose a place outside"),
        ("the $clone/docs/../../the $clone/school.zip", "is inside the clone"),
        ("nowhere/school.zip", "there is no folder"),
        ("folder.zip", "is a folder; name a file"),
        ("there.zip", "there is a file .*there.zip already; choose another name, or replace it with --replace"),
    ],
)
def test_a_target_that_cannot_be_is_refused_at_once(clone: Clone, tmp_path: Path, target: str, sentence: str) -> None:
    (tmp_path / "folder.zip").mkdir()
    (tmp_path / "there.zip").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match=sentence):
        next(write_bundle(tmp_path / target, [], root=clone.folder))
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "there.zip").read_text() == "mine"


def test_an_archive_is_replaced_when_the_new_one_is_whole(clone: Clone, tmp_path: Path) -> None:
    target = tmp_path / "out" / "school.zip"
    target.write_text("old")
    events = write_bundle(target, [], root=clone.folder, replace=True)
    next(events)
    assert list(target.parent.glob(".school.zip.*.partial"))
    events.close()  # as after Ctrl-C
    assert [path.name for path in target.parent.iterdir()] == ["school.zip"]
    assert target.read_text() == "old"
    written(clone, target, replace=True)
    assert zipfile.is_zipfile(target)


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_ctrl_c_ends_pip_and_leaves_nothing(tmp_path: Path) -> None:
    """As a user presses it while a server does not answer."""
    (tmp_path / "out").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        index = f"http://127.0.0.1:{silent.getsockname()[1]}/simple"
        variables = {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": index, "PIP_FIND_LINKS": ""}
        environment = os.environ | variables | {"NO_PROXY": "127.0.0.1"}
        command = [sys.executable, "-m", "gptdesk", "bundle", "--home", str(tmp_path / "home")]
        command += ["--to", str(tmp_path / "out" / "school.zip")]
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
            silent.settimeout(60)
            connection, _ = silent.accept()  # by pip
            assert list((tmp_path / "out").iterdir())
            process.send_signal(signal.SIGINT)
            assert "Traceback" not in process.communicate(timeout=20)[1]
        assert process.returncode == 130
        connection.settimeout(20)
        while connection.recv(10_000):  # ends with pip
            pass
        connection.close()
    assert list((tmp_path / "out").iterdir()) == []


def test_failures_are_one_sentence_and_leave_nothing(
    clone: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out" / "school.zip"
    make = partial(written, clone, target)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("models.storage.move_file", full)
        with pytest.raises(ValueError, match=r"school.zip was not written: No space left on device$"):
            make()
    with monkeypatch.context() as patch:
        patch.setattr(bundle, "PACKAGES", 10**15)
        with pytest.raises(ValueError, match=r"too little room: a bundle needs 2,000,000.0 GB, and .* GB are free"):
            make()
    with monkeypatch.context() as patch:
        patch.delenv("PIP_NO_INDEX")
        patch.delenv("PIP_FIND_LINKS")
        for name, value in (NO_NETWORK | {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}).items():
            patch.setenv(name, value)
        with pytest.raises(ValueError, match=r"^the network did not answer, and the packages of a bundle are"):
            make()
    clone.write_project(["not-to-be-found"], [])
    with pytest.raises(ValueError, match=r"^pip could not download .*No matching distribution found for not-to-be"):
        make()
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "no-pip"))
    launcher = bundle._launcher
    monkeypatch.setattr(bundle, "_launcher", lambda root: without_pip(launcher(root)))
    with pytest.raises(ValueError, match=r"^a bundle needs pip: The Python .* has neither ensurepip nor pip"):
        make()
    (clone.folder / "launch.py").unlink()
    with pytest.raises(ValueError, match=r"is made from the clone, and .* has no launch.py"):
        make()
    assert list(target.parent.iterdir()) == []


def without_pip(launcher):
    def missing(*_: object, **__: object) -> list[str]:
        raise launcher.Fault(launcher.venv_missing())

    launcher.pip_for = missing
    launcher.base_python = str
    return launcher


def test_torch_is_the_build_for_processors(clone: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where this computer has a GPU: a school computer need not have one."""
    if sys.platform == "darwin":
        pytest.skip("no CPU index is wanted on this machine")
    index = tmp_path / "index" / "torch"
    index.mkdir(parents=True)
    make_wheel(index, "torch", version="1.0+cpu")
    (index / "index.html").write_text('<a href="torch-1.0+cpu-py3-none-any.whl">torch</a>')
    launcher = clone.folder / "launch.py"
    launcher.write_text(
        launcher.read_text().replace('"https://download.pytorch.org/whl/cpu"', f'"{index.parent.as_uri()}"')
    )
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "nvidia-smi").write_text("#!/bin/sh\nexit 0\n")
    (tmp_path / "bin" / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    for name in ("PIP_NO_INDEX", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name)
    clone.write_project(["torch>=1"], ["torch"])
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", index.parent.as_uri())  # in place of PyPI
    for name, value in NO_NETWORK.items():
        if "PROXY" in name.upper():
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("PIP_RETRIES", "0")
    made = written(clone, tmp_path / "out" / "school.zip")
    assert [name for name in zipfile.ZipFile(made.path).namelist() if "torch" in name] == [
        f"{TOP}/bundle/wheels/torch-1.0+cpu-py3-none-any.whl"
    ]


def test_the_command_says_what_is_in_it_and_what_is_not(
    clone: Clone, model: BundledModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("GPTDESK_HOME", str(tmp_path / "home"))
    for name in ("mine", "other"):
        shutil.copytree(model.checkpoint.path, tmp_path / "home" / "models" / name)
    command = importlib.import_module("gptdesk.cli.bundle")  # the package has a function of that name
    monkeypatch.setattr(command, "write_bundle", partial(write_bundle, root=clone.folder))
    target = tmp_path / "out" / "school.zip"
    assert main(["bundle", "--to", str(target), "--model", "mine", "--model", "starter"]) == 0
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{target}: ")
    assert first.endswith(", 1 package")
    assert second.startswith(f"For computers with Python 3.{sys.version_info[1]} on {sys.platform} ")
    assert third == "Not in it: other. Add a model of yours with --model NAME."
    assert "already" in complaint(capsys, "bundle", "--to", str(target))
    shown = answer(capsys, "bundle", "--to", str(target), "--replace")
    assert (shown["packages"], shown["models"], shown["size_bytes"]) == (1, [], target.stat().st_size)
    assert "there is no model 'nobody'" in complaint(capsys, "bundle", "--to", str(target), "--model", "nobody")


def test_all_of_the_clone_is_packed() -> None:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("this is no git checkout")
    command = ["git", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    tracked = {file for file in listed if file and (ROOT / file).exists()}
    assert tracked <= bundle._program_entries(ROOT).keys()


@pytest.mark.skipif("GPTDESK_TEST_BUNDLE" not in os.environ, reason="GPTDESK_TEST_BUNDLE is not set")
def test_a_real_bundle_starts_without_network(model: BundledModel, tmp_path: Path) -> None:
    """With all packages of PyPI: several minutes, and three gigabytes of disk."""
    started = time.monotonic()
    *_, made = write_bundle(tmp_path / "school.zip", [model])
    assert isinstance(made, Bundle)
    print(f"made: {made.size_bytes / 1e6:,.1f} MB, {made.packages} packages, {time.monotonic() - started:.0f} s")
    folder = unpacked(made.path, tmp_path / "school")
    python = getattr(sys, "_base_executable", sys.executable)
    program = [python, str(folder / "launch.py")]
    started = time.monotonic()
    user = {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path), "PYTHONPATH": "", "HF_HUB_OFFLINE": "1"}
    variables = NO_NETWORK | user | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "NO_PROXY": "127.0.0.1"}
    desk = RunningDesk(tmp_path / "home", program=program, **variables)
    try:
        print(f"first start: {time.monotonic() - started:.0f} s")
        assert httpx.get(f"{desk.url}/health", trust_env=False).json()["app"] == "gptdesk"
    finally:
        log = desk.close()
    assert "without network" in log
    environment = os.environ | variables
    command = [*program, "generate", "--home", str(tmp_path / "home"), "--max-new-tokens", "8", "--seed", "1"]
    for name in ("starter", "mine"):
        started = time.monotonic()
        text = subprocess.run(
            [*command, "--model", name, "--prompt", "Once upon a time"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert text.returncode == 0, text.stderr
        assert len(text.stdout.strip()) > 0
        print(f"{name}: {time.monotonic() - started:.0f} s")
