"""Mixed precisions: a quantized precision with some of its matrices raised to a higher one."""

from collections.abc import Mapping
from dataclasses import replace

from models.gpt import GPTConfig
from models.precision import HEAD, PRECISIONS, WTE, Precision
from models.precision.bfloat16 import BFLOAT16
from models.precision.float32 import FLOAT32
from models.precision.int4 import INT4
from models.precision.int8 import INT8
from models.precision.matrix import Encoding

BASES = ("int4", "int8")  # whose matrices can be raised
ENCODINGS = {encoding.name: encoding for encoding in (INT4, INT8, BFLOAT16, FLOAT32)}  # the fewest bits first
RAISED_TO = (INT8.name, FLOAT32.name)


def check_base(precision: str) -> None:
    """Raise ValueError for a precision whose matrices cannot be raised one by one."""
    if precision not in BASES:
        raise ValueError(f"single matrices are quantized to {' or '.join(BASES)}, not to {precision[:40]!r}")


def levels(base: str, matrix: str, config: GPTConfig) -> tuple[str, ...]:
    """Return the encodings that a matrix can have: that of the base first, then the higher ones it can be raised to.

    Raises ValueError for a base that is none, and for a matrix that the network lacks.
    """
    check_base(base)
    precision = PRECISIONS[base]
    if matrix not in precision.matrices(config):
        raise ValueError(
            f"there is no matrix {matrix[:60]!r}; they are named as h.0.attn.c_attn, h.0.attn.c_proj, h.0.mlp.c_fc, "
            f"h.0.mlp.c_proj in the layers 0 to {config.n_layer - 1}, and {', '.join(_others(precision, config))}"
        )
    lowest, order = precision.encoding(matrix, config).name, list(ENCODINGS)
    return (lowest, *(name for name in RAISED_TO if order.index(name) > order.index(lowest)))


def mixed(base: str, raised: Mapping[str, str], config: GPTConfig) -> Precision:
    """Return the precision `base` with the matrices of `raised` at the encodings named there; the base itself for none.

    A tied head is raised with the token table. Raises ValueError as `levels`, and for an encoding that is not higher.
    """
    check_base(base)
    chosen: dict[str, Encoding] = {}
    for matrix, name in raised.items():
        higher = levels(base, matrix, config)[1:]
        if name not in higher:
            raise ValueError(f"{matrix} can be raised to {' or '.join(higher)} from {base}, not to {name[:40]!r}")
        chosen[matrix] = ENCODINGS[name]
    precision = PRECISIONS[base]
    if not chosen:
        return precision

    def encoding(name: str, config: GPTConfig) -> Encoding:
        stored_as = WTE if name == HEAD and config.tied else name
        return chosen.get(stored_as) or precision.encoding(stored_as, config)

    return replace(precision, encoding=encoding, raised=tuple(sorted(raised.items())))


def _others(precision: Precision, config: GPTConfig) -> list[str]:
    """Return the matrices that are not of a layer."""
    return [matrix for matrix in precision.matrices(config) if not matrix.startswith("h.")]
