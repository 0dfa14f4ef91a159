"""What the benchmark computes, that each case really runs in a process of its own, and `gptdesk bench`."""

import logging
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from cli_checks import Capture, answer, complaint
from conftest import observed
from safetensors.torch import load_file
from torch import Tensor

from gptdesk.__main__ import main
from gptdesk.bench import Case, Measured, Row, find_folder, fitting, median, prepared, run, share_of_limit, step_bytes
from gptdesk.bench.__main__ import PlainTokenizer, step_times, timed_run
from models.checkpoint import Checkpoint
from models.gpt import GPTConfig
from models.library import ModelLibrary
from models.manager import LoadedModel
from models.precision import PRECISIONS
from samplers import Chain, build

KEYS = [
    *("precision", "prompt", "context", "n", "seconds_to_first_token", "tokens_per_second"),
    *("load_seconds", "peak_mb", "file_mb", "kernel"),
]
ROW = Row("int8", 16, 16, 5, 0.25, 100.0, 0.5, 300.0, 124.0, "some kernel")
MEASURED = Measured(ROW, 200.0, 0.009, 0.001, 90.0, 2e6, 4_000_000, 0.01)
GREEDY = Chain(samplers=(build("greedy"),))


def case(folder: Path, tmp_path: Path, **others: object) -> Case:
    return replace(Case(str(folder), folder.name, str(tmp_path), "cpu", "float32", 16, 2, 20), **others)


# What it computes


@pytest.mark.parametrize("precision", PRECISIONS)
def test_step_bytes_are_those_on_disk_without_the_tables(tiny_folder: Path, tmp_path: Path, precision: str) -> None:
    library = ModelLibrary(tmp_path / "models", cache_folder=tmp_path, bundled=[tiny_folder / "tiny"])
    path = library.info("tiny").path if precision == "float32" else library.quantize("tiny", precision).path
    sizes = {name: tensor.nbytes for name, tensor in load_file(path / "model.safetensors").items()}
    own_head = any(name.startswith("lm_head") for name in sizes)
    tables = ("transformer.wpe", "transformer.wte") if own_head else ("transformer.wpe",)
    read = sum(size for name, size in sizes.items() if not name.startswith(tables))
    config = Checkpoint.open(path).config
    assert step_bytes(config, PRECISIONS[precision], context=0, n=3) == read
    assert own_head == (precision == "int8-dynamic")


def test_step_bytes_of_float32_are_its_weights_but_for_the_positions() -> None:
    config = GPTConfig(vocab_size=96, block_size=64, n_layer=2, n_head=2, n_embd=32)
    for tied in (True, False):
        found = step_bytes(replace(config, tied=tied), PRECISIONS["float32"], context=0, n=1)
        assert found == 4 * (config.parameters() - 64 * 32)


def test_step_bytes_counts_keys_and_values_of_each_sequence() -> None:
    config = GPTConfig(vocab_size=96, block_size=64, n_layer=2, n_head=2, n_embd=32)
    alone, many = (step_bytes(config, PRECISIONS["int8"], context=50, n=n) for n in (1, 5))
    assert many - alone == 4 * 50 * (2 * 2 * 32 * 4)


def test_share_of_the_limit() -> None:
    # 5 sequences at 100 tokens/s are 20 steps, which read 40 MB
    assert share_of_limit(MEASURED, 80e6) == 0.5
    assert share_of_limit(replace(MEASURED, row=replace(ROW, tokens_per_second=200.0)), 80e6) == 1


def test_sampler_share_is_of_the_whole_step() -> None:
    assert MEASURED.sampler_share == pytest.approx(0.1)


def test_median_takes_every_figure_on_its_own() -> None:
    faster = Measured(
        replace(ROW, tokens_per_second=130.0, peak_mb=310.0), 190.0, 0.008, 0.002, 95.0, 2e6, 4_000_000, 0.02
    )
    slower = Measured(
        replace(ROW, tokens_per_second=70.0, seconds_to_first_token=0.125), 210.0, 0.1, 0.003, 1.0, 2e6, 4_000_000, 0
    )
    middle = median([slower, faster, MEASURED])
    assert middle == Measured(replace(ROW, tokens_per_second=100.0), 200.0, 0.009, 0.002, 90.0, 2e6, 4_000_000, 0.01)
    assert (middle.row.prompt, type(middle.row.prompt)) == (16, int)
    without = replace(MEASURED, row=replace(ROW, load_seconds=None, kernel=None))
    assert median([without, without]).row == without.row


