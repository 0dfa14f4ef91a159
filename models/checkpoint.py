"""A checkpoint is a folder that `transformers` opens as it is: written whole or not at all, checked when it is read.

config.json, model.safetensors, tokenizer.json, tokenizer_config.json, generation_config.json, and our about.json, which
says where the model comes from. Folders of GPT-2 models made elsewhere are read too. Nothing is ever unpickled.
"""

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from models import layout, storage
from models.gpt import GPT, GPTConfig
from models.tokenizer import Tokenizer, gpt2_tokenizer

log = logging.getLogger(__name__)

WEIGHTS = "model.safetensors"
FILES = ("config.json", WEIGHTS, "tokenizer.json", "tokenizer_config.json", "generation_config.json", "about.json")
CONFIG_LIMIT = 1_000_000  # bytes
DTYPES = ("F32", "F16", "BF16", "F64")
GPT2_VOCABULARIES = (50257, 50304)  # GPT-2's own, and padded to a multiple of 64 as nanoGPT does
PICKLES = ("pytorch_model.bin", "model.pt", "pytorch_model.bin.index.json")


@dataclass(frozen=True)
class About:
    """Where a model comes from, in its author's words and numbers; losses in nats per token."""

    source: str = ""
    data: str = ""
    steps: int | None = None
    tokens: int | None = None
    loss: float | None = None
    validation_loss: float | None = None
    created: str = ""  # ISO 8601; the time of saving if empty
    licence: str = ""


@dataclass(frozen=True)
class Checkpoint:
    """A folder that has been looked through and found good, but for the values of its weights."""

    path: Path
    config: GPTConfig
    about: About
    tokenizer_kind: str  # "gpt2", "bpe", "characters", or "none"
    parameters: int
    size_bytes: int  # of all files

    @classmethod
    def open(cls, path: Path) -> "Checkpoint":
        """Check everything about a folder but the weights' values; reads headers only.

        Raises ValueError, naming the folder and the fault, if it cannot be used.
        """
        path = path.absolute()
        storage.recover(path)
        if not path.is_dir():
            raise ValueError(f"there is no checkpoint folder {path}")
        with _naming(path):
            config = layout.config_from_json(storage.read_json(path / "config.json", limit=CONFIG_LIMIT))
            with _open_weights(path, config):
                pass
            kind = _tokenizer_kind(path, config)
            size = sum(file.stat().st_size for file in path.iterdir() if file.is_file())
            return cls(path, config, _read_about(path), kind, config.parameters(), size)

    def load_model(self) -> GPT:
        """The network with its weights in float32, set to eval; raises ValueError if one is not a finite number."""
        with torch.device("meta"):
            model = GPT(self.config)
        model = model.to_empty(device="cpu").eval()  # skips the initialisation; every weight is read below
        parameters = dict(model.named_parameters())
        with _naming(self.path), torch.no_grad(), _open_weights(self.path, self.config) as weights:
            for name, value in weights:
                if not torch.isfinite(value).all():
                    raise ValueError(f"{WEIGHTS} holds values that are not finite numbers, in {name}")
                if name in parameters:
                    parameters[name].copy_(value)
                elif value.any():  # only biases of a network without them come here
                    raise ValueError(f"config.json says that there are no biases, but {name} is not zero")
        return model

    def load_tokenizer(self, cache_folder: Path | None = None) -> Tokenizer:
        """The folder's own tokenizer, or for a GPT-2 without one the one in `cache_folder`; raises ValueError."""
        with _naming(self.path):
            if _has_tokenizer(self.path):
                return Tokenizer.load(self.path)
            if self.tokenizer_kind == "gpt2" and cache_folder is not None:
                return gpt2_tokenizer(cache_folder)
            raise ValueError("it has no tokenizer; put the tokenizer.json made with it into the folder")


