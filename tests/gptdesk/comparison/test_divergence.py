"""Divergence of two texts: position, tokens, and their probabilities under both models."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from comparison_checks import GREEDY, LETTERS, asked, save_tiny_family, sides_of, written
from transformers import GPT2LMHeadModel

from gptdesk.comparison import Side
from gptdesk.comparison.divergence import END, Chances, diverge, same_vocabulary
from gptdesk.generation import GenerationResult, generate
from models.checkpoint import Checkpoint
from models.library import ModelLibrary
from models.manager import ModelManager
from models.tokenizer import Tokenizer, character_tokenizer
from samplers import Chain


@pytest.fixture(scope="module")
def folder(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Path:
    return save_tiny_family(tiny_folder, tmp_path_factory.mktemp("parted"), tokenizer)


@pytest.fixture
def manager(folder: Path) -> ModelManager:
    return ModelManager(ModelLibrary(folder, cache_folder=folder.parent / "cache"))


def texts_of(manager: ModelManager, sides: list[Side]) -> list[GenerationResult]:
    return [written(manager, side) for side in sides]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_equal_models_write_the_same(manager: ModelManager, seed: int) -> None:
    sides = sides_of(asked(seed=seed), "tiny", "twin", "tiny")
    results = texts_of(manager, sides)
    for found in diverge(manager, sides, results):
        assert found.identical
        assert not found.cut_short
        assert (found.same, found.characters) == (len(results[0].tokens[0]), len(results[0].texts[0]))
        assert found.chances is None


@pytest.mark.parametrize("prompt", ["Once", "", "One day, the fox met a bear and they went for a walk. " * 9])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_probabilities_at_the_parting_are_those_of_a_fresh_forward(
    manager: ModelManager, folder: Path, tokenizer: Tokenizer, prompt: str, seed: int
) -> None:
    sides = sides_of(asked(prompt, seed=seed, tokens=30), "tiny", "damaged")
    results = texts_of(manager, sides)
    (found,) = diverge(manager, sides, results)
    ours, theirs = (result.tokens[0] for result in results)
    same = next(i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b)
    assert found.same == same
    assert (found.reference, found.candidate) == (_shown(ours[same], tokenizer), _shown(theirs[same], tokenizer))
    assert results[0].texts[0][: found.characters] == results[1].texts[0][: found.characters]
    assert found.characters == len(tokenizer.decode(ours[:same]))
    assert results[0].start is not None
    read = (tokenizer.encode(prompt) or [tokenizer.end_of_text])[-results[0].start.prompt_tokens :]
    ids = torch.tensor([[*read, *ours[:same]]])  # type: ignore[list-item]
    with torch.inference_mode():
        p = Checkpoint.open(folder / "tiny").load_model()(ids)[0, -1].double().softmax(0)
        q = GPT2LMHeadModel.from_pretrained(folder / "damaged").eval()(ids).logits[0, -1].double().softmax(0)
    a, b = ours[same], theirs[same]
    expected = Chances(float(p[a]), float(p[b]), float(q[b]), float(q[a]))
    assert found.chances is not None
    given = {name: vars(found.chances)[name] for name in vars(expected) if not name.endswith("cut")}
    assert given == pytest.approx({name: vars(expected)[name] for name in given}, rel=1e-3, abs=1e-7)


def _shown(token: int, tokenizer: Tokenizer) -> str:
    return END if token == tokenizer.end_of_text else tokenizer.decode([token])


def test_greedy_texts_part_where_the_most_likely_token_differs(manager: ModelManager, folder: Path) -> None:
    networks = [Checkpoint.open(folder / name).load_model() for name in ("tiny", "damaged")]
    differing = 0
    for prompt in ("Once", "The fox", "A bear", "One day"):
        sides = sides_of(asked(prompt, chain=GREEDY, tokens=40), "tiny", "damaged")
        (found,) = diverge(manager, sides, texts_of(manager, sides))
        assert found.same is not None
        ids = manager.library.tokenizer("tiny").encode(prompt)
        with torch.inference_mode():
            for place in range(found.same + (not found.identical)):
                best = [int(network(torch.tensor([ids]))[0, -1].argmax()) for network in networks]
                assert (best[0] == best[1]) == (place < found.same)
                ids.append(best[0])
        differing += not found.identical
    assert differing >= 2


def test_a_text_that_ends_before_the_other(manager: ModelManager, tokenizer: Tokenizer) -> None:
    sides = sides_of(asked(), "tiny", "twin")
    shorter = [sides[0], replace(sides[1], request=asked(tokens=10))]
    results = texts_of(manager, shorter)
    (found,) = diverge(manager, shorter, results)
    assert (found.same, found.candidate, found.chances) == (10, None, None)
    assert found.reference == tokenizer.decode(results[0].tokens[0][10:11])
    assert not found.identical
    (back,) = diverge(manager, shorter[::-1], results[::-1])
    assert (back.same, back.reference, back.candidate) == (10, None, found.reference)


@pytest.mark.parametrize("stopped", [0, 1])
def test_a_text_that_was_stopped_is_no_difference(manager: ModelManager, stopped: int) -> None:
    sides = sides_of(asked(), "tiny", "twin")
    results = texts_of(manager, sides)
    cut, stop = GenerationResult(1), threading.Event()
    with manager.lend(sides[stopped].key) as loaded:
        for event in generate(loaded, sides[stopped].request, stop=stop):
            cut.add(event)
            if len(cut.tokens[0]) == 4:
                stop.set()
    results[stopped] = cut
    (found,) = diverge(manager, sides, results)
    assert found.identical
    assert found.cut_short
    assert (found.same, found.chances) == (len(cut.tokens[0]), None)


def test_different_tokenizers_part_by_characters(manager: ModelManager) -> None:
    sides = sides_of(asked(), "tiny", "letters")
    results = texts_of(manager, sides)
    (found,) = diverge(manager, sides, results)
    ours, theirs = (result.texts[0] for result in results)
    assert (found.same, found.chances) == (None, None)
    at = found.characters
    assert ours[:at] == theirs[:at]
    assert ours[at : at + 1] != theirs[at : at + 1]
    assert (found.reference, found.candidate) == (ours[at : at + 12], theirs[at : at + 12])


def test_vocabularies_are_the_same_if_every_token_is(tokenizer: Tokenizer, folder: Path) -> None:
    assert same_vocabulary(tokenizer, Tokenizer.load(folder / "twin"))
    assert not same_vocabulary(tokenizer, LETTERS)
    assert not same_vocabulary(character_tokenizer("ab"), character_tokenizer("ac"))
    assert not same_vocabulary(character_tokenizer("ab"), character_tokenizer("abc"))


def test_a_token_that_a_side_left_out_names_its_sampler(manager: ModelManager) -> None:
    narrow = Chain.from_data([{"name": "temperature"}, {"name": "top_k", "top_k": 1}, {"name": "top_p", "top_p": 1.0}])
    sides = sides_of(asked("Once", chain=narrow), "tiny", "twin")
    sides[1] = replace(sides[1], request=asked("Once"))  # the same model, which may draw any token
    (found,) = diverge(manager, sides, texts_of(manager, sides))
    assert found.chances is not None
    assert found.chances.reference_other > 0
    assert (found.chances.reference_cut, found.chances.candidate_cut) == ("top_k", None)
    assert found.chances.same_model
    left = found.after_samplers
    assert left is not None
    assert (left.reference_own, left.reference_other) == (1, 0)  # top-k 1 leaves one token
    assert left.candidate_other > 0  # which the other side could draw


@pytest.mark.parametrize(
    ("chances", "expected"),
    [
        (Chances(0.62, 0.30, 0.31, 0.61), True),
        (Chances(0.62, 0.30, 0.31, 0.45), False),  # a factor of 1.4 between them about the first token
        (Chances(0.62, 0.30, 0.45, 0.61), False),  # and about the second
        (Chances(0.0003, 0.05, 0.04, 0.0001), False),  # three of ten thousand against one
        (Chances(0.5, 0.5, 0.5, 0.5), True),
        (Chances(0.5, 0.5, 0.5, 0.5, candidate_cut="top_p"), False),
    ],
)
def test_chances_are_nearly_equal_by_their_ratio(chances: Chances, expected: bool) -> None:
    assert chances.nearly_equal == expected
