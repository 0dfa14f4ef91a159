"""Conversion of one foreign file to the files of a checkpoint; runs in a process of its own."""

import json
import struct
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import torch

from models import layout, storage
from models.about import ABOUT, SIZE_LIMIT, read_about
from models.checkpoint import GPT2_VOCABULARIES
from models.formats import FORMATS
from models.formats.companions import GPT2, named_tokenizer, tokenizer_beside
from models.formats.container import Source
from models.formats.conversion import Conversion, OutputTensor, of_network
from models.formats.huggingface import TOKENIZER_FILES
from models.formats.network import Network
from models.formats.options import ImportOptions
from models.formats.stored import Stored
from models.tokenizer import Tokenizer
from models.weights import WEIGHTS

# names of a model in a folder, the first that is there is taken
NAMES = (
    *(WEIGHTS, f"{WEIGHTS}.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"),
    *("model.pt", "ckpt.pt", "model_checkpoint.pt", "model.pth"),
)
SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".gguf")
SHARING = 2  # times the size of the file that its weights may be, one array used by several of them
LARGEST = 10_000.0  # magnitude of a weight; beyond, float32 overflows inside the network
SMALL = 1_000_000  # bytes of a file for which that does not matter
# architectures that have another layout: part of a tensor's name, and what it is
OTHERS = {
    "attn.c_q.": "nanochat's model, which has rotary positions",
    "attn.qkv.": "a litgpt model; convert it to a Hugging Face folder first",
    "norm_1.": "a litgpt model; convert it to a Hugging Face folder first",
    "self_attn.q_proj.": "a model such as LLaMA, whose layers are not those of GPT-2",
    "attn.key.": "an old minGPT model with separate queries, keys and values under other names",
    "gpt_neox.": "a GPT-NeoX model, whose layers are not those of GPT-2",
    "attn.attention.": "a GPT-Neo model, whose layers are not those of GPT-2",
    "encoder.layer": "a model with an encoder, such as BERT, which cannot write text",
    "model/h0": "a TensorFlow checkpoint of OpenAI; take the Hugging Face folder of the same model",
}


def find_file(path: Path) -> Path:
    """Return the file of the model at `path`, itself or in the folder it is. Raises ValueError if there is not one."""
    if path.is_file():
        return path
    if not path.is_dir():
        raise ValueError("there is no such file or folder")
    if file := next((path / name for name in NAMES if (path / name).is_file()), None):
        return file
    files = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES and file.is_file())
    if len(files) != 1:
        listed = ", ".join(file.name for file in files[:5])
        raise ValueError(
            f"the folder has several files of weights ({listed}); name one of them"
            if files
            else f"the folder has no file of weights, such as {', '.join(NAMES[:1] + NAMES[4:6])} or a GGUF file"
        )
    return files[0]


def convert(path: Path, folder: Path, options: ImportOptions) -> dict[str, object]:
    """Write the checkpoint that a foreign file becomes into `folder`, and return what is known of it, as JSON.

    Raises ValueError if the file is damaged, of no known format, or asks for code to be run.
    """
    conversion = _read(Source(path), options)
    total, size = sum(tensor.nbytes for tensor in conversion.tensors.values()), size_of(path)
    if total > SHARING * size + SMALL:
        raise ValueError("several of its weights are the same numbers, so that they would take more than the file")
    _write_safetensors(folder / WEIGHTS, conversion.tensors)
    for name, content in conversion.files.items():
        storage.write_file(folder / name, content)
    storage.write_file(folder / "config.json", storage.json_bytes(conversion.config))
    if isinstance(conversion.tokenizer, Tokenizer) and not conversion.files.keys() & {"tokenizer.json", "vocab.json"}:
        context = conversion.config.get("n_positions")
        conversion.tokenizer.save(folder, context=context if isinstance(context, int) else None)
    return {
        "kind": conversion.kind,
        "missing": conversion.missing,
        "remarks": conversion.remarks,
        "gpt2": conversion.tokenizer == GPT2,
    }