def test_prompts_that_do_not_fit_are_left_out_and_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert list(fitting(1024, prompts=(16, 700), sequences=(1, 5))) == [
            *((16, 1, 128), (16, 5, 128)),
            *((700, 1, 128), (700, 5, 128)),
        ]
        assert not caplog.records
        assert list(fitting(64, prompts=(16, 48, 49), sequences=(1,))) == [(16, 1, 48), (48, 1, 16)]
    [record] = caplog.records
    assert "a prompt of 49 tokens" in record.getMessage()
    assert "64" in record.getMessage()


# How it measures


def test_every_timed_prompt_is_read_from_its_beginning(tiny: LoadedModel, tmp_path: Path) -> None:
    seen: list[Tensor] = []

    def watch(tokens: Tensor, compute: object) -> Tensor:
        seen.append(tokens)
        return compute()  # type: ignore[operator]

    model = replace(observed(tiny, watch), tokenizer=PlainTokenizer(tiny.config.vocab_size))
    for seed in (1, 1, 2):  # the second time, a prefix cache would know the prompt
        seen.clear()
        first, rest = timed_run(model, case(tmp_path, tmp_path), GREEDY, seed=seed)
        assert sum(tokens.numel() for tokens in seen) == 16 + 2 * 20
        assert first > 0
        assert rest > 0


def test_prompts_differ_between_seeds(tiny: LoadedModel, tmp_path: Path) -> None:
    prompts = []

    def watch(tokens: Tensor, compute: object) -> Tensor:
        prompts.append(tokens[0].tolist())
        return compute()  # type: ignore[operator]

    model = replace(observed(tiny, watch), tokenizer=PlainTokenizer(tiny.config.vocab_size))
    for seed in (1, 2):
        timed_run(model, case(tmp_path, tmp_path, n=1, new=1), GREEDY, seed=seed)
    first, second = (prompt for prompt in prompts if len(prompt) == 16)
    assert first != second


def test_no_token_ends_a_timed_text_early(tiny: LoadedModel) -> None:
    plain = PlainTokenizer(tiny.config.vocab_size)
    assert plain.end_of_text is None
    ids = list(range(tiny.config.vocab_size))
    assert plain.encode(plain.decode(ids)) == ids


def test_each_step_is_timed_in_two_parts(tiny: LoadedModel, tmp_path: Path) -> None:
    times = list(step_times(tiny, case(tmp_path, tmp_path)))
    assert len(times) == 20
    assert min(map(min, times)) > 0


def test_peak_memory_is_what_was_held_at_once() -> None:
    code = "from gptdesk.bench.__main__ import peak_bytes; import torch; before = peak_bytes()"
    code += "; block = torch.ones(300_000_000, dtype=torch.uint8); del block; print(peak_bytes() - before)"
    command = [sys.executable, "-c", code]
    grown = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert 290e6 < grown < 400e6


# In processes of its own


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # the models are tiny


def test_each_precision_is_measured_as_it_is_stored(tiny_folder: Path, tmp_path: Path) -> None:
    folder = tiny_folder / "tiny"
    shape = {"prompts": (8,), "sequences": (2,), "device": "cpu"}
    with prepared(folder, ["float32", "int8"], vocabularies=tmp_path, **shape) as cases:
        assert [(one.precision, one.prompt, one.n, one.new) for one in cases] == [
            ("float32", 8, 2, 56),
            ("int8", 8, 2, 56),
        ]
        assert Path(cases[0].folder) == folder
        sizes = [(Path(one.folder) / "model.safetensors").stat().st_size / 1e6 for one in cases]
        assert sizes[1] < 0.5 * sizes[0]
        found = [run(one) for one in cases]
        kept = Path(cases[1].folder)
    assert not kept.exists()
    assert [one.row.file_mb for one in found] == sizes
    for one, wanted in zip(found, cases, strict=True):
        row = one.row
        assert (row.precision, row.prompt, row.context, row.n) == (wanted.precision, 8, 8, 2)
        assert min(row.seconds_to_first_token, row.tokens_per_second, row.load_seconds or 0) > 0
        assert 50 < one.empty_mb < row.peak_mb < 2000
        assert min(one.engine_seconds, one.sampler_seconds, one.default_tokens_per_second, one.step_bytes) > 0
        assert 0 <= one.others <= 1
    assert found[0].row.kernel != found[1].row.kernel


