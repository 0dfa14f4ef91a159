"""SIGKILL at random instants of quantize, rename, remove and import: every checkpoint listed afterwards loads.

20 kills as a rule, as many as GPTDESK_KILLS says otherwise.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from models.library import ModelLibrary

KILLS = int(os.environ.get("GPTDESK_KILLS", "20"))
WORKER = """
import itertools, os, sys
from pathlib import Path
import torch
from models.formats import importing
from models.formats.child_process import Answer
from models.formats.converting import convert
from models.library import ModelLibrary

torch.set_num_threads(1)
folder = Path(sys.argv[1])

def import_all(library):
    # in this very process, which is killed, instead of one of its own
    importing.convert_apart = lambda file, folder, options, **_: Answer(**convert(file, folder, options))
    for number in itertools.count():
        library.import_model(Path(sys.argv[2]), name=f"i{number}")
        library.remove(f"i{number - 1}") if number else None

def work():
    library = ModelLibrary(folder, cache_folder=folder.parent / "cache")
    library.own.clean_up()
    for name in [info.name for info in library.available() if info.name not in ("a", "b")]:
        library.remove(name)
    if sys.argv[2:]:
        import_all(library)
    for number in itertools.count():
        library.quantize("a", "int8")
        library.quantize("a", "int8")  # over the first
        library.rename("a-int8", f"c{number}")
        library.quantize("b", "bfloat16", to=f"d{number}")
        library.remove(f"c{number}")
        library.rename(f"d{number}", "e")
        library.remove("e")

for _ in sys.stdin:  # a process for each line; torch is imported once
    if (child := os.fork()) == 0:
        work()
    print(child, flush=True)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -9, "it ended by itself"
    print("killed", flush=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL on Windows")
@pytest.mark.parametrize("change", ["quantize, rename, remove", "import"])
def test_kill_minus_nine_at_any_instant_leaves_checkpoints_that_load(folder: Path, change: str) -> None:
    source, library = random.Random(3), ModelLibrary(folder, cache_folder=folder.parent / "cache")
    command, root = [sys.executable, "-c", WORKER, str(folder)], Path(__file__).parents[2]
    if change == "import":
        command.append(str(folder / "a"))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        names = set()
        for _ in range(KILLS):
            parent.stdin.write("\n")
            parent.stdin.flush()
            child = int(parent.stdout.readline())
            time.sleep(source.random() * 0.3)
            os.kill(child, signal.SIGKILL)
            assert parent.stdout.readline() == "killed\n"
            listed = library.available()
            assert {"a", "b"} <= {info.name for info in listed}
            for info in listed:
                assert info.problem is None
                assert library.verify(info.name) > 10
                names.add(info.name)
        parent.stdin.close()
    assert len(names) > 2  # some died between two steps
    library.own.clean_up()
    assert list(folder.glob(".trash/*")) == []
