"""Token heat map: KL divergences that add up to the summary, and the most likely tokens."""

import math
from pathlib import Path

import pytest
import torch
from comparison_checks import only
from transformers import GPT2LMHeadModel

from gptdesk.comparison.heat_map import heat_map
from gptdesk.comparison.quality import OTHER_TOKENS, Quality, judge
from models.library import ModelLibrary
from models.manager import ModelKey, ModelManager

LINE = "Once upon a time, a fox met a bear. They went for a walk, and it rained all day long."


def test_the_strip_shows_what_was_summed_up(manager: ModelManager, folder: Path) -> None:
    keys = ModelKey("whole"), ModelKey("damaged")
    text = LINE * 14
    first = heat_map(manager, keys, text)
    parts = [heat_map(manager, keys, text, number=number) for number in range(first.of)]
    assert parts[0] == first
    assert first.of > 1
    shown = first.first + "".join(token.text for part in parts for token in part.tokens)
    assert shown == text
    found = only(judge(manager, keys, text), Quality).pairs[0].closeness
    assert found is not None
    tokens = [token for part in parts for token in part.tokens]
    assert len(tokens) == found.reference.tokens
    assert sum(token.kl for token in tokens) / len(tokens) == pytest.approx(found.kl_mean, rel=1e-9)
    assert math.exp(-sum(math.log(token.candidate) for token in tokens) / len(tokens)) == pytest.approx(
        found.candidate.perplexity, rel=1e-9
    )


def test_the_strip_lists_what_each_model_expected(manager: ModelManager, folder: Path) -> None:
    found = heat_map(manager, (ModelKey("whole"), ModelKey("damaged")), LINE)
    tokenizer = manager.library.tokenizer("whole")
    ids = torch.tensor([tokenizer.encode(LINE)])
    for name, side in (("whole", "reference"), ("damaged", "candidate")):
        with torch.inference_mode():
            network = GPT2LMHeadModel.from_pretrained(folder / name).eval()
            p = network(ids[:, :-1]).logits[0].double().softmax(1)
        for place, token in enumerate(found.tokens):
            likely, best = p[place].topk(5)
            top = getattr(token, f"{side}_top")
            assert [text for text, _ in top] == [tokenizer.decode([int(i)]) for i in best]
            assert [share for _, share in top] == pytest.approx(likely.tolist(), rel=1e-3)
            assert getattr(token, side) == pytest.approx(float(p[place, ids[0, place + 1]]), rel=1e-3)


def test_the_strip_is_as_long_as_wanted(manager: ModelManager) -> None:
    keys = ModelKey("whole"), ModelKey("twin")
    assert len(heat_map(manager, keys, LINE * 20, longest=10).tokens) == 10
    assert len(heat_map(manager, keys, LINE * 20).tokens) == 256
    assert len(heat_map(manager, (keys[0], ModelKey("tiny")), LINE * 20).tokens) == 48
    assert all(token.kl == 0 for token in heat_map(manager, keys, LINE).tokens)


def test_what_has_no_strip_is_one_sentence(manager: ModelManager, folder: Path) -> None:
    keys = ModelKey("whole"), ModelKey("twin")
    for number, told in ((1, 2), (-1, 0)):
        with pytest.raises(ValueError, match=f"^the text has the parts 1 to 1, not {told}$"):
            heat_map(manager, keys, LINE, number=number)
    with pytest.raises(ValueError, match=f"^{OTHER_TOKENS}$"):
        heat_map(manager, (keys[0], ModelKey("letters")), LINE)
    short = ModelManager(ModelLibrary(folder, cache_folder=folder.parent / "cache"), memory_budget=10_000_000)
    with pytest.raises(ValueError, match=r"^the models are not compared token by token: they do not fit"):
        heat_map(short, keys, LINE)
