"""Checkpoint: a folder that `transformers` opens, written whole or not at all and verified when it is read.

config.json, model.safetensors, tokenizer.json, tokenizer_config.json, generation_config.json, our about.json with the
origin of the model, and held_out.txt with text that its training did not use, if there is any. Folders of GPT-2 models
made elsewhere are read too, and a copy has their tokenizer's files. Nothing is ever unpickled.
"""

import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from models import layout, storage
from models.about import ABOUT, About, about_to_json, read_about
from models.engine import Engine
from models.gpt import GPT, GPTConfig
from models.precision import Precision
from models.precision.tuner import KernelTuner
from models.signature import Signature, signature_of
from models.special_ids import read_documents
from models.tensors_to_save import encoded_tensors, float_tensors
from models.tokenizer import Tokenizer, gpt2_tokenizer
from models.tokenizer_files import NAMES, has_tokenizer
from models.weights import (
    WEIGHTS,
    TensorSource,
    WeightFile,
    build_network,
    has_own_head,
)

log = logging.getLogger(__name__)

HELD_OUT = "held_out.txt"
FILES = ("config.json", WEIGHTS, *NAMES, ABOUT, HELD_OUT)
CONFIG_LIMIT = 1_000_000  # bytes
GPT2_VOCABULARIES = (50257, 50304)  # GPT-2's own, and padded to a multiple of 64 as nanoGPT does


@dataclass(frozen=True)
class Checkpoint:
    """A folder that has been opened: verified, but for the values of its weights."""

    path: Path
    config: GPTConfig
    about: About
    tokenizer_kind: str  # "gpt2", "bpe", "characters", or "none"
    parameters: int
    size_bytes: int  # of all files
    quantized: Precision | None = None  # the precision that its weights are stored at; None for floats
    query_scales: tuple[float, ...] = ()  # as `layout.query_scales`
    remarks: tuple[str, ...] = ()  # sentences about what it holds and is not used
    # the tokenizer as read last, by the signature of the folder at that time
    _tokenizers: dict[Signature, Tokenizer] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def open(cls, path: Path) -> "Checkpoint":
        """Verify everything in a folder but the values of its weights, of which only the header is read.

        The tokenizer is read whole, and kept for `load_tokenizer`. Raises ValueError, naming the folder and the fault,
        if the folder cannot be used.
        """
        path = path.absolute()
        storage.recover(path)
        if not path.is_dir():
            raise ValueError(f"there is no checkpoint folder {path}")
        with _naming(path):
            signature = signature_of(path)  # before anything is read: what changes later is read again
            data = storage.read_json(path / "config.json", limit=CONFIG_LIMIT)
            config = layout.config_from_json(data)
            quantized = layout.quantization_from_json(data, config)
            scales = layout.query_scales(data, config)
            if config.tied and quantized is None and has_own_head(path):
                config = replace(config, tied=False)
            weights = WeightFile(path, config, quantized, query_scales=scales)
            tokenizer = _read_tokenizer(path, data, config)
            kind = tokenizer.kind if tokenizer else "gpt2" if config.vocab_size in GPT2_VOCABULARIES else "none"
            size = sum(file.stat().st_size for file in path.iterdir() if file.is_file())
            kept = {signature: tokenizer} if tokenizer else {}
            about, remarks = read_about(path), (*_remarks(weights), *_raised(quantized))
            return cls(path, config, about, kind, config.parameters(), size, quantized, scales, remarks, kept)

    def is_copy_at(self, precision: str) -> bool:
        """Return whether `save_quantized` made it, at this precision."""
        if self.quantized:
            return self.quantized.name == precision
        return self.about.source.endswith(_source_suffix(precision))

    @property
    def held_out(self) -> Path | None:
        """The file of text that training did not use, if there is one."""
        file = self.path / HELD_OUT
        return file if file.is_file() else None

    def load_model(self) -> GPT:
        """Return the network to train, in float32 and set to eval.

        Raises ValueError if it is quantized, if the file is not the one that was opened, or if a weight is not finite.
        """
        if self.quantized:
            raise ValueError(
                f"{self.path.name} is quantized to {self.quantized.words} and only runs; take the original"
            )
        with _naming(self.path):
            return build_network(self.config, self.open_weights())

    def load_engine(
        self, precision: Precision, *, tuner: KernelTuner | None = None, device: torch.device | None = None
    ) -> Engine:
        """Return the network to run; a quantized one only at the precision it is stored at. ValueError as `load_model`.

        The kernels are those that `tuner` chooses.
        """
        stored, encoded = self.runs_at(precision), self.quantized is not None
        with _naming(self.path):
            return Engine(self.config, stored, self.open_weights(), encoded=encoded, tuner=tuner, device=device)

    def runs_at(self, precision: Precision) -> Precision:
        """Return what it runs at when asked for `precision`: the variant that it is stored at, if it is quantized.

        Raises ValueError if it is quantized to another precision.
        """
        if self.quantized and self.quantized.name != precision.name:
            raise ValueError(f"{self.path.name} is quantized to {self.quantized.name} and can only run so")
        return self.quantized or precision

    def open_weights(self) -> WeightFile:
        """Return the source of its weights; ValueError if the file does not fit config.json."""
        weights = WeightFile(self.path, self.config, self.quantized, query_scales=self.query_scales)
        if not self.config.bias:  # the network would leave them out
            for name in weights.names():
                if name.endswith(".bias") and (value := weights.read(name)) is not None and value.any():
                    raise ValueError(f"config.json says that there are no biases, but {name} is not zero")
        return weights

    def load_tokenizer(self, cache_folder: Path | None = None) -> Tokenizer:
        """Return the folder's own tokenizer, or for a GPT-2 without one the one in `cache_folder`.

        It is read again only if the folder has changed. Raises ValueError if there is none, or if it cannot be used.
        """
        signature = signature_of(self.path)
        if kept := self._tokenizers.get(signature):
            return kept
        with _naming(self.path):
            data = storage.read_json(self.path / "config.json", limit=CONFIG_LIMIT)
            tokenizer = _read_tokenizer(self.path, data, self.config)
            if tokenizer is None:
                if self.tokenizer_kind != "gpt2" or cache_folder is None:
                    raise ValueError("it has no tokenizer; put the tokenizer.json made with it into the folder")
                tokenizer = gpt2_tokenizer(cache_folder)
                tokenizer.read_special_ids(read_documents(self.path), rows=self.config.vocab_size)
        self._tokenizers.clear()
        self._tokenizers[signature] = tokenizer
        return tokenizer


