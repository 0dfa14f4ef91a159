"""Foreign file opened: its tensors by name, and what it says besides.

Containers of a state dict are unwrapped, prefixes of wrappers removed, quantized layers folded.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from models import layout, storage
from models.formats import torch_dynamic
from models.formats.stored import Stored
from models.formats.torch_file import read_torch_file
from models.pickles.values import Name, Record

INSIDE = ("model", "model_state_dict", "state_dict", "model_state", "module", "net", "weights")
WRAPPERS = re.compile(r"\A(module\.|_orig_mod\.|_fsdp_wrapped_module\.|model\.)+")
JSON_LIMIT = 16_000_000  # bytes
META_LIMIT = 64_000_000  # bytes, with a vocabulary of characters
# safetensors' names of types
TYPES = {kind: dtype for dtype, kind in layout.KINDS.items()} | {
    "F64": torch.float64,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "BOOL": torch.bool,
}


@dataclass(frozen=True)
class Container:
    """Tensors of a foreign file by name, and the plain values beside them."""

    tensors: Mapping[str, Stored]
    details: Mapping[str, object]


@dataclass(frozen=True)
class Source:
    """A foreign file that is to be recognised, opened when a format asks for its content."""

    path: Path

    @property
    def folder(self) -> Path:
        """The folder of the file, where its configuration and tokenizer may lie."""
        return self.path.parent

    @cached_property
    def start(self) -> bytes:
        """The first bytes of the file."""
        with open(self.path, "rb") as file:
            return file.read(16)

    @cached_property
    def settings(self) -> dict[str, object]:
        """The content of a config.json beside the file, or of the args.json of some tutorials; empty without one."""
        return read_beside(self.folder, "config.json", "args.json")

    @cached_property
    def meta(self) -> dict[str, object]:
        """The content of a meta.json beside the file, in which some tutorials say the activation; empty without one."""
        file = self.folder / "meta.json"
        return storage.read_json(file, limit=META_LIMIT) if file.is_file() else {}

    @cached_property
    def container(self) -> Container:
        """The content of the file; raises ValueError if it is none of weights or unsafe."""
        return open_container(self.path)


def open_container(path: Path) -> Container:
    """Return the content of a file of safetensors or of torch.save; ValueError if it is neither or unsafe."""
    with open(path, "rb") as file:
        start = file.read(9)
    if start[8:9] == b"{":
        return Container(_renamed(safetensors(path)), {})
    content = read_torch_file(path)
    if not isinstance(content, dict):
        raise ValueError("it holds no state dict; save model.state_dict() by torch.save")
    state, details = _unwrapped(content)
    tensors = {name: value for name, value in torch_dynamic.fold(state).items() if isinstance(value, Stored)}
    return Container(_renamed(tensors), details)


def safetensors(path: Path) -> dict[str, Stored]:
    """Return the tensors of a safetensors file by name; ValueError if it is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            return {name: _in_safetensors(path, name, file.get_slice(name)) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path.name} is damaged or incomplete ({error}); copy it again") from error


def read_beside(folder: Path, *names: str) -> dict[str, object]:
    """Return the first of these JSON files in a folder, nothing if there is none; ValueError if it is damaged."""
    for name in names:
        if (folder / name).is_file():
            return storage.read_json(folder / name, limit=JSON_LIMIT)
    return {}


def _in_safetensors(path: Path, name: str, header: object) -> Stored:
    shape, kind = tuple(header.get_shape()), header.get_dtype()  # type: ignore[attr-defined]
    if kind not in TYPES:
        raise ValueError(f"its {name[:100]} is of the type {kind}, which is not supported")
    nbytes = torch.Size(shape).numel() * TYPES[kind].itemsize
    return Stored(shape, TYPES[kind], partial(_read_safetensors, path, name), (path.name, name), nbytes)


def _read_safetensors(path: Path, name: str) -> torch.Tensor:
    try:
        with safe_open(path, framework="pt") as file:
            value: torch.Tensor = file.get_tensor(name)
            return value
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path.name} is damaged or incomplete ({error}); copy it again") from error


def _unwrapped(content: Mapping[str, object]) -> tuple[Mapping[str, object], dict[str, object]]:
    """Return the state dict in a file and the plain values beside it."""
    if _is_state(content):
        return content, {}
    name = next((name for name in INSIDE if _is_state(content.get(name))), None)
    if name is None:
        raise ValueError(
            "it holds no state dict of a model; save {'model': model.state_dict()} or model.state_dict() by torch.save"
        )
    state = content[name]
    assert isinstance(state, dict)
    details = {key: _plain(value) for key, value in content.items() if key != name and not str(key).startswith("optim")}
    return state, details


def _is_state(value: object) -> bool:
    """Return whether a dictionary has tensors, or packed weights of quantized layers, directly in it."""
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        return False
    return any(isinstance(item, Stored) for item in value.values()) and any("." in key for key in value)


def _plain(value: object) -> object:
    """Return options as a dictionary of their fields, numbers and texts as they are, and None for the rest."""
    if isinstance(value, Record):
        value = value.fields
    if isinstance(value, Name):
        return value.text
    if isinstance(value, dict):
        fields = {key: item.fields if isinstance(item, Record) else item for key, item in value.items()}
        return {key: item for key, item in fields.items() if isinstance(item, str | int | float | dict | None)}
    if isinstance(value, Stored) and value.shape == ():
        return value.load().item()
    return value if isinstance(value, str | int | float) else None


def _renamed(tensors: Mapping[str, Stored]) -> dict[str, Stored]:
    """Return tensors without the prefixes of wrappers; ValueError if two would have one name."""
    renamed = {WRAPPERS.sub("", name): tensor for name, tensor in tensors.items()}
    if len(renamed) != len(tensors):
        raise ValueError("two of its tensors have the same name without the prefixes of wrappers")
    return renamed
