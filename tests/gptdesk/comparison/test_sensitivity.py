"""Where the bits go: the KL divergence of each matrix as computed by hand, and what raised matrices buy."""

import threading
from pathlib import Path

import pytest
import torch
from comparison_checks import only
from torch import Tensor
from torch.nn import functional as F

from gptdesk.comparison.quality import Quality, judge
from gptdesk.comparison.raising import Raising, measure_raising, raising_sentences
from gptdesk.comparison.sensitivity import MOST_TOKENS, MatrixSensitivity, first_windows, sensitivities
from gptdesk.starter.stories import stories
from models.library import ModelLibrary
from models.manager import ModelKey, ModelManager
from models.precision import PRECISIONS
from models.precision.int4 import decode, encode
from models.tokenizer import END_OF_TEXT, Tokenizer

TEXT = f"\n{END_OF_TEXT}\n".join(stories(2_000_000_012, 3))


@pytest.fixture(scope="module")
def manager(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelManager:
    """Manage `tiny`, of two layers, untied from the family that other comparisons share."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "tiny").symlink_to(tiny_folder / "tiny", target_is_directory=True)
    return ModelManager(ModelLibrary(folder, cache_folder=folder.parent / "cache"))


def measured(manager: ModelManager, model: str, text: str = TEXT) -> dict[str, MatrixSensitivity]:
    events = sensitivities(manager, ModelKey.parse(model), text)
    return {event.matrix: event for event in events if isinstance(event, MatrixSensitivity)}


def rounded_to_int8(weight: Tensor) -> Tensor:
    """Round each row to 127 steps of its largest magnitude, element by element."""
    rows = []
    for row in weight:
        step = row.abs().max() / 127
        rows.append(torch.stack([(value / step).round() * step for value in row]))
    return torch.stack(rows)


# One matrix alone


@pytest.mark.parametrize("precision", ["int4", "int8"])
def test_the_divergence_of_a_matrix_is_that_of_a_network_changed_by_hand(
    precision: str, manager: ModelManager, tokenizer: Tokenizer
) -> None:
    checkpoint = manager.library.checkpoint("tiny")
    found = measured(manager, f"tiny:{precision}")
    assert list(found) == list(PRECISIONS[precision].matrices(checkpoint.config))
    rows = first_windows(TEXT, tokenizer, context=checkpoint.config.block_size)
    # first, middle and last: an earlier one that stayed quantized would show in a later one
    for matrix in ("wte", "h.0.mlp.c_fc", "h.1.mlp.c_proj"):
        exact, changed = checkpoint.load_model(), checkpoint.load_model()
        is_int4 = precision == "int4" and matrix != "wte"  # int4 keeps the token table at int8
        with torch.no_grad():
            weight = changed.get_parameter(f"{matrix}.weight")
            weight.copy_(decode(encode(weight)) if is_int4 else rounded_to_int8(weight))
            pairs = [(exact(row[None, :-1])[0].double(), changed(row[None, :-1])[0].double()) for row in rows]
        kl = torch.cat(
            [F.kl_div(q.log_softmax(1), p.log_softmax(1), log_target=True, reduction="none").sum(1) for p, q in pairs]
        )
        assert len(kl) == MOST_TOKENS
        assert found[matrix].encoding == ("int4" if is_int4 else "int8")
        assert found[matrix].kl == pytest.approx(float(kl.mean()), rel=1e-5)
        assert found[matrix].kl_se == pytest.approx(float(kl.std()) / MOST_TOKENS**0.5, rel=1e-5)
        assert found[matrix].kl > 0


def test_the_text_beyond_the_first_tokens_changes_nothing(tiny_folder: Path, tokenizer: Tokenizer) -> None:
    rows = first_windows(TEXT, tokenizer, context=64)
    assert sum(len(row) - 1 for row in rows) == MOST_TOKENS
    more = first_windows(TEXT + "\nAnd then they all went home.", tokenizer, context=64)
    assert all(torch.equal(row, other) for row, other in zip(rows, more, strict=True))
    short = first_windows("Once upon a time", tokenizer, context=64)
    assert torch.equal(torch.cat(short), torch.tensor(tokenizer.encode("Once upon a time")))


def test_stop_ends_the_stream_with_what_was_measured(manager: ModelManager) -> None:
    stop, found = threading.Event(), []
    for event in sensitivities(manager, ModelKey("tiny", "int8"), TEXT, stop=stop):
        if isinstance(event, MatrixSensitivity):
            found.append(event.matrix)
        if len(found) == 2:
            stop.set()
    assert found == ["wte", "wpe"]


def test_what_cannot_be_measured_is_one_sentence(manager: ModelManager) -> None:
    manager.library.quantize("tiny", "int8", to="small")
    with pytest.raises(ValueError, match="small is quantized to int8 and only runs; take the original"):
        measured(manager, "small:int8")
    with pytest.raises(ValueError, match="quantized to int4 or int8, not to 'bfloat16'"):
        measured(manager, "tiny:bfloat16")
    with pytest.raises(ValueError, match="the text is too short"):
        measured(manager, "tiny:int8", "a")
    for given, sentence in {
        (): "no matrix is raised; choose at least one",
        (("h.2.mlp.c_fc", "int8"),): "there is no matrix 'h.2.mlp.c_fc'; .* in the layers 0 to 1, and wte, wpe",
        (("h.1.mlp.c_fc", "int4"),): "h.1.mlp.c_fc can be raised to int8 or float32 from int4, not to 'int4'",
        (("wte", "int8"),): "wte can be raised to float32 from int4, not to 'int8'",
    }.items():
        with pytest.raises(ValueError, match=sentence):
            list(measure_raising(manager, ModelKey("tiny", "int4"), dict(given), TEXT))
    with (
        pytest.raises(ValueError, match="small is quantized already, to int8; take the original"),
        manager.lend_mixed(ModelKey("small", "int8"), {"wte": "float32"}),
    ):
        pass


# Raised matrices


def test_raised_matrices_are_judged_as_the_model_that_is_saved_with_them(manager: ModelManager) -> None:
    raised = {"h.0.mlp.c_proj": "int8", "h.1.mlp.c_fc": "float32"}
    found = only(measure_raising(manager, ModelKey("tiny", "int4"), raised, TEXT), Raising)
    manager.library.quantize("tiny", "int4", to="better", raised=raised)
    keys = [ModelKey("tiny"), ModelKey("tiny", "int4"), ModelKey("better", "int4")]
    quality = only(judge(manager, keys, TEXT), Quality)
    for close, pair in zip((found.before, found.after), quality.pairs, strict=True):
        assert pair.closeness is not None
        assert close.kl_mean == pair.closeness.kl_mean
        assert close.perplexity_ratio == pair.perplexity_ratio
    assert found.after.kl_mean < found.before.kl_mean
    assert found.perplexity_ratio == pytest.approx(found.after.perplexity_ratio / found.before.perplexity_ratio)
    with manager.lend(keys[2]) as better, manager.lend(keys[1]) as plain, manager.lend(keys[0]) as exact:
        assert found.memory_bytes == (exact.memory_bytes, plain.memory_bytes, better.memory_bytes)
        assert exact.memory_bytes > better.memory_bytes > plain.memory_bytes


def test_everything_raised_to_float32_is_the_float_model(manager: ModelManager) -> None:
    config = manager.library.checkpoint("tiny").config
    everything = dict.fromkeys(PRECISIONS["int8"].matrices(config), "float32")
    found = only(measure_raising(manager, ModelKey("tiny", "int8"), everything, TEXT), Raising)
    assert found.after.kl_max < 1e-9
    assert found.after.same_top1 == 1
    assert raising_sentences(found)[0].startswith(f"{len(everything)} matrices raised: perplexity x ")


def test_stop_ends_a_measurement_without_a_result(manager: ModelManager) -> None:
    stop, events = threading.Event(), []
    for event in measure_raising(manager, ModelKey("tiny", "int8"), {"wte": "float32"}, TEXT, stop=stop):
        events.append(event)
        if len(events) == 3:
            stop.set()
    assert not any(isinstance(event, Raising) for event in events)
