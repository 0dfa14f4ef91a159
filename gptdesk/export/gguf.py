"""GGUF file for llama.cpp and programs that are built on it, with a Modelfile for Ollama; needs the `gguf` package."""

import importlib
import json
import logging
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from torch import Tensor

from gptdesk.export.card import copy_recipe
from gptdesk.export.stored_weights import check_network
from models import bpe, layout, storage
from models.checkpoint import Checkpoint
from models.tokenizer import BytePairTokenizer, Tokenizer
from models.weights import read_weight

log = logging.getLogger(__name__)

# types of the matrices, and the code of a file with mostly these
TYPES = {"f32": "ALL_F32", "f16": "MOSTLY_F16", "q8_0": "MOSTLY_Q8_0", "q4_0": "MOSTLY_Q4_0"}
DEFAULT = "f16"
GROUP = 32  # weights of a row that share a scale in the Q types
LAYERS = {
    "ln_1": "attn_norm",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "ln_2": "ffn_norm",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
}
OUTSIDE = {"wte": "token_embd", "wpe": "position_embd", "ln_f": "output_norm", "lm_head": "output"}


def write_gguf(checkpoint: Checkpoint, tokenizer: Tokenizer, name: str, to: Path, *, precision: str = DEFAULT) -> Path:
    """Write the file and the Modelfile into the folder `to`, and return the file.

    Raises ValueError without the package, and for a model or type that GGUF cannot hold, OSError if the disk refuses.
    """
    kind = precision.lower()
    package = _package()
    if kind not in TYPES:
        raise ValueError(f"there is no precision {precision[:40]!r} in GGUF; there is: {', '.join(TYPES)}")
    check_network(checkpoint, name)
    vocabulary = _checked(checkpoint, tokenizer, name, kind, to)
    file = f"{name}-{kind}.gguf"
    with storage.new_folder(to, replace=False) as folder:
        writer = package.GGUFWriter(None, "gpt2")
        _add_fields(writer, package, checkpoint, name, kind)
        _add_tokenizer(writer, package, vocabulary, rows=checkpoint.config.vocab_size)
        _add_special_ids(writer, tokenizer)
        for key, value in _tensors(checkpoint):
            _add_tensor(writer, package, key, value, kind)
        writer.write_header_to_file(folder / file)
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        copy_recipe(checkpoint, folder)
        storage.write_file(folder / "Modelfile", _modelfile(checkpoint, tokenizer, file).encode("utf-8"))
    if checkpoint.config.activation != "gelu_tanh":
        log.warning("%s was trained with the exact GELU; llama.cpp computes the tanh one, which differs a little", name)
    return to / file


def _package() -> ModuleType:
    """Return the `gguf` package; ValueError, saying what to do, if it is not installed."""
    try:
        return importlib.import_module("gguf")
    except ImportError:
        install = f"{sys.executable} -m pip install gguf"
        raise ValueError(f"the gguf package, which writes such files, is not installed here; run: {install}") from None


def _checked(checkpoint: Checkpoint, tokenizer: Tokenizer, name: str, kind: str, to: Path) -> bpe.Vocabulary:
    """Return the vocabulary of a model that GGUF can hold, raise ValueError for any other."""
    if checkpoint.quantized:
        raise ValueError(f"{name} is quantized to {checkpoint.quantized.words}, which GGUF lacks; export the original")
    if to.suffix.lower() == ".gguf":
        raise ValueError(f"the file and its Modelfile go into a folder; give one, such as {to.with_suffix('').name}")
    if not isinstance(tokenizer, BytePairTokenizer):
        raise ValueError(f"{name} has a tokenizer of characters, and llama.cpp has none; export it as html")
    vocabulary = tokenizer.vocabulary
    if not vocabulary.merges or tokenizer.end_of_text is None:
        missing = "an end of text" if vocabulary.merges else "merges"
        raise ValueError(f"the tokenizer of {name} lacks {missing}, without which llama.cpp cannot run it")
    if kind.startswith("q") and checkpoint.config.n_embd % GROUP:
        raise ValueError(
            f"{name} has {checkpoint.config.n_embd} channels, and {kind} needs a multiple of {GROUP}; choose f16 or f32"
        )
    return vocabulary


