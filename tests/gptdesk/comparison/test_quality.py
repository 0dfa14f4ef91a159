"""Quality on a text: as computed by `transformers`, identical for identical models, worse for damaged ones."""

import json
import logging
import math
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from comparison_checks import GREEDY, asked, only, sides_of, written
from transformers import GPT2LMHeadModel

from gptdesk.comparison import Stage
from gptdesk.comparison.divergence import diverge
from gptdesk.comparison.quality import GREEDY_TOKENS, MOST_CHARACTERS, OTHER_TOKENS, Quality, judge
from gptdesk.comparison.report import quality_json
from gptdesk.comparison.verdict import band, is_identical, verdict
from gptdesk.evaluation import Closeness
from gptdesk.starter import CHECKPOINT
from gptdesk.starter.stories import stories
from gptdesk.text_windows import text_windows
from models.checkpoint import About, Checkpoint, save_checkpoint
from models.library import ModelLibrary
from models.manager import ModelKey, ModelManager
from models.precision import PRECISIONS
from models.tokenizer import END_OF_TEXT, Tokenizer

TEXT = f"\n{END_OF_TEXT}\n".join(stories(2_000_000_012, 6))


def judged(manager: ModelManager, *models: str, text: str = TEXT) -> Quality:
    return only(judge(manager, [ModelKey.parse(model) for model in models], text), Quality)


def close(quality: Quality, i: int = 1) -> Closeness:
    found = quality.pairs[i - 1].closeness
    assert found is not None
    return found


def without_speech(text: str) -> str:
    """Reduce the text to characters in LETTERS."""
    return "".join(c for c in text.replace(END_OF_TEXT, "") if c in "abcdefghijklmnopqrstuvwxyz .,\n")


# What is judged


@pytest.fixture(scope="module")
def quality(manager: ModelManager) -> Quality:
    """Judge the whole model beside a damaged copy and an int8 copy."""
    return judged(manager, "whole", "damaged", "whole:int8")


def test_perplexity_is_that_of_transformers(quality: Quality, folder: Path) -> None:
    rows = text_windows(TEXT, Tokenizer.load(CHECKPOINT), context=quality.context)
    assert quality.context == 256
    counts = [len(row) - 1 for row in rows]
    for name, found in zip(("whole", "damaged"), quality.evaluations, strict=False):
        theirs = GPT2LMHeadModel.from_pretrained(folder / name).eval()
        losses = []
        with torch.inference_mode():
            for row in rows:  # they want the last token read, too, which in a full window is one too many
                logits = theirs(row[None, :-1]).logits
                losses.append(
                    theirs.loss_function(logits, None, theirs.config.vocab_size, shift_labels=row[None, 1:]).item()
                )
        assert found.tokens == sum(counts) > 500
        assert found.perplexity == pytest.approx(math.exp(np.average(losses, weights=counts)), rel=1e-4)
        assert found.bits_per_character is not None
        characters = len(TEXT.replace(f"\n{END_OF_TEXT}\n", "")) - len(
            Tokenizer.load(CHECKPOINT).decode([int(rows[0][0])])
        )
        nats = math.log(found.perplexity) * found.tokens
        assert found.bits_per_character == pytest.approx(nats / math.log(2) / characters, rel=1e-6)


def test_a_damaged_layer_is_reported_as_worse(quality: Quality) -> None:
    damaged, int8 = close(quality, 1), close(quality, 2)
    assert damaged.perplexity_ratio - 1 > 4 * damaged.perplexity_ratio_se > 0
    assert damaged.kl_mean > 10 * int8.kl_mean > 0
    assert damaged.same_top1 < int8.same_top1 < 1
    assert damaged.top5_overlap < int8.top5_overlap
    assert band(int8.kl_mean) == "negligible"
    assert verdict(int8) == "practically the same"
    assert verdict(damaged) == f"a {band(damaged.kl_mean)} difference, for the worse"
    assert quality.pairs[0].perplexity_ratio == pytest.approx(
        quality.evaluations[1].perplexity / quality.evaluations[0].perplexity
    )
    first = [pair.first_divergence for pair in quality.pairs]
    assert first[0] is not None
    assert first[0] < (first[1] or GREEDY_TOKENS)


