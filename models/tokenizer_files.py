"""Files of a tokenizer in a Hugging Face folder, read as `transformers` 5 reads them.

Its GPT2Tokenizer takes no more of tokenizer.json than vocabulary, merges and post-processor, and splits text as GPT-2
does; its PreTrainedTokenizerFast takes all of it. Both add the tokens of tokenizer_config.json. What changes the ids of
a text is applied, by the `tokenizers` library where tiktoken cannot, or refused.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tokenizers import AddedToken, decoders, models, pre_tokenizers, processors
from tokenizers import Tokenizer as HuggingFaceTokenizer

from models import bpe, storage
from models.added_tokens import ADDED_TOKENS, DEFAULTS, TOKENIZER, added_tokens
from models.json_values import parse_json
from models.special_ids import GENERATION_CONFIG, SPECIAL_TOKENS_MAP, TOKENIZER_CONFIG, token_text

VOCABULARY, MERGES = "vocab.json", "merges.txt"
# written again with a copy of the model; a chat template changes no ids of a prompt
NAMES = (
    *(TOKENIZER, TOKENIZER_CONFIG, GENERATION_CONFIG, SPECIAL_TOKENS_MAP, ADDED_TOKENS, VOCABULARY, MERGES),
    *("chat_template.jinja", "chat_template.json"),
)
FILE_LIMIT = 64_000_000  # bytes
REBUILT, WHOLE = ("GPT2Tokenizer",), ("PreTrainedTokenizer", "TokenizersBackend")
LETTER_SPLIT = {"type": "Split", "pattern": {"Regex": r"[\s\S]"}, "behavior": "Isolated", "invert": False}


def has_tokenizer(folder: Path) -> bool:
    """Return whether a folder has the files of a tokenizer."""
    return (folder / TOKENIZER).exists() or ((folder / VOCABULARY).exists() and (folder / MERGES).exists())


@dataclass(frozen=True)
class TokenizerFiles:
    """Files of a tokenizer by name, and what they say; raises ValueError for settings that are not supported."""

    files: Mapping[str, bytes]
    data: Mapping[str, object]  # of tokenizer.json, or as it would be made of the two older files
    settings: Mapping[str, object]  # of tokenizer_config.json
    rebuilt: bool  # by GPT2Tokenizer, from vocabulary and merges

    @classmethod
    def read(cls, folder: Path) -> "TokenizerFiles":
        """Read the files of a folder."""
        names = (name for name in NAMES if (folder / name).is_file())
        files = {name: storage.read_bytes(folder / name, limit=FILE_LIMIT) for name in names}
        settings = _object(files, TOKENIZER_CONFIG)
        data = _object(files, TOKENIZER) if TOKENIZER in files else _older(files)
        return cls(files, data, settings, _is_rebuilt(settings, data))

    def __post_init__(self) -> None:
        if self.data.get("normalizer") is not None:
            raise ValueError("tokenizer.json changes the text before encoding it, which is not supported")
        if self.kind not in ("BPE", "WordLevel"):
            raise ValueError(f"it is of the type {self.kind!r}; byte-level BPE and characters are supported")
        if self.kind == "BPE":
            self._check_split()
        elif self.data.get("pre_tokenizer") != LETTER_SPLIT or any(len(text) != 1 for text in self.vocabulary):
            raise ValueError(
                "only word-level vocabularies of single characters are supported, for text that is split into one "
                "character at a time"
            )
        if not self.rebuilt and self.model.get("dropout"):
            raise ValueError("tokenizer.json has dropout, by which a text has other ids every time")
        _check_processor(self.data.get("post_processor"))

    @property
    def model(self) -> Mapping[str, object]:
        """The vocabulary and what belongs to it."""
        model = self.data.get("model")
        if not isinstance(model, dict):
            raise ValueError("tokenizer.json has no model")
        return model

    @property
    def documents(self) -> dict[str, Mapping[str, object]]:
        """Contents of the files that name special ids, by name."""
        others = {name: _object(self.files, name) for name in (GENERATION_CONFIG, SPECIAL_TOKENS_MAP)}
        return {TOKENIZER_CONFIG: self.settings, **others}

    @property
    def kind(self) -> str:
        """Type of the model, "BPE" or "WordLevel"."""
        return str(self.model.get("type", "BPE" if "merges" in self.model else None))

    @cached_property
    def vocabulary(self) -> dict[str, int]:
        """Ids of the model's own tokens by their texts."""
        vocabulary = self.model.get("vocab")
        if not isinstance(vocabulary, dict):
            raise ValueError("its vocabulary does not map tokens to ids")
        if not all(type(i) is int and 0 <= i < bpe.MAX_ID for i in vocabulary.values()):
            raise ValueError("its vocabulary does not map tokens to ids")
        if len(set(vocabulary.values())) != len(vocabulary):
            raise ValueError("two of its tokens have the same id")
        return vocabulary

    @property
    def merges(self) -> list[object]:
        """The merges as the file spells them."""
        merges = self.model.get("merges", [])
        if not isinstance(merges, list):
            raise ValueError("its merges are not a list")
        return merges

    @cached_property
    def added(self) -> tuple[AddedToken, ...]:
        """Tokens that are added to the model's, in the order in which they get their ids."""
        return added_tokens(
            self.settings,
            tokenizer=self.data,
            special_tokens_map=_object(self.files, SPECIAL_TOKENS_MAP),
            older=_object(self.files, ADDED_TOKENS),
            has_defaults=self.rebuilt,
        )

    @property
    def has_template(self) -> bool:
        """True if ids are put around a prompt."""
        return _puts_ids(self.data.get("post_processor")) or bool(self._edges())

    @property
    def has_usual_model(self) -> bool:
        """True if the model has no options that only the `tokenizers` library knows."""
        options = ("unk_token", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback", "ignore_merges")
        return self.rebuilt or not any(self.model.get(option) for option in options)

    @property
    def has_unknown_token(self) -> bool:
        """True if letters without an id have that of an unknown token."""
        return not self.rebuilt and self.model.get("unk_token") in self.vocabulary

    @property
    def is_plain(self) -> bool:
        """True if merges alone make the ids, and every added token is special and in the vocabulary."""
        added = all(is_plain(token) and token.content in self.vocabulary for token in self.added)
        return added and self.has_usual_model and not self.has_template

    def backend(self) -> HuggingFaceTokenizer:
        """Return the tokenizer that `transformers` makes; it takes special tokens in a text for plain text."""
        with library_errors():
            made = self._rebuilt_backend() if self.rebuilt else self._whole_backend()
            made.no_truncation()
            made.no_padding()
            made.add_tokens(list(self.added))
            if edges := self._edges():
                before, after = ([edges[field]] if field in edges else [] for field in ("bos_token", "eos_token"))
                ids = {text: made.token_to_id(text) for text in edges.values()}
                made.post_processor = processors.TemplateProcessing(
                    single=[*before, "$A", *after], special_tokens=list(ids.items())
                )
            made.encode_special_tokens = True
            return made

    def _whole_backend(self) -> HuggingFaceTokenizer:
        """Return what tokenizer.json describes; we decode ids ourselves."""
        return HuggingFaceTokenizer.from_str(json.dumps(dict(self.data) | {"decoder": None}))

    def _rebuilt_backend(self) -> HuggingFaceTokenizer:
        """Return what GPT2Tokenizer makes of vocabulary, merges and post-processor."""
        merges = [(bpe.to_text(left), bpe.to_text(right)) for left, right in map(bpe.to_merge, self.merges)]
        made = HuggingFaceTokenizer(models.BPE(self.vocabulary, merges))
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
        if (processor := self.data.get("post_processor")) is not None:
            empty = {"version": "1.0", "added_tokens": [], "model": {"type": "BPE", "vocab": {}, "merges": []}}
            alone = HuggingFaceTokenizer.from_str(json.dumps(empty | {"post_processor": processor}))
            made.post_processor = alone.post_processor
        return made

    def _edges(self) -> dict[str, str]:
        """Return the texts of the tokens that add_bos_token and add_eos_token put around a prompt, by their fields.

        `transformers` asks for them only where there is no tokenizer.json.
        """
        if TOKENIZER in self.files:
            return {}
        settings = DEFAULTS | dict(self.settings)
        fields = [field for field in ("bos_token", "eos_token") if settings.get(f"add_{field}")]
        texts = {field: token_text(settings, field, TOKENIZER_CONFIG) for field in fields}
        return {field: text for field, text in texts.items() if text}

    def _check_split(self) -> None:
        """Raise ValueError for a way of splitting a text that is not GPT-2's."""
        step = self.data.get("pre_tokenizer")
        step = step if isinstance(step, dict) else {}
        prefix = self.settings.get("add_prefix_space") if self.rebuilt else step.get("add_prefix_space")
        if prefix or step.get("type") != "ByteLevel" or (not self.rebuilt and step.get("use_regex") is False):
            raise ValueError("it does not split text the way GPT-2 does (ByteLevel without add_prefix_space)")


def is_plain(token: AddedToken) -> bool:
    """Return whether an added token is special, and found in a text by no more than its own."""
    return token.special and not (token.single_word or token.lstrip or token.rstrip)


def _is_rebuilt(settings: Mapping[str, object], data: Mapping[str, object]) -> bool:
    """Return whether GPT2Tokenizer reads a tokenizer; ValueError for a class with rules of its own."""
    name = settings.get("tokenizer_class") or REBUILT[0]
    if not isinstance(name, str) or name.removesuffix("Fast") not in (*REBUILT, *WHOLE):
        raise ValueError(
            f"tokenizer_config.json has tokenizer_class = {name!r:.60}; save it with one of the supported ones, "
            f"{', '.join((*REBUILT, *WHOLE))}"
        )
    model = data.get("model")
    is_words = isinstance(model, dict) and model.get("type") == "WordLevel"
    return name.removesuffix("Fast") in REBUILT and not is_words


def _check_processor(processor: object) -> None:
    """Raise ValueError for a post-processor that is not one of those that are applied."""
    if processor is None:
        return
    kind = processor.get("type") if isinstance(processor, dict) else None
    parts = processor.get("processors") if isinstance(processor, dict) else None
    if kind == "Sequence" and isinstance(parts, list):
        for part in parts:
            _check_processor(part)
    elif kind == "TemplateProcessing" and isinstance(processor, dict):
        _check_template(processor)
    elif kind != "ByteLevel":
        raise ValueError(
            f"tokenizer.json has a post_processor of the type {kind!r:.60}; only TemplateProcessing is supported"
        )


def _check_template(processor: dict[str, object]) -> None:
    """Raise ValueError for a template whose tokens have no ids, at which the library would panic with each text."""
    single, tokens = processor.get("single"), processor.get("special_tokens")
    pieces = single if isinstance(single, list) else []
    special = [piece["SpecialToken"] for piece in pieces if isinstance(piece, dict) and "SpecialToken" in piece]
    known = tokens if isinstance(tokens, dict) else {}
    if not all(isinstance(piece, dict) and str(piece.get("id")) in known for piece in special):
        raise ValueError("tokenizer.json has a template with a token that has no ids")


def _puts_ids(processor: object) -> bool:
    """Return whether a post-processor has a template that is more than the text itself."""
    if not isinstance(processor, dict):
        return False
    if processor.get("type") == "TemplateProcessing":
        return processor.get("single") != [{"Sequence": {"id": "A", "type_id": 0}}]
    parts = processor.get("processors")
    return isinstance(parts, list) and any(map(_puts_ids, parts))


def _older(files: Mapping[str, bytes]) -> dict[str, object]:
    """Return the tokenizer.json that vocab.json and merges.txt stand for."""
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
        value = parse_json(files[name])
    except ValueError as error:
        raise ValueError(f"{name} is not valid JSON") from error
    if not isinstance(value, dict):
        raise ValueError(f"{name} does not hold a JSON object")
    return value


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
