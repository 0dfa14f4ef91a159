"""Metrics in columns: gaps left out, and only what was added is read again."""

import json
from pathlib import Path

import pytest

from gptdesk.training import lines
from gptdesk.training.metrics import MOST_RUNS, Metrics, MetricsReader
from gptdesk.training.run_directory import METRICS
from models import storage


def add(run: Path, *lines: object, end: str = "\n") -> None:
    run.mkdir(exist_ok=True)
    with (run / METRICS).open("a") as file:
        file.write("\n".join(json.dumps(line) for line in lines) + end)


def test_series_leave_out_what_was_not_measured() -> None:
    metrics = Metrics.of([{"step": 1, "val_loss": None, "best": True}, {"step": 2, "val_loss": 3, "tokens": 64}])
    assert metrics.series("val_loss") == [(2.0, 3.0)]
    assert metrics.series("step", by="tokens") == [(64.0, 2.0)]
    assert metrics.series("best") == metrics.series("epoch") == metrics.series("step", by="epoch") == []
    assert len(metrics) == 2


def test_the_tail_is_the_newest_steps() -> None:
    metrics = Metrics.of([{"step": step, "train_loss": step / 2} for step in range(5)])
    assert metrics.tail(2).series("train_loss") == [(3.0, 1.5), (4.0, 2.0)]
    assert metrics.tail(9).series("train_loss") == metrics.series("train_loss")
    assert len(metrics.tail(9)) == 5
    assert metrics.tail(0).series("train_loss") == []


def test_a_file_that_grows_is_read_from_where_it_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, parsed = MetricsReader(), []
    assert len(reader.read(tmp_path / "run")) == 0
    monkeypatch.setattr(lines, "parse_json", lambda line: parsed.append(line) or json.loads(line))
    add(tmp_path / "run", {"step": 1, "train_loss": 4})
    add(tmp_path / "run", {"step": 2, "train_loss": 3}, end="")  # the end of the line is still to come
    assert reader.read(tmp_path / "run").series("train_loss") == [(1.0, 4.0)]
    add(tmp_path / "run", end="\n")
    add(tmp_path / "run", {"step": 3, "train_loss": 2, "epoch": 0.5})
    before = reader.read(tmp_path / "run")
    assert before.series("train_loss") == [(1.0, 4.0), (2.0, 3.0), (3.0, 2.0)]
    assert before.series("epoch") == [(3.0, 0.5)]
    assert len(parsed) == 3
    add(tmp_path / "run", {"step": 4, "train_loss": 1})
    assert len(reader.read(tmp_path / "run")) == 4
    assert len(before) == len(before.series("step")) == 3  # what was read before stays as it was


def test_a_file_that_a_resumed_run_replaced_is_read_anew(tmp_path: Path) -> None:
    reader = MetricsReader()
    add(tmp_path / "run", *({"step": step} for step in range(9)))
    assert len(reader.read(tmp_path / "run")) == 9
    kept = b"".join(json.dumps({"step": step, "train_loss": 1}).encode() + b"\n" for step in range(20))
    storage.write_file(tmp_path / "run" / METRICS, kept)
    assert len(reader.read(tmp_path / "run").series("train_loss")) == 20
    (tmp_path / "run" / METRICS).unlink()
    assert len(reader.read(tmp_path / "run")) == 0


def test_damaged_lines_and_values_are_left_out(tmp_path: Path) -> None:
    add(tmp_path / "run", {"step": 1, "train_loss": "none"}, [], {"train_loss": 2}, {"step": 2, "train_loss": 10**400})
    add(tmp_path / "run", {"step": 3, "train_loss": 2, "note": "text"})
    metrics = MetricsReader().read(tmp_path / "run")
    assert metrics.series("train_loss") == [(3.0, 2.0)]
    assert len(metrics) == 3


def test_only_some_runs_are_kept_in_memory(tmp_path: Path) -> None:
    reader = MetricsReader()
    for i in range(MOST_RUNS + 2):
        add(tmp_path / f"run{i}", {"step": i})
        assert reader.read(tmp_path / f"run{i}").series("step") == [(i, i)]
    assert len(reader._files) == MOST_RUNS
    assert reader.read(tmp_path / "run0").series("step") == [(0.0, 0.0)]
