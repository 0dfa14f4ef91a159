"""Benchmark of the environment variables: pairs of environments, and a line of the table."""

import os
from pathlib import Path

import pytest

from benchmarks.environment import Variant, compare, variants
from gptdesk.bench import Case
from gptdesk.system.environment import lacking


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "GLIBC_TUNABLES", "THP_MEM_ALLOC_ENABLE"):
        monkeypatch.delenv(name, raising=False)


def test_each_setting_of_the_desk_is_left_out_once() -> None:
    settings = lacking(os.environ)
    both = {variant.name: variant for variant in variants([])}
    assert list(both) == list(settings)
    for name, variant in both.items():
        assert variant.given[name] == settings[name] or name == "OMP_NUM_THREADS"
        assert variant.without.get(name) != variant.given[name]
        assert {**variant.without, name: variant.given[name]} == variant.given
    assert [variant.name for variant in variants(["OMP_NUM_THREADS"])] == [
        one for one in both if one in "OMP_NUM_THREADS"
    ]


def test_two_processes_give_a_line(tiny_folder: Path, tmp_path: Path) -> None:
    case = Case(str(tiny_folder / "tiny"), "tiny", str(tmp_path), "cpu", "float32", 16, 1, 4)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    line = compare(case, Variant("NAME", environment, environment), rounds=2)
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[:2] == ["NAME", "float32"]
    assert float(cells[2]) > 0
    assert float(cells[4]) > 0
