"""Merges of byte-level BPE: they end at the tokens of the tokenizer."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer as HuggingFaceTokenizer

from gptdesk.anatomy.merges import merge_steps
from models import bpe
from models.tokenizer import Tokenizer, character_tokenizer
from models.tokenizer_files import TokenizerFiles
from models.tokenizer_folder import BackendTokenizer

TEXTS = ("Once upon a time", "  the\n\nproud hedgehog's 1,234 käse 🙂", "")


@pytest.mark.parametrize("text", TEXTS)
def test_merges_end_at_the_tokens(tokenizer: Tokenizer, text: str, tiny_folder: Path) -> None:
    # the same vocabulary, encoded by the other library
    files = TokenizerFiles.read(tiny_folder / "tiny")
    backend = BackendTokenizer(files, files.backend())
    for one in (tokenizer, backend):
        words = merge_steps(one, text)
        assert [part for word in words for part in word.parts] == [one.token_bytes(i) for i in one.encode(text)]
        for word in words:
            before = word.letters
            for step in word.steps:
                joined = before[step.joined] + before[step.joined + 1]
                assert step.parts == (*before[: step.joined], joined, *before[step.joined + 2 :])
                before = step.parts


def test_numbers_are_those_of_the_merges(tokenizer: Tokenizer) -> None:
    merges = HuggingFaceTokenizer.from_str(tokenizer.to_huggingface().to_str())
    assert merges.get_vocab_size() == tokenizer.vocab_size
    (word,) = merge_steps(tokenizer, "the")
    for step in word.steps:
        made = step.parts[step.joined]
        # ids: 256 bytes, then the merges in order
        assert tokenizer.id_of(bpe.to_text(made)) == 255 + step.number


def test_what_cannot_be_shown_is_one_sentence(tokenizer: Tokenizer) -> None:
    with pytest.raises(ValueError, match="nothing to merge"):
        merge_steps(character_tokenizer("abc"), "abc")
    with pytest.raises(ValueError, match="200 at most"):
        merge_steps(tokenizer, "a" * 201)
