"""`--format space`: the three kinds of Space, as folders that run as they are."""

import json
import os
import re
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import httpx
import pytest
import torch
import yaml
from page_checks import RunningDesk

from benchmarks.visitor import Visitor
from gptdesk.export import export, space
from models.checkpoint import About, Checkpoint, save_checkpoint
from models.weights import WEIGHTS

ROOT = Path(__file__).parents[3]
# in place of the package of Spaces, which does nothing elsewhere
SPACES = "def GPU(duration):\n    return lambda function: function\n"
CALL = """
import runpy, sys
sys.argv = ["app.py"]
app = runpy.run_path("app.py")
for text in app["write"]("Once upon a time", 12, 0.0, 50, 0.95, 7):
    pass
print([repr(text), *(event.api_name for event in app["page"].fns.values())])
"""


@pytest.fixture(scope="module")
def model(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A model with text that nobody else shall read."""
    tiny = Checkpoint.open(tiny_folder / "tiny")
    path = tmp_path_factory.mktemp("space") / "mine"
    about = About(licence="MIT", source="a test")
    network, tokenizer = tiny.load_model(), tiny.load_tokenizer()
    return save_checkpoint(path, network, tokenizer=tokenizer, about=about, held_out="secret")


def written(model: Checkpoint, to: Path, **options: str) -> Path:
    return export(model, model.load_tokenizer(), name="mine", to=to, format="space", **options)


@pytest.fixture(scope="module")
def cpu(model: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(model, tmp_path_factory.mktemp("cpu") / "space", sdk="cpu")


@pytest.fixture(scope="module")
def zero(model: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(model, tmp_path_factory.mktemp("zero") / "space", sdk="zero")


def front_matter(folder: Path) -> dict:
    return yaml.safe_load((folder / "README.md").read_text(encoding="utf-8").split("---\n")[1])


def test_a_static_space_is_the_page_and_its_card(model: Checkpoint, tmp_path: Path) -> None:
    folder = written(model, tmp_path / "space")
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "index.html"]
    front = front_matter(folder)
    assert (front["sdk"], front["app_file"], front["license"], front["title"]) == (
        "static",
        "index.html",
        "mit",
        "mine",
    )
    assert "sdk_version" not in front
    with pytest.raises(ValueError, match="a static Space runs the model at int8"):
        written(model, tmp_path / "other", precision="int4")
    with pytest.raises(ValueError, match="there is: static, zero, cpu"):
        written(model, tmp_path / "other", sdk="docker")
    assert not (tmp_path / "other").exists()


def test_the_folders_hold_what_they_need_and_nothing_else(cpu: Path, zero: Path) -> None:
    for folder, hardware, place, precision in (
        (cpu, "cpu-basic", "home/models/mine", "int8"),
        (zero, "zero-a10g", "model/mine", None),
    ):
        front = front_matter(folder)
        assert front["sdk"] == "gradio"
        assert re.fullmatch(r"\d+\.\d+\.\d+", front["sdk_version"])
        assert (front["python_version"], front["app_file"], front["suggested_hardware"]) == ("3.12", "app.py", hardware)
        checkpoint = Checkpoint.open(folder / place)
        assert (checkpoint.quantized.name if checkpoint.quantized else None) == precision
        assert not [path for path in folder.rglob("*") if path.name in ("__pycache__", "held_out.txt")]
        assert [path.parent.name for path in folder.rglob(WEIGHTS)] == ["mine"]


def test_the_requirements_are_those_of_the_project(cpu: Path, zero: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {re.split("[>=<]", line)[0] for line in project["dependencies"]} == {*space.DEPENDENCIES}
    first, *lines = (cpu / "requirements.txt").read_text().splitlines()
    assert first == "--extra-index-url https://download.pytorch.org/whl/cpu"
    assert all(re.fullmatch(r"[\w\[\]-]+==[\w.]+", line) for line in lines)
    assert f"gradio=={front_matter(cpu)['sdk_version']}" in lines
    assert (zero / "requirements.txt").read_text().splitlines() == ["torch>=2.10,<2.12", "spaces", *lines[1:]]


def check_desk(folder: Path, python: str) -> None:
    """Check that app.py serves the desk in public mode, by the packages in its folder."""
    variables = {"SPACE_ID": "someone/desk", "GPTDESK_HOST": "127.0.0.1", "PYTHONPATH": "", "OMP_NUM_THREADS": "1"}
    variables["GPTDESK_KERNELS"] = "torch"  # its copy of the step would be compiled
    check_public(RunningDesk(folder / "home", program=[python, str(folder / "app.py")], **variables), model="mine")


def check_public(desk: RunningDesk, *, model: str) -> None:
    """Check that a visitor can generate with this model, and with no other one of ours, and end the desk."""
    try:
        assert httpx.get(f"{desk.url}/health", trust_env=False).json()["app"] == "gptdesk"
        visitor = Visitor(desk.url)
        shown = json.dumps([component["props"] for component in visitor.components.values()])
        assert [name for name in ("mine", "starter") if f'"{name}"' in shown] == [model]
        assert not re.search("train|upload", json.dumps(visitor.events), re.IGNORECASE)
        generate = visitor.event("generate")
        messages = visitor.run(generate, visitor.values(generate))
        (last,) = [message for message in messages if message["msg"] == "process_completed"]
        assert last["success"], messages
        visitor.close()
    finally:
        log = desk.close()
    assert "Traceback" not in log, log


def test_the_desk_serves_its_page_in_public_mode(cpu: Path) -> None:
    check_desk(cpu, sys.executable)


def test_the_app_for_zero_gpu_writes_the_text(model: Checkpoint, zero: Path, tmp_path: Path) -> None:
    (tmp_path / "spaces.py").write_text(SPACES)
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", CALL]
    done = subprocess.run(command, cwd=zero, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    tokenizer, network = model.load_tokenizer(), model.load_model()
    ids = tokenizer.encode("Once upon a time")
    for _ in range(12):
        ids.append(int(network(torch.tensor([ids]))[0, -1].argmax()))
    assert done.stdout.strip() == str([repr(tokenizer.decode(ids)), "write"])


def test_the_repository_is_a_space(cpu: Path, tmp_path: Path) -> None:
    """Its README.md, requirements.txt and launch.py do what a Space needs."""
    front = front_matter(ROOT)
    exported = front_matter(cpu)
    assert front["sdk"] == "gradio"
    assert front["python_version"] == exported["python_version"]
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    pins = {re.sub("[-_]", "-", name).lower(): pin for name, pin in re.findall(r"(?m)^([^#=]+)==(.+)$", constraints)}
    assert front["sdk_version"] == pins["gradio"]
    wanted = [f"{name}=={pins[re.sub('[-_]', '-', name.partition('[')[0])]}" for name in space.DEPENDENCIES]
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert sorted(lines[1:]) == sorted([space.CPU_TORCH, *wanted])
    variables = {"SPACE_ID": "someone/desk", "SYSTEM": "spaces", "GPTDESK_HOST": "127.0.0.1", "OMP_NUM_THREADS": "1"}
    program = [sys.executable, str(ROOT / front["app_file"])]
    check_public(RunningDesk(tmp_path / "home", program=program, **variables), model="starter")
    assert not (tmp_path / "home" / "env").exists()


@pytest.mark.skipif("GPTDESK_TEST_SPACES" not in os.environ, reason="GPTDESK_TEST_SPACES is not set")
def test_a_fresh_environment_runs_it(cpu: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / ("Scripts" if os.name == "nt" else "bin") / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "-r", cpu / "requirements.txt"], check=True, timeout=1800)
    check_desk(cpu, str(python))
