"""Commands in terminals of every kind: streams closed, full, broken or narrow, and signals at any instant."""

import http.client
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cli_checks import Capture, complaint
from training_checks import ROOT, begin, context_in, plan, text_of, wait_until, write_text

from gptdesk.__main__ import main
from gptdesk.system.single_instance import find_running
from gptdesk.training import control
from gptdesk.training.lock import holder

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell and POSIX signals")
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /dev/full, and names that are no UTF-8")

SHAPE = ("--tokenizer", "chars", "--n-layer", "1", "--n-head", "2", "--n-embd", "16", "--block-size", "16")
QUICK = (*SHAPE, "--batch-size", "4", "--eval-every", "2")


def start(home: Path, *words: str, redirect: str = "", **given: str) -> subprocess.Popen[bytes]:
    """`gptdesk ...` as a shell starts it, with these redirections and no signal ignored."""
    variables = {"OMP_NUM_THREADS": "1", "GPTDESK_HOME": str(home), "PYTHONPATH": str(ROOT)} | given
    program = [sys.executable, "-m", "gptdesk", *words]

    def obey() -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)

    return subprocess.Popen(
        ["sh", "-c", f'exec "$@" {redirect}', "sh", *program],
        cwd=home,
        env=os.environ | variables,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=obey,
    )


def ended(process: subprocess.Popen[bytes]) -> tuple[int, str, str]:
    """Wait for the end: exit code, output and errors, which are never a traceback."""
    out, err = (said.decode() for said in process.communicate(timeout=120))
    for fault in ("Traceback", "Logging error", "Exception ignored"):
        assert fault not in err
    return process.returncode, out, err


# Commands one after the other, each as the program; then their exit codes as the last line of stderr. Others' modules
# come from their usual bytecode: with Python's options -O and -OO it would compile all of torch anew.
COMMANDS = """
import importlib._bootstrap_external as files, json, sys
place = files.cache_from_source
files.cache_from_source = lambda path, *_, **options: place(
    path, **{"optimization": ""} if "site-packages" in str(path) else options
)
from gptdesk.system import terminal
terminal.prepare()
from gptdesk.__main__ import main
print(codes := [main(words) for words in json.loads(sys.argv[1])], file=sys.stderr)
"""


