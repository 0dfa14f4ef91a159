"""A checkpoint is a folder that `transformers` opens as it is: written whole or not at all, checked when it is read.

config.json, model.safetensors, tokenizer.json, tokenizer_config.json, generation_config.json, our about.json, which
says where the model comes from, and held_out.txt if there is text that its training did not see. Folders of GPT-2
models made elsewhere are read too. Nothing is ever unpickled.
"""

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from models import layout, storage
from models.engine import Engine
from models.gpt import GPT, GPTConfig
from models.precision import Precision
from models.precision.tuner import KernelTuner
from models.tokenizer import Tokenizer, gpt2_tokenizer
from models.weights import WEIGHTS, WeightFile

log = logging.getLogger(__name__)

HELD_OUT = "held_out.txt"
FILES = (
    *("config.json", WEIGHTS, "tokenizer.json", "tokenizer_config.json", "generation_config.json", "about.json"),
    HELD_OUT,
)
CONFIG_LIMIT = 1_000_000  # bytes
GPT2_VOCABULARIES = (50257, 50304)  # GPT-2's own, and padded to a multiple of 64 as nanoGPT does


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
    quantized: Precision | None = None  # what its weights are stored as, if not as floats

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
            data = storage.read_json(path / "config.json", limit=CONFIG_LIMIT)
            config, quantized = layout.config_from_json(data), layout.quantization_from_json(data)
            WeightFile(path, config, quantized)
            kind = _tokenizer_kind(path, config)
            size = sum(file.stat().st_size for file in path.iterdir() if file.is_file())
            return cls(path, config, _read_about(path), kind, config.parameters(), size, quantized)

    def is_copy_at(self, precision: str) -> bool:
        """Whether `save_quantized` made it, to this precision."""
        if self.quantized:
            return self.quantized.name == precision
        return self.about.source.endswith(_made(precision))

    @property
    def held_out(self) -> Path | None:
        """The file of text that training did not see, if there is one."""
        file = self.path / HELD_OUT
        return file if file.is_file() else None

    def load_model(self) -> GPT:
        """The network to train, in float32 and set to eval; ValueError if it is quantized or a weight is not finite."""
        if self.quantized:
            raise ValueError(f"{self.path.name} is quantized to {self.quantized.name} and only runs; take the original")
        with torch.device("meta"):
            model = GPT(self.config)
        model = model.to_empty(device="cpu").eval()  # skips the initialisation; every weight is read below
        with _naming(self.path), torch.no_grad():
            weights = self._weights()
            for name, parameter in model.named_parameters():
                value = weights.read(name)
                assert value is not None, "the names were compared when the file was opened"
                parameter.copy_(value)
        return model

    def load_engine(
        self, precision: Precision, *, choices: KernelTuner | None = None, device: torch.device | None = None
    ) -> Engine:
        """The network to run; a quantized one only at the precision it is stored in. ValueError as `load_model`."""
        self.check_runs(precision)
        with _naming(self.path):
            encoded = self.quantized is not None
            source = self._weights().read
            return Engine(self.config, precision, source, encoded=encoded, choices=choices, device=device)

    def check_runs(self, precision: Precision) -> None:
        """ValueError if it is quantized to another precision."""
        if self.quantized not in (None, precision):
            raise ValueError(f"{self.path.name} is quantized to {self.quantized.name} and can only run so")

    def _weights(self) -> WeightFile:
        """The weights, after a look at what the network would leave out."""
        weights = WeightFile(self.path, self.config, self.quantized)
        if not self.config.bias:
            for name in weights.names():
                if name.endswith(".bias") and (value := weights.read(name)) is not None and value.any():
                    raise ValueError(f"config.json says that there are no biases, but {name} is not zero")
        return weights

    def load_tokenizer(self, cache_folder: Path | None = None) -> Tokenizer:
        """The folder's own tokenizer, or for a GPT-2 without one the one in `cache_folder`; raises ValueError."""
        with _naming(self.path):
            if _has_tokenizer(self.path):
                return Tokenizer.load(self.path)
            if self.tokenizer_kind == "gpt2" and cache_folder is not None:
                return gpt2_tokenizer(cache_folder)
            raise ValueError("it has no tokenizer; put the tokenizer.json made with it into the folder")


def save_checkpoint(
    path: Path, model: GPT, *, tokenizer: Tokenizer, about: About, held_out: str | None = None
) -> Checkpoint:
    """Write `model` as the folder `path`, in place of a checkpoint there; a crash leaves the old one.

    `held_out` is text like that of the training which the training did not see, to judge the model by. Raises
    ValueError if the model cannot be used or the folder holds anything else, OSError if the disk refuses.
    """
    if tokenizer.vocab_size > model.config.vocab_size:
        raise ValueError(
            f"the tokenizer has {tokenizer.vocab_size} tokens, more than the model's vocab_size of "
            f"{model.config.vocab_size}"
        )
    _check_replaceable(path)
    config = layout.config_to_json(model.config, end_of_text=tokenizer.end_of_text)
    texts = {} if held_out is None else {HELD_OUT: held_out.encode("utf-8")}
    return _write(path, model.config, config, _stored(model), tokenizer=tokenizer, about=about, others=texts)