def _add_fields(writer: Any, package: ModuleType, checkpoint: Checkpoint, name: str, kind: str) -> None:
    """Add what the header says of the network."""
    config, about = checkpoint.config, checkpoint.about
    writer.add_name(name)
    if about.licence:
        writer.add_license(about.licence)
    writer.add_file_type(package.LlamaFileType[TYPES[kind]])
    writer.add_quantization_version(package.GGML_QUANT_VERSION)
    writer.add_context_length(config.block_size)
    writer.add_embedding_length(config.n_embd)
    writer.add_block_count(config.n_layer)
    writer.add_feed_forward_length(config.inner)
    writer.add_head_count(config.n_head)
    writer.add_layer_norm_eps(config.layer_norm_epsilon)


def _add_tokenizer(writer: Any, package: ModuleType, vocabulary: bpe.Vocabulary, *, rows: int) -> None:
    """Add the tokens of all rows of the token table, the merges."""
    kinds = package.TokenType
    # rows beyond the tokenizer's ids, and gaps in them, are never drawn by name
    tokens, types = [f"[PAD{i}]" for i in range(rows)], [int(kinds.UNUSED)] * rows
    for token, i in vocabulary.tokens.items():
        tokens[i], types[i] = bpe.to_text(token), int(kinds.NORMAL)
    for text, i in vocabulary.specials.items():
        tokens[i], types[i] = text, int(kinds.CONTROL)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([f"{bpe.to_text(left)} {bpe.to_text(right)}" for left, right in vocabulary.merges])


def _add_special_ids(writer: Any, tokenizer: Tokenizer) -> None:
    """Add the ids that begin, end and pad a text."""
    ids = tokenizer.special_ids
    # llama.cpp takes 11 for both if they are not there
    writer.add_bos_token_id(tokenizer.start)
    writer.add_eos_token_id(ids.eos[0])
    if ids.eos[1:]:  # there is room for one more
        writer.add_eot_token_id(ids.eos[1])
    if ids.pad is not None:
        writer.add_pad_token_id(ids.pad)
    writer.add_add_bos_token(False)


def _tensors(checkpoint: Checkpoint) -> Iterator[tuple[str, Tensor]]:
    """Yield GGUF's name and the value of every tensor in float32, matrices as (rows out, columns in)."""
    config, weights = checkpoint.config, checkpoint.open_weights()
    for key, shape in layout.parameter_shapes(replace(config, bias=True)).items():
        value = read_weight(weights, key, shape)  # the file has zeros for the biases of a network without them
        yield _gguf_name(key), value.float()


def _add_tensor(writer: Any, package: ModuleType, key: str, value: Tensor, kind: str) -> None:
    """Add a tensor: matrices at the chosen type, vectors and positions in float32."""
    array = np.ascontiguousarray(value.numpy())
    if kind == "f32" or value.ndim == 1 or key == "position_embd.weight":
        writer.add_tensor(key, array)
        return
    # the token table loses most, and is the head as well
    fine = kind == "q4_0" and key in ("token_embd.weight", "output.weight")
    stored = package.GGMLQuantizationType["Q8_0" if fine else kind.upper()]
    writer.add_tensor(key, package.quants.quantize(array, stored), raw_dtype=stored)


def _gguf_name(name: str) -> str:
    """Return a tensor's name in GGUF, from ours: h.0.mlp.c_fc.weight is blk.0.ffn_up.weight."""
    module, _, part = name.rpartition(".")
    if not module.startswith("h."):
        return f"{OUTSIDE[module]}.{part}"
    _, block, layer = module.split(".", 2)
    return f"blk.{block}.{LAYERS[layer]}.{part}"


def _modelfile(checkpoint: Checkpoint, tokenizer: Tokenizer, file: str) -> str:
    """Return the recipe by which Ollama takes in the file: plain text to continue, no chat."""
    lines = [f"FROM ./{file}", 'TEMPLATE "{{ .Prompt }}"', f"PARAMETER num_ctx {checkpoint.config.block_size}"]
    ends = [text for text, i in tokenizer.special_tokens.items() if i in tokenizer.special_ids.eos]
    return "\n".join([*lines, *(f"PARAMETER stop {json.dumps(text, ensure_ascii=False)}" for text in ends), ""])
