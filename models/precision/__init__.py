"""Precisions: ways to store and multiply a model's weights, by name."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from models.gpt import GPTConfig
from models.precision.bfloat16 import BFLOAT16
from models.precision.float32 import FLOAT32
from models.precision.int4 import GROUP, INT4
from models.precision.int8 import INT8
from models.precision.int8_dynamic import INT8_DYNAMIC, INT8_DYNAMIC_ROWS
from models.precision.matrix import Encoding, first_missing

# the compiled step pads a row of weights to a multiple of so many
PADDING = 64
# the matrices that are not of a layer
WTE, WPE, HEAD = "wte", "wpe", "lm_head"
_ANY = GPTConfig(vocab_size=64, block_size=64, n_layer=1, n_head=1, n_embd=64)  # for questions of kernels alone


@dataclass(frozen=True)
class Precision:
    """One way to run a model: an encoding for each of its matrices. Layer norms and biases stay float32."""

    name: str  # as users write it: "starter:float32"
    title: str
    # by a matrix's name: "wte", "h.0.attn.c_attn" ...
    encoding: Callable[[str, GPTConfig], Encoding]
    # the head is quantized apart from the token table that it is tied to
    own_head: bool = False
    # each row of a matrix has a scale where the precision of this name has one for the whole matrix
    row_scales: bool = False
    # matrices with a higher encoding than `name` says, with the name of theirs: see mixed.py
    raised: tuple[tuple[str, str], ...] = ()

    def matrices(self, config: GPTConfig) -> dict[str, tuple[int, int]]:
        """Return the shape (N, K) of every matrix that is stored, by name; a head that is the token table is not."""
        C, inner = config.n_embd, config.inner
        shapes = {WTE: (config.vocab_size, C), WPE: (config.block_size, C)}
        for i in range(config.n_layer):
            # rows out, columns in
            block = {"attn.c_attn": (3 * C, C), "attn.c_proj": (C, C), "mlp.c_fc": (inner, C), "mlp.c_proj": (C, inner)}
            shapes |= {f"h.{i}.{name}": shape for name, shape in block.items()}
        return shapes if config.tied and not self.own_head else shapes | {HEAD: (config.vocab_size, C)}

    def memory_bytes(self, config: GPTConfig) -> int:
        """Return about how many bytes of memory the weights take at most, with the token table once more to look up."""
        shapes = self.matrices(config)
        # a tied head is packed to multiply, in addition to the table
        shapes.setdefault(HEAD, shapes[WTE])
        # float32 positions, the encoded token table for looking up, and every matrix as packed
        positions = 4 * config.block_size * config.n_embd
        table = self._padded_bytes(WTE, shapes[WTE], config)
        packed = 0.0
        for name, (N, K) in shapes.items():
            if name not in (WTE, WPE):
                by_torch = N * K * self.encoding(name, config).most_per_weight
                packed += max(by_torch, self._padded_bytes(name, (N, K), config))
        return round(positions + table + packed)

    def _padded_bytes(self, name: str, shape: tuple[int, int], config: GPTConfig) -> int:
        """Return the bytes of a matrix (N, K) whose rows are padded as for the compiled step."""
        N, K = shape
        return self.encoding(name, config).nbytes(N, -(-K // PADDING) * PADDING)

    @property
    def words(self) -> str:
        """The name, and how many matrices are raised above it."""
        count = len(self.raised)
        return f"{self.name} with {count} {'matrix' if count == 1 else 'matrices'} raised" if count else self.name

    @property
    def is_float(self) -> bool:
        """True if `transformers` opens a checkpoint stored at this precision."""
        return self.name in ("float32", "bfloat16")

    def device(self, preferred: torch.device) -> torch.device:
        """Return the device it runs on: the one preferred, if it has kernels there, else the CPU."""
        # all or nothing: activations do not move between devices
        encodings = {self.encoding(name, _ANY) for name in (*self.matrices(_ANY), HEAD)}
        return preferred if all(encoding.device_kernel for encoding in encodings) else torch.device("cpu")

    def missing(self) -> str | None:
        """Return the reason why this computer cannot run it, None if it can."""
        reasons = (first_missing(self.encoding(name, _ANY)) for name in (*self.matrices(_ANY), HEAD))
        return next((reason for reason in reasons if reason), None)


def _int8(name: str, config: GPTConfig) -> Encoding:
    # positions are decoded to float32 on loading: bfloat16 only saves disk
    return BFLOAT16 if name == WPE else INT8


def _int8_dynamic(name: str, config: GPTConfig) -> Encoding:
    # quantize_dynamic leaves embeddings alone
    return FLOAT32 if name in (WTE, WPE) else INT8_DYNAMIC


def _int8_dynamic_rows(name: str, config: GPTConfig) -> Encoding:
    return FLOAT32 if name in (WTE, WPE) else INT8_DYNAMIC_ROWS


def _int4(name: str, config: GPTConfig) -> Encoding:
    """Return int8 for the tables and the first attention, which lose most, and where GROUP does not divide the rows."""
    if name == WPE:
        return BFLOAT16
    whole_groups = config.n_embd % GROUP == config.inner % GROUP == 0
    return INT8 if name in (WTE, HEAD) or name.startswith("h.0.attn.") or not whole_groups else INT4


PRECISIONS: dict[str, Precision] = {
    precision.name: precision
    for precision in (
        Precision("float32", "32-bit floats, as trained", lambda name, config: FLOAT32),
        Precision("bfloat16", "16-bit floats", lambda name, config: BFLOAT16),
        Precision("int8", "8-bit whole numbers, a scale for each row", _int8),
        Precision("int8-dynamic", "torch's quantize_dynamic, as in tutorials", _int8_dynamic, own_head=True),
        Precision("int4", "4-bit whole numbers, a scale for each 32", _int4),
    )
}

# the variant that files quantized by channel, or with queries, keys and values apart, are stored and run at
INT8_DYNAMIC_BY_ROW = replace(PRECISIONS["int8-dynamic"], encoding=_int8_dynamic_rows, row_scales=True)


def missing_here() -> dict[str, str]:
    """Return the precisions that this computer cannot run, each with the reason."""
    reasons = {name: precision.missing() for name, precision in PRECISIONS.items()}
    return {name: reason for name, reason in reasons.items() if reason}
