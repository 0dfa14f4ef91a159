"""Tokens added to a tokenizer's vocabulary, in the order in which `transformers` 5 adds them."""

from collections.abc import Mapping

from tokenizers import AddedToken

from models.special_ids import SPECIAL_TOKENS_MAP, TOKENIZER_CONFIG, token_text

Json = Mapping[str, object]

END_OF_TEXT = "<|endoftext|>"
TOKENIZER, ADDED_TOKENS = "tokenizer.json", "added_tokens.json"
DEFAULTS = dict.fromkeys(("bos_token", "eos_token", "unk_token"), END_OF_TEXT)  # of GPT2Tokenizer
NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
MOST_ADDED = 100_000


def added_tokens(
    settings: Json, *, tokenizer: Json, special_tokens_map: Json, older: Json, has_defaults: bool
) -> tuple[AddedToken, ...]:
    """Return the added tokens of a folder: those with ids first, then the special tokens that have none.

    The arguments are the contents of tokenizer_config.json, tokenizer.json, special_tokens_map.json and
    added_tokens.json; a class that `has_defaults` has the special tokens of GPT-2. Raises ValueError, naming the file,
    for what is no token.
    """
    listed = _listed(tokenizer)
    if "added_tokens_decoder" in settings:  # then the other files say nothing
        by_id = _decoder(settings["added_tokens_decoder"])
        sources = {TOKENIZER_CONFIG: settings}
    else:
        by_id = _older(older, special=_texts_of(settings)) | listed
        sources = {TOKENIZER_CONFIG: settings, SPECIAL_TOKENS_MAP: special_tokens_map}
    tokens = {by_id[i].content: by_id[i] for i in sorted(by_id)}
    named: dict[str, str | None] = dict.fromkeys(NAMED) | (DEFAULTS if has_defaults else {})
    extra: list[str] = []
    for file, source in sources.items():
        for field, value in source.items():
            if field in NAMED or (field.endswith("_token") and isinstance(value, str)):
                named[field] = token_text(source, field, file)
        extra += _extra(source, file)
    for text in (*named.values(), *extra):
        if text and text in tokens:
            tokens[text].special = True
        elif text:
            tokens[text] = AddedToken(text, special=True, normalized=False)
    return tuple(tokens.values())


def _listed(tokenizer: Json) -> dict[int, AddedToken]:
    """Return the added tokens of tokenizer.json by id."""
    entries = tokenizer.get("added_tokens") or []
    is_list = isinstance(entries, list) and len(entries) <= MOST_ADDED
    if not is_list or not all(isinstance(entry, dict) for entry in entries):  # type: ignore[attr-defined]
        raise ValueError("its added tokens are not a list of objects")
    by_id: dict[int, AddedToken] = {}
    for entry in entries:  # type: ignore[attr-defined]
        if type(entry.get("id")) is not int:
            raise ValueError(f"{TOKENIZER} has an added token without an id")
        by_id[entry["id"]] = _token(entry, TOKENIZER)
    return by_id


def _decoder(entries: object) -> dict[int, AddedToken]:
    """Return the tokens of added_tokens_decoder by id."""
    if not isinstance(entries, dict) or not all(key.isdecimal() for key in entries) or len(entries) > MOST_ADDED:
        raise ValueError(f"{TOKENIZER_CONFIG} has an added token without an id")
    return {int(key): _token(entry, TOKENIZER_CONFIG) for key, entry in entries.items()}


def _older(ids: Json, *, special: set[str]) -> dict[int, AddedToken]:
    """Return the tokens of added_tokens.json by id."""
    by_id: dict[int, AddedToken] = {}
    for text, i in ids.items():
        if type(i) is not int or not text:
            raise ValueError(f"{ADDED_TOKENS} has an added token without an id")
        by_id[i] = AddedToken(text, normalized=text not in special, special=text in special)
    return by_id


def _token(entry: object, file: str) -> AddedToken:
    """Return the added token that an object of a file describes."""
    fields = entry if isinstance(entry, dict) else {}
    text = fields.get("content")
    if not isinstance(text, str) or not text or not all(type(fields.get(flag, False)) is bool for flag in FLAGS):
        raise ValueError(f"{file} has an added token that is none: {entry!r:.60}")
    return AddedToken(text, **{flag: fields[flag] for flag in FLAGS if flag in fields})


def _texts_of(settings: Json) -> set[str]:
    return {value for field, value in settings.items() if field in NAMED and isinstance(value, str)}


def _extra(source: Json, file: str) -> list[str]:
    """Return the texts of further special tokens."""
    extra = source.get("extra_special_tokens") or source.get("additional_special_tokens") or []
    values = list(extra.values()) if isinstance(extra, dict) else extra
    if not isinstance(values, list) or len(values) > MOST_ADDED:
        raise ValueError(f"{file} has extra_special_tokens that are no list of texts")
    texts = (token_text({"extra_special_tokens": value}, "extra_special_tokens", file) for value in values)
    return [text for text in texts if text]
