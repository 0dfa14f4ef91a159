"""Files of a tokenizer in a Hugging Face folder, read as `transformers` 5 reads them.

Its GPT2Tokenizer takes no more of tokenizer.json than vocabulary, merges and post-processor, and splits text as GPT-2
does; its PreTrainedTokenizerFast takes all of it. Both add the tokens of tokenizer_config.json. What changes the ids of
a text is applied, by the `tokenizers` library where tiktoken cannot, or refused.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tokenizers import AddedToken, decoders, models, pre_tokenizers, processors
from tokenizers import Tokenizer as HuggingFaceTokenizer

from models import bpe, storage
from models.special_ids import GENERATION_CONFIG, SPECIAL_TOKENS_MAP, TOKENIZER_CONFIG, token_text
from models.tokenizer import END_OF_TEXT

TOKENIZER, VOCABULARY, MERGES, ADDED_TOKENS = "tokenizer.json", "vocab.json", "merges.txt", "added_tokens.json"
# written again with a copy of the model; a chat template changes no ids of a prompt
NAMES = (
    *(TOKENIZER, TOKENIZER_CONFIG, GENERATION_CONFIG, SPECIAL_TOKENS_MAP, ADDED_TOKENS, VOCABULARY, MERGES),
    *("chat_template.jinja", "chat_template.json"),
)
FILE_LIMIT = 64_000_000  # bytes
REBUILT, WHOLE = ("GPT2Tokenizer",), ("PreTrainedTokenizer", "TokenizersBackend")
DEFAULTS = dict.fromkeys(("bos_token", "eos_token", "unk_token"), END_OF_TEXT)  # of GPT2Tokenizer
NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
LETTER_SPLIT = {"type": "Split", "pattern": {"Regex": r"[\s\S]"}, "behavior": "Isolated", "invert": False}
MOST_ADDED = 100_000


def has_tokenizer(folder: Path) -> bool:
    """Return whether a folder has the files of a tokenizer."""
    return (folder / TOKENIZER).exists() or ((folder / VOCABULARY).exists() and (folder / MERGES).exists())


@dataclass(frozen=True)
class TokenizerFiles:
    """Files of a tokenizer by name, and what they say. Raises ValueError for what is neither applied nor read over."""

    files: Mapping[str, bytes]
    data: Mapping[str, object]  # of tokenizer.json, or as it would be made of the two older files
    settings: Mapping[str, object]  # of tokenizer_config.json
    rebuilt: bool  # by GPT2Tokenizer, from vocabulary and merges

    @classmethod
    def read(cls, folder: Path) -> "TokenizerFiles":
        """Read the files of a folder; ValueError for a setting that is not supported."""
        files = {}
        for name in NAMES:
            if (path := folder / name).is_file():
                files[name] = _read_bytes(path)
        settings = _object(files, TOKENIZER_CONFIG)
        data = _object(files, TOKENIZER) if TOKENIZER in files else _older(files)
        made = cls(files, data, settings, _is_rebuilt(settings, data))
        made._check()
        return made

    @property
    def model(self) -> Mapping[str, object]:
        """The vocabulary and what belongs to it."""
        model = self.data.get("model")
        if not isinstance(model, dict):
            raise ValueError("tokenizer.json has no model")
        return model

    @property
    def kind(self) -> str:
        """Type of the model: "BPE" or "WordLevel"."""
        return str(self.model.get("type", "BPE" if "merges" in self.model else None))

    @cached_property
    def vocabulary(self) -> dict[str, int]:
        """Ids of the model's own tokens by their texts."""
        vocabulary = self.model.get("vocab")
        if not isinstance(vocabulary, dict):
            raise ValueError(f"it is of the type {self.kind!r}; byte-level BPE and characters are supported")
        if not all(type(i) is int and 0 <= i < bpe.MAX_ID for i in vocabulary.values()):
            raise ValueError("its vocabulary does not map tokens to ids")
        if len(set(vocabulary.values())) != len(vocabulary):
            raise ValueError("two of its tokens have the same id")
        return vocabulary

    @cached_property
    def added(self) -> tuple[AddedToken, ...]:
        """Tokens that are added to the model's, in the order in which they get their ids."""
        tokens = {str(token.content): token for token in _added_tokens(self.files, self.data, self.settings)}
        sources = {TOKENIZER_CONFIG: dict(self.settings)}
        if "added_tokens_decoder" not in self.settings:  # else `transformers` does not read the other one
            sources[SPECIAL_TOKENS_MAP] = _object(self.files, SPECIAL_TOKENS_MAP)
        special: dict[str, str | None] = dict.fromkeys(NAMED) | (DEFAULTS if self.rebuilt else {})
        extra: list[str] = []
        for name, source in sources.items():
            for field in source:
                if field in NAMED or (field.endswith("_token") and isinstance(source[field], str)):
                    special[field] = token_text(source, field, name)
            extra += _extra_tokens(source, name)
        for text in (*special.values(), *extra):
            if text is not None and text in tokens:
                tokens[text].special = True
            elif text:
                tokens[text] = AddedToken(text, special=True, normalized=False)
        return tuple(tokens.values())

    @property
    def template(self) -> bool:
        """True if ids are put around a prompt."""
        return _puts_ids(self.data.get("post_processor")) or bool(self._edges())

    @property
    def is_plain(self) -> bool:
        """True if the added tokens are special, known by their whole text, and have the ids in tokenizer.json."""
        ids = {text: i for text, i in self.listed.items() if self.vocabulary.get(text, i) == i}
        following = dict(zip((t for t in ids if t not in self.vocabulary), range(len(self.vocabulary), bpe.MAX_ID), strict=False))
        plain = all(
            token.special
            and not (token.single_word or token.lstrip or token.rstrip)
            and token.content in ids
            and (token.content in self.vocabulary or following[token.content] == ids[token.content])
            for token in self.added
        )
        return plain and not self.template and set(self.listed) <= {token.content for token in self.added}

    @property
    def has_unknown_token(self) -> bool:
        """True if letters without an id have that of an unknown token."""
        unknown = self.model.get("unk_token")
        return not self.rebuilt and isinstance(unknown, str) and (unknown in self.vocabulary or unknown in self.listed)

    @property
    def has_usual_model(self) -> bool:
        """True if merges alone make the ids, without options of the model that only the library knows."""
        options = ("unk_token", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback", "ignore_merges")
        return self.rebuilt or not any(self.model.get(option) for option in options)

    @cached_property
    def listed(self) -> dict[str, int]:
        """Ids of the added tokens as tokenizer.json lists them; those of the vocabulary need no line there."""
        entries = self.data.get("added_tokens") or []
        assert isinstance(entries, list)
        ids = {entry["content"]: entry["id"] for entry in entries}
        vocabulary = self.vocabulary
        return ids | {token.content: vocabulary[token.content] for token in self.added if token.content in vocabulary}

    def backend(self) -> HuggingFaceTokenizer:
        """Return the tokenizer that `transformers` makes; it takes special tokens in a text for plain text."""
        with library_errors():
            made = self._rebuilt_backend() if self.rebuilt else HuggingFaceTokenizer.from_str(self._json())
            made.no_truncation()
            made.no_padding()
            made.add_tokens(list(self.added))
            if edges := self._edges():
                tokens = [(text, made.token_to_id(text)) for text in edges.values()]
                single = f"{edges.get('bos_token', '')} $A {edges.get('eos_token', '')}".split()
                made.post_processor = processors.TemplateProcessing(single=single, special_tokens=list(dict(tokens).items()))
            made.encode_special_tokens = True
            return made

    def _json(self) -> str:
        """Return tokenizer.json as text."""
        return json.dumps(dict(self.data) | {"decoder": None})

    def _rebuilt_backend(self) -> HuggingFaceTokenizer:
        """Return what GPT2Tokenizer makes of vocabulary and merges."""
        merges = [(bpe.to_text(left), bpe.to_text(right)) for left, right in map(bpe.to_merge, self.merges)]
        made = HuggingFaceTokenizer(models.BPE(dict(self.vocabulary), merges))
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
        if (processor := self.data.get("post_processor")) is not None:
            empty = {"version": "1.0", "added_tokens": [], "model": {"type": "BPE", "vocab": {}, "merges": []}}
            made.post_processor = HuggingFaceTokenizer.from_str(json.dumps(empty | {"post_processor": processor})).post_processor
        return made

    @property
    def merges(self) -> list[object]:
        """The merges as the file spells them."""
        merges = self.model.get("merges")
        if not isinstance(merges, list):
            raise ValueError("its model has no list of merges")
        return merges

    def _edges(self) -> dict[str, str]:
        """Return the texts of the tokens that add_bos_token and add_eos_token put around a prompt, by their fields.

        `transformers` asks for them where there is no tokenizer.json only.
        """
        if TOKENIZER in self.files:
            return {}
        fields = [field for field in ("bos_token", "eos_token") if self.settings.get(f"add_{field}")]
        texts = {field: token_text(dict(self.settings), field, TOKENIZER_CONFIG) for field in fields}
        defaults = {field: DEFAULTS[field] for field in fields if field not in self.settings}
        return {field: text for field, text in (texts | defaults).items() if text}

    def _check(self) -> None:
        """Raise ValueError for a part that is neither applied nor without a meaning for the ids."""
        model = self.model
        if self.data.get("normalizer") is not None:
            raise ValueError("tokenizer.json changes the text before encoding it, which is not supported")
        if self.kind == "WordLevel":
            if self.data.get("pre_tokenizer") != LETTER_SPLIT or any(len(text) != 1 for text in self.vocabulary):
                raise ValueError("only word-level vocabularies of single characters, split into one character at a time, are supported")
        elif self.kind == "BPE":
            _check_split(self.data.get("pre_tokenizer"), self.settings, rebuilt=self.rebuilt)
            if not self.rebuilt and model.get("dropout"):
                raise ValueError("tokenizer.json has dropout, by which a text has other ids every time")
            self.merges  # noqa: B018 - raises
        else:
            raise ValueError(f"it is of the type {self.kind!r}; byte-level BPE and characters are supported")
        _check_processor(self.data.get("post_processor"))


def _is_rebuilt(settings: Mapping[str, object], data: Mapping[str, object]) -> bool:
    """Return whether GPT2Tokenizer reads a tokenizer; ValueError for a class with rules of its own."""
    name = settings.get("tokenizer_class") or REBUILT[0]
    if not isinstance(name, str) or name.removesuffix("Fast") not in (*REBUILT, *WHOLE):
        raise ValueError(
            f"tokenizer_config.json has tokenizer_class = {name!r:.60}; {', '.join((*REBUILT, *WHOLE))} are supported: "
            "save it with one of them"
        )
    model = data.get("model")
    return name.removesuffix("Fast") in REBUILT and not (isinstance(model, dict) and model.get("type") == "WordLevel")


def _check_split(pre_tokenizer: object, settings: Mapping[str, object], *, rebuilt: bool) -> None:
    """Raise ValueError for a way of splitting a text that is not GPT-2's."""
    step = pre_tokenizer if isinstance(pre_tokenizer, dict) else {}
    prefix = settings.get("add_prefix_space") if rebuilt else step.get("add_prefix_space")
    if prefix or step.get("type") != "ByteLevel" or (not rebuilt and step.get("use_regex") is False):
        raise ValueError("it does not split text the way GPT-2 does (ByteLevel without add_prefix_space)")


def _check_processor(processor: object) -> None:
    """Raise ValueError for a post-processor that is not one of those that are applied."""
    if processor is None:
        return
    kind = processor.get("type") if isinstance(processor, dict) else None
    if kind == "Sequence" and isinstance(processor, dict) and isinstance(processor.get("processors"), list):
        for part in processor["processors"]:
            _check_processor(part)
    elif kind not in ("ByteLevel", "TemplateProcessing"):
        raise ValueError(f"tokenizer.json has a post_processor of the type {kind!r:.60}; TemplateProcessing is supported")


def _puts_ids(processor: object) -> bool:
    if not isinstance(processor, dict):
        return False
    parts = processor.get("processors")
    return processor.get("type") == "TemplateProcessing" or (isinstance(parts, list) and any(map(_puts_ids, parts)))


def _added_tokens(
    files: Mapping[str, bytes], data: Mapping[str, object], settings: Mapping[str, object]
) -> Iterator[AddedToken]:
    """Yield the tokens of added_tokens_decoder, or else those of tokenizer.json and added_tokens.json, by id."""
    entries: dict[int, AddedToken] = {}
    if "added_tokens_decoder" in settings:
        decoder = settings["added_tokens_decoder"]
        if not isinstance(decoder, dict) or not all(key.isdecimal() for key in decoder):
            raise ValueError("tokenizer_config.json has an added token without an id")
        entries = {int(key): _added_token(entry, TOKENIZER_CONFIG) for key, entry in decoder.items()}
    else:
        special = {value for value in settings.values() if isinstance(value, str)}
        for text, i in _object(files, ADDED_TOKENS).items():
            if type(i) is not int:
                raise ValueError(f"{ADDED_TOKENS} has an added token without an id")
            entries[i] = AddedToken(text, normalized=text not in special, special=text in special)
    listed = data.get("added_tokens") or []
    if not isinstance(listed, list) or not all(isinstance(entry, dict) for entry in listed) or len(listed) > MOST_ADDED:
        raise ValueError("its added tokens are not a list of objects")
    for entry in listed:
        if type(entry.get("id")) is not int:
            raise ValueError("tokenizer.json has an added token without an id")
        token = _added_token(entry, TOKENIZER)
        if "added_tokens_decoder" not in settings:
            entries[entry["id"]] = token
    for i in sorted(entries):
        yield entries[i]


def _added_token(entry: object, file: str) -> AddedToken:
    """Return the added token that an object of a file describes."""
    fields = entry if isinstance(entry, dict) else {}
    text = fields.get("content")
    if not isinstance(text, str) or not text or not all(type(fields.get(flag, False)) is bool for flag in FLAGS):
        raise ValueError(f"{file} has an added token that is none: {entry!r:.60}")
    return AddedToken(text, **{flag: fields[flag] for flag in FLAGS if flag in fields})


def _extra_tokens(source: Mapping[str, object], file: str) -> Iterable[str]:
    """Return the texts of further special tokens."""
    extra = source.get("extra_special_tokens") or source.get("additional_special_tokens") or []
    values = list(extra.values()) if isinstance(extra, dict) else extra
    if not isinstance(values, list) or len(values) > MOST_ADDED:
        raise ValueError(f"{file} has extra_special_tokens that are no list of texts")
    texts = [token_text({"extra": value}, "extra", file) for value in values]
    return [text for text in texts if text]


def _older(files: Mapping[str, bytes]) -> dict[str, object]:
    """Return the tokenizer.json that vocab.json and merges.txt stand for."""
    if VOCABULARY not in files or MERGES not in files:
        raise ValueError("neither tokenizer.json nor vocab.json and merges.txt are there")
    try:
        lines = bpe.merge_lines(files[MERGES].decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{MERGES} is not UTF-8") from error
    model = {"type": "BPE", "vocab": _object(files, VOCABULARY), "merges": lines}
    return {"model": model, "pre_tokenizer": {"type": "ByteLevel"}}


def _object(files: Mapping[str, bytes], name: str) -> dict[str, object]:
    """Return the JSON object in a file, empty if there is no such file; ValueError if it is none."""
    if name not in files:
        return {}
    try:
        value = storage.parse_json(files[name])
    except ValueError as error:
        raise ValueError(f"{name} is not valid JSON") from error
    if not isinstance(value, dict):
        raise ValueError(f"{name} does not hold a JSON object")
    return value


def _read_bytes(path: Path) -> bytes:
    """Return the bytes of a file of at most FILE_LIMIT bytes."""
    try:
        with open(path, "rb") as file:
            data = file.read(FILE_LIMIT + 1)
    except OSError as error:
        raise ValueError(f"{path.name} cannot be read ({error.strerror or error})") from error
    if len(data) > FILE_LIMIT:
        raise ValueError(f"{path.name} is larger than {FILE_LIMIT // 1_000_000} MB")
    return data


@contextmanager
def library_errors() -> Iterator[None]:
    """Turn what the `tokenizers` library raises, panics included, into a ValueError of one line."""
    try:
        yield
    except ValueError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(f"the `tokenizers` library refuses it ({reason[0]:.200})") from error
