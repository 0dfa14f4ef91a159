"""Limits of a comparison: figures that are left out, with reasons, and inputs that are refused before any work."""

from pathlib import Path

import pytest
import torch
from comparison_checks import asked, only, sides_of

from gptdesk.comparison import Stage
from gptdesk.comparison.divergence import Chances, Divergence
from gptdesk.comparison.export import as_csv, prompts_document
from gptdesk.comparison.heat_map import heat_map
from gptdesk.comparison.prompts import PromptResult, compare_prompts
from gptdesk.comparison.quality import Pair, Quality, judge
from gptdesk.comparison.report import Report, study, summary_sentences
from gptdesk.comparison.table import report_table
from gptdesk.comparison.verdict import divergence_sentence, summary, verdict
from models.checkpoint import About, save_checkpoint
from models.gpt import GPT, GPTConfig
from models.library import ModelLibrary
from models.manager import ModelKey, ModelManager
from models.tokenizer import Tokenizer, character_tokenizer

TEXT = "the cat sat on the mat and the dog sat on the cat. " * 8


@pytest.fixture(scope="module")
def manager(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> ModelManager:
    """`words`, `padded` with the same tokenizer and more rows, `letters` with another tokenizer."""
    folder = tmp_path_factory.mktemp("limits")
    letters = character_tokenizer("abcdefghijklmnopqrstuvwxyz .")
    kinds = {"words": (400, tokenizer), "padded": (448, tokenizer), "letters": (letters.vocab_size, letters)}
    for name, (vocab_size, own) in kinds.items():
        torch.manual_seed(5)
        model = GPT(GPTConfig(vocab_size=vocab_size, block_size=48, n_layer=1, n_head=2, n_embd=32))
        save_checkpoint(folder / "models" / name, model, tokenizer=own, about=About(source="a test"))
    return ModelManager(ModelLibrary(folder / "models", cache_folder=folder))


def keys(*models: str) -> list[ModelKey]:
    return [ModelKey.parse(model) for model in models]


def reported(manager: ModelManager, *models: str) -> Report:
    return only(
        study(manager, sides_of(asked("once", tokens=6), *models), text=TEXT, text_name="a text", repeats=1), Report
    )


def test_a_padded_vocabulary_leaves_the_perplexities(manager: ModelManager) -> None:
    found = only(judge(manager, keys("words", "padded"), TEXT), Quality)
    [pair] = found.pairs
    assert pair.perplexity_ratio == pytest.approx(found.evaluations[1].perplexity / found.evaluations[0].perplexity)
    assert (pair.closeness, pair.bits) == (None, None)
    assert pair.absent == "not compared token by token: their networks have 400 and 448 outputs"
    with pytest.raises(
        ValueError, match=r"^the models are not compared token by token: their networks have 400 and 448"
    ):
        heat_map(manager, (ModelKey("words"), ModelKey("padded")), TEXT)
    report = reported(manager, "words", "padded")
    assert report.quality is not None


def test_tokens_of_different_kinds_are_not_timed_against_each_other(manager: ModelManager) -> None:
    report = reported(manager, "words", "letters")
    [sentence] = summary_sentences(report)
    assert "faster" not in sentence
    assert "slower" not in sentence
    assert "bits a character against" in sentence
    [perplexity] = [line for line in report_table(report) if line.label == "Perplexity"]
    assert perplexity.cells[0]
    assert not perplexity.cells[1]
    assert "different tokenizers" in perplexity.notes[1]


def test_each_side_has_its_own_reason(manager: ModelManager) -> None:
    report = reported(manager, "words", "letters", "padded")
    [kl] = [line for line in report_table(report) if line.label == "KL divergence, mean"]
    assert "different tokenizers" in kl.notes[1]
    assert "outputs" in kl.notes[2]


def test_two_words_are_no_ground_for_a_verdict(manager: ModelManager) -> None:
    found = only(judge(manager, keys("words", "words:int8"), "the cat sat"), Quality)
    closeness = found.pairs[0].closeness
    assert closeness is not None
    assert verdict(closeness) == f"too little text to say ({closeness.reference.tokens} tokens)"


def test_a_judgement_that_fails_late_leaves_what_was_measured(manager: ModelManager, tmp_path: Path) -> None:
    stream = study(manager, sides_of(asked(tokens=3), "words", "words"), text=TEXT, text_name="a text", repeats=1)
    for event in stream:
        if isinstance(event, Stage) and event.text.startswith("reading"):
            break
    report = stream.throw(ValueError("the model went away"))
    assert isinstance(report, Report)
    assert (report.quality, report.text_name) == (None, "the model went away")
    assert report.measurement.timings[0].speed is not None


def test_without_common_luck_a_parting_proves_nothing() -> None:
    divergence = Divergence(3, 9, " a", " b", Chances(0.6, 0.1, 0.1, 0.6))
    assert divergence_sentence(divergence, "one", "two").endswith(
        "nearly equal chances on both sides, so the draw decided."
    )
    assert divergence_sentence(divergence, "one", "two", coupled=False).endswith(
        "The model gave “a” 60 % and “b” 10 %."
    )


def test_a_prompt_that_one_side_cannot_read_is_named_before_any_work(manager: ModelManager) -> None:
    stream = compare_prompts(manager, sides_of(asked(), "words", "letters"), ["the cat", "Caf\u00e9"])
    with pytest.raises(ValueError, match=r"^prompt 2 cannot be read by letters: the model knows 28 characters"):
        next(stream)


def test_a_list_tells_every_seed_and_holds_no_formulas(manager: ModelManager) -> None:
    sides = [*sides_of(asked(seed=5, tokens=2), "words"), *sides_of(asked(seed=77, tokens=2), "padded")]
    rows = [row for row in compare_prompts(manager, sides, ["=1+1"]) if isinstance(row, PromptResult)]
    document = prompts_document(sides, rows)
    assert "words 5" in document.notes[0] or "float32 5" in document.notes[0]
    assert "77" in document.notes[0]
    assert "\n'=1+1," in as_csv(document).decode("utf-8-sig").replace("\r", "")


def test_nothing_known_is_said_so() -> None:
    assert summary("int8", None, None, Pair(None, None, None, None)) == "int8: nothing was measured"