def save_checkpoint(
    path: Path, model: GPT, *, tokenizer: Tokenizer, about: About, held_out: str | None = None
) -> Checkpoint:
    """Write `model` as the folder `path`, in place of a checkpoint there; a crash leaves the old one.

    `held_out` is text like that of the training which the training did not use, to evaluate the model on. Raises
    ValueError if the model cannot be used or the folder holds anything else, OSError if the disk refuses.
    """
    if tokenizer.required_size > model.config.vocab_size:
        raise ValueError(
            f"the tokenizer has {tokenizer.required_size} tokens, more than the model's vocab_size of "
            f"{model.config.vocab_size}"
        )
    _check_replaceable(path)
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            raise ValueError(f"the model cannot be saved: its weights {name} are not all finite numbers")
    config = layout.config_to_json(model.config, special_ids=tokenizer.special_ids)
    tensors = float_tensors(model.config, TensorSource.of(model), torch.float32)
    texts = {} if held_out is None else {HELD_OUT: held_out.encode("utf-8")}
    return _write(path, model.config, config, tensors, tokenizer=tokenizer, about=about, others=texts)


def save_quantized(path: Path, original: Checkpoint, precision: Precision, *, tokenizer: Tokenizer) -> Checkpoint:
    """Write the weights of a float checkpoint at another precision as the folder `path`; errors as `save_checkpoint`.

    At a float precision, `transformers` opens the folder; any other is for us alone.
    """
    if original.quantized:
        raise ValueError(f"{original.path.name} is quantized already, to {original.quantized.words}; take the original")
    _check_replaceable(path)
    config = original.config
    dtype = precision.name if precision.is_float else "float32"
    data = layout.config_to_json(config, special_ids=tokenizer.special_ids, dtype=dtype)
    with _naming(original.path):
        weights = original.open_weights()
        if precision.is_float:
            tensors = float_tensors(config, weights, getattr(torch, dtype))
        else:
            data |= layout.quantization_to_json(precision)
            tensors = encoded_tensors(config, weights, precision)
    source = f"{original.about.source or original.path.name}{_source_suffix(precision.words)}"
    about = replace(original.about, source=source)
    texts = {HELD_OUT: original.held_out.read_bytes()} if original.held_out else {}
    return _write(path, config, data, tensors, tokenizer=tokenizer, about=about, others=texts)


def _source_suffix(precision: str) -> str:
    """Return the end of the source that a quantized copy has in about.json."""
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
    documents = {"config.json": data, ABOUT: about_to_json(about, parameters=config.parameters())}
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
    """Turn every fault within the block into one sentence that names the checkpoint."""
    try:
        yield
    except (ValueError, OSError, SafetensorError) as error:
        raise ValueError(f"the checkpoint {path.name} in {path.parent} cannot be used: {error}") from error


def _read_tokenizer(path: Path, data: Mapping[str, object], config: GPTConfig) -> Tokenizer | None:
    """Return the tokenizer in a folder, None if there is none; ValueError if it does not fit the network.

    `data` is the content of config.json.
    """
    if not has_tokenizer(path):
        return None
    check = not (path / ABOUT).exists()  # what we wrote was checked before
    tokenizer = Tokenizer.load(path, check=check, config=data)
    if tokenizer.required_size > config.vocab_size:
        raise ValueError(f"its tokenizer has {tokenizer.required_size} tokens, config.json only {config.vocab_size}")
    return tokenizer


def _remarks(weights: WeightFile) -> tuple[str, ...]:
    """Return sentences about tensors that are not read."""
    if not weights.other_heads:
        return ()
    names = ", ".join(weights.other_heads[:3]) + (" and more" if weights.other_heads[3:] else "")
    return (f"weights that no text needs are ignored: {names}",)


def _raised(precision: Precision | None) -> tuple[str, ...]:
    """Return a sentence about the matrices that are stored at more than the precision's name says."""
    if precision is None or not precision.raised:
        return ()
    by_level: dict[str, list[str]] = {}
    for matrix, level in precision.raised:
        by_level.setdefault(level, []).append(matrix)
    words = "; ".join(f"{', '.join(matrices)} at {level}" for level, matrices in by_level.items())
    return (f"matrices raised above {precision.name}: {words}",)


def _check_replaceable(path: Path) -> None:
    """Raise ValueError if saving to `path` would delete anything that no checkpoint has."""
    if path.is_dir():
        others = sorted(p.name for p in path.iterdir() if p.name not in FILES and not p.name.startswith("."))
        if others:
            raise ValueError(
                f"saving to {path} would delete {others[0]}, which is not of a checkpoint; choose another name"
            )
    elif path.exists():
        raise ValueError(f"{path} is a file; choose another name for the checkpoint")
