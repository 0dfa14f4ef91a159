"""PyTorch state dict as tutorials of GPT write it: model.pt, with config.json and meta.json, in a folder or a zip."""

import json
import tempfile
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path

import torch
from torch import Tensor
from torch.ao.nn.quantized.dynamic import Linear
from torch.ao.nn.quantized.modules.linear import LinearPackedParams

from gptdesk import __version__
from gptdesk.export.card import copy_recipe
from gptdesk.export.stored_weights import check_network, weights_at
from models import storage
from models.checkpoint import Checkpoint
from models.layout import PREFIX
from models.precision import PRECISIONS, WPE, WTE
from models.precision.int8_dynamic import quantized_tensor
from models.tokenizer import Tokenizer

FLOAT32, INT8_DYNAMIC = PRECISIONS["float32"], PRECISIONS["int8-dynamic"]
EPSILON = 1e-5  # of a layer norm, which no such config says
HEAD = "lm_head"


def write_pt(
    checkpoint: Checkpoint,
    tokenizer: Tokenizer,
    name: str,
    to: Path,
    *,
    precision: str | None = None,
    zip: bool = False,
) -> Path:
    """Write the files as the folder `to`, or with `zip` as one archive, and return it.

    Raises ValueError for a precision that such files do not have and for a model that they cannot describe, OSError if
    the disk refuses.
    """
    stored = checkpoint.quantized or FLOAT32
    wanted = precision or stored.name
    if wanted not in (FLOAT32.name, INT8_DYNAMIC.name):
        raise ValueError(
            f"{name} cannot be written at {wanted[:40]}: a state dict has {FLOAT32.name} or {INT8_DYNAMIC.name}"
            + ("; export the original" if checkpoint.quantized else "")
        )
    if checkpoint.quantized and wanted != stored.name:
        raise ValueError(f"{name} is quantized to {stored.name} already; export the original for {wanted}")
    check_network(checkpoint, name)
    if checkpoint.config.layer_norm_epsilon != EPSILON:
        raise ValueError(
            f"{name} has layer norms with an epsilon of {checkpoint.config.layer_norm_epsilon:g}, which the code of "
            f"tutorials does not read; export it as huggingface"
        )
    if zip and to.suffix.lower() != ".zip":
        raise ValueError(f"the archive {to.name} needs a name that ends in .zip")
    state = _float_state(checkpoint) if wanted == FLOAT32.name else _quantized_state(checkpoint)
    if not zip:
        with storage.new_folder(to, replace=False) as folder:
            _write(folder, state, checkpoint, tokenizer, name)
        return to
    to.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=to.parent, prefix=".") as temporary:
        folder = Path(temporary) / "files"
        folder.mkdir()
        _write(folder, state, checkpoint, tokenizer, name)
        archive = Path(temporary) / to.name
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as packed:
            for file in sorted(folder.iterdir()):
                packed.write(file, f"{to.stem}/{file.name}")
        storage.move_file(archive, to)
    return to


def _write(
    folder: Path, state: "OrderedDict[str, object]", checkpoint: Checkpoint, tokenizer: Tokenizer, name: str
) -> None:
    """Write the files into a folder."""
    try:
        torch.save(state, folder / "model.pt")
    except RuntimeError as error:  # of torch's writer in C++
        raise OSError(f"model.pt could not be written: {error}") from error
    config = checkpoint.config
    # the fields of a GPTConfig in tutorials, and no others: GPTConfig(**config) has to work
    fields = ("block_size", "vocab_size", "n_layer", "n_head", "n_embd", "dropout", "bias")
    storage.write_file(folder / "config.json", storage.json_bytes({field: getattr(config, field) for field in fields}))
    meta: dict[str, object] = {
        "name": name,
        "activation": config.activation,
        "tied": config.tied,
        "quantized": any("._packed_params." in key for key in state),
        "vocab_size": tokenizer.vocab_size,
        "tokenizer": tokenizer.kind,
        "end_of_text": tokenizer.end_of_text,
        "made_by": f"GPT Desk {__version__}",
    }
    if tokenizer.kind == "characters":
        characters = [tokenizer.token_bytes(i).decode("utf-8") for i in range(tokenizer.vocab_size)]
        meta |= {"stoi": {character: i for i, character in enumerate(characters)}, "itos": characters}
    else:
        tokenizer.save(folder, context=config.block_size)
    copy_recipe(checkpoint, folder)
    storage.write_file(folder / "meta.json", (json.dumps(meta, ensure_ascii=False) + "\n").encode("utf-8"))


def _float_state(checkpoint: Checkpoint) -> "OrderedDict[str, object]":
    """Return the state dict in float32; a tied head is the token table itself, as in the network."""
    weights = checkpoint.open_weights()
    state: OrderedDict[str, object] = OrderedDict()
    for key in weights.names():
        value = weights.read(key)
        if value is not None and (checkpoint.config.bias or not key.endswith(".bias")):
            state[_key(key)] = value.float()
    state.setdefault(f"{HEAD}.weight", state[_key(f"{WTE}.weight")])
    return state


def _quantized_state(checkpoint: Checkpoint) -> "OrderedDict[str, object]":
    """Return the state dict that a network has after `torch.ao.quantization.quantize_dynamic` of its linear layers."""
    values = dict(weights_at(checkpoint, INT8_DYNAMIC))
    state: OrderedDict[str, object] = OrderedDict()
    # by which torch tells this layout from older ones
    versions = {"": {"version": 1}}
    for matrix in INT8_DYNAMIC.matrices(checkpoint.config):
        weight = values.pop(f"{matrix}.weight")
        if matrix in (WTE, WPE):
            state[_key(f"{matrix}.weight")] = weight
            continue
        key, scale = _key(matrix), values.pop(f"{matrix}.scale")
        # (N, K) int8 with one scale or one for each row, and (N,) or None
        packed = _quantized(weight, scale), values.pop(f"{matrix}.bias", None)
        # of outputs, which stay floats
        state[f"{key}.scale"], state[f"{key}.zero_point"] = torch.tensor(1.0), torch.tensor(0)
        state[f"{key}._packed_params.dtype"] = torch.qint8
        state[f"{key}._packed_params._packed_params"] = packed
        versions |= {
            key: {"version": Linear._version},
            f"{key}._packed_params": {"version": LinearPackedParams._version},
        }
    state.update((_key(key), value) for key, value in values.items())
    state._metadata = OrderedDict(versions)  # type: ignore[attr-defined]
    return state


def _quantized(whole: Tensor, scale: Tensor) -> Tensor:
    """Return a quantized tensor of these whole numbers, without torch's warning that its type will change one day."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"torch\.quantize_per_tensor")
        return quantized_tensor({"weight": whole, "scale": scale})


def _key(name: str) -> str:
    """Return a tensor's name in the tutorials, from ours."""
    return name if name.startswith(HEAD) else PREFIX + name
