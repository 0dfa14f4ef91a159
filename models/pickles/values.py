"""Values in a pickle of weights: the names it may ask for, and what calls of them give, which is plain data."""

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

# names that a pickle of weights asks for; the value of the others, below, is what their call gives
STORAGES = {
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "QInt8Storage": "int8",
    "QUInt8Storage": "uint8",
    "QInt32Storage": "int32",
}
SCHEMES = ("per_tensor_affine", "per_channel_affine", "per_channel_affine_float_qparams")
DTYPES = (
    *("float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"),
    *("qint8", "quint8", "qint32"),
)
VALUES = frozenset(
    [
        *(f"torch.{name}" for name in (*STORAGES, *SCHEMES, *DTYPES)),
        *("torch.Tensor", "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer"),
    ]
)
# classes of options and paths, which become their fields
RECORDS = re.compile(r"([A-Za-z_][\w.]*\.)?([A-Z]\w*)?(Config|CfgNode|Args|Arguments|Namespace|Hyperparameters)")
PATHS = re.compile(r"pathlib(\._local)?\.(Pure)?(Posix|Windows)?Path")
MOST_NAME = 200  # characters
NUMBERS = {"f8": "<d", "f4": "<f", "f2": "<e", "i8": "<q", "i4": "<i", "u8": "<Q", "u4": "<I", "b1": "<?"}


class Refused(Exception):
    """A file that asks for more than plain data."""


@dataclass(frozen=True)
class Name:
    """A name that the file asks for, such as "torch.float32"."""

    text: str


@dataclass(eq=False)
class Record:
    """An object of a class that only has options: the class's name, the arguments it was made with, its fields."""

    kind: str
    arguments: tuple[object, ...] = ()
    fields: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class StorageReference:
    """An array of numbers in the file, by the name of its entry."""

    key: str
    dtype: str
    count: int


@dataclass(frozen=True)
class TensorReference:
    """A tensor: part of a storage; a quantized one with its scheme and steps."""

    storage: StorageReference
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    # scheme, scale, zero point, and the axis of a scheme by channel
    quantizer: tuple[object, ...] = ()


Value = object  # None, bool, int, float, str, bytes, list, tuple, dict, Name, Record, TensorReference


def is_allowed(name: str) -> bool:
    """Return whether a pickle may ask for a name."""
    return name in VALUES or name in CALLS or is_record(name)


def is_record(name: str) -> bool:
    """Return whether a name is that of a class of options or paths, which becomes its fields."""
    return len(name) <= MOST_NAME and bool(RECORDS.fullmatch(name) or PATHS.fullmatch(name))


def called(name: Name, arguments: tuple[Value, ...]) -> Value:
    """Return what the call of an allowed name gives: plain data, or a reference."""
    if call := CALLS.get(name.text):
        return call(*arguments)
    if is_record(name.text):
        return Record(name.text, arguments)
    raise Refused(f"its pickle calls {name.text[:100]}, which is a value")


def _ordered_dict(*arguments: Value) -> dict[object, object]:
    if arguments:
        raise ValueError("an OrderedDict starts with items")
    return {}


def _size(sizes: Value) -> tuple[Value, ...]:
    return _whole_numbers(sizes)


def _device(*arguments: Value) -> str:
    return str(arguments[0])[:20] if arguments and isinstance(arguments[0], str) else ""


def _tensor(
    storage: Value,
    offset: Value,
    shape: Value,
    stride: Value,
    requires_grad: Value,
    hooks: Value,
    metadata: Value = None,
) -> TensorReference:
    if not isinstance(storage, StorageReference) or type(offset) is not int:
        raise ValueError("a tensor has no storage")
    return TensorReference(storage, offset, _whole_numbers(shape), _whole_numbers(stride))


def _quantized_tensor(
    storage: Value, offset: Value, shape: Value, stride: Value, quantizer: Value, requires_grad: Value, hooks: Value
) -> TensorReference:
    tensor = _tensor(storage, offset, shape, stride, requires_grad, hooks)
    if not isinstance(quantizer, tuple) or len(quantizer) < 3 or not isinstance(quantizer[0], Name):
        raise ValueError("a quantized tensor has no scheme")
    scheme = (quantizer[0].text.removeprefix("torch."), *quantizer[1:])
    return TensorReference(tensor.storage, tensor.offset, tensor.shape, tensor.stride, scheme)


def _parameter(tensor: Value, requires_grad: Value, hooks: Value) -> TensorReference:
    if not isinstance(tensor, TensorReference):
        raise ValueError("a parameter is no tensor")
    return tensor


def _tensor_with_attributes(function: Value, kind: Value, arguments: Value, state: Value) -> Value:
    if not isinstance(function, Name) or not isinstance(arguments, tuple) or function.text not in _TENSORS:
        raise ValueError("a tensor with attributes is none")
    return _TENSORS[function.text](*arguments)


def _encoded(text: Value, encoding: Value) -> bytes:
    """Return the bytes that protocol 2 spells as Latin-1 text."""
    if not isinstance(text, str) or encoding != "latin1":
        raise ValueError("bytes are not spelled as Latin-1")
    return text.encode("latin-1")


def _numpy_type(code: Value, *_: Value) -> Record:
    return Record("numpy.dtype", (code,))


def _numpy_scalar(kind: Value, data: Value) -> Value:
    if not isinstance(kind, Record) or kind.kind != "numpy.dtype" or not isinstance(data, bytes):
        raise ValueError("a number of numpy has no type")
    value: Value = struct.unpack(NUMBERS[str(kind.arguments[0])], data)[0]
    return value


def _whole_numbers(values: Value) -> tuple[int, ...]:
    if isinstance(values, tuple) and len(values) <= 8 and all(type(value) is int for value in values):
        return values
    raise ValueError("a shape is no tuple of whole numbers")


_TENSORS: dict[str, Callable[..., Value]] = {
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_qtensor": _quantized_tensor,
}
CALLS: dict[str, Callable[..., Value]] = _TENSORS | {
    "collections.OrderedDict": _ordered_dict,
    "torch.Size": _size,
    "torch.device": _device,
    "torch._tensor._rebuild_from_type_v2": _tensor_with_attributes,
    "_codecs.encode": _encoded,
    "numpy.dtype": _numpy_type,
    "numpy.core.multiarray.scalar": _numpy_scalar,
    "numpy._core.multiarray.scalar": _numpy_scalar,
}
