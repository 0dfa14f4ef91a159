"""Tokenizers: GPT-2's BPE, BPE trained on a corpus, and plain characters.

tiktoken does the encoding, the `tokenizers` library the training and the file format, so that a saved tokenizer
opens in `transformers` with equal ids. Text is never searched for special tokens: a user who types "<|endoftext|>"
gets the tokens of those thirteen characters.
"""

import codecs
import itertools
import random
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import tiktoken
from tiktoken_ext.openai_public import r50k_pat_str as GPT2_PATTERN  # type: ignore[import-untyped]
from tokenizers import Regex, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as HuggingFaceTokenizer

from models import bpe, storage
from models.download import gpt2_merges_file

Kind = Literal["gpt2", "bpe", "characters"]

END_OF_TEXT = "<|endoftext|>"
# the bytes of an id outside the vocabulary: models may have more rows than tokens
UNKNOWN = "\ufffd".encode()
FILE_LIMIT = 64_000_000  # bytes
SAMPLE = 200_000  # characters of a corpus on which a trained tokenizer is checked

# what Rust's \s matches: before a word, GPT2_PATTERN goes back by one over a run of these, and overflows its stack on
# runs of a million
_LONG_SPACE = re.compile("[\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]{1000,}")


class Tokenizer(ABC):
    """Interface of a tokenizer. Ids run from 0 to vocab_size - 1."""

    kind: Kind
    vocab_size: int
    end_of_text: int | None  # the id that separates documents, if there is one

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`; raises ValueError if a tokenizer of characters does not know one."""

    @abstractmethod
    def token_bytes(self, token: int) -> bytes:
        """Return the UTF-8 bytes of one id, maybe only a part of a character; those of U+FFFD for an unknown id."""

    @abstractmethod
    def _to_huggingface(self) -> HuggingFaceTokenizer: ...

    def decode(self, tokens: Iterable[int]) -> str:
        """Return the text of `tokens`, with U+FFFD where their bytes are no valid UTF-8."""
        return b"".join(map(self.token_bytes, tokens)).decode("utf-8", "replace")

    def stream(self) -> "StreamDecoder":
        """Return a decoder for tokens that arrive one at a time."""
        return StreamDecoder(self)

    def save(self, folder: Path, *, context: int | None = None) -> None:
        """Write tokenizer.json and tokenizer_config.json into `folder`; `context` is the model's, in tokens."""
        end = None if self.end_of_text is None else END_OF_TEXT
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast" if end is None else "GPT2Tokenizer",
            "bos_token": end,
            "eos_token": end,
            "unk_token": end,
            "add_prefix_space": False,
            "clean_up_tokenization_spaces": False,
        } | ({} if context is None else {"model_max_length": context})
        storage.write_file(folder / "tokenizer.json", self._to_huggingface().to_str(pretty=True).encode("utf-8"))
        storage.write_file(folder / "tokenizer_config.json", storage.json_bytes(config))

    @staticmethod
    def load(folder: Path) -> "Tokenizer":
        """Return the tokenizer in `folder`, of tokenizer.json or else vocab.json and merges.txt; raises ValueError."""
        path = folder / "tokenizer.json"
        if path.exists():
            try:
                return _from_json(storage.read_json(path, limit=FILE_LIMIT))
            except ValueError as error:
                raise ValueError(f"the tokenizer in {folder} cannot be used: {error}") from error
        if not (folder / "vocab.json").exists() or not (folder / "merges.txt").exists():
            raise ValueError(f"{folder} has no tokenizer: neither tokenizer.json nor vocab.json and merges.txt")
        try:
            ids = storage.read_json(folder / "vocab.json", limit=FILE_LIMIT)
            merges = (folder / "merges.txt").read_text(encoding="utf-8")
            return BytePairTokenizer(bpe.from_files(ids, bpe.merge_lines(merges)))
        except (ValueError, OSError) as error:
            raise ValueError(f"the tokenizer in {folder} cannot be used: {error}") from error


class BytePairTokenizer(Tokenizer):
    """Byte-level BPE: GPT-2's own vocabulary, or one trained on a corpus."""

    def __init__(self, vocabulary: bpe.Vocabulary) -> None:
        self.kind = "gpt2" if vocabulary.is_gpt2 else "bpe"
        self.vocab_size = vocabulary.size
        self.end_of_text = vocabulary.specials.get(END_OF_TEXT)
        self._vocabulary = vocabulary
        self._bytes = {i: token for token, i in vocabulary.tokens.items()}
        self._bytes |= {i: text.encode("utf-8") for text, i in vocabulary.specials.items()}
        self._encoding = tiktoken.Encoding(
            self.kind, pat_str=GPT2_PATTERN, mergeable_ranks=vocabulary.tokens, special_tokens={}
        )

    @property
    def vocabulary(self) -> bpe.Vocabulary:
        """Tokens, merges and special tokens."""
        return self._vocabulary

    def encode(self, text: str) -> list[int]:
        pieces = map(self._encoding.encode_ordinary, _cut_long_space(text))
        return list(itertools.chain.from_iterable(pieces))

    def token_bytes(self, token: int) -> bytes:
        return self._bytes.get(token, UNKNOWN)

    def _to_huggingface(self) -> HuggingFaceTokenizer:
        return bpe.to_huggingface(self._vocabulary)


class CharacterTokenizer(Tokenizer):
    """Tokenizer with one id for each character of an alphabet; no other text can be encoded."""

    kind = "characters"
    end_of_text = None

    def __init__(self, alphabet: Sequence[str]) -> None:
        self.vocab_size = len(alphabet)
        self._ids = {character: i for i, character in enumerate(alphabet)}
        self._bytes = [character.encode("utf-8") for character in alphabet]

    def encode(self, text: str) -> list[int]:
        try:
            return [self._ids[character] for character in text]
        except KeyError:
            unknown = list(dict.fromkeys(character for character in text if character not in self._ids))
            listed = ", ".join(map(repr, unknown[:5])) + (f" and {len(unknown) - 5} more" if unknown[5:] else "")
            message = f"the model knows {self.vocab_size} characters and these are not among them: {listed}"
            raise ValueError(message) from None

    def token_bytes(self, token: int) -> bytes:
        return self._bytes[token] if 0 <= token < self.vocab_size else UNKNOWN

    def _to_huggingface(self) -> HuggingFaceTokenizer:
        backend = HuggingFaceTokenizer(models.WordLevel(self._ids, unk_token=END_OF_TEXT))
        backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
        backend.decoder = decoders.Fuse()
        return backend


class StreamDecoder:
    """Decoder of ids that arrive one at a time: the texts of all pushes and the flush together are that of `decode`.

    Text once returned is never changed: half a character waits for the rest.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token: int) -> str:
        """Return the text that `token` completes, maybe none."""
        return self._decoder.decode(self._tokenizer.token_bytes(token))

    def flush(self) -> str:
        """Return the rest when no more tokens come: U+FFFD for an unfinished character, or nothing."""
        return self._decoder.decode(b"", final=True)


def gpt2_tokenizer(cache_folder: Path, *, timeout: float = 10.0, endpoint: str | None = None) -> Tokenizer:
    """Return GPT-2's tokenizer of 50,257 tokens; its vocabulary is downloaded into `cache_folder` once.

    `timeout` and `endpoint` are those of `gpt2_merges_file`. Raises ValueError, saying what to do, if the vocabulary
    is not there and cannot be downloaded.
    """
    lines = bpe.merge_lines(gpt2_merges_file(cache_folder, timeout=timeout, endpoint=endpoint))
    return BytePairTokenizer(bpe.from_merges(map(bpe.to_merge, lines), specials=[END_OF_TEXT]))


def train_bpe(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Return a BPE with at most `vocab_size` tokens, trained on `texts`; the last id is the end of text.

    Fewer tokens come out of a corpus too small for so many. The encoding by tiktoken is compared with that of the
    library that trained it, on the beginning of the texts and on random Unicode.
    """
    if not 257 <= vocab_size <= 1_000_000:
        raise ValueError(f"vocab_size must be from 257 (256 bytes and the end of text) to 1000000, not {vocab_size}")
    sample: list[str] = []
    vocabulary = bpe.train(_sampled(texts, sample), vocab_size, specials=[END_OF_TEXT])
    tokenizer = BytePairTokenizer(vocabulary)
    reference = bpe.to_huggingface(vocabulary)
    for text in [*sample, *_random_texts()]:
        expected = reference.encode(text, add_special_tokens=False).ids
        assert END_OF_TEXT in text or tokenizer.encode(text) == expected, f"tiktoken and tokenizers differ on {text!r}"
    return tokenizer


def character_tokenizer(text: str) -> Tokenizer:
    """Return a tokenizer for the characters of `text`, numbered in code point order; ValueError if there are none."""
    alphabet = sorted(set(text))
    if not alphabet:
        raise ValueError("a tokenizer of characters needs a text with at least one character")
    if any("\ud800" <= character <= "\udfff" for character in alphabet):
        raise ValueError("the text holds lone surrogates, which are no characters; read it as UTF-8")
    return CharacterTokenizer(alphabet)


def _from_json(data: dict[str, object]) -> Tokenizer:
    """Return the tokenizer that a tokenizer.json describes; ValueError if it is neither ours nor GPT-2's kind."""
    model = data.get("model")
    if not isinstance(model, dict):
        raise ValueError("tokenizer.json has no model")
    if data.get("normalizer") is not None:
        raise ValueError("tokenizer.json changes the text before encoding it, which is not supported")
    kind = model.get("type", "BPE" if "merges" in model else None)
    vocabulary = model.get("vocab")
    if kind == "WordLevel" and isinstance(vocabulary, dict):
        if not all(type(i) is int for i in vocabulary.values()):
            raise ValueError("its vocabulary does not map characters to ids")
        alphabet = sorted(vocabulary, key=vocabulary.__getitem__)
        if [vocabulary[c] for c in alphabet] != list(range(len(alphabet))) or any(len(c) != 1 for c in alphabet):
            raise ValueError("only word-level vocabularies of single characters are supported")
        return CharacterTokenizer(alphabet)
    if kind != "BPE" or not isinstance(vocabulary, dict) or not isinstance(model.get("merges"), list):
        raise ValueError(f"it is of the type {kind!r}; byte-level BPE and characters are supported")
    _check_byte_level(data.get("pre_tokenizer"))
    added = data.get("added_tokens") or []
    if not isinstance(added, list) or not all(isinstance(entry, dict) for entry in added):
        raise ValueError("its added tokens are not a list of objects")
    specials = {str(entry.get("content")): entry.get("id") for entry in added}
    return BytePairTokenizer(bpe.from_files(vocabulary | specials, model["merges"], specials))


def _check_byte_level(pre_tokenizer: object) -> None:
    """Raise ValueError for a way of splitting a text that is not GPT-2's."""
    step = pre_tokenizer if isinstance(pre_tokenizer, dict) else {}
    if step.get("type") != "ByteLevel" or step.get("add_prefix_space") or step.get("use_regex") is False:
        raise ValueError("it does not split text the way GPT-2 does (ByteLevel without a prefix space)")


def _cut_long_space(text: str) -> Iterator[str]:
    """Yield pieces of `text` with the same ids as the whole, without the long runs of white space before a word."""
    start = 0
    for run in _LONG_SPACE.finditer(text):
        if run.end() < len(text):
            yield text[start : run.end() - 1]  # the last one may belong to the word
            start = run.end() - 1
    yield text[start:]


def _sampled(texts: Iterable[str], sample: list[str]) -> Iterator[str]:
    """Yield `texts`, and add their first SAMPLE characters to `sample`."""
    room = SAMPLE
    for text in texts:
        if room > 0:
            sample.append(text[:room])
            room -= len(text)
        yield text


def _random_texts() -> Iterator[str]:
    """Yield strings of code points from everywhere in Unicode, the same every time."""
    source = random.Random(0)
    for limit in (0x80, 0x250, 0x3000, 0x110000):
        for _ in range(25):
            points = (source.randrange(limit) for _ in range(100))
            yield "".join(chr(point) for point in points if not 0xD800 <= point < 0xE000)
