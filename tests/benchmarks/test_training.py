"""The benchmark of training: what a token costs, what nanoGPT says made figures, tables and goals, and a short run."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks import nanogpt, speed
from benchmarks.nanogpt import NANO, Trained
from benchmarks.speed import CASES, Speed
from benchmarks.training import arguments, middle
from models.gpt import GPT

ALPHABET = "".join(map(chr, range(33, 33 + NANO.vocab_size)))
TEXT = (ALPHABET + ALPHABET[::-1]) * 40
SAID = "step {0}: train loss 2.1, val loss 2.2\niter {0}: loss 2.0123, time {1}.00ms, mfu 0.01%"


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with a train.py that says what nanoGPT's says, and leaves the network that it was given."""
    folder = tmp_path / "clone"
    (folder / "config").mkdir(parents=True)
    (folder / "configurator.py").touch()
    torch.manual_seed(0)
    weights = {f"transformer.{name}": weight for name, weight in GPT(NANO).state_dict().items()}
    weights["lm_head.weight"] = weights["transformer.wte.weight"]
    torch.save({"model": weights, "iter_num": 2000}, folder / "given.pt")
    script = f"""
import numpy, pathlib, pickle, shutil, sys
assert pickle.load(open("data/shakespeare_char/meta.pkl", "rb"))["vocab_size"] == {NANO.vocab_size}
sizes = [len(numpy.fromfile(f"data/shakespeare_char/{{part}}.bin", numpy.uint16)) for part in ("train", "val")]
assert sizes == [{int(len(TEXT) * 0.9)}, {len(TEXT) - int(len(TEXT) * 0.9)}], sizes
assert {{"--batch_size=12", "--device=cpu", "--compile=False", "--max_iters=2000"}} < set(sys.argv)
for i in range(2001):
    print({SAID!r}.format(i, 900 if i < 200 else 20 + i % 3))
pathlib.Path("out").mkdir()
shutil.copy(pathlib.Path(__file__).with_name("given.pt"), "out/ckpt.pt")
"""
    (folder / "train.py").write_text(script)
    return folder


def test_a_token_costs_what_its_products_cost() -> None:
    """The figures are those of a table worked out by hand."""
    costs = {name: round(case.flops() / 1e6, 2) for name, case in CASES.items()}
    assert costs == {"nano": 5.16, "mini": 5.16, "shakespeare": 70.93, "gpt2": 769.5}


def test_nanogpts_output_and_network_become_a_figure(clone: Path, text: Path) -> None:
    found = nanogpt.run_theirs(clone, text)
    assert found.tokens_per_second == pytest.approx(768 / 0.021)
    assert found.tokens == 2000 * 768
    assert found.seconds > 0
    assert found.processor_seconds > 0
    torch.manual_seed(0)
    assert found.loss == pytest.approx(nanogpt.loss(GPT(NANO).eval(), nanogpt.split(text)[1]), abs=1e-6)


def test_a_program_that_fails_says_why(clone: Path, text: Path) -> None:
    (clone / "train.py").write_text("raise SystemExit('no such device')")
    with pytest.raises(ValueError, match="ended with exit code 1: no such device"):
        nanogpt.run_theirs(clone, text)


def test_our_defaults_are_trained_by_the_command_of_a_user(text: Path) -> None:
    found = nanogpt.run_recipe(text, steps=2)
    assert (found.name, found.tokens) == ("our defaults, 2 steps", 2 * 768)
    assert 3 < found.loss < 5
    assert found.processor_seconds > 0
    assert found.tokens_per_second > 0


def test_the_medians_of_several_rounds_count() -> None:
    run = Trained("ours", 100.0, 10.0, 9.0, 1.9, 768)
    runs = [run, replace(run, tokens_per_second=300.0, seconds=8.0), replace(run, tokens_per_second=120.0, loss=1.8)]
    assert middle(runs) == Trained("ours", 120.0, 10.0, 9.0, 1.9, 768)


def test_the_share_is_of_the_fastest_products_seen() -> None:
    slow, fast = (Speed("gpt2", "float32", tokens, 0.0, rate) for tokens, rate in ((200.0, 200e9), (300.0, 400e9)))
    found = speed.median([slow, fast])
    assert found.tokens_per_second == 250
    assert found.share == pytest.approx(250 * CASES["gpt2"].flops() / 400e9)
    table = list(speed.report([found, replace(found, precision="bfloat16")]))
    assert table[2] == "| GPT-2 124M, rows of 256 | float32 | 2,048 | 250 | 192 | 48% of 400 |"
    assert table[-1] == "| GPT-2 124M, rows of 256: share of the rate of products | ≥ 65.0% | 48.1% | no, by 26% |"
    assert sum(line.startswith("| GPT-2") for line in table) == 3  # the goals are those of float32


def test_a_case_is_measured_in_a_process_of_its_own() -> None:
    found = speed.run("nano", "float32")
    assert (found.case, found.precision) == ("nano", "float32")
    assert found.tokens_per_second > 0
    assert found.share > 0


def test_nanogpt_must_be_somewhere(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        arguments(["nanogpt"])
    assert "nanogpt needs --nanogpt DIR, a clone of nanoGPT" in capsys.readouterr().err
    assert arguments(["speed", "--rounds", "2"]).rounds == 2
