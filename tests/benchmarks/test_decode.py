"""The benchmark beside other programs: turns, what a peer's line amounts to, ratios and goals, and a whole run."""

import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest

from benchmarks import decode
from benchmarks.decode import (
    Outcome,
    arguments,
    busy_program,
    in_turn,
    machine,
    measure,
    random_checkpoint,
    report,
    table_line,
)
from benchmarks.goals import Goal, goals, starter_goals
from benchmarks.peers import Peer, median_row, read_line
from gptdesk.bench import Case, Measured, Row
from gptdesk.starter import CHECKPOINT
from models.checkpoint import Checkpoint

ROOT = Path(__file__).parents[2]
LINE = "gguf_Q8_0: prompt 16, first token 24.5 ms, decode 170.0 tok/s, peak 280 MB\n"


def row(precision: str, prompt: int, n: int, **others: object) -> Row:
    figures = Row(precision, prompt, prompt, n, 0.1, 100.0, 0.5, 300.0, 100.0, "kernel")
    return replace(figures, **others)


def measured(precision: str, prompt: int, n: int, **others: object) -> Measured:
    return Measured(row(precision, prompt, n, **others), 200.0, 0.0098, 0.0002, 90.0, 2e6, 4_000_000, 0.01)


@pytest.fixture
def peers(tmp_path: Path) -> Path:
    """A folder in which a peer that says LINE is installed, and in which others fail."""
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "venv" / "bin" / "python").symlink_to(sys.executable)
    (tmp_path / "gguf_Q8_0.gguf").write_bytes(bytes(5_000))
    script = "import sys\nif sys.argv[2] != 'gguf_Q8_0':\n    sys.exit('cannot run ' + sys.argv[2])\n"
    (tmp_path / "peers.py").write_text(f"{script}print({LINE.replace('16', '{}')!r}.format(sys.argv[3]))\n")
    return tmp_path


def test_a_peer_line_becomes_a_row(peers: Path) -> None:
    peer = Peer("gguf_Q8_0", 16, peers, peers / "peers.py")
    wanted = Row("gguf_Q8_0", 16, 16, 1, 0.0245, 170.0, None, 280.0, 0.005, None)
    assert read_line("a warning\n" + LINE, peer) == wanted
    assert peer.run() == wanted
    assert read_line("Killed", peer) is None


def test_a_peer_that_fails_says_why(peers: Path) -> None:
    with pytest.raises(ValueError, match=r"^ov_f32 ended with exit code 1: cannot run ov_f32$"):
        Peer("ov_f32", 16, peers, peers / "peers.py").run()


def test_a_peer_does_not_count_our_memory(peers: Path) -> None:
    """Torch is in this process: a peer started from it at once would have its peak from the beginning."""
    pytest.importorskip("resource")
    said = "print(f'first token 1 ms, decode 1 tok/s, peak {getrusage(RUSAGE_SELF).ru_maxrss / 1e3} MB')"
    (peers / "peers.py").write_text(f"from resource import RUSAGE_SELF, getrusage\n{said}\n")
    assert Peer("gguf_Q8_0", 16, peers, peers / "peers.py").run().peak_mb < 60


def test_ours_and_theirs_take_turns() -> None:
    ours = [Case("", "", "", "cpu", p, prompt, n, 128) for p in ("a", "b") for prompt in (16, 700) for n in (1, 5)]
    theirs = [Peer(name, prompt, Path(), Path()) for prompt in (16, 700) for name in ("x", "y", "z")]
    turns = [(one.precision, one.n) if isinstance(one, Case) else one.name for one in in_turn(ours, theirs)]
    once = [("a", 1), "x", ("b", 1), "y", ("a", 5), "z", ("b", 5)]
    assert turns == once + once
    assert [one.prompt for one in in_turn(ours, theirs)] == [16] * 7 + [700] * 7


def test_median_of_a_peer() -> None:
    rows = [row("ov_f32", 16, 1, tokens_per_second=speed, load_seconds=None) for speed in (50.0, 70.0, 90.0)]
    rows[0] = replace(rows[0], peak_mb=900.0)
    assert median_row(rows) == row("ov_f32", 16, 1, tokens_per_second=70.0, load_seconds=None)


