"""GPT-2 for inference: weights packed for one precision, no gradients, little Python per token.

`models.gpt.GPT` is the same network to read and to train. B sequences, T new tokens, V vocabulary. The step itself
is compiled code (`models.native_step`) or torch's operators (`models.torch_step`).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from models.cache import KVCache
from models.gpt import GPT, GPTConfig
from models.native import compiled
from models.native_step import NativeDraw, NativeStep
from models.network_weights import CPU, NetworkWeights
from models.precision import Precision
from models.precision.tuner import KernelTuner
from models.torch_step import TorchStep
from models.weights import TensorSource, WeightSource

THREADS = torch.get_num_threads()  # chosen for this process before torch was loaded
# parameters up to which two threads wait for each other longer than they help, on a busy computer
ONE_THREAD = 16_000_000
# multiplications that take less than 100 ms on a laptop, and the same at any smaller precision
CHUNK_WORK = {"float32": 8e9}
LESS_WORK = 16e9
COMPILED_WORK = 5e9  # by the compiled step, at any precision
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
        weights = NetworkWeights(config, precision, source, encoded=encoded, device=self.device)
        # the compiled step has one type for the matrices of a layer, so a mixed precision runs by torch's kernels
        code = compiled.load(precision.name) if self.device == CPU and not precision.raised else None
        self._step: NativeStep | TorchStep
        with self._own_threads(), torch.inference_mode():
            # neither a file nor tensors that are being trained are needed after this
            if code is not None:
                self._step = NativeStep(weights, code, threads=self._threads)
            else:
                self._step = TorchStep(weights, tuner or KernelTuner())
        self.kernels, self.memory_bytes = self._step.kernels, self._step.memory_bytes

    @property
    def chunk(self) -> int:
        """Tokens of a prompt to read at once: few enough that a Stop between two chunks is noticed soon."""
        # a token takes about one multiplication for each parameter
        work = COMPILED_WORK if self.rows_are_independent else CHUNK_WORK.get(self.precision.name, LESS_WORK)
        most = work / self.config.parameters()
        return next((chunk for chunk in CHUNKS if chunk <= most), CHUNKS[-1] // 2)

    @property
    def rows_are_independent(self) -> bool:
        """True if `step` computes all parts at once, and each has the bits that it has alone."""
        return isinstance(self._step, NativeStep)

    def draw(self, steps: Sequence[tuple[str, float]]) -> NativeDraw | None:
        """Return the compiled draw from its logits for a chain, by the name and the number of each sampler.

        None if there is none for these samplers, or with torch's step.
        """
        return self._step.draw(steps) if isinstance(self._step, NativeStep) else None

    def log_normalizers(self, logits: Tensor) -> Tensor:
        """Return log(sum(exp(x))) of each row x of logits (R, V), float32 on the CPU: (R,) float64.

        A logit less that of its row is the log-probability of its token. A row's result does not depend on the others.
        """
        if isinstance(self._step, NativeStep):
            return self._step.log_normalizers(logits)
        # row by row, which torch does on one thread: waking a second one may take a hundred times as long as the sum
        return torch.stack([row.logsumexp(0) for row in logits]).double()

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

    def __call__(self, tokens: Tensor, cache: KVCache | None = None, *, last_only: bool = False) -> Tensor:
        """Return logits (B, T, V) of the token after each of `tokens` (B, T), or (B, 1, V) of the last one only.

        With a cache, `tokens` continue what it holds and are appended to it. One token at a time, the bits of a row
        do not depend on the other rows. Raises ValueError, before anything is written, if the tokens do not fit.
        """
        self._check_fit(tokens, cache)
        B, T = tokens.shape
        cache = KVCache(self.config, rows=B, capacity=T, device=self.device) if cache is None else cache
        return self._computed([(tokens, cache)], last_only=last_only)[0]

    def step(self, parts: Sequence[tuple[Tensor, KVCache]]) -> list[Tensor]:
        """Return for each part, tokens (B, T) that continue a cache of their own, the logits (B, V) after the last.

        The caches may differ in length and rows. The compiled step reads the weights once for all parts, and each has
        the bits that it has alone; torch's kernels run one part after the other. Raises ValueError, before anything is
        written, if a part does not fit, or if two have the same cache.
        """
        for tokens, cache in parts:
            self._check_fit(tokens, cache)
        if len({id(cache) for _, cache in parts}) < len(parts):
            raise ValueError("two parts of a step have the same KV cache; give each its own")
        if not parts:
            return []
        return [logits[:, -1] for logits in self._computed(parts, last_only=True)]

    def _computed(self, parts: Sequence[tuple[Tensor, KVCache]], *, last_only: bool) -> list[Tensor]:
        """Return the logits of parts that fit, as the step returns them."""
        if isinstance(self._step, NativeStep):  # which uses neither torch's threads nor its operators
            return self._step(parts, last_only=last_only)
        with self._own_threads(), torch.inference_mode():
            return self._step(parts, last_only=last_only)

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
