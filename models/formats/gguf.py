"""GGUF files of GPT-2 architecture, llama.cpp's format: header, tensors and tokenizer.

F32, F16, BF16 and Q8_0 are decoded here, other quantizations by the `gguf` package. Every length is checked against
the size of the file before it is used.
"""

import importlib
import mmap
import struct
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor

from models import bpe
from models.formats.container import Source
from models.formats.network import Network, Numbers
from models.formats.stored import Stored
from models.special_ids import SpecialIds
from models.tokenizer import BytePairTokenizer, Tokenizer

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MOST_FIELDS = MOST_TENSORS = 100_000
MOST_ITEMS = 4_000_000  # of an array
MOST_NAME = 65_535  # bytes
# codes of the types of values
NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
# codes of the types of tensors: name, weights and bytes of a block
PLAIN = {0: ("F32", 1, 4), 1: ("F16", 1, 2), 8: ("Q8_0", 32, 34), 30: ("BF16", 1, 2)}
CONTROL, UNUSED = (3, 4), 5  # kinds of tokens
PRETOKENIZERS = (None, "gpt-2", "default")

OUTSIDE = {"token_embd": "wte", "position_embd": "wpe", "output_norm": "ln_f", "output": "lm_head"}
LAYERS = {
    "attn_norm": "ln_1",
    "attn_qkv": "attn.c_attn",
    "attn_output": "attn.c_proj",
    "ffn_norm": "ln_2",
    "ffn_up": "mlp.c_fc",
    "ffn_down": "mlp.c_proj",
}
Field = object  # of the header: a number, text, or list of them


@dataclass(frozen=True)
class _Info:
    """One tensor of the header: `shape` with rows first."""

    shape: tuple[int, ...]
    kind: int
    offset: int


def recognises(source: Source) -> bool:
    """Return whether a file starts as GGUF does."""
    return source.start.startswith(MAGIC)


