"""launch.py as its users run it: real environments, a real pip and real children, in a small stand-in project."""

import ast
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import platformdirs
import pytest
from launch_checks import ROOT, Clone, make_wheel

from gptdesk.system.shortcut import make_shortcut

POSIX = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals, links or shell scripts")


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    made = Clone(tmp_path, dependencies=["tinydep"], verify=["tinydep"])
    if importlib.util.find_spec("pip"):
        made.without_ensurepip()
    return made


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """A clone whose environment has been made; tests leave it as it is."""
    made = Clone(tmp_path_factory.mktemp("ready"), dependencies=["tinydep"], verify=["tinydep"])
    first = made.run("generate", "a b")
    assert first.returncode == 0, first.stderr
    assert "0.4 GB" in first.stderr
    assert json.loads(first.stdout)["words"] == ["generate", "a b"]
    yield made
    assert made.made() == ["env"]


def test_the_second_start_runs_no_pip(ready: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ready.variables, "PIP_FIND_LINKS", "/nowhere")
    before = (ready.home / "logs" / "install.log").stat(), (ready.home / "env").stat().st_ino
    second = ready.run("--port", "8000")
    assert (second.returncode, second.stderr) == (0, "")
    assert json.loads(second.stdout)["words"] == ["--port", "8000"]
    assert json.loads(second.stdout)["prefix"] == str(ready.home / "env")
    assert ((ready.home / "logs" / "install.log").stat(), (ready.home / "env").stat().st_ino) == before


@POSIX
def test_scripts_of_the_environment_run_although_it_was_renamed(ready: Clone) -> None:
    scripts = ready.home / "env/bin"
    for script in [scripts / "tinydep-hello", *scripts.glob("pip")]:  # no pip where Python has no ensurepip
        shown = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
        assert str(ready.home / "env") in shown.stdout
    texts = [file.read_bytes() for file in scripts.iterdir() if not file.is_symlink()]
    assert not [text for text in [*texts, (ready.home / "env/pyvenv.cfg").read_bytes()] if b"env.tmp" in text]


def test_the_app_sees_only_its_environment_and_the_clone(
    ready: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for trap in ("json.py", "tinydep.py", "gptdesk.py"):  # in the folder where the user happens to be
        (tmp_path / trap).write_text("raise SystemExit('the wrong module')")
    monkeypatch.setitem(ready.variables, "PYTHONPATH", str(tmp_path / "x"))
    shown = json.loads(ready.run(cwd=tmp_path).stdout)
    assert Path(shown["cwd"]) == tmp_path
    assert shown["env"]["PYTHONPATH"] == str(ready.folder)
    assert shown["env"]["GPTDESK_HOME"] == str(ready.home)


@pytest.mark.parametrize("code", [0, 2, 7])
def test_the_exit_code_is_the_apps(ready: Clone, code: int) -> None:
    assert ready.run("exit", str(code)).returncode == code


BREAKS = {
    "packages deleted": lambda env: shutil.rmtree(env / "lib"),
    "module deleted": lambda env: next(env.glob("lib/*/site-packages/tinydep.py")).unlink(),
    "no python": lambda env: (env / "bin/python").unlink(),
    "dangling python": lambda env: ((env / "bin/python").unlink(), (env / "bin/python").symlink_to("/nowhere/python3")),
    "another python": lambda env: ((env / "bin/python").unlink(), (env / "bin/python").symlink_to("/bin/sh")),
    "no stamp": lambda env: (env / "gptdesk-stamp.json").unlink(),
    "half a stamp": lambda env: (env / "gptdesk-stamp.json").write_text('{"key": "'),
    "odd stamp": lambda env: (env / "gptdesk-stamp.json").write_text("[]"),
    "pins changed": lambda env: (env.parent.parent / "the $clone/constraints.txt").write_text("tinydep==1.1"),
    "nothing": None,
}


@POSIX
@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_environment_is_told_from_its_files(ready: Clone, tmp_path: Path, name: str) -> None:
    shutil.copytree(ready.home / "env", tmp_path / "home/env", symlinks=True, ignore=shutil.ignore_patterns("pip"))
    shutil.copytree(ready.folder, tmp_path / ready.folder.name)
    copy = object.__new__(Clone)
    copy.folder = tmp_path / ready.folder.name
    launch = copy.module()
    if breaks := BREAKS[name]:
        breaks(tmp_path / "home/env")
    assert launch.is_ready(launch.make_plan(tmp_path / "home", testing=False)) is (name == "nothing")


def test_leftovers_are_removed_and_half_an_environment_is_replaced(clone: Clone) -> None:
    for left in ("env.tmp-12345/lib", "env-test.tmp-77-old", "env/bin"):
        (clone.home / left).mkdir(parents=True)
    done = clone.run()
    assert done.returncode == 0, done.stderr
    assert "Renewing" in done.stderr
    assert clone.made() == ["env"]


@pytest.mark.parametrize("online", [True, False])
def test_a_failed_install_says_why_and_leaves_nothing(clone: Clone, online: bool) -> None:
    clone.write_project(["tinydep", "not-to-be-found"], ["tinydep"])
    if not online:
        del clone.variables["PIP_NO_INDEX"]
        clone.variables |= {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "1", "NO_PROXY": "127.0.0.1"}
    failed = clone.run()
    assert failed.returncode == 1
    assert "No matching distribution found for not-to-be-found" in failed.stderr
    assert ("try another Python" if online else "The network did not answer") in failed.stderr
    assert "Traceback" not in failed.stderr
    assert clone.made() == []
    assert "not-to-be-found" in (clone.home / "logs/install.log").read_text()


def test_an_environment_that_does_not_import_is_not_used(clone: Clone) -> None:
    make_wheel(clone.wheels, "tinydep", code="raise ImportError('libgomp.so.1: cannot open shared object file')")
    failed = clone.run()
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1].endswith("libgomp.so.1: cannot open shared object file")
    assert clone.made() == []


