"""Tokenizer of a folder: loaded by tiktoken where that has the same ids, else by the `tokenizers` library; saved."""

import logging
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from tokenizers import Tokenizer as HuggingFaceTokenizer

from models import bpe, storage
from models.added_tokens import TOKENIZER
from models.json_values import parse_json
from models.special_ids import CONFIG, GENERATION_CONFIG, TOKENIZER_CONFIG, SpecialIds
from models.tokenizer import END_OF_TEXT, UNKNOWN, BytePairTokenizer, CharacterTokenizer, Tokenizer
from models.tokenizer_files import TokenizerFiles, has_tokenizer, is_plain, library_errors

log = logging.getLogger(__name__)

# on these tiktoken must have the ids of the library
CHECKED = (
    "The quick brown fox isn't here; it jumps over 1,234 dogs!!  (And we'll see.)\n\n\tNext line \r\n   ",
    "naïve façade, Bär, Ελλάδα, русский, שלום, 你好、世界 🙂👩‍👩‍👧 e\u0301 \u00a0\u3000x\x00\x7f",
    "  leading, trailing  \n\n\n",
)


def load_tokenizer(folder: Path, *, check: bool, config: Mapping[str, object]) -> Tokenizer:
    """Return the tokenizer in `folder`, as `Tokenizer.load`; its ids are those that the `config` has rows for."""
    if not has_tokenizer(folder):
        raise ValueError(f"{folder} has no tokenizer: neither tokenizer.json nor vocab.json and merges.txt")
    try:
        files = TokenizerFiles.read(folder)
        tokenizer = _letters(files) if files.kind == "WordLevel" else _byte_level(files, check=check)
        tokenizer.files, tokenizer.required_size = files.files, max(files.vocabulary.values(), default=0) + 1
        rows = config.get("vocab_size")
        tokenizer.vocab_size = min(tokenizer.vocab_size, rows if type(rows) is int else tokenizer.vocab_size)
        tokenizer.read_special_ids(files.documents | {CONFIG: config}, rows=tokenizer.vocab_size)
        return tokenizer
    except (ValueError, OSError) as error:
        raise ValueError(f"the tokenizer in {folder} cannot be used: {error}") from error


def save_tokenizer(tokenizer: Tokenizer, folder: Path, *, context: int | None) -> None:
    """Write the files of a tokenizer: as they were read, if they were, but with the special ids that hold."""
    files = dict(tokenizer.files) or _made_files(tokenizer)
    if context is not None and TOKENIZER_CONFIG in files:
        settings = parse_json(files[TOKENIZER_CONFIG])
        if isinstance(settings, dict) and "model_max_length" not in settings:
            files[TOKENIZER_CONFIG] = storage.json_bytes(settings | {"model_max_length": context})
    generation = parse_json(files.get(GENERATION_CONFIG, b"{}"))
    known = generation if isinstance(generation, dict) else {}
    ids = tokenizer.special_ids.to_json() | {"pad_token_id": tokenizer.special_ids.pad}
    if GENERATION_CONFIG not in files or known | ids != known:
        sampling = {} if tokenizer.files else {"do_sample": True}
        files[GENERATION_CONFIG] = storage.json_bytes(known | ids | sampling)
    for name, content in files.items():
        storage.write_file(folder / name, content)


def _made_files(tokenizer: Tokenizer) -> dict[str, bytes]:
    """Return the files of a tokenizer that was not read from any, by name."""
    texts = {i: text for text, i in tokenizer.special_tokens.items()}
    ids = tokenizer.special_ids
    begin = None if ids.bos is None else texts.get(ids.bos)
    end = texts.get(ids.eos[0]) if ids.eos else None
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast" if end is None else "GPT2Tokenizer",
        "bos_token": begin,
        "eos_token": end,
        "unk_token": end,
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
    }
    backend = tokenizer.to_huggingface().to_str(pretty=True)
    return {TOKENIZER: backend.encode("utf-8"), TOKENIZER_CONFIG: storage.json_bytes(config)}


def _letters(files: TokenizerFiles) -> Tokenizer:
    """Return a tokenizer of characters."""
    ids = files.vocabulary
    alphabet = sorted(ids, key=ids.__getitem__)
    if [ids[c] for c in alphabet] != list(range(len(alphabet))):
        raise ValueError("only word-level vocabularies of single characters with the ids from 0 on are supported")
    if not files.added and not files.has_template:
        return CharacterTokenizer(alphabet)
    return BackendTokenizer(files, files.backend())


