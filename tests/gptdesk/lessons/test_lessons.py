"""Lessons and Shannon's game: their answers are those of the models, computed another way."""

import math
import random
import re
from collections import Counter

import pytest
import torch

from gptdesk.anatomy.network import given_tokens, lend_network
from gptdesk.anatomy.view import look_inside
from gptdesk.desk import Desk
from gptdesk.lessons import LESSONS, attention, overfitting, temperature, top_k_top_p
from gptdesk.lessons.material import story_beginning
from gptdesk.lessons.shannon import COUNTED, Game, guess, new_game
from gptdesk.lessons.tasks import ChoiceTask, NumberTask
from gptdesk.settings import Settings
from gptdesk.starter.stories import generate_stories, stories
from models.checkpoint import Checkpoint
from models.manager import ModelKey


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return Desk(Settings(home=tmp_path_factory.mktemp("home")))


@pytest.fixture(scope="module")
def starter(desk: Desk) -> Checkpoint:
    return desk.library.checkpoint("starter")


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.name)
def test_each_lesson_has_three_tasks_with_one_right_answer(
    desk: Desk, lesson: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overfitting, "STEPS", 48)
    tasks = lesson.make(desk.manager, random.Random(5))  # type: ignore[attr-defined]
    assert len(tasks) == 3
    for task in tasks:
        if isinstance(task, ChoiceTask):
            assert [task.check(option.label).right for option in task.options].count(True) == 1
            assert len({option.label for option in task.options}) == len(task.options) >= 2
            wrong = [verdict for option in task.options if not (verdict := task.check(option.label)).right]
            assert all(re.search(r"\d", verdict.reply) for verdict in wrong), "a figure, which does not answer it"
            assert not any(verdict.passages for verdict in wrong)
            with pytest.raises(ValueError, match="choose one"):
                task.check(None)
        else:
            assert task.check(task.answer).right
            assert not task.check(task.answer + task.within + 1).right
            for wrong in (None, math.nan, True):
                with pytest.raises(ValueError, match="type one"):
                    task.check(wrong)


def test_answers_are_those_of_the_network(desk: Desk, starter: Checkpoint) -> None:
    network, tokenizer = starter.load_model(), starter.load_tokenizer()

    def distribution(text: str, heat: float = 1.0) -> torch.Tensor:
        with torch.inference_mode():
            logits = network(torch.tensor([tokenizer.encode(text)]))[0, -1] / heat
        return logits.softmax(0).sort(descending=True).values

    hottest, sharpened, at_zero = temperature.LESSON.make(desk.manager, random.Random(8))
    assert isinstance(sharpened, NumberTask)
    assert sharpened.answer == pytest.approx(100 * float(distribution(sharpened.passages[0][1], 0.5)[0]), abs=0.5)
    assert isinstance(at_zero, ChoiceTask)
    verdict = at_zero.check("All")
    assert verdict.right
    (_, one), (_, other) = verdict.passages
    assert one == other
    assert one.startswith(at_zero.question.partition("“")[2].partition("”")[0])  # the beginning as it is read
    assert isinstance(hottest, ChoiceTask)
    assert len({text for _, text in hottest.passages}) == 3

    kept, lost, _ = top_k_top_p.LESSON.make(desk.manager, random.Random(8))
    assert isinstance(kept, NumberTask)
    mass = distribution(kept.passages[0][1]).cumsum(0)
    assert kept.answer == int((mass < 0.5).sum()) + 1
    assert isinstance(lost, ChoiceTask)
    first, second = (float(distribution(text)[5:].sum()) for _, text in lost.passages)
    assert lost.check("Text A").right == (first > second)


def test_a_game_counts_the_bits_of_player_starter_and_unigram(desk: Desk, starter: Checkpoint) -> None:
    game = new_game(desk.manager, random.Random(3))
    assert isinstance(game, Game)
    network, tokenizer = starter.load_model(), starter.load_tokenizer()
    before, word = game.shown, game.story[slice(*game.places[0])]
    assert before.endswith(" ")
    assert game.story.startswith(before + word)
    given, ids = tokenizer.encode(before[:-1]), tokenizer.encode(f" {word}")
    with torch.inference_mode():
        logprobs = network(torch.tensor([given + ids]))[0].log_softmax(-1)
    nats = -sum(float(logprobs[len(given) - 1 + i, token]) for i, token in enumerate(ids))
    spoken = "\n".join(stories(77, COUNTED))
    counts = Counter(one.lower() for one in re.findall(r"(?<= )[A-Za-z]+", spoken))

    right, wrong = guess(game, word.upper(), 0.9), guess(game, "zzz", 0.9)
    (made,), (missed,) = right.guesses, wrong.guesses
    assert made.right
    assert not missed.right
    assert made.starter == missed.starter == pytest.approx(nats / math.log(2), abs=1e-3)
    assert made.player == pytest.approx(-math.log2(0.9))
    share = (counts[word.lower()] + 1) / (counts.total() + len(counts) + 1)
    assert made.unigram == pytest.approx(-math.log2(share))
    with desk.manager.lend(ModelKey("starter", "int4")) as loaded, torch.inference_mode():
        logprobs = loaded.model(torch.tensor([given + ids]))[0].float().log_softmax(-1)
    int4 = -sum(float(logprobs[len(given) - 1 + i, token]) for i, token in enumerate(ids)) / math.log(2)
    assert made.int4 == pytest.approx(int4, abs=1e-3)
    assert made.int4 != made.starter
    seed = random.Random(3).randrange(10_000, 1_000_000)
    told = next(one for one in generate_stories(seed, 100) if one.text == game.story)
    assert game.floor * len(game.story.split()) == pytest.approx(told.nats / math.log(2))
    assert missed.player > missed.unigram
    assert right.shown.startswith(before + word)


def test_what_a_head_looks_at_may_be_one_token_before(desk: Desk) -> None:
    replies = []
    with lend_network(desk.manager, "starter") as lent:
        for seed in range(12):
            text = story_beginning(random.Random(seed), words=24)
            view = look_inside(lent, given_tokens(lent, text))
            task = attention._looks_at(lent, view, text, random.Random(seed))
            assert isinstance(task, ChoiceTask)
            replies += [option.reply for option in task.options if option.right]
    assert any(reply.endswith(", 1 token before.") for reply in replies)
    assert any(reply.endswith(" tokens before.") for reply in replies)
    assert not any(", 1 tokens" in reply for reply in replies)


def test_what_is_no_guess_is_one_sentence(desk: Desk) -> None:
    game = new_game(desk.manager, random.Random(3))
    for word, sure, words in ((" ", 0.5, "type one"), ("a" * 41, 0.5, "at most 40"), ("a", 0.2, "how sure")):
        with pytest.raises(ValueError, match=words):
            guess(game, word, sure)
    while not game.over:
        game = guess(game, "the", 0.1)
    with pytest.raises(ValueError, match="over"):
        guess(game, "the", 0.1)
    assert game.shown == game.story