def read(source: Source) -> Network:
    """Return the network and tokenizer in a file; ValueError if it is damaged or no GPT-2."""
    with open(source.path, "rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    try:
        fields, infos, start = _header(mapped)
    except (struct.error, UnicodeDecodeError) as error:
        raise ValueError(f"its header is damaged or cut off ({error}); copy it again") from error
    architecture = fields.get("general.architecture")
    if architecture != "gpt2":
        raise ValueError(f"it is a model of the architecture {str(architecture)[:40]!r}, and only gpt2 is supported")
    heads, epsilon = fields.get("gpt2.attention.head_count"), fields.get("gpt2.attention.layer_norm_epsilon", 1e-5)
    if not isinstance(heads, int) or not isinstance(epsilon, float):
        raise ValueError("its header does not say the number of heads")
    remarks = []
    others = sorted({_type_name(info.kind) for info in infos.values() if info.kind not in PLAIN})
    weights = {_our_name(name): _stored(mapped, info, start, name) for name, info in infos.items()}
    if others:
        remarks.append(f"its {', '.join(others)} weights became float32, by the gguf package")
    elif any(info.kind == 8 for info in infos.values()):
        remarks.append("its Q8_0 weights became float32")
    tokenizer = _tokenizer(fields)
    numbers = Numbers(heads, "gelu_tanh", layer_norm_epsilon=round(epsilon, 12))
    return Network("GGUF file", weights, numbers, tokenizer, tuple(remarks))


class _Cursor:
    """Place in the header of a mapped file."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self.place = len(MAGIC)

    def number(self, code: str) -> int | float:
        layout = struct.Struct(f"<{code}")
        value: int | float = layout.unpack_from(self._data, self.place)[0]
        self.place += layout.size
        return value

    def count(self, most: int, what: str) -> int:
        value = int(self.number("Q"))
        if value > most:
            raise ValueError(f"its header says that it has {value:,} {what}, and {most:,} are allowed")
        return value

    def text(self, most: int = MOST_NAME) -> str:
        size = self.count(most, "bytes in a text")
        if self.place + size > len(self._data):
            raise ValueError("its header is cut off; copy it again")
        self.place += size
        return self._data[self.place - size : self.place].decode("utf-8")

    def value(self, kind: int) -> Field:
        if kind in NUMBERS:
            return self.number(NUMBERS[kind])
        if kind == STRING:
            return self.text(16_000_000)
        if kind != ARRAY:
            raise ValueError(f"its header has a value of the unknown type {kind}")
        inside, count = int(self.number("I")), self.count(MOST_ITEMS, "values in a list")
        if inside == STRING:
            return [self.text() for _ in range(count)]
        if inside not in NUMBERS:
            raise ValueError("its header has a list of lists")
        layout = struct.Struct(f"<{count}{NUMBERS[inside]}")
        if self.place + layout.size > len(self._data):
            raise ValueError("its header is cut off; copy it again")
        self.place += layout.size
        return list(layout.unpack_from(self._data, self.place - layout.size))


def _header(data: mmap.mmap) -> tuple[dict[str, Field], dict[str, _Info], int]:
    """Return the fields, the tensors, and where their bytes start."""
    cursor = _Cursor(data)
    version = cursor.number("I")
    if version not in VERSIONS:
        raise ValueError(f"it is of version {version} of GGUF, and only 2 and 3 are supported")
    tensors, count = cursor.count(MOST_TENSORS, "tensors"), cursor.count(MOST_FIELDS, "fields")
    fields: dict[str, Field] = {}
    for _ in range(count):
        name = cursor.text()
        if name in fields:
            raise ValueError(f"its header has the field {name[:100]!r} twice")
        fields[name] = cursor.value(int(cursor.number("I")))
    infos: dict[str, _Info] = {}
    for _ in range(tensors):
        name = cursor.text()
        axes = [int(cursor.number("Q")) for _ in range(min(int(cursor.number("I")), 9))]
        if name in infos or not 1 <= len(axes) <= 4 or not all(1 <= length < 1 << 31 for length in axes):
            raise ValueError(f"its tensor {name[:100]!r} is there twice, or has no possible shape")
        infos[name] = _Info(tuple(reversed(axes)), int(cursor.number("I")), int(cursor.number("Q")))
    alignment = fields.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment not in (8, 16, 32, 64, 128, 256, 512, 1024, 4096):
        raise ValueError("its header has no possible alignment")
    return fields, infos, -(-cursor.place // alignment) * alignment


def _our_name(name: str) -> str:
    layer, _, part = name.rpartition(".")
    words = layer.split(".")
    if len(words) == 3 and words[0] == "blk" and words[1].isascii() and words[1].isdigit() and words[2] in LAYERS:
        return f"h.{int(words[1])}.{LAYERS[words[2]]}.{part}"
    return f"{OUTSIDE[layer]}.{part}" if layer in OUTSIDE else name


def _stored(data: mmap.mmap, info: _Info, start: int, name: str) -> Stored:
    block, width = PLAIN[info.kind][1:] if info.kind in PLAIN else _block(info.kind)
    count = torch.Size(info.shape).numel()
    nbytes = count // block * width
    place = start + info.offset
    if info.shape[-1] % block or place + nbytes > len(data):
        raise ValueError(f"the data of its tensor {name[:100]!r} are not in the file; copy it again")

    def read() -> Tensor:
        raw = torch.frombuffer(data, dtype=torch.uint8, offset=place, count=nbytes)
        raw = raw if raw.data_ptr() % 8 == 0 else raw.clone()
        return _decode(raw, info)

    return Stored(info.shape, torch.float32, read, (info.offset, info.shape), nbytes)


def _decode(raw: Tensor, info: _Info) -> Tensor:
    """Return the float32 values of the bytes of a tensor."""
    if info.kind not in PLAIN:
        package = _package()
        try:
            values = package.quants.dequantize(raw.numpy(), package.GGMLQuantizationType(info.kind))
        except NotImplementedError as error:
            raise ValueError(f"the gguf package cannot decode its {_type_name(info.kind)} weights") from error
        return torch.from_numpy(values).float().reshape(info.shape)
    name, _, width = PLAIN[info.kind]
    if name == "Q8_0":
        # (blocks, 34): a scale of 2 bytes and 32 whole numbers
        blocks = raw.reshape(-1, width)
        scale = blocks[:, :2].contiguous().view(torch.float16).float()
        return (blocks[:, 2:].view(torch.int8).float() * scale).reshape(info.shape)
    dtype = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}[name]
    return raw.view(dtype).float().reshape(info.shape)


def _package() -> ModuleType:
    try:
        return importlib.import_module("gguf")
    except ImportError as error:
        raise ValueError(
            "its weights are quantized in a way that needs the gguf package; install it by `pip install gguf`, or "
            "import the F16 or Q8_0 file of the same model"
        ) from error


def _type_name(kind: int) -> str:
    if kind in PLAIN:
        return PLAIN[kind][0]
    package = _package()
    try:
        return str(package.GGMLQuantizationType(kind).name)
    except ValueError as error:
        raise ValueError(f"it has a tensor of the unknown type {kind}") from error


def _block(kind: int) -> tuple[int, int]:
    """Return the weights and bytes of a block of a type that only the package knows."""
    package = _package()
    weights, width = package.GGML_QUANT_SIZES[package.GGMLQuantizationType(kind)]
    return weights, width


def _tokenizer(fields: dict[str, Field]) -> Tokenizer | None:
    """Return the byte-level BPE in the header, None if there is none; ValueError if it is of another kind."""
    tokens, merges = fields.get("tokenizer.ggml.tokens"), fields.get("tokenizer.ggml.merges")
    if fields.get("tokenizer.ggml.model") != "gpt2" or not isinstance(tokens, list) or not isinstance(merges, list):
        return None
    if fields.get("tokenizer.ggml.pre") not in PRETOKENIZERS:
        raise ValueError(f"its tokenizer splits text as {str(fields['tokenizer.ggml.pre'])[:40]!r}, not as GPT-2 does")
    kinds = fields.get("tokenizer.ggml.token_type")
    kinds = kinds if isinstance(kinds, list) and len(kinds) == len(tokens) else [1] * len(tokens)
    used = {str(text): i for i, (text, kind) in enumerate(zip(tokens, kinds, strict=True)) if kind != UNUSED}
    if len(used) != sum(kind != UNUSED for kind in kinds):
        raise ValueError("its tokenizer has a token twice")
    specials = [str(text) for text, kind in zip(tokens, kinds, strict=True) if kind in CONTROL]
    try:
        tokenizer = BytePairTokenizer(bpe.from_files(used, merges, specials))
    except ValueError as error:
        raise ValueError(f"its tokenizer cannot be used: {error}") from error
    tokenizer.special_ids = _special_ids(fields, tokenizer)
    return tokenizer


def _special_ids(fields: dict[str, Field], tokenizer: Tokenizer) -> SpecialIds:
    """Return the special ids in the header, those of the tokenizer in place of absent ones and of ids that it lacks."""
    usual = tokenizer.special_ids
    ids: dict[str, int] = {}
    for kind in ("bos", "eos", "eot", "padding"):  # eot: of a turn of a chat, at which llama.cpp stops as well
        value = fields.get(f"tokenizer.ggml.{kind}_token_id")
        if type(value) is int and 0 <= value < tokenizer.vocab_size:
            ids[kind] = value
    ends = tuple(dict.fromkeys(ids[kind] for kind in ("eos", "eot") if kind in ids))
    return SpecialIds(ids.get("bos", usual.bos), ends or usual.eos, ids.get("padding", usual.pad))
