"""The process that torch runs in: what it finds in its environment, how often it begins, its threads, and its rest."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import gradio as gr
import pytest

from gptdesk.desk import Desk
from gptdesk.page.app import build_app
from gptdesk.settings import load_settings
from gptdesk.system import environment as process

ROOT = Path(__file__).parents[3]
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has these files, and starts a program over")
OURS = {"OMP_NUM_THREADS", "GOMP_SPINCOUNT", "THP_MEM_ALLOC_ENABLE", "GLIBC_TUNABLES", "GPTDESK_STARTED_OVER"}

# Notes each of its beginnings, and says at the end what it was given.
PROGRAM = """
import os, sys
sys.stderr.write("begun\\n")
{first}
from gptdesk.system.environment import prepare
prepare()
{then}
import json
shown = {{"env": dict(os.environ), "argv": sys.argv, "flags": sys.flags.utf8_mode, "pid": os.getpid()}}
print(json.dumps(shown | {{"stdin": sys.stdin.read()}}))
sys.exit(5)
"""
# A sampler plugin that tells what the desk's process is like when it loads: `gptdesk samplers` is quick.
TELLTALE = """
import json, os, threading
from pathlib import Path
import torch

def note():
    told = {"env": dict(os.environ), "threads": torch.get_num_threads(), "pid": os.getpid()}
    Path(__file__).with_name("told.json").write_text(json.dumps(told))

worker = threading.Thread(target=note)
worker.start()
worker.join()
"""


def variables(**given: str) -> dict[str, str]:
    """Ours without what this test run itself may have been given, and with what is `given`."""
    affecting = OURS | {"OMP_WAIT_POLICY", "SPACE_ID", "CPU_CORES"}
    return {name: value for name, value in os.environ.items() if name not in affecting} | {
        "PYTHONPATH": str(ROOT),
        **given,
    }


def run(folder: Path, *words: str, first: str = "", then: str = "", **given: str) -> tuple[dict, int]:
    """Run the program; what it has told, and how often it has begun."""
    (folder / "program.py").write_text(PROGRAM.format(first=first, then=then))
    command = [sys.executable, "-X", "utf8", str(folder / "program.py"), *words]
    with subprocess.Popen(
        command,
        env=variables(**given),
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as started:
        out, err = started.communicate("what was typed", timeout=60)
    assert started.returncode == 5, err
    told = json.loads(out)
    assert told["pid"] == started.pid
    return told, err.count("begun")


def in_python(code: str, **given: str) -> str:
    """What this code prints in a Python of its own."""
    done = subprocess.run([sys.executable, "-c", code], env=variables(**given), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


needs_large_pages = pytest.mark.skipif(
    sys.platform != "linux" or not process.may_ask_for_large_pages(), reason="this system does not let programs ask"
)


def test_a_program_is_started_over_at_most_once_and_keeps_what_it_was_given(tmp_path: Path) -> None:
    told, beginnings = run(tmp_path, "generate", "--prompt", 'a "b" $c')
    expected = process.lacking(variables())
    assert expected.items() <= told["env"].items()
    assert expected["OMP_NUM_THREADS"].isdecimal()
    assert beginnings == (2 if "GLIBC_TUNABLES" in expected else 1)
    assert told["argv"] == [str(tmp_path / "program.py"), "generate", "--prompt", 'a "b" $c']
    assert (told["flags"], told["stdin"]) == (1, "what was typed")


@needs_large_pages
def test_a_program_whose_environment_is_swept_does_not_begin_for_ever(tmp_path: Path) -> None:
    sweep = "os.environ.pop('GLIBC_TUNABLES', None)"
    told, beginnings = run(tmp_path, first=sweep)
    assert beginnings == 2
    assert told["env"]["THP_MEM_ALLOC_ENABLE"] == "1"


@needs_large_pages
def test_a_program_started_by_another_of_ours_begins_once(tmp_path: Path) -> None:
    told, _ = run(tmp_path)
    inherited = {name: told["env"][name] for name in OURS if name in told["env"]}
    assert run(tmp_path, **inherited)[1] == 1


@LINUX
def test_what_the_user_has_set_stays(tmp_path: Path) -> None:
    his = {
        "OMP_NUM_THREADS": "3",
        "GOMP_SPINCOUNT": "7",
        "THP_MEM_ALLOC_ENABLE": "0",
        "GLIBC_TUNABLES": "glibc.malloc.hugetlb=0:glibc.malloc.perturb=1",
    }
    told, beginnings = run(tmp_path, **his)
    assert beginnings == 1
    assert his.items() <= told["env"].items()
    assert "GOMP_SPINCOUNT" not in process.lacking({"OMP_WAIT_POLICY": "passive"})


@needs_large_pages
def test_other_tunables_stay_beside_ours(tmp_path: Path) -> None:
    told, _ = run(tmp_path, GLIBC_TUNABLES="glibc.malloc.perturb=1")
    assert told["env"]["GLIBC_TUNABLES"] == "glibc.malloc.perturb=1:glibc.malloc.hugetlb=1"


def test_a_prompt_and_a_program_with_torch_are_never_started_over() -> None:
    """A Python that runs no file may be somebody's notebook, and torch has read its variables already."""
    code = "import sys; print('begun'); sys.path.append({!r}); {}; "
    code += "from gptdesk.system.environment import prepare; prepare()"
    assert in_python(code.format(str(ROOT), "pass")) == "begun"
    late = "import torch, os; from gptdesk.system.environment import prepare; prepare(); "
    late += "print('OMP_NUM_THREADS' in os.environ)"
    assert in_python(late) == "False"