def test_a_damaged_layer_shows_where_the_texts_part(manager: ModelManager, folder: Path) -> None:
    """At the first token whose most likely continuation differs, found by reading afresh with `transformers`."""
    networks = [GPT2LMHeadModel.from_pretrained(folder / name).eval() for name in ("whole", "damaged")]
    for prompt in ("Once", "The fox"):
        sides = sides_of(asked(prompt, chain=GREEDY, tokens=60), "whole", "damaged")
        (found,) = diverge(manager, sides, [written(manager, side) for side in sides])
        ids, best = manager.library.tokenizer("whole").encode(prompt), [0, 0]
        start = len(ids)
        while best[0] == best[1] and len(ids) < start + 60:
            with torch.inference_mode():
                best = [int(network(torch.tensor([ids])).logits[0, -1].argmax()) for network in networks]
            ids.append(best[0])
        assert best[0] != best[1]
        assert found.same == len(ids) - 1 - start
        tokenizer = manager.library.tokenizer("whole")
        assert (found.reference, found.candidate) == (tokenizer.decode(best[:1]), tokenizer.decode(best[1:]))


@pytest.mark.parametrize("other", ["whole", "twin"])
def test_a_model_is_identical_to_itself_and_to_its_copy(manager: ModelManager, other: str) -> None:
    quality = judged(manager, "whole", other, text=TEXT[:2000])
    found = close(quality)
    assert (found.kl_mean, found.kl_max, found.perplexity_ratio, found.same_top1) == (0, 0, 1, 1)
    assert is_identical(found)
    assert verdict(found) == "identical: not one probability differs"
    assert (quality.pairs[0].first_divergence, quality.pairs[0].absent) == (None, None)


def test_one_model_alone(manager: ModelManager, quality: Quality) -> None:
    alone = judged(manager, "whole")
    assert alone.evaluations == quality.evaluations[:1]
    assert alone.pairs == ()


def test_the_shortest_context_holds_for_all(manager: ModelManager) -> None:
    quality = judged(manager, "whole", "tiny", text=TEXT[:2000])
    assert quality.context == 48
    assert quality.evaluations[0].tokens == quality.evaluations[1].tokens
    assert judged(manager, "whole", text=TEXT[:2000]).context == 256


def test_different_tokenizers_are_compared_by_characters_only(manager: ModelManager) -> None:
    text = without_speech(TEXT)[:3000]
    quality = judged(manager, "whole", "letters", text=text)
    (pair,) = quality.pairs
    assert pair.absent == OTHER_TOKENS
    assert (pair.closeness, pair.perplexity_ratio, pair.perplexity_ratio_se, pair.first_divergence) == (None,) * 4
    assert [one.tokens for one in quality.evaluations][1] == len(text) - 1
    bits = [one.bits_per_character for one in quality.evaluations]
    assert bits[0] is not None
    assert bits[1] is not None
    assert 0 < bits[0] < 4 < bits[1]
    assert bits[1] == pytest.approx(math.log2(quality.evaluations[1].perplexity))


def test_models_that_do_not_fit_together_have_the_same_ratio_but_no_kl(folder: Path, manager: ModelManager) -> None:
    config = Checkpoint.open(folder / "whole").config
    budget = 2 * PRECISIONS["float32"].memory_bytes(config) - 1
    short = ModelManager(ModelLibrary(folder, cache_folder=folder.parent / "cache"), memory_budget=budget)
    (together,), (apart,) = (judged(m, "whole", "damaged", text=TEXT[:2500]).pairs for m in (manager, short))
    assert apart.closeness is None
    assert apart.perplexity_ratio == pytest.approx(together.perplexity_ratio, rel=1e-9)
    assert apart.perplexity_ratio_se == pytest.approx(together.perplexity_ratio_se, rel=1e-9)
    assert apart.absent is not None
    assert apart.absent.startswith("not compared token by token: they do not fit the memory budget of ")
    assert apart.first_divergence == together.first_divergence