def save_checkpoint(path: Path, model: GPT, *, tokenizer: Tokenizer, about: About) -> Checkpoint:
    """Write `model` as the folder `path`, in place of a checkpoint there; a crash leaves the old one.

    Raises ValueError if the model cannot be used or the folder holds anything else, OSError if the disk refuses.
    """
    config = model.config
    if tokenizer.vocab_size > config.vocab_size:
        raise ValueError(
            f"the tokenizer has {tokenizer.vocab_size} tokens, more than the model's vocab_size of {config.vocab_size}"
        )
    _check_replaceable(path)
    tensors = _stored(model)
    created = about.created or datetime.now(UTC).isoformat(timespec="seconds")
    end = tokenizer.end_of_text
    documents = {
        "config.json": layout.config_to_json(config, end_of_text=end),
        "generation_config.json": {"bos_token_id": end, "eos_token_id": end, "pad_token_id": end, "do_sample": True},
        "about.json": asdict(replace(about, created=created)) | {"parameters": config.parameters()},
    }
    files = {name: storage.json_bytes(document) for name, document in documents.items()}
    with storage.new_folder(path) as folder:
        tokenizer.save(folder, context=config.block_size)
        for name, data in files.items():
            storage.write_file(folder / name, data)
        try:
            save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
        except SafetensorError as error:
            raise OSError(f"the weights could not be written to {path}: {error}") from error
        shutil.copymode(folder / "config.json", folder / WEIGHTS)  # safetensors makes it readable for its owner only
    return Checkpoint.open(path)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn every fault into one sentence that names the checkpoint."""
    try:
        yield
    except (ValueError, OSError, SafetensorError) as error:
        raise ValueError(f"the checkpoint {path.name} in {path.parent} cannot be used: {error}") from error


@contextmanager
def _open_weights(path: Path, config: GPTConfig) -> Iterator[Iterator[tuple[str, Tensor]]]:
    """Our names and the tensors, our way round, one at a time; names and shapes have been compared with `config`."""
    file_name = path / WEIGHTS
    if not file_name.is_file():
        raise ValueError(_why_no_weights(path))
    try:
        file = safe_open(file_name, framework="pt")
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{WEIGHTS} is damaged or incomplete ({error}); copy it again") from error
    with file:
        keys = set(file.keys())
        prefixed = any(key.startswith(layout.PREFIX) for key in keys)
        wanted = {}
        for tensor in layout.stored_tensors(config):
            wanted[tensor.stored_name if prefixed else tensor.stored_name.removeprefix(layout.PREFIX)] = tensor
        ignored = (*layout.IGNORED, layout.HEAD) if config.tied else layout.IGNORED
        extra = sorted(key for key in keys - wanted.keys() if not key.endswith(ignored))
        if missing := sorted(wanted.keys() - keys):
            raise ValueError(f"{WEIGHTS} lacks {len(missing)} tensors that config.json asks for, {missing[0]} first")
        if extra:
            raise ValueError(f"{WEIGHTS} holds {len(extra)} tensors that config.json does not know, {extra[0]} first")
        for key, tensor in wanted.items():
            header = file.get_slice(key)
            shape = tuple(header.get_shape())
            if shape != tensor.shape:
                raise ValueError(f"{key} in {WEIGHTS} has the shape {shape}, config.json asks for {tensor.shape}")
            if header.get_dtype() not in DTYPES:
                raise ValueError(f"{key} in {WEIGHTS} is of the type {header.get_dtype()}, not one of {DTYPES}")
        values = ((t.name, file.get_tensor(key)) for key, t in wanted.items())
        transposed = {t.name for t in wanted.values() if t.transposed}
        yield ((name, value.t() if name in transposed else value) for name, value in values)


def _why_no_weights(path: Path) -> str:
    if (path / f"{WEIGHTS}.index.json").exists():
        return f"its weights are split into several files; save it again as one {WEIGHTS}"
    if any((path / name).exists() for name in PICKLES):
        return f"it has no {WEIGHTS}, only a pickle, which could run any code; convert it with safetensors first"
    return f"{WEIGHTS} is missing"


def _has_tokenizer(path: Path) -> bool:
    return (path / "tokenizer.json").exists() or (path / "vocab.json").exists()


def _tokenizer_kind(path: Path, config: GPTConfig) -> str:
    """What the folder's tokenizer is, after loading it; raises ValueError if it does not fit the network."""
    if not _has_tokenizer(path):
        return "gpt2" if config.vocab_size in GPT2_VOCABULARIES else "none"
    tokenizer = Tokenizer.load(path)
    if tokenizer.vocab_size > config.vocab_size:
        raise ValueError(f"its tokenizer has {tokenizer.vocab_size} tokens, config.json only {config.vocab_size}")
    return tokenizer.kind


def _read_about(path: Path) -> About:
    if not (path / "about.json").exists():
        return About()
    data = storage.read_json(path / "about.json", limit=CONFIG_LIMIT)
    known = {field.name: data[field.name] for field in fields(About) if field.name in data}
    for name, value in known.items():
        allowed = str if isinstance(getattr(About, name), str) else int | float | None
        if not isinstance(value, allowed) or isinstance(value, bool):
            raise ValueError(f"about.json has {name} = {value!r}, which is no {'text' if allowed is str else 'number'}")
    return About(**known)  # type: ignore[arg-type]


def _check_replaceable(path: Path) -> None:
    """Saving replaces the folder, so it must hold nothing that we do not write."""
    if path.is_dir():
        others = sorted(p.name for p in path.iterdir() if p.name not in FILES and not p.name.startswith("."))
        if others:
            raise ValueError(
                f"saving to {path} would delete {others[0]}, which is not of a checkpoint; choose another name"
            )
    elif path.exists():
        raise ValueError(f"{path} is a file; choose another name for the checkpoint")


def _stored(model: GPT) -> dict[str, Tensor]:
    """The tensors of model.safetensors; raises ValueError if a weight is not a finite number."""
    parameters = {name: parameter.detach().float().cpu() for name, parameter in model.named_parameters()}
    tensors = {}
    for tensor in layout.stored_tensors(model.config):
        value = parameters.get(tensor.name)
        if value is None:  # a bias of a network without them
            value = torch.zeros(tensor.shape)
        if not torch.isfinite(value).all():
            raise ValueError(f"the model cannot be saved: its weights {tensor.name} are not all finite numbers")
        tensors[tensor.stored_name] = (value.t() if tensor.transposed else value).contiguous()
    return tensors