@pytest.mark.parametrize("entry", ["-m", "script"])
def test_the_desk_gets_it_however_it_is_entered(tmp_path: Path, entry: str) -> None:
    (tmp_path / "samplers").mkdir()
    (tmp_path / "samplers" / "telltale.py").write_text(TELLTALE)
    script = tmp_path / "gptdesk"  # as `pip install` writes it
    script.write_text("import sys\nfrom gptdesk.__main__ import main\nsys.exit(main())\n")
    how = ["-m", "gptdesk"] if entry == "-m" else [str(script)]
    command = [sys.executable, *how, "samplers", "--json", "--home", str(tmp_path)]
    with subprocess.Popen(command, env=variables(), stdout=subprocess.PIPE, text=True) as started:
        listed = json.loads(started.communicate(timeout=120)[0])
    assert started.returncode == 0
    assert listed
    told = json.loads((tmp_path / "samplers" / "told.json").read_text())
    assert told["pid"] == started.pid
    given = process.lacking(variables())
    assert given.items() <= told["env"].items()
    assert str(told["threads"]) == given.get("OMP_NUM_THREADS", str(told["threads"]))


@needs_large_pages
def test_weights_lie_in_memory_that_may_have_large_pages(tmp_path: Path) -> None:
    """The flag that the kernel shows for such memory, for a tensor and for what malloc gives."""
    then = "import torch; from array import array; weights = torch.ones(2**24); plain = array('b', bytes(2**26))"
    then += """
def advised(address):
    inside = False
    for line in open("/proc/self/smaps"):
        first = line.split()[0]
        if "-" in first and not first.endswith(":"):
            low, high = (int(part, 16) for part in first.split("-"))
            inside = low <= address < high
        elif inside and first == "VmFlags:":
            return "hg" in line.split()
middle = 2**25
os.environ["ADVISED"] = f"{advised(weights.data_ptr() + middle)} {advised(plain.buffer_info()[0] + middle)}"
"""
    assert run(tmp_path, then=then)[0]["env"]["ADVISED"] == "True True"
    assert run(tmp_path, then=then, GLIBC_TUNABLES="glibc.malloc.hugetlb=0")[0]["env"]["ADVISED"] == "True False"


# Threads


def threads(**given: str) -> int:
    return int(in_python("from gptdesk.system.environment import threads; print(threads())", **given))


def test_threads_are_the_cores_unless_someone_knows_better() -> None:
    cores = threads()
    assert 1 <= cores <= (os.cpu_count() or 1)
    assert threads(OMP_NUM_THREADS="3") == threads(OMP_NUM_THREADS=" 3,2", SPACE_ID="me/desk", CPU_CORES="5") == 3
    assert threads(SPACE_ID="me/desk", CPU_CORES="7") == threads(SPACE_ID="me/desk", CPU_CORES="7.5") == 7
    assert threads(CPU_CORES="7") == cores
    for nonsense in ("", "0", "-1", "many"):
        assert threads(OMP_NUM_THREADS=nonsense) == cores
        assert threads(SPACE_ID="me/desk", CPU_CORES=nonsense) == cores


@LINUX
def test_threads_keep_to_the_cpus_that_are_allowed() -> None:
    code = "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n"
    assert in_python(f"{code}from gptdesk.system.environment import threads; print(threads())") == "1"