def test_models_that_do_not_fit_together_are_loaded_a_few_times(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Once each to read the text, to write and for the probabilities: not once for every beginning of the text."""
    config = Checkpoint.open(folder / "tiny").config
    budget = 2 * PRECISIONS["float32"].memory_bytes(config) - 1
    shutil.copytree(folder / "tiny", folder / "tiny-twin", dirs_exist_ok=True)
    save_damaged_table(folder / "tiny", folder / "tiny-twin")
    short = ModelManager(ModelLibrary(folder, cache_folder=folder.parent / "cache"), memory_budget=budget)
    with caplog.at_level(logging.INFO, logger="models"):
        judged(short, "tiny", "tiny-twin", text=TEXT[:2500])
    assert sum(record.message.startswith("loaded") for record in caplog.records) <= 6


def save_damaged_table(original: Path, path: Path) -> None:
    model = Checkpoint.open(original).load_model()
    with torch.no_grad():
        model.get_parameter("wpe.weight").mul_(-5)
    save_checkpoint(path, model, tokenizer=Tokenizer.load(original), about=About())


def test_most_likely_texts_begin_as_the_text_does(manager: ModelManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """Check that an end-of-text token between texts is not encoded as thirteen characters."""
    from gptdesk.comparison import quality as judging

    prompts: list[str] = []
    whole = judging.compare_prompts

    def watched(manager: ModelManager, sides: list, texts: list[str], **options: object) -> object:
        prompts.extend(texts)
        return whole(manager, sides, texts, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(judging, "compare_prompts", watched)
    judged(manager, "whole", "whole:int8")
    assert 3 <= len(prompts) <= 7
    assert not any(END_OF_TEXT in prompt for prompt in prompts)
    assert all(prompt.strip() in TEXT for prompt in prompts)


# Stop and bad texts


@pytest.mark.parametrize("after", [1, 2, 5])
@pytest.mark.parametrize("models", [("whole",), ("whole", "damaged"), ("whole", "letters")])
def test_judging_can_be_stopped(manager: ModelManager, models: tuple[str, ...], after: int) -> None:
    stop, events = threading.Event(), []
    for event in judge(manager, [ModelKey(name) for name in models], without_speech(TEXT), stop=stop):
        events.append(event)
        if len(events) == after:
            stop.set()
    assert len(events) == after
    assert all(isinstance(event, Stage) for event in events)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "^the evaluation text is empty; give at least a few sentences$"),
        (" \n\t ", "^the evaluation text is empty"),
        ("A", r"^the text is too short \(tokens: 1, at least 2 are needed\); give a longer one$"),
        ("A fox", r"^the text is too short \(tokens scored: 1, at least 2 are needed\); give a longer one$"),
        (END_OF_TEXT, r"^the text is too short \(tokens: 0, at least 2 are needed\); give a longer one$"),
        ("x" * (MOST_CHARACTERS + 1), "^the evaluation text has 20,000,001 characters, and at most 20,000,000 are"),
    ],
    ids=["empty", "blank", "one", "two", "end", "long"],
)
def test_a_text_that_judges_nobody(manager: ModelManager, text: str, sentence: str) -> None:
    for models in (["whole"], ["whole", "damaged"]):
        with pytest.raises(ValueError, match=sentence):
            judged(manager, *models, text=text)


def test_a_character_that_a_model_does_not_know(manager: ModelManager) -> None:
    with pytest.raises(ValueError, match=r"these are not among them: 'ß', '€'$"):
        judged(manager, "whole", "letters", text="Once ß upon a € time")


@pytest.fixture(scope="module")
def wild(manager: ModelManager, folder: Path) -> Quality:
    """Judge a model beside one that gives every token of the text probability 0."""
    model = Checkpoint.open(folder / "tiny").load_model()
    with torch.no_grad():
        model.get_parameter("ln_f.weight").mul_(1e5)
    save_checkpoint(folder / "wild", model, tokenizer=Tokenizer.load(CHECKPOINT), about=About())
    return judged(manager, "tiny", "wild", text=TEXT[:1000])


def test_an_infinite_perplexity_is_for_the_worse(wild: Quality) -> None:
    assert wild.evaluations[1].perplexity == math.inf
    assert close(wild).kl_mean > 100
    assert verdict(close(wild)) == "a large difference, for the worse"


def test_an_infinite_perplexity_has_figures_that_json_can_hold(wild: Quality) -> None:
    json.dumps(quality_json(wild, 1), allow_nan=False)
