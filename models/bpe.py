"""Byte-level BPE vocabularies: training, and the two file layouts that Hugging Face's libraries use.

Sennrich et al. 2016, over bytes as in GPT-2. A merge joins two neighbouring tokens; earlier merges go first. Files
spell each of the 256 bytes as one printable character: bytes that print stand for themselves, the others follow from
U+0100 on. The same order numbers the 256 one-byte tokens.
"""

import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from tokenizers import AddedToken, decoders, models, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as HuggingFaceTokenizer

GPT2_MERGES_SHA256 = "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"  # of the file vocab.bpe
MAX_ID = 10_000_000

Merge = tuple[bytes, bytes]

_PRINTABLE = [byte for byte in range(256) if chr(byte).isprintable() and chr(byte) != " "]
_OTHERS = [byte for byte in range(256) if byte not in _PRINTABLE]
BYTE_ORDER = _PRINTABLE + _OTHERS
_SPELLING = {byte: byte for byte in _PRINTABLE} | {byte: 256 + i for i, byte in enumerate(_OTHERS)}
_BYTES = {byte: 0xFFFF for byte in _OTHERS} | {character: byte for byte, character in _SPELLING.items()}


@dataclass(frozen=True)
class Vocabulary:
    """Tokens of a byte-level BPE."""

    tokens: dict[bytes, int]  # ids
    merges: tuple[Merge, ...]  # that build the tokens, in order of priority
    specials: dict[str, int]  # ids of special tokens by their texts

    @property
    def size(self) -> int:
        """One more than the largest id."""
        return max(*self.tokens.values(), *self.specials.values()) + 1

    @cached_property
    def is_gpt2(self) -> bool:
        """True if it is the vocabulary that OpenAI published with GPT-2."""
        return self.size == 50257 and _merges_digest(self.merges) == GPT2_MERGES_SHA256


def from_merges(merges: Iterable[Merge], *, specials: Sequence[str]) -> Vocabulary:
    """Number the 256 bytes, then the merges, then the specials: the layout of GPT-2 and of what we train."""
    merges = tuple(merges)
    tokens = {bytes([byte]): i for i, byte in enumerate(BYTE_ORDER)}
    for left, right in merges:
        tokens[left + right] = len(tokens)
    return Vocabulary(tokens, merges, {text: len(tokens) + i for i, text in enumerate(specials)})


def train(texts: Iterable[str], vocab_size: int, *, specials: Sequence[str]) -> Vocabulary:
    """Learn merges from `texts` until the vocabulary has `vocab_size` tokens, or the texts have no more to offer."""
    backend = HuggingFaceTokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(specials),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=[],
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    model = json.loads(backend.to_str())["model"]
    return from_merges(map(to_merge, model["merges"]), specials=specials)


def merge_lines(text: str) -> list[str]:
    """Return the lines of a vocab.bpe or merges.txt that have a merge, two tokens each, without the version."""
    lines = text.split("\n")
    return [line for line in (lines[1:] if lines[0].startswith("#version") else lines) if line]


class IrregularVocabulary(ValueError):
    """A vocabulary that means something to the `tokenizers` library, but not the same to tiktoken."""


def from_files(vocabulary: Mapping[str, int], merges: Iterable[object], added: Iterable[str] = ()) -> Vocabulary:
    """Return the vocabulary that files describe by token text -> id and merges.

    Texts in `added`, and all that no merge builds, are special. tiktoken joins any two neighbours whose bytes make a
    token, Hugging Face only the listed pairs: the two agree if each token's own bytes lead to its listed merge, and
    IrregularVocabulary says where they do not. Raises ValueError for what is no merge.
    """
    added = set(added)
    ids = dict(vocabulary)
    letters = [bytes([byte]) for byte in BYTE_ORDER]
    if missing := [letter for letter in letters if to_text(letter) not in ids]:
        raise IrregularVocabulary(f"its vocabulary lacks {len(missing)} of the 256 single bytes")
    tokens = {letter: ids.pop(to_text(letter)) for letter in letters}
    checked = tuple(map(to_merge, merges))
    last = -1
    for left, right in checked:
        i = ids.pop(to_text(left + right), -1)
        if i <= last or left not in tokens or right not in tokens:
            raise IrregularVocabulary(f"its merge of {to_text(left)!r} and {to_text(right)!r} is out of order")
        tokens[left + right] = last = i
    specials = {text: i for text, i in vocabulary.items() if text in ids or text in added}
    result = Vocabulary(tokens, checked, specials)
    if not result.is_gpt2:  # known to agree, and 50,000 tokens take a while
        for merge in checked:
            if _last_merge(b"".join(merge), tokens) != merge:
                raise IrregularVocabulary(f"its token {to_text(b''.join(merge))!r} can be merged in two ways")
    return result


def to_huggingface(vocabulary: Vocabulary) -> HuggingFaceTokenizer:
    """Return the same tokenizer for the `tokenizers` and `transformers` libraries."""
    ids = {to_text(token): i for token, i in vocabulary.tokens.items()} | vocabulary.specials
    merges = [(to_text(left), to_text(right)) for left, right in vocabulary.merges]
    backend = HuggingFaceTokenizer(models.BPE(ids, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.post_processor = processors.ByteLevel(trim_offsets=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in vocabulary.specials])
    return backend


def to_text(token: bytes) -> str:
    """Return bytes in the spelling of the files."""
    return token.decode("latin-1").translate(_SPELLING)


def to_bytes(text: str) -> bytes:
    """Return bytes from the spelling of the files; ValueError for a character that spells none."""
    try:
        return text.translate(_BYTES).encode("latin-1")
    except UnicodeEncodeError as error:
        raise ValueError(f"{text!r} is not the spelling of a byte-level token") from error


def to_merge(entry: object) -> Merge:
    """Return a merge from how files have it, "left right" or the list of both; ValueError if it is neither."""
    parts = entry.split(" ") if isinstance(entry, str) else entry
    if not isinstance(parts, list) or len(parts) != 2 or not all(isinstance(part, str) and part for part in parts):
        raise ValueError(f"{entry!r} is not a merge of two tokens")
    return to_bytes(parts[0]), to_bytes(parts[1])


def _merges_digest(merges: Iterable[Merge]) -> str:
    """Return the SHA-256 of the merges in the layout of vocab.bpe."""
    lines = ["#version: 0.2", *(f"{to_text(left)} {to_text(right)}" for left, right in merges), ""]
    return hashlib.sha256("\n".join(lines).encode("utf-8")).hexdigest()


def _last_merge(token: bytes, tokens: dict[bytes, int]) -> tuple[bytes, ...]:
    """Return the parts of `token` after all merges to tokens with smaller ids."""
    parts = [token[i : i + 1] for i in range(len(token))]
    limit = tokens[token]
    while len(parts) > 1:
        ids = [tokens.get(left + right, limit) for left, right in itertools.pairwise(parts)]
        best = min(range(len(ids)), key=ids.__getitem__)
        if ids[best] >= limit:
            break
        parts[best : best + 2] = [parts[best] + parts[best + 1]]
    return tuple(parts)