def test_an_environment_that_broke_unseen_is_named_when_the_app_fails(clone: Clone) -> None:
    assert clone.run().returncode == 0
    module = next((clone.home / "env").rglob("tinydep.py"))
    module.write_text("raise ImportError('truncated')")
    failed = clone.run()
    assert failed.returncode == 1
    assert "python launch.py --repair" in failed.stderr
    assert clone.run("exit", "1", "--repair").stderr.count("--repair") == 0


def test_pip_and_repair(clone: Clone) -> None:
    make_wheel(clone.wheels, "my_sampler")
    make_wheel(clone.wheels, "tinydep", version="2.0")
    assert clone.run("pip", "install", "my-sampler").returncode == 0
    refused = clone.run("pip", "install", "tinydep==2.0")  # the tested versions stay
    assert refused.returncode == 1
    assert "my_sampler" in str(list((clone.home / "env").rglob("*.dist-info")))
    repaired = clone.run("--repair", "exit", "5")
    assert repaired.returncode == 5
    assert "pip install my_sampler" in repaired.stderr
    assert "my_sampler" not in str(list((clone.home / "env").rglob("*.dist-info")))


def test_test_makes_its_own_environment_and_runs_the_check(clone: Clone) -> None:
    done = clone.run("test", "-k", "name", "--repair")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["words"] == ["-k", "name", "--repair"]
    assert json.loads(done.stdout)["prefix"] == str(clone.home / "env-test")
    assert list((clone.home / "env-test").rglob("tinytest.py"))
    assert clone.made() == ["env-test"]


def test_two_launchers_make_one_environment(clone: Clone) -> None:
    launchers = [clone.start(), clone.start()]
    errors = [launcher.communicate(timeout=60)[1] for launcher in launchers]
    assert [launcher.returncode for launcher in launchers] == [0, 0], errors
    assert len(re.findall("Making|Renewing", "".join(errors))) == 1, errors
    assert clone.made() == ["env"]


def test_without_ensurepip_and_pip_the_cure_is_named(clone: Clone, tmp_path: Path) -> None:
    if "PYTHONPATH" not in clone.variables:
        clone.without_ensurepip()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    bare = tmp_path / "bare" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    failed = clone.run(python=str(bare))
    assert failed.returncode == 1
    assert "neither ensurepip nor pip" in failed.stderr
    if shutil.which("apt"):
        assert f"sudo apt install python3.{sys.version_info[1]}-venv" in failed.stderr
    assert clone.made() == []


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/gptdesk"])
def test_a_home_that_cannot_be_written_is_one_sentence(clone: Clone, tmp_path: Path, place: str) -> None:
    if place.startswith("/proc") and not Path("/proc/self").exists():
        pytest.skip("no /proc here")
    (tmp_path / "file").write_text("mine")
    failed = clone.run("--home", str(tmp_path / place))
    assert failed.returncode == 2
    assert re.fullmatch(r"The home folder .* cannot be used \(.+\): choose another, with --home DIR.\n", failed.stderr)
    assert (tmp_path / "file").read_text() == "mine"
    assert not clone.home.exists()