def test_goals_are_ratios_of_what_was_measured() -> None:
    ours = [
        measured("float32", 16, 1, tokens_per_second=60.0),
        measured("int8", 16, 1, tokens_per_second=200.0, file_mb=126.0, peak_mb=400.0),
        measured("int8", 16, 5, tokens_per_second=450.0),
        measured("int8", 700, 1, seconds_to_first_token=0.3),
        measured("int4", 16, 1, tokens_per_second=210.0, file_mb=95.0),
    ]
    theirs = [
        row("ov_f32", 16, 1, tokens_per_second=50.0),
        row("gguf_Q8_0", 16, 1, tokens_per_second=160.0, peak_mb=200.0),
        row("gguf_Q8_0", 700, 1, tokens_per_second=160.0, seconds_to_first_token=2.4),
    ]
    found = {goal.words: goal for goal in goals(ours, theirs)}
    ratios = {words: (goal.measured, goal.missed_by <= 0) for words, goal in found.items() if "memory" not in words}
    assert ratios == {
        "decode, float32 : OpenVINO fp32, context 16": (1.2, True),
        "decode, int8 : llama.cpp Q8_0, context 16": (1.25, False),
        "decode, int8 : llama.cpp Q8_0, context 700": (0.625, False),
        "prefill, int8 : llama.cpp Q8_0, context 700": (pytest.approx(8), True),
        "decode, int4 : int8, context 16, n = 1": (1.05, True),
        "int8, n = 5 : n = 1, context 16": (2.25, False),
        "file, int8": (126.0, True),
        "file, int4": (95.0, False),
        "the default chain's share of a step, at worst": (pytest.approx(0.02), True),
    }
    assert found["int8, n = 5 : n = 1, context 16"].line() == (
        "| int8, n = 5 : n = 1, context 16 | ≥ 2.50 x | 2.25 x | no, by 10% |"
    )
    memory = found["memory above the imports : file and cache, int8, context 16"]
    assert memory.measured == pytest.approx((400.0 - 200.0) / (126.0 + 4.0))
    assert memory.at_most
    assert found["file, int8"].line() == "| file, int8 | ≤ 128 MB | 126 MB | yes |"
    assert "≤ 5.0% | 2.0% | yes" in found["the default chain's share of a step, at worst"].line()


def test_beside_a_busy_program_there_is_one_goal() -> None:
    ours = [measured("int8", 16, 1, tokens_per_second=120.0), measured("int8", 16, 5), measured("float32", 16, 1)]
    theirs = [row("gguf_Q8_0", 16, 1, tokens_per_second=50.0), row("ov_f32", 16, 1)]
    found = list(goals(ours, theirs, busy=True))
    assert found == [Goal("decode, one CPU busy, int8 : llama.cpp Q8_0, context 16", 3.0, 2.4, " x")]


def test_a_program_keeps_a_cpu_busy_while_the_block_lasts() -> None:
    psutil = pytest.importorskip("psutil")
    for wanted in (False, True):
        with busy_program(wanted):
            found = psutil.Process().children()
            assert len(found) == wanted
    assert not any(child.is_running() for child in found)


def test_the_goals_of_the_starter_are_for_float32() -> None:
    one = replace(measured("float32", 16, 1, tokens_per_second=2400.0), default_tokens_per_second=2000.0)
    five = replace(measured("float32", 16, 5), default_tokens_per_second=6600.0)
    found = list(starter_goals([one, five, measured("int8", 16, 1)]))
    case = "decode, starter, float32, n = "
    assert found == [
        Goal(f"{case}1, context 16, greedy", 3000.0, 2400.0, ""),
        Goal(f"{case}1, context 16, default chain", 2300.0, 2000.0, ""),
        Goal(f"{case}5, context 16, default chain", 6000.0, 6600.0, ""),
    ]
    assert found[0].line().endswith("| ≥ 3,000 | 2,400 | no, by 20% |")
    assert replace(found[0], measured=2990.0).line().endswith("| no, by 0.3% |")


def test_lines_of_the_table() -> None:
    ours = table_line(row("int8", 16, 5, seconds_to_first_token=0.0123), "61%")
    assert ours == "| **int8** | 5 | 12.3 | 100.0 | 61% | 0.50 | 300 | 100.0 | kernel |"
    peer = table_line(row("gguf_Q8_0", 16, 1, load_seconds=None, kernel=None), "")
    assert peer == "| llama.cpp Q8_0 | 1 | 100.0 | 100.0 |  |  | 300 | 100.0 |  |"
    assert "torch" in machine()


def test_the_report_has_a_table_for_each_prompt_and_the_goals_of_its_model(tiny_folder: Path) -> None:
    checkpoint = Checkpoint.open(tiny_folder / "tiny")
    ours = [measured("int8", prompt, n) for prompt in (16, 700) for n in (1, 5)]
    outcome = Outcome(ours, [row("gguf_Q8_0", 16, 1, load_seconds=None)], 2, 40e9, 0.071, busy=False)
    lines = list(report(outcome, checkpoint))
    tables = "\n".join(lines).split("\n\n")
    assert "which reads memory at 40.0 GB/s" in tables[0]
    assert "Between 2 rounds, the decode speed of one case differed by up to 7%" in tables[0]
    assert not any("rounds" in line for line in report(replace(outcome, rounds=1), checkpoint))
    assert [table.count("\n") + 1 for table in tables[1:]] == [1, 2 + 3, 1, 2 + 2, 1, 2 + 4]
    assert {line.count("|") for line in tables[2].splitlines()} == {10}
    assert {line.count("|") for line in tables[6].splitlines()} == {8}
    assert not any("goal" in line for line in lines)
    of_gpt2_size = replace(checkpoint, parameters=124_439_808)
    goal_lines = "\n".join(report(outcome, of_gpt2_size)).split("\n\n")[-1].splitlines()
    assert {line.count("|") for line in goal_lines} == {5}
    assert any("int8 : llama.cpp Q8_0, context 16 | ≥ 1.60 x | 1.00 x | no, by 38%" in line for line in goal_lines)
    of_starter = replace(outcome, ours=[measured("float32", 16, 1)])
    starter = "\n".join(report(of_starter, Checkpoint.open(CHECKPOINT)))
    assert "decode, starter, float32, n = 1, context 16, greedy | ≥ 3,000 | 100 | no, by 97%" in starter


