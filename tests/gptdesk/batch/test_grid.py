"""Sampler grid: cells of one seed, equal texts, and the sentence on where they differ."""

import shutil
from pathlib import Path

import pytest
from cli_checks import Capture

from gptdesk.__main__ import main
from gptdesk.batch.grid import TEMPERATURE, TOP_P, Axis, Grid, grid_cells, read_axis, with_option
from gptdesk.desk import Desk
from gptdesk.generation import GenerationRequest, collect
from gptdesk.settings import Settings
from models.manager import ModelKey
from samplers import Chain, build

CHAIN = Chain(samplers=(build("top_k", top_k=50), build("temperature"), build("top_p")))
AXES = (Axis(option="temperature", values=(0.2, 0.4, 1)), Axis(option="top_p", values=(0.5, 1)))


def test_each_cell_is_the_text_that_its_chain_gives(tmp_path: Path, tiny_folder: Path) -> None:
    shutil.copytree(tiny_folder / "tiny", tmp_path / "models" / "tiny")
    desk, key = Desk(Settings(home=tmp_path)), ModelKey("tiny")
    request = GenerationRequest(prompt="a", chain=CHAIN, seed=3, max_new_tokens=8)
    cells = list(grid_cells(desk, key, request, down=TEMPERATURE, across=TOP_P))
    assert [(cell.down, cell.across) for cell in cells] == [(i, j) for i in range(5) for j in range(5)]
    chain = Chain(samplers=(build("top_k", top_k=50), build("temperature", temperature=1.3), build("top_p", top_p=0.7)))
    alone = GenerationRequest(prompt="a", chain=chain, seed=3, max_new_tokens=8)
    assert cells[21].text == collect(desk.generate(key, alone), n=1).texts[0]


@pytest.mark.parametrize(
    ("texts", "groups", "sentence"),
    [
        ((("a b", "a b"),) * 3, [[0, 0]] * 3, "All 6 texts are the same."),
        (
            (("a b", "a b"), ("a c", "a c"), ("a b", "a d")),
            [[0, 0], [1, 1], [0, 2]],
            "3 different texts in 6 cells. All share their first word; top_p changes nothing up to temperature 0.4.",
        ),
        (
            (("x y", "z"), ("x y", "w"), ("x y", "v")),
            [[0, 1], [0, 2], [0, 3]],
            "4 different texts in 6 cells. They differ from the first word on; "
            "temperature changes nothing up to top_p 0.5.",
        ),
    ],
)
def test_equal_cells_are_one_group_and_the_sentence_says_where_they_differ(
    texts: tuple[tuple[str, ...], ...], groups: list[list[int]], sentence: str
) -> None:
    grid = Grid(*AXES, texts)
    assert grid.groups == groups
    assert grid.sentence == sentence


def test_an_axis_that_the_chain_does_not_have_is_refused() -> None:
    assert read_axis("top_k", "5, 1 5") == Axis(option="top_k", values=(1, 5))
    assert with_option(CHAIN, "top_k", 5.0).samplers[0] == build("top_k", top_k=5)
    with pytest.raises(ValueError, match="options are: top_k, temperature, top_p"):
        with_option(CHAIN, "min_p", 0.1)
    with pytest.raises(ValueError, match="temperature"):
        with_option(CHAIN, "temperature", -1)
    with pytest.raises(ValueError, match="'x' is no number"):
        read_axis("top_p", "0.5 x")


def test_the_command_shows_equal_texts_once(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPTDESK_HOME", str(tmp_path))
    command = ["grid", "--down", "temperature=0,0.5", "--across", "top_k=1,1", "--max-new-tokens", "4", "--seed", "1"]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert "temperature 0.5, top_k 1: as temperature 0, top_k 1" in shown
    assert "All 2 texts are the same." in shown
    assert main(["grid", "--down", "heat=1,2"]) == 2
    assert "no sampler of the chain has the option 'heat'" in capsys.readouterr().err
    assert main(["grid", "--down", "temperature"]) == 2
    assert "write an option with its values" in capsys.readouterr().err
