"""Batches: prompts from files, rows that repeat alone, kills and pauses that lose nothing, exports."""

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from cli_checks import Capture, answer, complaint

from gptdesk.__main__ import main
from gptdesk.batch import BatchPlan, NamedChain, create_job, read_prompt_file, read_prompts, run_batch
from gptdesk.batch.exporting import as_csv
from gptdesk.batch.job import ROWS, BatchJob
from gptdesk.desk import Desk
from gptdesk.generation import GenerationRequest
from gptdesk.settings import Settings
from samplers import Chain, build

HOT = NamedChain(name="hot", chain=Chain(samplers=(build("temperature", temperature=1.5),)))
COLD = NamedChain(name="cold", chain=Chain(samplers=(build("greedy"),)))


@pytest.fixture
def home(tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    monkeypatch.setenv("GPTDESK_HOME", str(home))
    shutil.copytree(tiny_folder / "tiny", home / "models" / "tiny")
    return home


def test_a_batch_of_20_that_is_killed_and_resumed_has_each_row_once(home: Path, capsys: Capture) -> None:
    prompts, out = home / "prompts.txt", home / "out.jsonl"
    prompts.write_text("\n".join(f"prompt {i}" for i in range(20)))
    command = ["batch", str(prompts), "--out", str(out), "--model", "tiny", "--max-new-tokens", "50", "--n", "2"]
    command += ["--ban-phrase", "e"]
    for rows in (3, 9):
        process = subprocess.Popen(
            [sys.executable, "-m", "gptdesk", *command], stderr=subprocess.DEVNULL, env=os.environ.copy()
        )
        deadline = time.monotonic() + 120
        while sum(path.read_bytes().count(b"\n") for path in home.glob(f"batches/*/{ROWS}")) < rows:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.wait()
    [file] = home.glob(f"batches/*/{ROWS}")
    with file.open("ab") as unfinished:
        unfinished.write(b'{"row": 19, "texts": ["half a')
    assert not out.exists()
    assert main(command) == 0
    rows = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert [row["row"] for row in rows] == list(range(20))
    assert not any("e" in text for row in rows for text in row["texts"])
    assert len([line for line in file.read_bytes().splitlines() if json.loads(line)["row"] < 20]) == 20
    capsys.readouterr()
    [listed] = answer(capsys, "batch", "--list")
    assert (listed["state"], listed["done"], listed["failed"], listed["total"]) == ("finished", 20, 0, 20)
    last = rows[-1]
    alone = (
        "--prompt",
        last["prompt"],
        "--seed",
        str(last["seed"]),
        "--n",
        "2",
        "--max-new-tokens",
        "50",
        "--ban-phrase",
        "e",
    )
    assert answer(capsys, "generate", "--model", "tiny", *alone)["texts"] == last["texts"]
    assert "exists; choose another name" in complaint(capsys, *command)


def test_rows_of_several_models_and_chains_are_the_same_in_any_order_and_pause(home: Path) -> None:
    desk = Desk(Settings(home=home))
    models = (("tiny", "float32"), ("tiny", "int8"))
    plan = BatchPlan(models=models, chains=(HOT, COLD), seed=7, max_new_tokens=5)
    prompts = ["a fox", "a fox", "=1+1"]
    first = create_job(home / "batches", plan, prompts, name="first")
    second = create_job(home / "batches", plan, prompts, name="second")
    stop, seen = threading.Event(), 0
    for progress in run_batch(desk, first, stop=stop):
        seen += 1
        if progress.done == 4:
            stop.set()
    assert seen == 4
    assert first.status().state == "paused"
    first.give_order("stop")
    assert first.status().state == "stopped"
    assert [progress.done for progress in run_batch(desk, first)] == list(range(5, 13))
    assert [progress.done for progress in run_batch(desk, second, in_flight=3)] == list(range(1, 13))
    texts = [{int(str(row["row"])): row["texts"] for row in job.rows()} for job in (first, second)]
    assert texts[0] == texts[1]
    assert len(texts[0]) == 12
    assert [row["precision"] for row in first.rows()] == ["float32"] * 6 + ["int8"] * 6
    assert texts[0][3] == texts[0][4]  # greedy: equal prompts, other seeds
    cells = list(csv.DictReader(io.StringIO("".join(as_csv(first)), newline="")))
    assert [cell["prompt"] for cell in cells[:3]] == ["a fox", "a fox", "'=1+1"]
    assert BatchJob(first.folder).plan == plan


def test_an_order_from_outside_pauses_and_one_batch_runs_once(home: Path, capsys: Capture) -> None:
    desk = Desk(Settings(home=home))
    plan = BatchPlan(models=(("tiny", "float32"),), chains=(HOT,), max_new_tokens=5)
    job = create_job(home / "batches", plan, [f"{i}" for i in range(50)], name="x")
    running = run_batch(desk, job)
    next(running)
    assert job.status().state == "running"
    with pytest.raises(ValueError, match="running already"):
        next(run_batch(desk, BatchJob(job.folder)))
    assert "is running; stop it first" in complaint(capsys, "batch", "--delete", job.ident)
    BatchJob(job.folder).give_order("pause")
    assert len(list(running)) < 49
    assert job.status().state == "paused"
    assert main(["batch", "--delete", job.ident]) == 0
    assert not job.folder.exists()
    assert "there is no batch" in complaint(capsys, "batch", "--delete", job.ident)
    assert not job.is_running
    assert not job.folder.exists(), "a look at a deleted batch makes its folder"


def test_a_row_that_fails_is_kept_apart_as_a_sentence(home: Path) -> None:
    plan = BatchPlan(models=(("tiny", "float32"), ("gone", "float32")), chains=(COLD,), max_new_tokens=2)
    job = create_job(home / "batches", plan, ["a"], name="x")
    assert len(list(run_batch(Desk(Settings(home=home)), job))) == 2
    [failure] = job.failures()
    assert "gone" in str(failure["error"])
    assert [row["model"] for row in job.rows()] == ["tiny"]
    assert (job.status().state, job.status().failed) == ("finished", 1)


@pytest.mark.parametrize("stop", ["", "x" * 1_001], ids=["empty", "too long"])
def test_stop_strings_are_refused_as_those_of_a_request(stop: str) -> None:
    with pytest.raises(ValueError, match="stop") as of_request:
        GenerationRequest(stop=(stop,))
    with pytest.raises(ValueError, match="stop") as of_batch:
        BatchPlan(models=(("tiny", "float32"),), chains=(COLD,), stop=(stop,))
    assert str(of_batch.value) == str(of_request.value)


def test_prompts_are_read_from_lines_csv_and_jsonl_in_any_encoding(tmp_path: Path) -> None:
    assert read_prompts("a\\nb\n\n  \na") == ["a\nb", "a"]
    table = tmp_path / "t.csv"
    table.write_bytes('id;text\r\n1;"Füße;\r\nzwei"\r\n2;=x()\r\n3\r\n'.encode("utf-16"))
    assert read_prompt_file(table, column="text")[0] == ["Füße;\nzwei", "=x()"]
    assert read_prompts('{"prompt": "a"}\n\n"<b>${x}"\n', kind="jsonl") == ["a", "<b>${x}"]
    assert read_prompts("only\nx\n", kind="csv") == ["x"]


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        ("lines", " \n", "has no prompts"),
        ("csv", "a,b\n1,2", "no column 'prompt'; choose one of: a, b"),
        ("csv", "", "no header"),
        ("jsonl", '{"a": 1}', "no 'prompt'; choose one of its keys: a"),
        ("jsonl", "{", "line 1 of the text is not valid JSON"),
        ("jsonl", "5", "must be a string"),
        ("lines", "x\n" * 1_000_000, "more than 100,000 prompts"),
        ("csv", 'prompt\n"' + "x" * 200_000, "not valid CSV"),
    ],
)
def test_what_holds_no_prompts_is_refused_in_a_sentence(kind: str, text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as error:
        read_prompts(text, kind=kind)
    assert "\n" not in str(error.value)
