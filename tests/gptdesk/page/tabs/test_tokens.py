"""Tokens view without a browser: what it says of a picked token."""

import pytest
import torch

from gptdesk.generation import GenerationRequest
from gptdesk.inspection import TextFigures
from gptdesk.page.tabs.generate.tokens.explaining import CONSTRAINED, heading, next_token_table
from gptdesk.page.tabs.generate.tokens.opened_texts import OpenText, Place, Written
from models.manager import ModelKey
from models.tokenizer import character_tokenizer
from samplers import default_chain

KEY, TOKENIZER, CHAIN = ModelKey("a"), character_tokenizer("abcdefgh"), default_chain()


def picked(index: int, *, context: int = 8, **constraints: object) -> OpenText:
    """Return the text "abcd", whose last two tokens were drawn, with a place picked."""
    logits = torch.randn(1, TOKENIZER.vocab_size, generator=torch.Generator().manual_seed(0))
    tokens = tuple(TOKENIZER.encode("abcd"))
    written = Written(KEY, GenerationRequest(prompt="ab", **constraints), 1, 0, 0, "abcd", tokens[2:])
    return OpenText(0, KEY, tokens, 0, 2, written, TextFigures(()), context, Place(index, logits))


def test_a_drawn_token_has_flip_points_and_one_of_the_prompt_has_none() -> None:
    assert "this seed" in heading(picked(3), CHAIN, TOKENIZER)
    given = heading(picked(1), CHAIN, TOKENIZER)
    assert "this seed" not in given
    assert "<li>" not in given


@pytest.mark.parametrize(
    "constraints",
    [{"banned_phrases": ("f",)}, {"choices": ("cd",)}, {"word_bias": {"d": 2.0}}],
    ids=["banned phrases", "choices", "word bias"],
)
@pytest.mark.parametrize("index", [2, 3, 4])
def test_a_token_drawn_under_constraints_has_one_sentence_instead(constraints: dict[str, object], index: int) -> None:
    opened = picked(index, **constraints)
    said = heading(opened, CHAIN, TOKENIZER)
    assert said.count("<li>") == 1
    assert CONSTRAINED in said
    assert "this seed draws it now" not in next_token_table(opened, CHAIN, TOKENIZER)
    assert CONSTRAINED not in heading(picked(1, **constraints), CHAIN, TOKENIZER)  # of the prompt


def test_what_comes_next_after_a_full_context_is_explained_from_its_last_tokens() -> None:
    opened = picked(4, context=3)
    assert opened.before(4) == opened.tokens[1:]
    said = heading(opened, CHAIN, TOKENIZER)
    assert "after the last 3 tokens" in said
    assert said.count("<li>") == 1
    table = next_token_table(opened, CHAIN, TOKENIZER)
    assert 'scope="row"' in table
    assert "this seed draws it now" not in table
    assert "What comes next" in said
    assert picked(3, context=3).before(3) == opened.tokens[:3]
    assert "longer than the model" not in heading(picked(3, context=3), CHAIN, TOKENIZER)