def in_one_process(home: Path, commands: list[list[str]], *, codes: list[int], **given: str) -> tuple[str, str]:
    """Run commands in one process with these variables; what they wrote, as output and as errors."""
    variables = {"OMP_NUM_THREADS": "1", "GPTDESK_HOME": str(home), "PYTHONPATH": str(ROOT)} | given
    process = subprocess.Popen(
        [sys.executable, "-c", COMMANDS, json.dumps(commands)],
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    code, out, err = ended(process)
    err, _, told = err.rstrip().rpartition("\n")
    assert (code, json.loads(told)) == (0, codes), err
    return out, err


def assert_trained(home: Path, name: str, *, steps: int = 4) -> None:
    info = control.info(context_in(home), name)
    assert (info.state, info.status.step) == ("finished", steps)
    assert (home / "models" / name / "model.safetensors").exists()


# Streams


@LINUX
@pytest.mark.parametrize("redirect", ["2>/dev/full >&-", "2>&- <&-", "<&- >&- 2>&-"])
def test_a_run_goes_on_when_nobody_can_read_its_progress(tmp_path: Path, redirect: str) -> None:
    data = str(write_text(tmp_path / "text.txt"))
    process = start(tmp_path, "train", "--data", data, "--name", "run", "--steps", "4", *QUICK, redirect=redirect)
    assert ended(process) == (0, "", "")
    assert_trained(tmp_path, "run")


def test_a_run_outlives_the_reader_of_its_progress(tmp_path: Path) -> None:
    begin(tmp_path, "run", steps=4)
    with start(tmp_path, "train", "--resume", "run") as process:
        assert process.stderr is not None
        assert process.stderr.readline() == b"reading\n"
        process.stderr.close()  # as `2>&1 | head -1` does
        assert process.wait(timeout=120) == 0
    assert_trained(tmp_path, "run")


@LINUX
def test_a_line_of_json_that_is_lost_costs_no_run(tmp_path: Path) -> None:
    begin(tmp_path, "run", steps=4)
    process = start(tmp_path, "train", "--resume", "run", "--json", redirect=">/dev/full")
    sentence = "the run run has ended, but its JSON could not be printed (No space left on device)\n"
    assert ended(process) == (0, "", f"all steps are done, after step 4; saved as run\n{sentence}")
    assert_trained(tmp_path, "run")


@LINUX
@pytest.mark.parametrize(
    ("words", "redirect", "why", "unbuffered"),
    [
        (["models", "list", "--json"], ">&-", "it is closed", ""),  # then Python makes no stream, unbuffered or not
        (["runs"], ">&- <&-", "it is closed", ""),
        *(
            (words, ">/dev/full", "No space left on device", unbuffered)
            for words in (["samplers"], ["--version"], ["generate", "--max-new-tokens", "3"])
            for unbuffered in ("", "1")
        ),
    ],
)
def test_what_cannot_be_printed_is_one_sentence(
    tmp_path: Path, words: list[str], redirect: str, why: str, unbuffered: str
) -> None:
    process = start(tmp_path, *words, redirect=redirect, PYTHONUNBUFFERED=unbuffered)
    sentence = f"gptdesk: the standard output cannot be written ({why}); send it elsewhere\n"
    assert ended(process) == (2, "", sentence)


def test_a_closed_error_stream_and_input_take_nothing_from_a_command(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPTDESK_HOME", str(tmp_path))
    words = ("generate", "--prompt", "Once", "--max-new-tokens", "8", "--seed", "1")
    assert main([*words]) == 0
    text = capsys.readouterr().out
    assert text[:4] == "Once"
    assert ended(start(tmp_path, *words, redirect="2>&- <&-")) == (0, text, "")


def test_asking_without_an_input_is_one_sentence(tmp_path: Path) -> None:
    process = start(tmp_path, "generate", "--interactive", redirect="<&-")
    sentence = "--interactive asks for prompts, but the standard input is closed; give a prompt by --prompt"
    assert ended(process) == (2, "", f"gptdesk: {sentence}\n")


def test_no_file_takes_the_place_of_a_closed_stream(tmp_path: Path) -> None:
    program = (
        "import os, sys\nfrom gptdesk.system import terminal\nterminal.prepare()\nfile = open(sys.argv[1], 'w')\n"
        "print('lost', file=sys.stderr)\nos.write(2, b'lost')\nterminal.go_on_without_output()\nprint('lost')\n"
        "terminal.flush_output()\nfile.write(str(file.fileno() > 2))"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "file")]
    variables = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command], env=variables, check=False)
    assert done.returncode == 0
    assert (tmp_path / "file").read_text() == "True"


def test_characters_that_a_terminal_lacks_are_replaced(tmp_path: Path) -> None:
    words = ["generate", "--prompt", "A 🦊 é", "--max-new-tokens", "3"]
    with start(tmp_path, *words, PYTHONIOENCODING="cp1252") as process:
        assert process.communicate(timeout=120)[0][:5] == b"A ? \xe9"
    assert process.returncode == 0
    out, err = in_one_process(
        tmp_path,
        [words, [*words, "--stop", "🦊", "--json"], ["generate", "--model", "🦊"]],
        codes=[0, 0, 2],
        PYTHONIOENCODING="ascii",
    )
    assert out[:5] == "A ? ?"
    assert json.loads(out[out.index("{") :])["model"] == "starter"
    assert r"starter \xb7 float32" in err
    assert err.splitlines()[-1].startswith(r"gptdesk: '\U0001f98a' cannot be a model")


def test_a_desk_without_any_stream_serves_until_its_terminal_hangs_up(tmp_path: Path) -> None:
    process = start(tmp_path, "--no-browser", "--port", "0", redirect="<&- >&- 2>&-")
    wait_until((tmp_path / "running.json").exists, process)
    url = find_running(tmp_path, patience=60)
    assert url is not None
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    for method, body in (("HEAD", b""), ("GET", b'{"app":"gptdesk"')):
        connection.request(method, "/health")
        answer = connection.getresponse()
        assert (answer.status, answer.read()[: len(body) or None]) == (200, body)
    connection.close()
    process.send_signal(signal.SIGHUP)
    assert ended(process) == (129, "", "")
    assert not (tmp_path / "running.json").exists()


