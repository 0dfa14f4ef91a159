"""A text becomes windows that score each token once, document by document; what has no figures is refused."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from gptdesk.evaluation import closeness, compare, evaluation, score
from gptdesk.text_windows import text_windows, windows
from models.tokenizer import Tokenizer, character_tokenizer


def fair(sides: int) -> Callable[[Tensor], Tensor]:
    """A model that finds each of its tokens equally likely."""
    return lambda tokens: torch.zeros(1, tokens.shape[1], sides)


@pytest.mark.parametrize("count", [2, 5, 6, 7, 11, 12, 50])
def test_windows_score_every_token_but_the_first_once(count: int) -> None:
    rows = windows(list(range(count)), 5)
    assert torch.cat([row[1:] for row in rows]).tolist() == list(range(1, count))
    assert all(2 <= len(row) <= 6 for row in rows)
    assert [row[0] for row in rows[1:]] == [row[-1] for row in rows[:-1]]


def test_windows_begin_anew_at_every_document(tokenizer: Tokenizer) -> None:
    end = tokenizer.end_of_text
    assert end is not None
    one, two = tokenizer.encode("One day.\n\nIt rained."), tokenizer.encode("Two")
    text = "One day.\n\nIt rained.\n<|endoftext|>\n<|endoftext|>\nTwo"
    rows = text_windows(text, tokenizer, context=64)
    assert [row.tolist() for row in rows] == [[*one, end], [end, *two]]
    ended = text_windows(f"<|endoftext|>\n{text}\n<|endoftext|>\n", tokenizer, context=64)
    assert [row.tolist() for row in ended] == [[end, *one, end], [end, *two, end]]


def test_a_text_that_only_mentions_the_end_of_text_is_one_document(tokenizer: Tokenizer) -> None:
    text = "a <|endoftext|>\n<|endoftext|> b\n"
    assert [row.tolist() for row in text_windows(text, tokenizer, context=64)] == [tokenizer.encode(text)]


def test_documents_without_an_end_of_text_token_are_only_kept_apart() -> None:
    tokenizer = character_tokenizer("abc")
    rows = text_windows("ab\n<|endoftext|>\nc\n<|endoftext|>\nca", tokenizer, context=8)
    assert [row.tolist() for row in rows] == [[0, 1], [2, 0]]  # nothing can be scored in a document of one token


def test_figures_per_character_count_characters_and_bytes(tokenizer: Tokenizer) -> None:
    text = "so träge: 猫, 5 €"
    rows = text_windows(f"<|endoftext|>\n{text}\n<|endoftext|>\n", tokenizer, context=64)
    found = evaluation(score(fair(400), rows), tokenizer)
    tokens = len(tokenizer.encode(text)) + 1  # and the end
    assert found.tokens == tokens
    assert found.nats_per_character == pytest.approx(tokens * math.log(400) / len(text))
    assert found.bits_per_character == pytest.approx(tokens * math.log2(400) / len(text))
    assert found.bits_per_byte == pytest.approx(tokens * math.log2(400) / len(text.encode()))


def test_the_first_character_is_not_counted_when_it_is_not_scored() -> None:
    tokenizer = character_tokenizer("abcdé")
    rows = text_windows("éabcdé", tokenizer, context=2)
    found = closeness(compare(fair(5), fair(5), rows), tokenizer)
    assert found.reference.bits_per_character == pytest.approx(math.log2(5))
    assert found.candidate.bits_per_byte == pytest.approx(math.log2(5) * 5 / 6)


def test_a_text_of_nothing_but_ends_has_no_characters(tokenizer: Tokenizer) -> None:
    end = tokenizer.end_of_text
    assert end is not None
    found = evaluation(score(fair(400), windows([end] * 4, 3)), tokenizer)
    assert (found.tokens, found.nats_per_character, found.bits_per_byte) == (3, None, None)


@pytest.mark.parametrize("tokens", [[], [7]])
def test_a_text_with_nothing_to_score_is_refused(tokens: list[int]) -> None:
    with pytest.raises(ValueError, match=f"too short .tokens: {len(tokens)},"):
        windows(tokens, 16)


@pytest.mark.parametrize(("text", "count"), [("", 0), ("a", 1), ("\n<|endoftext|>\n", 0), ("a\n<|endoftext|>\nb", 1)])
def test_a_text_file_with_nothing_to_score_is_refused(text: str, count: int) -> None:
    with pytest.raises(ValueError, match=f"too short .tokens: {count},"):
        text_windows(text, character_tokenizer("ab"), context=16)


def test_a_single_scored_token_has_no_figures() -> None:
    with pytest.raises(ValueError, match="tokens scored: 1, at least 2"):
        evaluation(score(fair(40), windows([1, 2], 16)))
    with pytest.raises(ValueError, match="tokens scored: 1, at least 2"):
        closeness(compare(fair(40), fair(40), windows([1, 2], 16)))
    with pytest.raises(ValueError, match="tokens scored: 0, at least 2"):
        closeness([])


def test_a_model_that_knows_nothing_has_the_perplexity_of_a_fair_die() -> None:
    found = evaluation(score(fair(6), windows([0, 5, 2, 3], 2)))
    assert (found.tokens, found.perplexity) == (3, pytest.approx(6))
    assert found.nats_per_token_se == pytest.approx(0, abs=1e-12)
    assert (found.nats_per_character, found.bits_per_character, found.bits_per_byte) == (None, None, None)


def test_models_of_other_vocabularies_are_refused() -> None:
    with pytest.raises(ValueError, match="the reference knows 2 tokens, the candidate 3"):
        closeness(compare(fair(2), fair(3), windows([0, 1, 0], 16)))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_model_that_gives_no_numbers_is_refused(bad: float) -> None:
    def broken(tokens: Tensor) -> Tensor:
        logits = torch.zeros(1, tokens.shape[1], 2)
        logits[0, -1, 0] = bad
        return logits

    fine, rows = fair(2), windows([0, 1, 0], 16)
    with pytest.raises(ValueError, match="the model gives no usable prediction"):
        list(score(broken, rows))
    with pytest.raises(ValueError, match="the reference gives no usable prediction"):
        list(compare(broken, fine, rows))
    with pytest.raises(ValueError, match="the candidate gives no usable prediction"):
        list(compare(fine, broken, rows))