def test_a_quantized_model_is_measured_as_it_is(tiny_folder: Path, tmp_path: Path) -> None:
    library = ModelLibrary(tmp_path / "models", cache_folder=tmp_path, bundled=[tiny_folder / "tiny"])
    folder = library.quantize("tiny", "int8").path
    with prepared(folder, vocabularies=tmp_path, prompts=(8,), sequences=(1,)) as cases:
        assert [(one.folder, one.name, one.precision) for one in cases] == [(str(folder), "tiny-int8", "int8")]
    for precision in ("float32", "int4"):
        with pytest.raises(ValueError, match=f"tiny-int8 · {precision} cannot be measured: it is stored as int8"):
            prepared(folder, [precision], vocabularies=tmp_path).__enter__()


def test_a_measurement_that_fails_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^a measurement ended with exit code 1: .*nowhere.*$"):
        run(case(tmp_path / "nowhere", tmp_path))


def test_the_words_under_start_the_measurement(tiny_folder: Path, tmp_path: Path) -> None:
    started = tmp_path / "started"
    code = f"import subprocess, sys; open({str(started)!r}, 'w'); sys.exit(subprocess.call(sys.argv[1:]))"
    one = case(tiny_folder / "tiny", tmp_path, new=1, n=1)
    assert run(one, under=[sys.executable, "-c", code]).row.n == 1
    assert started.exists()


def test_a_model_is_found_by_its_name_first(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = ModelLibrary(tiny_folder, cache_folder=tmp_path)
    (tmp_path / "tiny").mkdir()
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    assert find_folder(library, "tiny") == tiny_folder / "tiny"
    assert find_folder(library, "other") == tmp_path / "other"
    assert find_folder(library, str(tiny_folder / "tiny")) == tiny_folder / "tiny"
    with pytest.raises(ValueError, match="there is no model 'nosuch'"):
        find_folder(library, "nosuch")


# The command


@pytest.fixture
def home(tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GPTDESK_HOME", str(tmp_path))
    shutil.copytree(tiny_folder, tmp_path / "models")
    return tmp_path


@pytest.mark.usefixtures("home")
def test_bench_prints_rows(capsys: Capture) -> None:
    rows = answer(capsys, "bench", "tiny", "--precision", "int8")
    assert [list(row) for row in rows] == [KEYS, KEYS]
    assert [(row["precision"], row["prompt"], row["n"]) for row in rows] == [("int8", 16, 1), ("int8", 16, 5)]
    assert all(row["kernel"] for row in rows)


def test_bench_prints_a_table(home: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of figures that were not measured: how they are is what the tests above are for."""
    measured = {n: replace(MEASURED, row=replace(ROW, precision="float32", n=n)) for n in (1, 5)}
    monkeypatch.setattr(sys.modules["gptdesk.cli.bench"], "run", lambda case: measured[case.n])
    assert main(["bench", str(home / "models" / "tiny"), "--precision", "float32"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert "GB/s" in out[0]
    assert out[1].split()[:3] == ["PRECISION", "PROMPT", "N"]
    assert [line.split()[:3] for line in out[2:4]] == [["float32", "16", "1"], ["float32", "16", "5"]]
    assert "100.0" in out[2]
    assert "200 MB before the model is loaded" in out[-1]


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "MODEL"),
        (["nosuch"], "there is no model 'nosuch'"),
        (["tiny", "--precision", "int3"], "there is no precision 'int3'"),
        (["tiny", "--rounds"], "--rounds"),
    ],
)
def test_bad_bench_arguments_are_one_line(capsys: Capture, arguments: list[str], words: str) -> None:
    assert words in complaint(capsys, "bench", *arguments)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signal")
def test_a_bench_that_is_ended_leaves_nothing(home: Path) -> None:
    temporary = home / "temporary"
    temporary.mkdir()
    command = [sys.executable, "-m", "gptdesk", "bench", "tiny"]
    variables = os.environ | {"TMPDIR": str(temporary)}
    with subprocess.Popen(command, env=variables, stderr=subprocess.PIPE, text=True) as started:
        assert started.stderr is not None
        while "preparing tiny · int8" not in started.stderr.readline():
            assert started.poll() is None
        assert any(temporary.iterdir())
        started.terminate()
        assert "Traceback" not in started.communicate(timeout=60)[1]
    assert started.returncode == 143
    assert not any(temporary.iterdir())