def test_nothing_runs_where_there_is_no_folder(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    command = f'cd "{gone}" && rmdir "{gone}" && exec "{sys.executable}" -m gptdesk samplers'
    variables = os.environ | {"PYTHONPATH": str(ROOT), "GPTDESK_HOME": str(tmp_path)}
    done = subprocess.run(["sh", "-c", command], env=variables, capture_output=True, text=True, check=False)
    sentence = "gptdesk: the current folder was removed; go to another one and try again\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", sentence)


# Signals

# A module of this name begins to load, and a signal comes; the code that imports it drops whatever that raises.
MEANWHILE = """
import os, signal, sys

class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == os.environ.get("SIGNAL_AT"):
            del os.environ["SIGNAL_AT"]
            try:
                signal.raise_signal(int(os.environ["SIGNAL"]))
            except BaseException:
                pass

sys.meta_path.insert(0, Finder)
"""
TRAIN = ("train", "--data", "text.txt", "--name", "run", "--steps", "100000", "--patience", "0", *QUICK)


def assert_gone(home: Path) -> None:
    """No desk announced, no run that claims to train, and no lock held."""
    assert not (home / "running.json").exists()
    assert holder(home) is None
    assert all(info.status.state in ("new", "stopped") for info in control.listing(context_in(home)))


@pytest.mark.parametrize(
    ("words", "module", "number"),
    [
        *(
            (words, module, number)
            for words, module in (
                (TRAIN, "gptdesk.system.environment"),
                (TRAIN, "torch._C"),
                (["--port", "0"], "gradio"),
            )
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        ),
        (["samplers"], "samplers.top_k", signal.SIGINT),
    ],
)
def test_a_signal_that_an_import_would_swallow_ends_the_command(
    tmp_path: Path, words: tuple[str, ...], module: str, number: int
) -> None:
    write_text(tmp_path / "text.txt")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(MEANWHILE)
    given = {"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path / 'site'}", "SIGNAL_AT": module, "SIGNAL": str(int(number))}
    assert ended(start(tmp_path, *words, **given)) == (128 + number, "", "")
    assert_gone(tmp_path)


@pytest.mark.parametrize("last", ["reading", "text.txt"])  # before a text is read, and in the trial of the speed
def test_an_early_interrupt_ends_a_training_command(tmp_path: Path, last: str) -> None:
    write_text(tmp_path / "text.txt")
    process = start(tmp_path, *TRAIN)
    assert process.stderr is not None
    while not process.stderr.readline().startswith(last.encode()):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    code, out, err = ended(process)
    assert (code, out) == (130, "")
    assert "8533:20:00" not in err  # the estimate of a trial that was stopped
    assert_gone(tmp_path)


def test_a_terminal_that_closes_stops_a_run_which_saves(tmp_path: Path) -> None:
    run = begin(tmp_path, "run", steps=1_000_000, patience=0)
    process = start(tmp_path, "train", "--resume", "run")
    wait_until(lambda: run.status().saved_step > 0, process)
    for _ in range(2):  # as the system and the shell send it
        process.send_signal(signal.SIGHUP)
    code, _, err = ended(process)
    assert code == 129
    assert "stopped as asked, after step " in err
    assert run.status().state == "stopped"
    assert (tmp_path / "models" / "run").is_dir()
    assert_gone(tmp_path)