def _byte_level(files: TokenizerFiles, *, check: bool) -> Tokenizer:
    """Return a byte-level BPE, encoded by tiktoken if that has the same ids."""
    if files.is_plain and not check:
        special = {token.content: files.vocabulary[token.content] for token in files.added}
        return BytePairTokenizer(bpe.from_files(files.vocabulary, files.merges, special))
    backend = files.backend()
    added = backend.get_added_tokens_decoder()
    special = {token.content: i for i, token in added.items()}
    if not files.has_template and files.has_usual_model and all(map(is_plain, added.values())):
        try:
            tokenizer = BytePairTokenizer(bpe.from_files(files.vocabulary | special, files.merges, special))
        except bpe.IrregularVocabulary as error:
            log.debug("the tokenizer is encoded by the tokenizers library: %s", error)
        else:
            texts = [*CHECKED, " ".join(special), "x".join(special)]
            if all(tokenizer.encode(text) == backend.encode(text).ids for text in texts):
                return tokenizer
    return BackendTokenizer(files, backend)


class BackendTokenizer(Tokenizer):
    """Tokenizer that the `tokenizers` library encodes: added words, ids around a prompt, vocabularies with gaps."""

    def __init__(self, files: TokenizerFiles, backend: HuggingFaceTokenizer) -> None:
        """Take a backend of `files` that takes special tokens for plain text."""
        self.kind = "characters" if files.kind == "WordLevel" else "bpe"
        self._backend, self._ids = backend, files.vocabulary
        added = backend.get_added_tokens_decoder()
        words = {token.content: i for i, token in added.items() if not token.special}
        self.special_tokens = {token.content: i for i, token in added.items() if token.special}
        self._words = words
        self._bytes = {i: token.content.encode("utf-8") for i, token in added.items()}
        self._bytes |= {i: _spelled(text, self.kind) for text, i in self._ids.items() if i not in words.values()}
        self.vocab_size = self.required_size = max(self._bytes) + 1
        self._has_unknown = files.has_unknown_token
        self.special_ids = SpecialIds.of(self.special_tokens.get(END_OF_TEXT))

    @property
    def variant(self) -> str:
        return f"{self.special_ids!r} {self._backend.to_str()}"

    def encode(self, text: str) -> list[int]:
        return self._encode(self._backend, text, around=False)

    def encode_prompt(self, text: str, *, parse_special: bool = False) -> list[int]:
        return self._encode(self._parsing if parse_special else self._backend, text, around=True)

    def token_bytes(self, token: int) -> bytes:
        return self._bytes.get(token, UNKNOWN)

    def id_of(self, text: str) -> int | None:
        found: int | None = self._backend.token_to_id(text)
        return found

    def to_huggingface(self) -> HuggingFaceTokenizer:
        return self._backend

    @cached_property
    def _parsing(self) -> HuggingFaceTokenizer:
        """The same backend, which parses special tokens: to switch that for one text is not safe with threads."""
        parsing = HuggingFaceTokenizer.from_str(self._backend.to_str())
        parsing.encode_special_tokens = False
        return parsing

    def _encode(self, backend: HuggingFaceTokenizer, text: str, *, around: bool) -> list[int]:
        """Return the ids of a text, with those `around` a prompt; ValueError for what the model cannot read."""
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        self._check_spelled(text, self._words if backend is self._backend else {**self._words, **self.special_tokens})
        with library_errors():
            ids: list[int] = backend.encode(text, add_special_tokens=around).ids
        if max(ids, default=0) >= self.vocab_size:
            names = {i: name for name, i in {**self._words, **self.special_tokens}.items()}
            for i in ids:
                self.check_known(names.get(i, str(i)), i)
        return ids

    def _check_spelled(self, text: str, words: Mapping[str, int]) -> None:
        """Raise ValueError for characters outside `words` without an id, which the library would leave out."""
        if self._has_unknown or not self._gaps(text):
            return
        for word in sorted(words, key=len, reverse=True):
            text = text.replace(word, "")
        unknown = [character for character in dict.fromkeys(text) if self._gaps(character)]
        if not unknown:
            return
        listed = ", ".join(map(repr, unknown[:5])) + (f" and {len(unknown) - 5} more" if unknown[5:] else "")
        raise ValueError(f"the model's vocabulary cannot spell these characters: {listed}")

    def _gaps(self, text: str) -> bool:
        """Return whether the vocabulary lacks any letter of a text: a byte, or a character."""
        if self.kind == "characters":
            return not set(text) <= self._ids.keys()
        return not self._missing_bytes.isdisjoint(text.encode("utf-8")) if self._missing_bytes else False

    @cached_property
    def _missing_bytes(self) -> frozenset[int]:
        return frozenset(byte for byte in range(256) if bpe.to_text(bytes([byte])) not in self._ids)


def _spelled(text: str, kind: str) -> bytes:
    """Return the bytes of a token of the vocabulary."""
    if kind == "characters":
        return text.encode("utf-8")
    try:
        return bpe.to_bytes(text)
    except ValueError:  # no merge can make it
        return text.encode("utf-8")