def test_the_quota_is_the_least_of_all_groups(tmp_path: Path) -> None:
    ours = tmp_path / "cgroup"
    ours.write_text("4:memory:/x\n0::/user/desk\n")
    assert process.quota(tmp_path, ours) == os.cpu_count()
    (tmp_path / "user" / "desk").mkdir(parents=True)
    (tmp_path / "user" / "desk" / "cpu.max").write_text("max 100000\n")
    assert process.quota(tmp_path, ours) == os.cpu_count()
    (tmp_path / "user" / "cpu.max").write_text("50000 100000\n")
    assert process.quota(tmp_path, ours) == 0.5
    (tmp_path / "cpu.max").write_text("20000 100000\n")
    assert process.quota(tmp_path, ours) == 0.2
    ours.write_text("0::/somewhere/that/this/container/does/not/show\n")
    assert process.quota(tmp_path, ours) == 0.2
    assert process.quota(tmp_path, tmp_path / "missing") == 0.2


@LINUX
@pytest.mark.parametrize(("quota", "expected"), [("50000 100000", 1), ("150000 100000", 1), ("max 100000", 64)])
def test_a_part_of_a_core_is_one_thread(
    quota: str, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a computer with 64 cores, in a container that may use half of one, one and a half, or all."""
    (tmp_path / "cpu.max").write_text(f"{quota}\n")
    (tmp_path / "cgroup").write_text("0::/\n")
    monkeypatch.setattr(process, "quota", partial(process.quota, tmp_path, tmp_path / "cgroup"))
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)))
    monkeypatch.setattr(process, "_siblings", str)
    assert process.threads({}) == expected
    assert process.lacking({})["OMP_NUM_THREADS"] == str(expected)


# Runs the compiled step as a desk does, but with all its threads, or those asked for, for a tiny model, too.
STEPS = """
import os, sys
from gptdesk.system.environment import lacking
os.environ |= lacking(os.environ)
import torch
from models import engine
from models.gpt import GPT, GPTConfig
from models.native.helpers import Helpers
from models.precision import PRECISIONS
run, found = Helpers.run, set()
def noted(*given, threads):
    found.add(threads)
    run(*given, threads=threads)
Helpers.run, engine.ONE_THREAD = noted, 0
engine.THREADS = int(sys.argv[1]) or engine.THREADS
config = GPTConfig(vocab_size=65, block_size=64, n_layer=2, n_head=2, n_embd=64)
torch.manual_seed(0)
model = engine.Engine.of(GPT(config).eval(), PRECISIONS["float32"])
tokens = torch.arange(40)[None]
logits = [model(tokens), model(tokens[:, :1]), *(model(tokens[:, :20]) for _ in range(40))]
print(model.kernels, max(found), float(torch.cat(logits, dim=1).double().sum()).hex())
"""


@LINUX
def test_the_step_on_one_core_has_one_thread_and_never_hangs() -> None:
    """As under `taskset -c 0`; with three threads there, which is too many, it gives the same bits."""
    pytest.importorskip("numba")
    core = min(os.sched_getaffinity(0))
    found = []
    for asked in ("0", "3"):
        done = subprocess.run(
            [sys.executable, "-c", STEPS, asked],
            env=variables(GPTDESK_KERNELS="native"),
            preexec_fn=lambda: os.sched_setaffinity(0, [core]),
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        found.append(done.stdout.split())
    one, three = found
    assert one[:3] == ["compiled", "float32", "1"]
    assert three == [*one[:2], "3", one[3]]


# At rest


def test_the_queue_looks_for_work_less_often_than_gradio_would(tmp_path: Path, in_event_loop: Callable) -> None:
    desk = Desk(load_settings({"home": str(tmp_path)}))
    ours, theirs = in_event_loop(lambda: (vars(build_app(desk)._queue), vars(gr.Blocks()._queue)))
    for pause in ("sleep_when_free", "progress_update_sleep_when_free"):
        assert ours[pause] >= 0.05 > theirs[pause]


UNTICKING = """
import sys
from gptdesk.page import app
from gptdesk.__main__ import main
app.TICK = 3600
sys.exit(main(["--no-browser", "--port", "0", "--home", sys.argv[1]]))
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize(("sign", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_a_sleeping_server_is_woken_to_end(tmp_path: Path, sign: int, code: int) -> None:
    command = [sys.executable, "-c", UNTICKING, str(tmp_path)]
    with subprocess.Popen(command, env=variables(), stderr=subprocess.PIPE, text=True) as started:
        assert started.stderr is not None
        assert "ready at" in started.stderr.readline()
        started.send_signal(sign)
        assert started.communicate(timeout=30)[1] == ""
    assert started.returncode == code
    assert not (tmp_path / "running.json").exists()