def test_a_full_disk_is_one_sentence(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    launch = clone.module()
    monkeypatch.setattr(launch, "torch_build", lambda: ("", 3, 10**9))
    clone.home.mkdir()
    with pytest.raises(launch.Fault, match=r"needs 1000000000 GB free on the disk of .*home"):
        launch.ensure(clone.home)
    assert clone.made() == []


def test_own_options_are_taken_out_of_the_words(clone: Clone, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    launch = clone.module()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GPTDESK_HOME", "/elsewhere")
    assert launch.own_options(["--port", "1"]) == (Path("/elsewhere"), False, ["--port", "1"])
    assert launch.own_options(["generate", "--home", "x", "--n", "2"]) == (
        tmp_path / "x",
        False,
        ["generate", "--n", "2"],
    )
    assert launch.own_options(["--home=~/d", "--repair"]) == (Path.home() / "d", True, [])
    assert launch.own_options(["pip", "--home", "x"]) == (Path("/elsewhere"), False, ["pip", "--home", "x"])
    assert launch.own_options(["say", "--", "--repair"])[1:] == (False, ["say", "--", "--repair"])
    for words in (["--home"], ["--home="]):
        with pytest.raises(launch.Fault, match="--home needs a folder"):
            launch.own_options(words)


@pytest.mark.parametrize("data", ["", "relative", "/absolute/data"])
def test_the_default_home_is_where_platformdirs_would_put_it(
    clone: Clone, monkeypatch: pytest.MonkeyPatch, data: str
) -> None:
    monkeypatch.delenv("GPTDESK_HOME", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", data)
    assert clone.module().own_options([])[0] == Path(platformdirs.user_data_dir("gptdesk", appauthor=False))


def test_help_makes_nothing(clone: Clone) -> None:
    shown = clone.run("--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert {"test", "pip", "shortcut", "--home", "--repair", "generate"} <= set(re.findall(r"[\w-]+", shown.stdout))
    assert not clone.home.exists()


def test_a_space_runs_the_app_as_it_is(clone: Clone) -> None:
    clone.variables |= {"SPACE_ID": "someone/desk"}
    shown = json.loads(clone.run("--port", "7860", cwd=clone.folder).stdout)
    assert (shown["words"], shown["prefix"]) == (["--port", "7860"], sys.prefix)
    assert not clone.home.exists()


def said(process: subprocess.Popen[str]) -> str:
    """The next line of the app's output."""
    assert process.stdout
    return process.stdout.readline()


@POSIX
@pytest.mark.parametrize(
    ("words", "sign", "code", "last"),
    [
        (["--save"], signal.SIGINT, 0, "interrupted\n"),  # the app ends by itself
        (["--hang"], signal.SIGINT, 130, "interrupted\n"),  # is killed
        (["serve", "--hang"], signal.SIGINT, 130, "interrupted\n"),  # the same without a page
        (["verb", "--save"], signal.SIGINT, 0, "interrupted\n"),  # a verb may take its time
        (["--wait"], signal.SIGTERM, 143, ""),
        (["--wait"], getattr(signal, "SIGHUP", 1), 129, ""),
        (["verb", "--save"], getattr(signal, "SIGHUP", 1), 6, ""),
        (["--save"], signal.SIGTERM, 5, ""),
    ],
)
def test_signals_reach_the_app_and_end_it(ready: Clone, words: list[str], sign: int, code: int, last: str) -> None:
    process = ready.start(*words, alone=True)
    said(process)
    process.send_signal(sign)
    output, errors = process.communicate(timeout=10)
    assert (process.returncode, output, errors) == (code, last, "")


@POSIX
def test_under_nohup_the_app_outlives_the_terminal(ready: Clone) -> None:
    command = ["nohup", sys.executable, str(ready.folder / "launch.py"), "--wait"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=ready.variables, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert "--wait" in said(process)
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=10)
    assert process.returncode == 143


@POSIX
def test_a_link_to_the_launcher_starts_the_clone(ready: Clone, tmp_path: Path) -> None:
    link = tmp_path / "desk"
    link.symlink_to(os.path.relpath(ready.folder / "launch.py", tmp_path))
    command = [sys.executable, str(link), "generate"]
    done = subprocess.run(command, env=ready.variables, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["words"] == ["generate"]


@POSIX
@pytest.mark.parametrize("redirect", ["2>&-", "<&- 2>&-", "<&- >&- 2>&-"])
def test_the_launcher_needs_no_stream(ready: Clone, redirect: str) -> None:
    command = [sys.executable, str(ready.folder / "launch.py"), "exit", "7"]
    done = subprocess.run(["sh", "-c", f'exec "$@" {redirect}', "sh", *command], env=ready.variables, check=False)
    assert done.returncode == (1 if ">&-" in redirect.split() else 7)  # the stand-in writes to its output itself
    fault = [sys.executable, str(ready.folder / "launch.py"), "--home="]
    done = subprocess.run(["sh", "-c", f'exec "$@" {redirect}', "sh", *fault], env=ready.variables, check=False)
    assert done.returncode == 2


@POSIX
def test_without_a_current_folder_there_is_one_sentence(ready: Clone, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    command = ["sh", "-c", 'cd "$0" && rmdir "$0" && exec "$@"', str(gone), sys.executable]
    command += [str(ready.folder / "launch.py"), "generate"]
    done = subprocess.run(command, env=ready.variables, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "The current folder was removed: go to another one and try again.\n"


@POSIX
def test_a_second_interrupt_ends_a_verb_that_hangs(ready: Clone) -> None:
    process = ready.start("verb", "--hang", alone=True)
    said(process)
    process.send_signal(signal.SIGINT)
    assert said(process) == "interrupted\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=10) == ("", "")
    assert process.returncode == 130


SURVIVOR = """
print("ready", flush=True)
for _ in range(2):
    try:
        __import__("time").sleep(60)
    except KeyboardInterrupt:
        print("caught", flush=True)
raise SystemExit(7)
"""


@POSIX
def test_a_program_that_goes_on_after_an_interrupt_may(ready: Clone) -> None:
    """As `gptdesk generate --interactive` does, where Ctrl-C ends a text."""
    process = ready.start("python", "-c", SURVIVOR, alone=True)
    assert said(process) == "ready\n"
    process.send_signal(signal.SIGINT)
    assert said(process) == "caught\n"
    time.sleep(1.1)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=10) == ("caught\n", "")
    assert process.returncode == 7


@POSIX
def test_ctrl_c_in_a_terminal_interrupts_the_app_once(ready: Clone) -> None:
    keyboard, terminal = os.openpty()
    in_terminal = ["sh", "-c", 'exec <"$0" && exec "$@"', os.ttyname(terminal)]
    command = [*in_terminal, sys.executable, str(ready.folder / "launch.py"), "verb", "--save"]
    process = subprocess.Popen(command, env=ready.variables, stdout=subprocess.PIPE, text=True, start_new_session=True)
    said(process)
    os.write(keyboard, b"\x03")
    assert process.communicate(timeout=10)[0] == "interrupted\n"
    assert process.returncode == 0
    os.close(keyboard)
    os.close(terminal)


@POSIX
def test_an_interrupted_build_leaves_nothing(clone: Clone) -> None:
    process = clone.start(alone=True)
    while not list(clone.home.glob("env.tmp-*/pyvenv.cfg")):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=10)[0] == ""
    assert process.returncode == 130
    assert clone.made() == []


@pytest.mark.parametrize("configured", [False, True])
def test_torch_comes_from_the_cpu_index_unless_pip_is_configured(
    clone: Clone, tmp_path: Path, configured: bool
) -> None:
    index = tmp_path / "index" / "torch"
    index.mkdir(parents=True)
    make_wheel(index, "torch", version="1.0+cpu")
    (index / "index.html").write_text('<a href="torch-1.0+cpu-py3-none-any.whl">torch</a>')
    make_wheel(clone.wheels, "torch")
    text = (clone.folder / "launch.py").read_text()
    (clone.folder / "launch.py").write_text(
        re.sub(r"(?m)^CPU_WHEELS = .*$", f'CPU_WHEELS = "{index.parent.as_uri()}"', text)
    )
    clone.write_project(["torch>=1"], ["torch"])
    (clone.folder / "constraints.txt").write_text("torch==1.0\n")
    if not configured:
        del clone.variables["PIP_NO_INDEX"], clone.variables["PIP_FIND_LINKS"]
    clone.run()
    installed = [file.name for file in (clone.home / "env").rglob("torch-*.dist-info")]
    if sys.platform == "darwin" or shutil.which("nvidia-smi"):
        pytest.skip("no CPU index is wanted on this machine")
    assert installed == ["torch-1.0.dist-info" if configured else "torch-1.0+cpu.dist-info"]


@POSIX
def test_an_nvidia_gpu_asks_for_more_room(clone: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launch = clone.module()
    monkeypatch.setattr(sys, "platform", "linux")
    for code, expected in ((0, ("", 3, 10)), (9, (launch.CPU_WHEELS, 0.4, 3))):
        script(tmp_path / "bin" / "nvidia-smi", f"exit {code}")
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))
        assert launch.torch_build() == expected


def script(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_the_file_parses_on_old_pythons() -> None:
    """And the first line that Python 2 cannot read is the one that says what to do."""
    text = (ROOT / "launch.py").read_text(encoding="ascii")
    ast.parse(text, feature_version=(3, 7))
    annotated = next(line for line in text.splitlines() if re.match(r"\w+: \w+ = |.*def .*->|.*\bf\"", line))
    assert "GPT Desk needs Python 3.11 or newer" in annotated


PRETEND = """
import runpy, sys
sys.version_info = ({}, {}, 0)
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@POSIX
@pytest.mark.parametrize("version", ["2.7", "3.6", "3.8", "3.9", "3.10"])
def test_an_old_python_is_refused_in_one_sentence(clone: Clone, tmp_path: Path, version: str) -> None:
    """By the old Python itself where this machine has it, else by a newer one that says it is old."""
    command = [sys.executable, "-c", PRETEND.format(*version.split("."))]
    if (old := shutil.which(f"python{version}")) and subprocess.run([old, "-V"], capture_output=True).returncode == 0:
        command = [old]
    elif version == "2.7":
        pytest.skip("no Python 2 here")
    clone.variables["PATH"] = str(tmp_path / "bin")
    command.append(str(clone.folder / "launch.py"))
    refused = subprocess.run(command, env=clone.variables, capture_output=True, text=True)
    assert refused.returncode == (1 if version == "2.7" else 2)
    assert "GPT Desk needs" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not clone.home.exists()


@POSIX
def test_an_old_python_hands_over_to_the_newest_that_fits(clone: Clone, tmp_path: Path) -> None:
    script(tmp_path / "bin" / "python3.25", "exit 1")  # does not run
    script(tmp_path / "bin" / "python3.24", f'exec "{sys.executable}" "$@"')
    script(tmp_path / "bin" / "python3.23", "echo not me; exit 0")
    clone.variables["PATH"] = str(tmp_path / "bin")
    command = [sys.executable, "-c", PRETEND.format(3, 9), str(clone.folder / "launch.py"), "--help"]
    shown = subprocess.run(command, env=clone.variables, capture_output=True, text=True, check=True)
    assert shown.stdout == clone.module().HELP


def test_32_bits_are_refused(clone: Clone) -> None:
    launch = clone.module()
    assert launch.unfit((3, 11, 0), 2**63 - 1) == launch.unfit((4, 0, 0), 2**63 - 1) == ""
    assert "32-bit Python 3.13" in launch.unfit((3, 13, 1), 2**31 - 1)


@pytest.mark.skipif(sys.platform != "linux", reason="the .desktop file is for Linux")
def test_the_shortcut_starts_the_app(ready: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert json.loads(ready.run("shortcut", "--port", "8000").stdout)["words"] == ["shortcut", "--port", "8000"]
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    path = make_shortcut(["exit", "3", 'a "b" `c` $d \\ 100%'], root=ready.folder)
    assert path == tmp_path / "applications/gptdesk.desktop"
    line = re.search("^Exec=(.*)$", path.read_text(), re.MULTILINE)
    assert line
    assert re.fullmatch(r"([^\\%]|\\\\|%%)*", line[1])  # the escapes of a .desktop file, and no other
    command = line[1].replace("%%", "%").replace("\\\\", "\\")  # what is left is quoted as for a shell
    started = subprocess.run(["sh", "-c", command], env=ready.variables, capture_output=True, text=True, input="\n")
    assert json.loads(started.stdout.splitlines()[0])["words"] == ["exit", "3", 'a "b" `c` $d \\ 100%']
    assert "Press Enter to close" in started.stdout
    assert started.returncode == 3


SLOW_PIP = """
import pathlib, sys, time
pathlib.Path(sys.argv[-1], "wheel").write_bytes(bytes(3_000_000))
time.sleep(0.5)
print("ERROR: No matching distribution found for torch")
sys.exit(1)
"""


def test_an_installation_shows_that_it_goes_on(
    clone: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    launch = clone.module()
    monkeypatch.setattr(launch, "TICK", 0.01)
    pip = [sys.executable, "-c", SLOW_PIP]
    with pytest.raises(launch.Fault, match=r"(?s)No matching distribution found for torch.*try another Python"):
        launch.pip_install(pip, [str(tmp_path)], folder=tmp_path, log=tmp_path / "log")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) >= 3
    assert all(re.fullmatch(r"  downloading and installing: [\d,]+ MB in \d s", line) for line in lines), lines


@pytest.mark.parametrize("way", ["done", "failed", "missing", "too long"])
def test_a_new_environment_is_prepared_once_and_a_failure_stops_nothing(
    clone: Clone, way: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The module runs in the new environment, and is ended where it takes too long."""
    ends = {"done": "", "failed": "sys.exit('no fused multiply-add')", "too long": "import time; time.sleep(60)"}
    if way in ends:
        text = f"import sys, tinydep\nopen('prepared', 'a').write('x')\n{ends[way]}\n"
        (clone.folder / "warm.py").write_text(text)
    clone.write_project(["tinydep"], ["tinydep"], prepare="warm")
    monkeypatch.chdir(clone.folder)
    for name, value in clone.variables.items():
        monkeypatch.setenv(name, value)
    launch = clone.module()
    monkeypatch.setattr(launch, "LONGEST_PREPARATION", 1.0 if way == "too long" else 60.0)
    monkeypatch.setattr(launch, "TICK", 0.1)
    launch.check_home(clone.home)
    plan = launch.ensure(clone.home)
    assert launch.is_ready(plan)
    said = capsys.readouterr().err
    assert "  compiling for this processor: " in said
    why = {"failed": "no fused multiply-add", "missing": "No module named warm", "too long": "it ended with code -15"}
    assert ("Not compiled, so models run more slowly" in said) == (way != "done")
    assert why.get(way, "") in said
    launch.ensure(clone.home)
    assert capsys.readouterr().err == ""
    if way in ends:
        assert Path("prepared").read_text() == "x"


@pytest.mark.parametrize(
    ("output", "meaning"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "disk is full"),
        ("NewConnectionError('Failed to establish a new connection: [Errno -2] Name or service not known')", "network"),
        (
            "NameResolutionError: Failed to resolve 'pypi.org'\nERROR: No matching distribution found for torch",
            "network",
        ),
        ("HTTPSConnectionPool(host='pypi.org', port=443): Read timed out.", "network"),
        ("ProtocolError('Connection aborted.', ConnectionResetError(104, 'Connection reset by peer'))", "network"),
        ("SSLError(SSLCertVerificationError(1, 'certificate verify failed'))\nCould not find a version", "PIP_CERT"),
        ("ProxyError('Cannot connect to proxy.', OSError('Tunnel connection failed: 407'))", "HTTPS_PROXY"),
        (
            "ERROR: Could not find a version that satisfies the requirement torch (from versions: none)",
            "another Python",
        ),
        (
            "The user requested (constraint) torch==2.13.0\nERROR: ResolutionImpossible: for help visit",
            "another Python",
        ),
        ("a 1 depends on b>2\nERROR: ResolutionImpossible: for help visit", "do not fit together"),
        ("error: [Errno 13] Permission denied: '/home/me/.local/share/gptdesk/env'", "may not be written"),
        ("OSError: [WinError 206] The filename or extension is too long", "short home"),
        ("ImportError: DLL load failed while importing _C", "vc_redist"),
        ("something never seen before", "something never seen before"),
    ],
)
def test_failures_are_explained(clone: Clone, output: str, meaning: str) -> None:
    lines = clone.module().explanation("\n".join([*map(str, range(40)), output])).splitlines()
    assert meaning in lines[-1]
    assert len(lines) <= 16
    assert "  39" in lines