def test_under_nohup_a_run_outlives_its_terminal(tmp_path: Path) -> None:
    run = begin(tmp_path, "run", steps=1_000_000, patience=0)
    words = ["nohup", sys.executable, "-m", "gptdesk", "train", "--resume", "run"]
    variables = os.environ | {"OMP_NUM_THREADS": "1", "GPTDESK_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    with subprocess.Popen(words, cwd=tmp_path, env=variables, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        wait_until(lambda: run.status().saved_step > 0, process)
        process.send_signal(signal.SIGHUP)
        now = run.status().saved_step
        wait_until(lambda: run.status().saved_step > now, process)
        process.send_signal(signal.SIGTERM)
        assert ended(process)[0] == 143


def test_a_run_that_another_process_began_outlives_the_terminal_of_that(tmp_path: Path) -> None:
    """As one that is started on the page does."""
    keyboard, terminal = os.openpty()
    context = context_in(tmp_path)
    run = control.create(context, plan("run", steps=1_000_000, patience=0), text=text_of(tmp_path))
    program = (
        "import sys, time\nfrom pathlib import Path\n"
        "from training_checks import context_in\nfrom gptdesk.training import control\n"
        "control.start(context_in(Path(sys.argv[1])), 'run')\nprint('begun', flush=True)\ntime.sleep(600)"
    )
    variables = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    in_terminal = ["sh", "-c", 'exec <"$0" && exec "$@"', os.ttyname(terminal)]
    command = [*in_terminal, sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, start_new_session=True) as starter:
        assert starter.stdout is not None
        assert starter.stdout.readline() == b"begun\n"
        os.close(terminal)
        os.close(keyboard)
        assert starter.wait(timeout=30) == -signal.SIGHUP
    end, now = time.monotonic() + 60, run.status().saved_step
    while run.status().saved_step <= now:
        assert time.monotonic() < end
        time.sleep(0.05)
    control.order(context, "run", "stop")
    while holder(tmp_path):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert control.info(context, "run").state == "stopped"


# Python's own options


def test_without_docstrings_everything_is_explained_all_the_same(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPTDESK_HOME", str(tmp_path))
    (tmp_path / "samplers").mkdir()
    (tmp_path / "samplers" / "double.py").write_text(
        "from pydantic import Field\nfrom samplers import Sampler\n"
        'class Double(Sampler):\n    """Doubles the logits.\n\n    And more."""\n    name = "double"\n'
        '    factor: float = Field(2.0, ge=1, le=9, description="how much")\n'
        "    def __call__(self, logits, tokens):\n        return logits * self.factor\n"
    )
    assert main(["samplers"]) == 0
    with_docstrings = capsys.readouterr().out
    assert "double               Doubles the logits.\n" in with_docstrings
    begin(tmp_path, "run", steps=4)
    commands = ["samplers", "train --resume run", "generate --model run --prompt Once --max-new-tokens 2"]
    out, _ = in_one_process(tmp_path, [line.split() for line in commands], codes=[0, 0, 0], PYTHONOPTIMIZE="2")
    listed, _, written = out.partition("Once")
    assert listed == with_docstrings
    assert len(written) > 1
    assert_trained(tmp_path, "run")


# Arguments


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["generate", "--prompt", "a\udcff"], "--prompt"),
        (["generate", "--stop=\udcff"], "--stop"),
        (["generate", "--temperature", "\udcff"], "--temperature"),
        (["train", "--name", "\udcff"], "--name"),
        (["models", "quantize", "\udcff", "--precision", "int8"], "NAME"),
        (["evaluate", "\udcff"], "NAME[:PRECISION]"),
        (["--host", "\udcff"], "--host"),
    ],
)
def test_an_argument_that_is_no_text_is_named(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, words: list[str], named: str
) -> None:
    monkeypatch.setenv("GPTDESK_HOME", str(tmp_path))
    start = f"gptdesk: argument {named}: this is not valid UTF-8; save it as UTF-8, or type it again; see `"
    assert complaint(capsys, *words).startswith(start)


@LINUX
def test_files_may_have_names_that_are_no_text(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPTDESK_HOME", str(tmp_path))
    file = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt")
    write_text(Path(file))
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace"))
    assert main(["train", "--data", file, "--name", "run", "--steps", "4", *QUICK]) == 0
    assert main(["train", "--resume", "run", "--steps", "6"]) == 0
    assert_trained(tmp_path, "run", steps=6)
    about = json.loads((tmp_path / "models" / "run" / "about.json").read_text("utf-8"))
    assert about["data"].startswith("caf?.txt (")
    assert main(["evaluate", "run", "--text", file, "--json"]) == 0
    monkeypatch.undo()
    assert json.loads(capsys.readouterr().out)["judged_by"] == "caf\udce9.txt"
    home = os.fsdecode(os.fsencode(tmp_path) + b"/hom\xe9")
    assert complaint(capsys, "--home", home, "runs").endswith(
        "/hom? has a name that is not valid UTF-8; choose another with --home or GPTDESK_HOME\n"
    )