@pytest.mark.parametrize("given", [["--prompts", "0"], ["--n", "x"], ["--peer", "nosuch"], ["a", "--preset", "tiny"]])
def test_bad_arguments_are_told(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        arguments(given)
    assert given[0].strip("-a") in capsys.readouterr().err


def test_the_commands_in_the_docs_are_understood() -> None:
    text = (ROOT / "docs" / "performance.md").read_text("utf-8")
    commands = re.findall(r"^(?:\$ )?python -m benchmarks\.decode(.*?)(?:  .*)?$", text, re.MULTILINE)
    assert len(commands) >= 2
    for command in commands:
        arguments(shlex.split(command))


# Whole runs


def test_rounds_alternate_and_a_peer_that_fails_is_left_out(
    peers: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bandwidths, speeds = iter([3e10, 2e10]), iter([100.0, 125.0])
    monkeypatch.setattr(decode, "run_bandwidth", lambda under: next(bandwidths))
    monkeypatch.setattr(
        decode, "run", lambda case, under: measured(case.precision, 16, 1, tokens_per_second=next(speeds))
    )
    ours = Case(str(tiny_folder / "tiny"), "tiny", str(tmp_path), "cpu", "float32", 16, 1, 20)
    theirs = [Peer(name, 16, peers, peers / "peers.py") for name in ("ov_f32", "gguf_Q8_0")]
    caplog.set_level("INFO")
    outcome = measure([ours], theirs, rounds=2)
    assert [(one.row.precision, one.row.tokens_per_second) for one in outcome.ours] == [("float32", 112.5)]
    assert [one.precision for one in outcome.theirs] == ["gguf_Q8_0"]
    assert outcome.bandwidth == 3e10
    assert outcome.spread == 0.25
    assert outcome.rounds == 2
    told = [record.getMessage() for record in caplog.records]
    rounds = [line.split(":")[0] for line in told]
    assert rounds == ["round 1 of 2", "left out", "round 1 of 2", "round 2 of 2", "round 2 of 2"]


def test_a_failed_round_of_ours_costs_no_other(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = iter([ValueError("a measurement ended with exit code 1"), 125.0])

    def run(case: Case, under: object) -> Measured:
        found = next(rounds)
        if isinstance(found, ValueError):
            raise found
        return measured(case.precision, 16, 1, tokens_per_second=found)

    monkeypatch.setattr(decode, "run_bandwidth", lambda under: 3e10)
    monkeypatch.setattr(decode, "run", run)
    ours = Case(str(tiny_folder / "tiny"), "tiny", "", "cpu", "float32", 16, 1, 20)
    assert [one.row.tokens_per_second for one in measure([ours], [], rounds=2).ours] == [125.0]
    rounds = iter([ValueError("no"), ValueError("no")])
    with pytest.raises(ValueError, match="no case of ours could be measured"):
        measure([ours], [], rounds=2)


def run_it(folder: Path, peers: Path, *others: str) -> str:
    command = [sys.executable, "-m", "benchmarks.decode", str(folder), "--precision", "int8", "--prompts", "16,100"]
    command += ["--n", "1", "--rounds", "1", "--peers", str(peers), "--peer", "gguf_Q8_0"]
    command += ["--script", str(peers / "peers.py"), *others]
    variables = os.environ | {"GPTDESK_HOME": str(peers / "home"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=variables, check=False)
    assert done.returncode == 0, done.stderr
    assert "left out: a prompt of 100 tokens" in done.stderr
    return done.stdout


def test_a_run_prints_rows(peers: Path, tiny_folder: Path) -> None:
    ours, theirs = json.loads(run_it(tiny_folder / "tiny", peers, "--json"))
    assert list(ours) == list(theirs) == [field.name for field in fields(Row)]
    assert (ours["precision"], theirs["precision"]) == ("int8", "gguf_Q8_0")
    assert (theirs["tokens_per_second"], theirs["load_seconds"]) == (170.0, None)


def test_a_random_network_is_the_same_every_time(tmp_path: Path) -> None:
    first, second = (random_checkpoint("tiny", tmp_path / name) for name in "ab")
    assert first.name == "random-tiny"
    assert (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()
