"""GPT-2 for inference: weights packed for one precision, no gradients, little Python per token.

`models.gpt.GPT` is the same network to read and to train. B sequences, T new tokens, S tokens with those in the cache,
M = B * T rows, C channels, H heads, D = C / H head width, V vocabulary.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from models.cache import KVCache
from models.gpt import ACTIVATIONS, GPT, GPTConfig
from models.precision import HEAD, WPE, WTE, Precision
from models.precision.matrix import Encoding, Kernel, Matrix, Parts
from models.precision.tuner import KernelTuner
from models.weights import TensorSource, WeightSource, read_weight

CPU = torch.device("cpu")
THREADS = torch.get_num_threads()  # chosen for this process before torch was loaded
# parameters up to which two threads wait for each other longer than they help, on a busy computer
ONE_THREAD = 16_000_000
# multiplications that take less than 100 ms on a laptop, and the same at any smaller precision
CHUNK_WORK = {"float32": 8e9}
LESS_WORK = 16e9
CHUNKS = (256, 128, 64, 32)  # tokens


def get_device(wanted: str = "auto") -> torch.device:
    """Return the device to compute on: CUDA, MPS or CPU by preference, or the one `wanted`; ValueError if absent."""
    available = ["cpu"]
    if torch.backends.mps.is_available():
        available.insert(0, "mps")
    if torch.cuda.is_available():
        available.insert(0, "cuda")
    if wanted != "auto" and wanted not in available:
        raise ValueError(f"device {wanted!r} is not available here; there is: auto, {', '.join(available)}")
    return torch.device(available[0] if wanted == "auto" else wanted)


@dataclass(frozen=True, slots=True)
class Layer:
    """One transformer layer: two layer norms as (weight, bias), four matrices."""

    ln_1: tuple[Tensor, Tensor | None]  # (C,) each
    c_attn: Matrix  # C -> 3C
    attn_proj: Matrix  # C -> C
    ln_2: tuple[Tensor, Tensor | None]  # (C,) each
    c_fc: Matrix  # C -> 4C
    mlp_proj: Matrix  # 4C -> C


class Engine:
    """A network without state: it takes tokens and a KV cache, and gives the logits of the next token.

    `kernels` are the names of the kernels that multiply, `memory_bytes` is what the weights take.
    """

    def __init__(
        self,
        config: GPTConfig,
        precision: Precision,
        source: WeightSource,
        *,
        encoded: bool = False,
        tuner: KernelTuner | None = None,
        device: torch.device | None = None,
    ) -> None:
        """Pack the weights of `source`: plain float ones or, `encoded`, the parts that `precision` stores.

        Each is read, packed and not kept, so no second copy of the model is ever in memory. Without `device` the CPU is
        used, without `tuner` the kernels are timed anew. Raises ValueError if this computer cannot run the precision,
        and as `read_weight`.
        """
        self.config = config
        self.precision = precision
        # several threads would share a lone row's attention of a single head, and add in another order
        self._threads = 1 if config.parameters() <= ONE_THREAD or config.n_head == 1 else THREADS
        self.device = device or CPU
        self._activation = ACTIVATIONS[config.activation]
        self._tuner = tuner or KernelTuner()
        self._source, self._encoded = source, encoded
        with self._own_threads():
            self._load()
        # neither a file nor tensors that are being trained are needed any more
        del self._source

    @property
    def chunk(self) -> int:
        """Tokens of a prompt to read at once: few enough that a Stop between two chunks is noticed soon."""
        # a token takes about one multiplication for each parameter
        most = CHUNK_WORK.get(self.precision.name, LESS_WORK) / self.config.parameters()
        return next((chunk for chunk in CHUNKS if chunk <= most), CHUNKS[-1] // 2)

    @classmethod
    def of(cls, model: GPT, precision: Precision, *, device: torch.device | None = None) -> "Engine":
        """Return an engine of `model` as its weights are now; later changes by training may or may not be seen."""
        return cls(model.config, precision, TensorSource.of(model), device=device)

    @contextmanager
    def _own_threads(self) -> Iterator[None]:
        """Set the number of threads that suits this model, for what the calling thread computes within the block."""
        torch.set_num_threads(self._threads)
        try:
            yield
        finally:
            # not the number before: a new thread begins with what any other has just set
            torch.set_num_threads(THREADS)

    @torch.inference_mode()
    def _load(self) -> None:
        """Read and pack all weights."""
        config, encoding = self.config, self.precision.encoding
        self._shapes = self.precision.matrices(config)
        self._matrices: list[Matrix] = []
        # the token table stays encoded and is decoded row by row; the positions are few enough to be kept as floats
        self._table = encoding(WTE, config), self._parts(WTE, self._shapes[WTE])
        self._positions = encoding(WPE, config).decode(self._parts(WPE, self._shapes[WPE]))  # (block_size, C)
        self._layers = [self._layer(f"h.{i}") for i in range(config.n_layer)]
        self._ln_f = self._norm("ln_f")
        self._head = self._make_head()
        # rows that every kernel of the model can multiply at a time while tokens come one by one
        blocks = [matrix.kernel.rows for layer in self._layers for matrix in (layer.c_attn, layer.mlp_proj)]
        self._block = max(1, self._head.kernel.rows, *blocks)
        # a tied head is packed beside the table, which stays to be looked up
        table = sum(part.nbytes for part in self._table[1].values())
        self.memory_bytes = table + self._positions.nbytes + sum(matrix.nbytes for matrix in self._matrices)
        self.kernels = ", ".join(dict.fromkeys(matrix.kernel.name for matrix in self._matrices))

    @torch.inference_mode()
    def __call__(self, tokens: Tensor, cache: KVCache | None = None, *, last_only: bool = False) -> Tensor:
        """Return logits (B, T, V) of the token after each of `tokens` (B, T), or (B, 1, V) of the last one only.

        With a cache, `tokens` continue what it holds and are appended to it. One token at a time, the bits of a row
        do not depend on the other rows. Raises ValueError, before anything is written, if the tokens do not fit.
        """
        self._check_fit(tokens, cache)
        with self._own_threads():
            return self._forward(tokens, cache, last_only=last_only)

    def _forward(self, tokens: Tensor, cache: KVCache | None, *, last_only: bool) -> Tensor:
        """Return logits as `__call__`, whose checks have passed."""
        B, T = tokens.shape
        C = self.config.n_embd
        # tokens in the cache come first, so the new ones stand at the positions past to past + T
        past = 0 if cache is None else cache.length
        cache = KVCache(self.config, rows=B, capacity=T, device=self.device) if cache is None else cache
        tokens = tokens.to(self.device)
        encoding, table = self._table
        # (M,) ids -> (B, T, C), plus positions (T, C), -> (M, C): layers know rows only
        x = encoding.look_up(table, tokens.flatten()).view(B, T, C) + self._positions[past : past + T]
        x = x.view(B * T, C)
        if T == 1 and B % self._block:
            # rows of zeros are multiplied along, so that every kernel always multiplies whole blocks
            x = F.pad(x, (0, 0, 0, -B % self._block))
        mask = None
        if past and T > 1:
            # (T, S), for is_causal would align the triangle with the first key, not with the last
            mask = torch.ones(T, past + T, dtype=torch.bool, device=self.device).tril(past)
        for layer, slots in zip(self._layers, cache.slots(T), strict=True):
            x = self._run(layer, x, slots, mask)
        # only now, so that an interrupted pass leaves the cache as it was
        cache.advance(T)
        if last_only and T > 1:
            # the head is the largest matrix: of a prompt, only the last position is multiplied by it
            x = x.view(B, T, C)[:, -1]  # (B, C)
            T = 1
            if B % self._block:
                x = F.pad(x, (0, 0, 0, -B % self._block))
        # (M, C) -> (M, V), padding included -> (B, T, V)
        x = torch.layer_norm(x, (C,), *self._ln_f, self.config.layer_norm_epsilon)
        # one token at a time as always the same number of rows, so that no row's bits depend on the others
        logits = (self._head.each if T == 1 else self._head.all)(x)
        return logits[: B * T].view(B, T, -1)

    def _run(self, layer: Layer, x: Tensor, slots: tuple[Tensor, Tensor, Tensor], mask: Tensor | None) -> Tensor:
        """Return the output (M, C) of one layer for `x` (M, C); write new keys and values into `slots` of the cache."""
        # new (2, B, H, T, D) is a view of the last T positions of keys and values, (B, H, S, D) each
        new, keys, values = slots
        _, B, H, T, D = new.shape
        C, epsilon = H * D, self.config.layer_norm_epsilon
        # one token at a time, or a prompt: `each` keeps the bits of a row, `all` is faster
        single = T == 1
        # attention: (M, C) -> (M, C), added to the residual stream
        h = torch.layer_norm(x, (C,), *layer.ln_1, epsilon)
        # (M, C) -> (M, 3C): queries, keys and values side by side
        qkv = layer.c_attn.each(h) if single else layer.c_attn.all(h)
        # the rows of padding have no place in the cache
        qkv = qkv[: B * T] if len(x) != B * T else qkv
        qkv = qkv.view(B, T, 3, H, D).permute(2, 0, 3, 1, 4)  # (3, B, H, T, D)
        # now `keys` and `values` have all S positions
        new.copy_(qkv[1:])
        # one new token may look at everything; (B, H, T, D) queries on (B, H, S, D) -> (B, H, T, D)
        causal = mask is None and not single
        y = F.scaled_dot_product_attention(qkv[0], keys, values, attn_mask=mask, is_causal=causal)
        y = y.transpose(1, 2).reshape(B * T, C)  # (B, H, T, D) -> (M, C), the heads side by side again
        if len(x) != B * T:
            # the rows of padding again, as zeros
            y = F.pad(y, (0, 0, 0, len(x) - B * T))
        x = x + (layer.attn_proj.each(y) if single else layer.attn_proj.all(y))
        # MLP: (M, C) -> (M, 4C) -> (M, C), added likewise
        h = torch.layer_norm(x, (C,), *layer.ln_2, epsilon)
        h = self._activate(layer.c_fc.each(h) if single else layer.c_fc.all(h), apart=single)
        return x + (layer.mlp_proj.each(h) if single else layer.mlp_proj.all(h))

    def _activate(self, x: Tensor, *, apart: bool) -> Tensor:
        """Return the activation of `x` (M, 4C), of each row `apart` where its bits must not depend on the others."""
        if apart and len(x) > 1:
            # vectorised code rounds the last few elements of an array in another way
            return torch.cat([self._activation(row) for row in x.split(1)])
        return self._activation(x)

    def _check_fit(self, tokens: Tensor, cache: KVCache | None) -> None:
        """Raise ValueError if `tokens` are not (B, T), or do not fit the context or the cache."""
        if tokens.ndim != 2 or not tokens.numel():
            raise ValueError(f"tokens must have the shape (B, T) with at least one token, not {tuple(tokens.shape)}")
        B, T = tokens.shape
        # the network has no positions beyond its context, and a cache is no longer than that
        if cache is None:
            if self.config.block_size < T:
                raise ValueError(f"{T} tokens do not fit the model's context of {self.config.block_size}")
        elif cache.rows != B:
            raise ValueError(f"the KV cache has {cache.rows} rows, but the tokens have {B}")
        elif cache.length + T > cache.capacity:
            raise ValueError(f"the KV cache holds {cache.length} of at most {cache.capacity} tokens: {T} do not fit")

    def _layer(self, name: str) -> Layer:
        """Return the layer of this name, "h.0"."""
        return Layer(
            self._norm(f"{name}.ln_1"),
            self._matrix(f"{name}.attn.c_attn"),
            self._matrix(f"{name}.attn.c_proj"),
            self._norm(f"{name}.ln_2"),
            self._matrix(f"{name}.mlp.c_fc"),
            self._matrix(f"{name}.mlp.c_proj"),
        )

    def _norm(self, name: str) -> tuple[Tensor, Tensor | None]:
        """Return the weight (C,) and bias (C,) of a layer norm."""
        return self._vector(f"{name}.weight", self.config.n_embd), self._bias(name, self.config.n_embd)

    def _matrix(self, name: str) -> Matrix:
        """Return the packed matrix of this name, with its bias."""
        shape = self._shapes[name]
        encoding = self.precision.encoding(name, self.config)
        return self._packed(encoding, self._parts(name, shape), self._bias(name, shape[0]), shape)

    def _make_head(self) -> Matrix:
        """Return the head's own matrix (V, C) or, tied, the token table packed to multiply."""
        shape = self._shapes[WTE]
        if HEAD not in self._shapes:
            return self._packed(*self._table, None, shape)
        encoding = self.precision.encoding(HEAD, self.config)
        return self._packed(encoding, self._parts(HEAD, shape), None, shape)

    def _packed(self, encoding: Encoding, parts: Parts, bias: Tensor | None, shape: tuple[int, int]) -> Matrix:
        """Return a matrix (N, K) packed for the kernel that suits it, and count it."""
        matrix = Matrix(self._kernel(encoding, shape), parts, bias, shape=shape)
        self._matrices.append(matrix)
        return matrix

    def _kernel(self, encoding: Encoding, shape: tuple[int, int]) -> Kernel:
        """Return the kernel for a matrix (N, K) on this device."""
        if self.device != CPU:
            assert encoding.device_kernel is not None, "callers choose the device by Precision.device"
            return encoding.device_kernel
        return self._tuner.kernel_for(encoding, shape, width=self.config.n_embd)

    def _parts(self, name: str, shape: tuple[int, int]) -> Parts:
        """Return the parts of a matrix (N, K), as stored or encoded from its float weights."""
        encoding = self.precision.encoding(name, self.config)
        if self._encoded:
            stored = {part: shape for part, (shape, _) in encoding.stored(*shape).items()}
            parts = {part: read_weight(self._source, f"{name}.{part}", shape) for part, shape in stored.items()}
        else:
            # at a precision with a head of its own, that of a tied network is encoded from the token table
            stored_as = WTE if name == HEAD and self.config.tied else name
            weight = read_weight(self._source, f"{stored_as}.weight", shape)
            parts = encoding.encode(weight.to(self.device, torch.float32))
        return {part: value.to(self.device) for part, value in parts.items()}

    def _bias(self, name: str, size: int) -> Tensor | None:
        """Return the bias (size,) of a layer, None for a network without."""
        return self._vector(f"{name}.bias", size) if self.config.bias else None

    def _vector(self, name: str, size: int) -> Tensor:
        """Return a weight (size,) as float32 on the device."""
        return read_weight(self._source, name, (size,)).to(self.device, torch.float32)
