"""Files of a model that its import needs, from the Hub's list of all."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from models import layout, storage
from models.checkpoint import HELD_OUT
from models.formats.converting import NAMES
from models.formats.huggingface import INDEX, INDEX_LIMIT, MOST_SHARDS, SHARD, SIZES
from models.hub.errors import HINT
from models.hub.model import CHECKSUM, HubFile, HubModel
from models.hub.receiving import fetch_file

# weights, the first that is there is taken; small files and the most bytes of each
WEIGHTS = tuple(name for name in NAMES if name.removesuffix(INDEX).endswith((".safetensors", ".bin")))
SMALL = {"config.json": 1_000_000} | {name: limit for name, limit in SIZES.items() if name != HELD_OUT}


def listed_files(info: Any) -> dict[str, HubFile]:
    """Return the files in the answer of the Hub that have a size and a checksum."""
    listed = {}
    for entry in info.siblings or ():
        checksum = entry.lfs.sha256 if entry.lfs else entry.blob_id
        if isinstance(entry.size, int) and entry.size >= 0 and CHECKSUM.fullmatch(str(checksum)):
            listed[entry.rfilename] = HubFile(entry.rfilename, entry.size, str(checksum))
    return listed


def needed_files(model: HubModel, listed: Mapping[str, HubFile]) -> HubModel:
    """Return the model with the files that its import needs, small ones first; ValueError if it is no GPT-2."""
    small = [listed[name] for name in SMALL if name in listed]
    if large := next((file for file in small if file.size > SMALL[file.name]), None):
        raise ValueError(f"{model.id} has a {large.name} of {large.size:,} bytes, too large to be one")
    weights = next((listed[name] for name in WEIGHTS if name in listed), None)
    if "config.json" not in listed or weights is None:
        lacking = "config.json" if "config.json" not in listed else f"{WEIGHTS[0]} or {WEIGHTS[2]}"
        raise ValueError(f"{model.id} on the Hugging Face Hub has no {lacking}, so it cannot be imported; {HINT}")
    config = storage.read_json(_fetch_now(model, listed["config.json"]), limit=SMALL["config.json"])
    try:
        layout.config_from_json(config)
    except ValueError as error:
        raise ValueError(f"{model.id} on the Hugging Face Hub cannot be imported: {error}; {HINT}") from error
    return replace(model, files=(*small, *_weights(model, weights, listed)))


def _weights(model: HubModel, file: HubFile, listed: Mapping[str, HubFile]) -> list[HubFile]:
    """Return a file of weights, or an index, which is downloaded, with all of its shards."""
    if not file.name.endswith(INDEX):
        return [file]
    if file.size > INDEX_LIMIT:
        raise ValueError(f"{model.id} has a {file.name} of {file.size:,} bytes, too large to be one")
    names = shards(_fetch_now(model, file))
    if lacking := [name for name in names if name not in listed]:
        raise ValueError(f"{model.id} on the Hugging Face Hub has no {lacking[0]}, which its {file.name} names")
    return [file, *(listed[name] for name in names)]


def shards(index: Path) -> list[str]:
    """Return the names of the files that an index lists; ValueError if they are none of weights."""
    content = storage.read_json(index, limit=INDEX_LIMIT).get("weight_map")
    names = sorted({str(name) for name in content.values()}) if isinstance(content, dict) else []
    if not 0 < len(names) <= MOST_SHARDS or not all(map(SHARD.fullmatch, names)):
        raise ValueError(f"{index.name} does not name the files of the weights")
    return names


def _fetch_now(model: HubModel, file: HubFile) -> Path:
    """Return the path of a small file in the cache, downloaded if need be."""
    for _ in fetch_file(model, file):
        pass
    return model.folder / file.name