def save_quantized(path: Path, original: Checkpoint, precision: Precision, *, tokenizer: Tokenizer) -> Checkpoint:
    """Write the weights of a float checkpoint at another precision as the folder `path`; errors as `save_checkpoint`.

    At a float precision, `transformers` opens the folder; any other is for us alone.
    """
    if original.quantized:
        raise ValueError(f"{original.path.name} is quantized already, to {original.quantized.name}; take the original")
    _check_replaceable(path)
    config = original.config
    dtype = precision.name if precision.is_float else "float32"
    data = layout.config_to_json(config, end_of_text=tokenizer.end_of_text, dtype=dtype)
    with _naming(original.path):
        weights = original._weights()
        if precision.is_float:
            tensors = _recast(config, weights, getattr(torch, dtype))
        else:
            data |= layout.quantization_to_json(precision)
            tensors = _encoded(config, weights, precision)
    source = f"{original.about.source or original.path.name}{_made(precision.name)}"
    about = replace(original.about, source=source)
    texts = {HELD_OUT: original.held_out.read_bytes()} if original.held_out else {}
    return _write(path, config, data, tensors, tokenizer=tokenizer, about=about, others=texts)


def _made(precision: str) -> str:
    """How the source of a copy ends."""
    return f", as {precision}"


def _write(
    path: Path,
    config: GPTConfig,
    data: dict[str, object],
    tensors: dict[str, Tensor],
    *,
    tokenizer: Tokenizer,
    about: About,
    others: dict[str, bytes],
) -> Checkpoint:
    """Write the folder: `data` is its config.json, `others` are more files by name."""
    created = about.created or datetime.now(UTC).isoformat(timespec="seconds")
    end = tokenizer.end_of_text
    documents = {
        "config.json": data,
        "generation_config.json": {"bos_token_id": end, "eos_token_id": end, "pad_token_id": end, "do_sample": True},
        "about.json": asdict(replace(about, created=created)) | {"parameters": config.parameters()},
    }
    files = others | {name: storage.json_bytes(document) for name, document in documents.items()}
    with storage.new_folder(path) as folder:
        tokenizer.save(folder, context=config.block_size)
        for name, content in files.items():
            storage.write_file(folder / name, content)
        try:
            save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
        except SafetensorError as error:
            raise storage.disk_error(error, path / WEIGHTS) from error
        shutil.copymode(folder / "config.json", folder / WEIGHTS)  # safetensors makes it readable for its owner only
    return Checkpoint.open(path)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn every fault into one sentence that names the checkpoint."""
    try:
        yield
    except (ValueError, OSError, SafetensorError) as error:
        raise ValueError(f"the checkpoint {path.name} in {path.parent} cannot be used: {error}") from error


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
        if not isinstance(value, allowed) or isinstance(value, bool) or not _is_sane(value):
            raise ValueError(f"about.json has {name} = {value!r}, which is no {'text' if allowed is str else 'number'}")
    return About(**known)  # type: ignore[arg-type]


def _is_sane(value: object) -> bool:
    """Return whether a value is no NaN, infinity or giant number, which no JSON and no page could hold."""
    return not isinstance(value, int | float) or abs(value) < 1e18


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


def _recast(config: GPTConfig, weights: WeightFile, dtype: torch.dtype) -> dict[str, Tensor]:
    """The tensors of a float folder with its matrices as `dtype`; what belongs to no matrix stays float32."""
    tensors = {}
    for tensor in layout.stored_tensors(config):
        value = weights.read(tensor.name)
        assert value is not None
        value = value.to(dtype if value.ndim == 2 else torch.float32)
        _check_finite(tensor.name, value)
        tensors[tensor.stored_name] = (value.t() if tensor.transposed else value).contiguous()
    return tensors


def _check_finite(name: str, value: Tensor) -> None:
    if value.is_floating_point() and not torch.isfinite(value).all():
        raise ValueError(f"the weights {name} are too large for this precision")


@torch.inference_mode()
def _encoded(config: GPTConfig, weights: WeightFile, precision: Precision) -> dict[str, Tensor]:
    """The tensors of a quantized folder; each matrix is read, encoded and let go."""
    stored = {tensor.name: tensor.stored_name for tensor in layout.stored_tensors(config, precision)}
    tensors = {}
    for matrix in precision.matrices(config):
        weight = weights.read(f"{matrix}.weight")
        weight = weights.read("wte.weight") if weight is None else weight  # a head of its own, of a tied network
        assert weight is not None
        for part, value in precision.encoding(matrix, config).encode(weight.float()).items():
            _check_finite(matrix, value)
            tensors[stored.pop(f"{matrix}.{part}")] = value.contiguous()
    for name, stored_name in stored.items():
        vector = weights.read(name)
        assert vector is not None
        tensors[stored_name] = vector.float()
    return tensors
