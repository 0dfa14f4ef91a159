"""Tokenizers: GPT-2's BPE, BPE trained on a corpus, plain characters, and those of Hugging Face folders.

tiktoken does the encoding where it can, the `tokenizers` library the training and the file format, so that a saved
tokenizer opens in `transformers` with equal ids. Text is searched for special tokens on request only: a user who types
"<|endoftext|>" gets the tokens of those thirteen characters.
"""

import codecs
import itertools
import random
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

import tiktoken
from tiktoken_ext.openai_public import r50k_pat_str as GPT2_PATTERN  # type: ignore[import-untyped]
from tokenizers import Regex, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as HuggingFaceTokenizer

from models import bpe
from models.added_tokens import END_OF_TEXT
from models.download import gpt2_merges_file
from models.special_ids import Documents, SpecialIds, read_special_ids

Kind = Literal["gpt2", "bpe", "characters"]

# the bytes of an id outside the vocabulary: models may have more rows than tokens
UNKNOWN = "\ufffd".encode()
SAMPLE = 200_000  # characters of a corpus on which a trained tokenizer is checked

# what Rust's \s matches: before a word, GPT2_PATTERN goes back by one over a run of these, and overflows its stack on
# runs of a million
_LONG_SPACE = re.compile("[\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]{1000,}")


class Tokenizer(ABC):
    """Interface of a tokenizer. Ids run from 0 to vocab_size - 1."""

    kind: Kind
    vocab_size: int
    required_size: int  # ids that a network must know: without tokens that were added to the vocabulary
    special_ids: SpecialIds
    special_tokens: Mapping[str, int] = {}  # ids by text
    files: Mapping[str, bytes] = {}  # that it was read from, and is saved as

    @property
    def end_of_text(self) -> int | None:
        """The id that separates documents, if there is one."""
        return self.special_ids.eos[0] if self.special_ids.eos else None

    @property
    def start(self) -> int:
        """The id that an empty prompt begins with; 0 where nothing begins or ends a text."""
        begin = self.end_of_text if self.special_ids.bos is None else self.special_ids.bos
        return 0 if begin is None else begin

    @property
    def variant(self) -> str:
        """Description of what differs from a tokenizer of ours with the same tokens; empty if nothing does."""
        usual = SpecialIds.of(self.special_tokens.get(END_OF_TEXT))
        return "" if self.special_ids == usual else repr(self.special_ids)

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`, special tokens in it taken for plain text; ValueError if it cannot be spelled."""

    def encode_prompt(self, text: str, *, parse_special: bool = False) -> list[int]:
        """Return the ids of a prompt: with those that the model's author puts around a text.

        With `parse_special`, special tokens typed in it are those tokens. ValueError as `encode`.
        """
        return self._encode_parsed(text) if parse_special else self.encode(text)

    def id_of(self, text: str) -> int | None:
        """Return the id of a token by its text as files spell it; None if there is none."""
        return self.special_tokens.get(text)

    @abstractmethod
    def token_bytes(self, token: int) -> bytes:
        """Return the UTF-8 bytes of one id, maybe only a part of a character; those of U+FFFD for an unknown id."""

    @abstractmethod
    def to_huggingface(self) -> HuggingFaceTokenizer:
        """Return the same tokenizer for the `tokenizers` and `transformers` libraries."""

    def decode(self, tokens: Iterable[int]) -> str:
        """Return the text of `tokens`, with U+FFFD where their bytes are no valid UTF-8."""
        return b"".join(map(self.token_bytes, tokens)).decode("utf-8", "replace")

    def stream(self) -> "StreamDecoder":
        """Return a decoder for tokens that arrive one at a time."""
        return StreamDecoder(self)

    def save(self, folder: Path, *, context: int | None = None) -> None:
        """Write its files and generation_config.json into `folder`; `context` is the model's, in tokens."""
        from models.tokenizer_folder import save_tokenizer  # which knows all kinds of tokenizers

        save_tokenizer(self, folder, context=context)

    @staticmethod
    def load(folder: Path, *, check: bool = True, config: Mapping[str, object] | None = None) -> "Tokenizer":
        """Return the tokenizer in `folder`, of tokenizer.json or else vocab.json and merges.txt; raises ValueError.

        Its ids are `check`ed against the `tokenizers` library on a few texts, which what we wrote does not need.
        `config` is the model's config.json.
        """
        from models.tokenizer_folder import load_tokenizer

        return load_tokenizer(folder, check=check, config=config or {})

    def read_special_ids(self, documents: Documents, *, rows: int) -> None:
        """Take the special ids from documents of a model that knows `rows` ids; ValueError for what is no id."""
        spelled = self.special_tokens.get(END_OF_TEXT)
        end = spelled if spelled is None or spelled < rows else None
        self.special_ids = read_special_ids(documents, rows=rows, id_of=self.id_of, end_of_text=end)

    def _encode_parsed(self, text: str) -> list[int]:
        """Return the ids of a text with its special tokens."""
        ids: list[int] = []
        for i, piece in enumerate(self._special_pattern.split(text) if self.special_tokens else [text]):
            # the separators are the special tokens
            ids += [self.check_known(piece, self.special_tokens[piece])] if i % 2 else self.encode(piece)
        return ids

    @cached_property
    def _special_pattern(self) -> re.Pattern[str]:
        """The special tokens, the longest of those that begin alike first."""
        texts = sorted(self.special_tokens, key=len, reverse=True)
        return re.compile(f"({'|'.join(map(re.escape, texts))})")

    def check_known(self, text: str, token: int) -> int:
        """Return an id; ValueError if the network does not know it."""
        if token >= self.vocab_size:
            raise ValueError(
                f"{text!r} has the id {token}, and the model knows ids up to {self.vocab_size - 1}; leave it out"
            )
        return token


class BytePairTokenizer(Tokenizer):
    """Byte-level BPE: GPT-2's own vocabulary, or one trained on a corpus."""

    def __init__(self, vocabulary: bpe.Vocabulary) -> None:
        self.kind = "gpt2" if vocabulary.is_gpt2 else "bpe"
        self.vocab_size = self.required_size = vocabulary.size
        self.special_tokens = vocabulary.specials
        self.special_ids = SpecialIds.of(vocabulary.specials.get(END_OF_TEXT))
        self._vocabulary = vocabulary
        self._bytes = {i: text.encode("utf-8") for text, i in vocabulary.specials.items()}
        self._bytes |= {i: token for token, i in vocabulary.tokens.items()}
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

    def id_of(self, text: str) -> int | None:
        special = self.special_tokens.get(text)
        if special is not None:
            return special
        try:
            return self._vocabulary.tokens.get(bpe.to_bytes(text))
        except ValueError:  # no spelling of bytes
            return None

    def to_huggingface(self) -> HuggingFaceTokenizer:
        return bpe.to_huggingface(self._vocabulary)


class CharacterTokenizer(Tokenizer):
    """Tokenizer with one id for each character of an alphabet; no other text can be encoded."""

    kind = "characters"
    special_ids = SpecialIds()

    def __init__(self, alphabet: Sequence[str]) -> None:
        self.vocab_size = self.required_size = len(alphabet)
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

    def id_of(self, text: str) -> int | None:
        return self._ids.get(text)

    def token_bytes(self, token: int) -> bytes:
        return self._bytes[token] if 0 <= token < self.vocab_size else UNKNOWN

    def to_huggingface(self) -> HuggingFaceTokenizer:
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
