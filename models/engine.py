"""GPT-2 as it runs: weights packed for one precision, no gradients, and as little Python per token as can be.

`models.gpt.GPT` is the same network to read and to train. B sequences, T new tokens, S tokens with those in the cache,
M = B * T rows, C channels, H heads, D = C / H head width, V vocabulary.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from models.cache import KVCache
from models.gpt import GELU, GPT, GPTConfig
from models.precision import HEAD, WPE, WTE, Precision
from models.precision.matrix import Encoding, Kernel, Matrix, Parts
from models.precision.tuner import KernelTuner

Source = Callable[[str], Tensor | None]  # a tensor by its name: "h.0.ln_1.weight"; None for one there is not

CPU = torch.device("cpu")
THREADS = torch.get_num_threads()  # chosen for this process before torch was loaded
ONE_THREAD = 16_000_000  # weights up to which two threads wait for each other longer than they help, on a busy computer
CHUNK_WORK = {"float32": 8e9}  # multiplications that take less than 100 ms on a laptop ...
LESS_WORK = 16e9  # ... and at any smaller precision
CHUNKS = (256, 128, 64, 32)  # tokens


def get_device(wanted: str = "auto") -> torch.device:
    """Where to compute: CUDA, else MPS, else the CPU, or the one `wanted`; ValueError if it is not there."""
    there = ["cpu"]
    if torch.backends.mps.is_available():
        there.insert(0, "mps")
    if torch.cuda.is_available():
        there.insert(0, "cuda")
    if wanted != "auto" and wanted not in there:
        raise ValueError(f"device {wanted!r} is not available here; there is: auto, {', '.join(there)}")
    return torch.device(there[0] if wanted == "auto" else wanted)


@dataclass(frozen=True, slots=True)
class Layer:
    """One transformer layer: two layer norms as (weight, bias), four matrices."""

    ln_1: tuple[Tensor, Tensor | None]
    c_attn: Matrix
    attn_proj: Matrix
    ln_2: tuple[Tensor, Tensor | None]
    c_fc: Matrix
    mlp_proj: Matrix


class Engine:
    """Tokens in, logits of the next token out. It keeps nothing between calls: what was seen lives in the cache.

    `kernels` names what multiplies, `memory_bytes` is what the weights take.
    """

    def __init__(
        self,
        config: GPTConfig,
        precision: Precision,
        source: Source,
        *,
        encoded: bool = False,
        choices: KernelTuner | None = None,
        device: torch.device | None = None,
    ) -> None:
        """Pack the weights that `source` gives: plain float ones or, `encoded`, the parts that `precision` stores.

        Each weight is asked for once and not kept, so no second copy of the model is ever in memory. Without `device`
        the CPU is used. Raises ValueError if this computer cannot run the precision.
        """
        self.config = config
        self.precision = precision
        # several threads would share a lone row's attention of a single head, and add in another order
        self._threads = 1 if config.parameters() <= ONE_THREAD or config.n_head == 1 else THREADS
        self.device = device or CPU
        self._choices = choices or KernelTuner()
        self._source, self._encoded = source, encoded
        with self._own_threads():
            self._load()
        del self._source

    @property
    def chunk(self) -> int:
        """How many tokens of a prompt to read at once, so that there is time to notice a Stop between them."""
        most = CHUNK_WORK.get(self.precision.name, LESS_WORK) / self.config.parameters()
        return next((chunk for chunk in CHUNKS if chunk <= most), CHUNKS[-1] // 2)

    @classmethod
    def of(cls, model: GPT, precision: Precision, *, device: torch.device | None = None) -> "Engine":
        """Run `model` as its weights are now; what training changes later may or may not be seen."""
        weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
        return cls(model.config, precision, weights.get, device=device)

    @contextmanager
    def _own_threads(self) -> Iterator[None]:
        """As many threads as suit this model, for what the calling thread computes."""
        torch.set_num_threads(self._threads)
        try:
            yield
        finally:  # not what it was before: a new thread begins with what any other has just set
            torch.set_num_threads(THREADS)

    @torch.inference_mode()
    def _load(self) -> None:
        config, encoding = self.config, self.precision.encoding
        self._shapes = self.precision.matrices(config)
        self._matrices: list[Matrix] = []
        self._table = encoding(WTE, config), self._parts(WTE, self._shapes[WTE])
        self._positions = encoding(WPE, config).decode(self._parts(WPE, self._shapes[WPE]))  # (block_size, C)
        self._layers = [self._layer(f"h.{i}") for i in range(config.n_layer)]
        self._ln_f = self._norm("ln_f")
        self._head = self._make_head()
        blocks = [matrix.kernel.rows for layer in self._layers for matrix in (layer.c_attn, layer.mlp_proj)]
        self._block = max(1, self._head.kernel.rows, *blocks)
        table = sum(part.nbytes for part in self._table[1].values())
        self.memory_bytes = table + self._positions.nbytes + sum(matrix.nbytes for matrix in self._matrices)
        self.kernels = ", ".join(dict.fromkeys(matrix.kernel.name for matrix in self._matrices))

    @torch.inference_mode()
    def __call__(self, tokens: Tensor, cache: KVCache | None = None, *, last_only: bool = False) -> Tensor:
        """Logits (B, T, V) of the token after each of `tokens` (B, T), or (B, 1, V) of the last one only.

        With a cache, `tokens` continue what it holds and are appended to it. One token at a time, the bits of a row
        do not depend on the other rows. Raises ValueError, before anything is written, if they do not fit.
        """
        self._check_fit(tokens, cache)
        with self._own_threads():
            return self._forward(tokens, cache, last_only=last_only)

    def _forward(self, tokens: Tensor, cache: KVCache | None, *, last_only: bool) -> Tensor:
        B, T = tokens.shape
        C = self.config.n_embd
        past = 0 if cache is None else cache.length
        cache = KVCache(self.config, rows=B, capacity=T, device=self.device) if cache is None else cache
        tokens = tokens.to(self.device)
        encoding, table = self._table
        x = encoding.look_up(table, tokens.flatten()).view(B, T, C) + self._positions[past : past + T]  # (B, T, C)
        x = x.view(B * T, C)  # (M, C)
        if T == 1 and B % self._block:
            x = F.pad(x, (0, 0, 0, -B % self._block))  # rows of zeros, which are multiplied along
        mask = None
        if past and T > 1:  # is_causal would align the triangle with the first key, not with the last
            mask = torch.ones(T, past + T, dtype=torch.bool, device=self.device).tril(past)  # (T, S)
        for layer, slots in zip(self._layers, cache.slots(T), strict=True):
            x = self._run(layer, x, slots, mask)
        cache.advance(T)
        if last_only and T > 1:
            x = x.view(B, T, C)[:, -1]  # (B, C)
            T = 1
            if B % self._block:
                x = F.pad(x, (0, 0, 0, -B % self._block))
        x = torch.layer_norm(x, (C,), *self._ln_f, self.config.layer_norm_epsilon)
        logits = (self._head.each if T == 1 else self._head.all)(x)
        return logits[: B * T].view(B, T, -1)

    def _run(self, layer: Layer, x: Tensor, slots: tuple[Tensor, Tensor, Tensor], mask: Tensor | None) -> Tensor:
        """One layer: (M, C) -> (M, C). The new keys and values go into their slots of the cache."""
        new, keys, values = slots  # (2, B, H, T, D), (B, H, S, D), (B, H, S, D)
        _, B, H, T, D = new.shape
        C, epsilon = H * D, self.config.layer_norm_epsilon
        single = T == 1
        h = torch.layer_norm(x, (C,), *layer.ln_1, epsilon)
        qkv = layer.c_attn.each(h) if single else layer.c_attn.all(h)  # (M, 3C)
        qkv = qkv[: B * T] if len(x) != B * T else qkv
        qkv = qkv.view(B, T, 3, H, D).permute(2, 0, 3, 1, 4)  # (3, B, H, T, D)
        new.copy_(qkv[1:])
        causal = mask is None and not single  # one new token may look at everything
        y = F.scaled_dot_product_attention(qkv[0], keys, values, attn_mask=mask, is_causal=causal)
        y = y.transpose(1, 2).reshape(B * T, C)
        if len(x) != B * T:
            y = F.pad(y, (0, 0, 0, len(x) - B * T))
        x = x + (layer.attn_proj.each(y) if single else layer.attn_proj.all(y))
        h = torch.layer_norm(x, (C,), *layer.ln_2, epsilon)
        h = self._gelu(layer.c_fc.each(h) if single else layer.c_fc.all(h), apart=single)
        return x + (layer.mlp_proj.each(h) if single else layer.mlp_proj.all(h))

    def _gelu(self, x: Tensor, *, apart: bool) -> Tensor:
        """GELU of every row; `apart`, since the last few elements of an array are rounded in another way."""
        approximate = GELU[self.config.activation]
        if apart and len(x) > 1:
            return torch.cat([F.gelu(row, approximate=approximate) for row in x.split(1)])
        return F.gelu(x, approximate=approximate)

    def _check_fit(self, tokens: Tensor, cache: KVCache | None) -> None:
        if tokens.ndim != 2 or not tokens.numel():
            raise ValueError(f"tokens must have the shape (B, T) with at least one token, not {tuple(tokens.shape)}")
        B, T = tokens.shape
        if cache is None:
            if self.config.block_size < T:
                raise ValueError(f"{T} tokens do not fit the model's context of {self.config.block_size}")
        elif cache.rows != B:
            raise ValueError(f"the KV cache has {cache.rows} rows, but the tokens have {B}")
        elif cache.length + T > cache.capacity:
            raise ValueError(f"the KV cache holds {cache.length} of at most {cache.capacity} tokens: {T} do not fit")

    def _layer(self, name: str) -> Layer:
        return Layer(
            self._norm(f"{name}.ln_1"),
            self._matrix(f"{name}.attn.c_attn"),
            self._matrix(f"{name}.attn.c_proj"),
            self._norm(f"{name}.ln_2"),
            self._matrix(f"{name}.mlp.c_fc"),
            self._matrix(f"{name}.mlp.c_proj"),
        )

    def _norm(self, name: str) -> tuple[Tensor, Tensor | None]:
        return self._wanted(f"{name}.weight"), self._wanted(f"{name}.bias") if self.config.bias else None

    def _matrix(self, name: str) -> Matrix:
        bias = self._wanted(f"{name}.bias") if self.config.bias else None
        shape = self._shapes[name]
        encoding = self.precision.encoding(name, self.config)
        return self._packed(encoding, self._parts(name, shape), bias, shape)

    def _make_head(self) -> Matrix:
        """The head's own matrix or, tied, the token table once more."""
        shape = self._shapes[WTE]
        if HEAD not in self._shapes:
            return self._packed(*self._table, None, shape)
        encoding = self.precision.encoding(HEAD, self.config)
        return self._packed(encoding, self._parts(HEAD, shape), None, shape)

    def _packed(self, encoding: Encoding, parts: Parts, bias: Tensor | None, shape: tuple[int, int]) -> Matrix:
        matrix = Matrix(self._kernel(encoding, shape), parts, bias, shape=shape)
        self._matrices.append(matrix)
        return matrix

    def _kernel(self, encoding: Encoding, shape: tuple[int, int]) -> Kernel:
        if self.device != CPU:
            assert encoding.elsewhere is not None, "whoever makes an Engine looks at Precision.device"
            return encoding.elsewhere
        return self._choices.take(encoding, shape, width=self.config.n_embd)

    def _parts(self, name: str, shape: tuple[int, int]) -> Parts:
        """The parts of a matrix, as stored or made from its float weights."""
        encoding = self.precision.encoding(name, self.config)
        if self._encoded:
            return {part: self._wanted(f"{name}.{part}", dtype=None) for part in encoding.stored(*shape)}
        missing_head = name == HEAD and self.config.tied
        parts = encoding.encode(self._wanted(f"{WTE if missing_head else name}.weight"))
        return {part: value.to(self.device) for part, value in parts.items()}

    def _wanted(self, name: str, *, dtype: torch.dtype | None = torch.float32) -> Tensor:
        tensor = self._source(name)
        assert tensor is not None, f"the source lacks {name}"
        return tensor.to(self.device, dtype)
