"""Tokenizers of foreign models: the one that a flag names, or the one in a file beside the model."""

import re
from collections.abc import Mapping
from pathlib import Path

from models import storage
from models.checkpoint import GPT2_VOCABULARIES
from models.pickles.reader import MOST_BYTES, read_pickle
from models.tokenizer import CharacterTokenizer, Tokenizer

GPT2 = "gpt2"  # in place of a tokenizer: GPT-2's own, which is not in the file
JSON_LIMIT = 64_000_000  # bytes
DATASET = re.compile(r"[\w-][\w.-]{0,99}")  # a name that leads to no other folder
ALPHABETS = ("itos", "stoi", "chars", "vocab", "vocabulary", "characters")


def named_tokenizer(name: str) -> Tokenizer | str:
    """Return the tokenizer that a user names: gpt2, or the path of a file or folder. Raises ValueError."""
    if name == GPT2:
        return GPT2
    path = Path(name)
    if path.is_dir():
        return tokenizer_in(path) or _refuse(path)
    if not path.is_file():
        raise ValueError(f"tokenizer must be gpt2, or a file or folder with one, and there is no {name[:200]!r}")
    if path.name in ("tokenizer.json", "vocab.json", "merges.txt"):
        return Tokenizer.load(path.parent)
    return _characters_in(path) or _refuse(path)


def tokenizer_beside(folder: Path, vocab_size: int, *details: Mapping[str, object]) -> Tokenizer | str | None:
    """Return the tokenizer beside a model, GPT2 for a vocabulary of its size, None if there is none to be found."""
    tokenizer = tokenizer_in(folder)
    if tokenizer is None and (file := _dataset_file(folder, *details)):
        tokenizer = _characters_in(file)
    if tokenizer is None and vocab_size in GPT2_VOCABULARIES:
        return GPT2
    return tokenizer


def tokenizer_in(folder: Path) -> Tokenizer | None:
    """Return the tokenizer in a folder, None if there is none; ValueError if it cannot be used."""
    if (folder / "tokenizer.json").is_file() or (folder / "vocab.json").is_file():
        return Tokenizer.load(folder)
    files = [folder / name for name in ("meta.json", "meta.pkl") if (folder / name).is_file()]
    return _characters_in(files[0]) if files else None


def _dataset_file(folder: Path, *details: Mapping[str, object]) -> Path | None:
    """Return the meta.pkl of the text that nanoGPT was trained on, in data/NAME beside the folder of the model."""
    for detail in details:
        config = detail.get("config")
        name = config.get("dataset") if isinstance(config, dict) else None
        if isinstance(name, str) and DATASET.fullmatch(name):
            for place in (folder.parent / "data" / name, folder / "data" / name, folder / name):
                if (place / "meta.pkl").is_file():
                    return place / "meta.pkl"
    return None


def _characters_in(path: Path) -> Tokenizer | None:
    """Return the tokenizer of characters that a meta.pkl or meta.json describes, None if it describes none.

    Raises ValueError for a file that is damaged or asks for more than data.
    """
    if path.suffix == ".json":
        data: object = storage.read_json(path, limit=JSON_LIMIT)
    else:
        with open(path, "rb") as file:
            content = file.read(MOST_BYTES + 1)
        try:
            data = read_pickle(content, names=False)
        except ValueError as error:
            raise ValueError(f"{path.name} holds no characters: {error}") from error
    places = [data, *data.values()] if isinstance(data, dict) else []
    for place in places:
        for name in ALPHABETS if isinstance(place, dict) else ():
            if alphabet := _alphabet(place.get(name)):
                return CharacterTokenizer(alphabet)
    return None


def _alphabet(value: object) -> list[str] | None:
    """Return the characters in order of their ids, None if the value is no list or numbering of characters."""
    if isinstance(value, str | list):
        characters = list(value)
    elif isinstance(value, dict) and all(type(i) is int for i in value.values()):
        by_id = {i: character for character, i in value.items()}
        characters = [by_id.get(i) for i in range(len(value))]
    elif isinstance(value, dict):
        by_text = {str(i): character for i, character in value.items()}
        characters = [by_text.get(str(i)) for i in range(len(value))]
    else:
        return None
    texts = [c for c in characters if isinstance(c, str) and len(c) == 1 and not "\ud800" <= c <= "\udfff"]
    return texts if texts and len(set(texts)) == len(texts) == len(characters) else None


def _refuse(path: Path) -> Tokenizer:
    raise ValueError(
        f"tokenizer must be gpt2, a tokenizer.json, a vocab.json beside a merges.txt, or a meta.pkl or meta.json that "
        f"numbers characters from 0, and {path} is none"
    )