def _read(source: Source, options: ImportOptions) -> Conversion:
    form = next((form for form in FORMATS if form.recognises(source)), None)
    if form is None:
        raise ValueError(_why_unknown(source.container.tensors))
    given = named_tokenizer(options.tokenizer) if options.tokenizer else None
    content = form.read(source)
    if isinstance(content, Conversion):
        return _with_options(content, given, options)
    numbers = content.numbers
    if options.n_head:
        numbers = replace(numbers, n_head=options.n_head)
    if options.activation:
        numbers = replace(numbers, activation=options.activation)
    network = replace(content, numbers=numbers)
    tokenizer = given or network.tokenizer or _tokenizer_beside(source, network)
    _check_fits(tokenizer, network.config().vocab_size)
    return _with_about(of_network(network, tokenizer=tokenizer), source.folder, network)


def _with_about(content: Conversion, folder: Path, network: Network) -> Conversion:
    """Return the content with the about.json of our own export beside it, if that is of a model of this size.

    One without a recipe is left out: in the folder of a foreign file it may be of anything.
    """
    if not (folder / ABOUT).is_file():
        return content
    try:
        if read_about(folder).recipe is None:
            return content
        data = storage.read_json(folder / ABOUT, limit=SIZE_LIMIT)
    except ValueError as error:
        return replace(content, remarks=(*content.remarks, f"{ABOUT} beside it is left out: {error}"))
    if data.get("parameters") != network.config().parameters():
        return content
    return replace(content, files={**content.files, ABOUT: storage.json_bytes(data)})


def _tokenizer_beside(source: Source, network: Network) -> Tokenizer | str | None:
    vocab_size = network.config().vocab_size
    details = () if source.start.startswith(b"GGUF") else (source.container.details,)
    return tokenizer_beside(source.folder, vocab_size, *details)


def _check_fits(tokenizer: Tokenizer | str | None, known: object) -> None:
    """Raise ValueError if a tokenizer has more than the `known` tokens of the model."""
    size = tokenizer.vocab_size if isinstance(tokenizer, Tokenizer) else GPT2_VOCABULARIES[0] if tokenizer else 0
    if isinstance(known, int) and size > known:
        raise ValueError(
            f"its tokenizer has {size:,} tokens and does not fit, for the model has {known:,}; give the "
            "tokenizer.json, meta.pkl or meta.json that it was trained with (--tokenizer)"
        )


def _with_options(content: Conversion, given: Tokenizer | str | None, options: ImportOptions) -> Conversion:
    """Return a folder whose config.json says everything, with another tokenizer if one is given."""
    if options.n_head or options.activation:
        raise ValueError("its config.json says the heads and the activation; leave --n-head and --activation out")
    if given is None:
        return content
    _check_fits(given, content.config.get("vocab_size"))
    files = {name: data for name, data in content.files.items() if name not in TOKENIZER_FILES}
    return replace(content, tokenizer=given, files=files, missing=())


def _why_unknown(tensors: Mapping[str, Stored]) -> str:
    """Return the reason why a file of these tensors cannot be imported."""
    for part, kind in OTHERS.items():
        if any(part in name for name in tensors):
            return f"it is {kind}"
    listed = ", ".join(sorted(tensors)[:3])
    return f"its tensors ({listed[:200]} ...) are those of no known GPT-2 layout; docs/models.md lists the known ones"


def size_of(path: Path) -> int:
    """Return the bytes of a file; of an index, those of all files beside it that may be its shards."""
    files: Iterable[Path] = [path]
    if path.suffix == ".json":
        files = (file for file in path.parent.iterdir() if file.suffix in (".safetensors", ".bin"))
    return sum(file.stat().st_size for file in files)


def _write_safetensors(path: Path, tensors: Mapping[str, OutputTensor]) -> None:
    """Write a safetensors file tensor by tensor, so that one at a time is in memory.

    Raises ValueError for values that are not finite.
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, tensor in tensors.items():
        if tensor.dtype not in layout.KINDS:
            raise ValueError(f"its {name[:100]} is of the type {tensor.dtype}, which no weights have")
        start, end = end, end + torch.Size(tensor.shape).numel() * tensor.dtype.itemsize
        header[name] = {
            "dtype": layout.KINDS[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, tensor in tensors.items():
            value = tensor.read().to(tensor.dtype).contiguous()
            if tuple(value.shape) != tensor.shape:
                raise ValueError(f"its {name[:100]} does not have the shape that it says")
            # one comparison for both: not true of NaN
            if value.is_floating_point() and value.numel() and not value.abs().max() <= LARGEST:
                raise ValueError(
                    f"its {name[:100]} has values that are not finite or beyond {LARGEST:,.0f}, so the model is damaged"
                )
            file.write(value.reshape(-1).view(torch.uint8).numpy().data)
