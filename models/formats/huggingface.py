"""Hugging Face folders of a GPT-2: config.json with model.safetensors, its shards, or pytorch_model.bin and shards.

Tensors keep their names, types and values, and the documents of the folder come along as they are.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from models import layout, storage
from models.about import ABOUT, read_about
from models.checkpoint import HELD_OUT
from models.formats.companions import GPT2, GPT2_VOCABULARIES, tokenizer_in
from models.formats.container import Source, open_container, safetensors
from models.formats.conversion import Conversion, OutputTensor
from models.formats.stored import Stored

SHARD = re.compile(r"[\w-][\w.-]{0,150}\.(safetensors|bin)")
MOST_SHARDS = 1_000
CODE = ("auto_map", "custom_pipelines")  # fields of config.json that name programs
INDEX = ".index.json"
INDEX_LIMIT = 16_000_000  # bytes
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt")
OTHERS = {"generation_config.json": 1_000_000, "special_tokens_map.json": 1_000_000, "added_tokens.json": 4_000_000}
SIZES = dict.fromkeys(TOKENIZER_FILES, 64_000_000) | OTHERS | {HELD_OUT: 64_000_000}  # bytes


def recognises(source: Source) -> bool:
    """Return whether a file lies beside a config.json of `transformers`."""
    is_theirs = source.path.suffix in (".safetensors", ".bin") or source.path.name.endswith(INDEX)
    return is_theirs and isinstance(source.settings.get("model_type"), str)


def read(source: Source) -> Conversion:
    """Return the folder's content; ValueError if it is no GPT-2 that this project can run."""
    config = {name: value for name, value in source.settings.items() if name not in CODE}
    folder = source.folder
    shape = layout.config_from_json(config)
    tensors = _tensors(source.path)
    if shape.tied:
        tensors = _without_copied_head(tensors)
    files = {
        name: (folder / name).read_bytes()
        for name, limit in SIZES.items()
        if (folder / name).is_file() and (folder / name).stat().st_size <= limit
    }
    if (folder / ABOUT).is_file():
        read_about(folder)
        files[ABOUT] = (folder / ABOUT).read_bytes()
    tokenizer = tokenizer_in(folder) or (GPT2 if shape.vocab_size in GPT2_VOCABULARIES else None)
    outputs = {name: OutputTensor(t.shape, t.dtype, t.load, t.nbytes) for name, t in tensors.items()}
    missing = () if tokenizer else ("tokenizer",)
    return Conversion("Hugging Face folder", config, outputs, tokenizer, files, missing)


def _tensors(path: Path) -> dict[str, Stored]:
    """Return the tensors of a file, or of all files that an index names."""
    if not path.name.endswith(INDEX):
        return _of_file(path)
    index = storage.read_json(path, limit=INDEX_LIMIT).get("weight_map")
    if not isinstance(index, dict) or not all(isinstance(name, str) for name in index.values()):
        raise ValueError(f"{path.name} does not say which file has which tensor")
    names = sorted(set(index.values()))
    if len(names) > MOST_SHARDS or not all(SHARD.fullmatch(name) for name in names):
        raise ValueError(f"{path.name} names files outside its folder, or too many")
    if absent := [name for name in names if not (path.parent / name).is_file()]:
        raise ValueError(f"{len(absent)} of its {len(names)} files are missing, {absent[0]} first; copy them, too")
    tensors = {}
    for name in names:
        for key, tensor in _of_file(path.parent / name).items():
            if index.get(key) == name:
                tensors[key] = tensor
    if lacking := sorted(index.keys() - tensors.keys()):
        raise ValueError(f"its files lack {len(lacking)} of the tensors in {path.name}, {lacking[0]} first")
    return tensors


def _of_file(path: Path) -> dict[str, Stored]:
    if path.suffix == ".safetensors":
        return safetensors(path)
    return dict(open_container(path).tensors)


def _without_copied_head(tensors: Mapping[str, Stored]) -> dict[str, Stored]:
    """Return the tensors without a head that is the token table once more in the file."""
    tables = {tensors[name].identity for name in ("transformer.wte.weight", "wte.weight") if name in tensors}
    return {name: t for name, t in tensors.items() if name != layout.HEAD or t.identity not in tables}
