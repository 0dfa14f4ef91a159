"""Measurement of one case in a fresh process; prints the figures as JSON."""

import json
import random
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import psutil
import torch
from torch import Tensor

from gptdesk.bench import Case, Measured, Row, position_bytes, step_bytes
from gptdesk.draws import start_draws
from gptdesk.generation import GenerationRequest, GenerationStep, generate
from gptdesk.system.cpu_load import CpuLoad
from models.cache import KVCache
from models.engine import get_device
from models.library import ModelLibrary
from models.manager import LoadedModel, ModelKey, ModelManager
from models.native import compiled
from models.prefix import PrefixCache
from models.special_ids import SpecialIds
from models.tokenizer import CharacterTokenizer, HuggingFaceTokenizer, Tokenizer
from models.weights import WEIGHTS
from samplers import Chain, build, default_chain

REPEATS = 4  # of which the second best counts
WARM_UP = 8  # tokens
FIRST_CHARACTER = 0x10000
STREAMED = 1_600_000_000  # bytes, more than most caches hold


def measure(case: Case) -> Measured:
    """Measure all figures of a case. Raises ValueError as `ModelManager.lend`."""
    folder = Path(case.folder)
    cache_folder, device = Path(case.vocabularies), get_device(case.device)
    library = ModelLibrary(folder / "none", cache_folder=cache_folder, bundled=[folder])
    manager = ModelManager(library, device=device)
    started = time.perf_counter()
    if device.type == "cpu":
        compiled.load(case.precision)  # numba and its code take time of the load, but no memory of the model
    empty = peak_bytes()
    with manager.lend(ModelKey(case.name, case.precision)) as lent:
        load_seconds = time.perf_counter() - started
        loaded = replace(lent, tokenizer=PlainTokenizer(lent.config.vocab_size))
        cpu_load = CpuLoad()
        greedy = Chain(samplers=(build("greedy"),))
        timed_run(loaded, replace(case, new=WARM_UP), greedy, seed=0)
        firsts, decodes = zip(*(timed_run(loaded, case, greedy, seed=i) for i in range(1, REPEATS + 1)), strict=True)
        peak = peak_bytes()
        _, default = timed_run(loaded, case, default_chain(), seed=REPEATS + 1)
        engine, sampler = map(statistics.median, zip(*step_times(loaded, case), strict=True))
        others = cpu_load.share()
    row = Row(
        precision=case.precision,
        prompt=case.prompt,
        context=case.prompt,
        n=case.n,
        seconds_to_first_token=statistics.median_low(firsts),
        tokens_per_second=case.n * case.new / statistics.median_low(decodes),
        load_seconds=load_seconds,
        peak_mb=peak / 1e6,
        file_mb=(folder / WEIGHTS).stat().st_size / 1e6,
        kernel=loaded.model.kernels,
    )
    middle = case.prompt + case.new / 2
    return Measured(
        row,
        empty_mb=empty / 1e6,
        engine_seconds=engine,
        sampler_seconds=sampler,
        default_tokens_per_second=case.n * case.new / default,
        step_bytes=step_bytes(loaded.config, loaded.model.precision, context=middle, n=case.n),
        cache_bytes=case.n * (case.prompt + case.new) * position_bytes(loaded.config),
        others=others,
    )


class PlainTokenizer(Tokenizer):
    """One character for each id: prompts have exact lengths, no token ends a text, and no table takes memory."""

    kind = "characters"
    special_ids = SpecialIds()

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size = self.required_size = vocab_size

    def encode(self, text: str) -> list[int]:
        return [ord(character) - FIRST_CHARACTER for character in text]

    def token_bytes(self, token: int) -> bytes:
        return chr(FIRST_CHARACTER + token).encode("utf-8")

    def to_huggingface(self) -> HuggingFaceTokenizer:
        return CharacterTokenizer([self.decode([i]) for i in range(self.vocab_size)]).to_huggingface()


def timed_run(loaded: LoadedModel, case: Case, chain: Chain, *, seed: int) -> tuple[float, float]:
    """Return the seconds from a random prompt to the first token, and from there to the last token."""
    ids = random.Random(seed).choices(range(loaded.config.vocab_size), k=case.prompt)
    prompt = loaded.tokenizer.decode(ids)
    request = GenerationRequest(prompt=prompt, chain=chain, max_new_tokens=case.new + 1, n=case.n, seed=seed)
    fresh = replace(loaded, prefixes=PrefixCache())
    started, times = time.perf_counter(), []
    for event in generate(fresh, request):
        if isinstance(event, GenerationStep):
            times.append(time.perf_counter())
    assert len(times) == case.n * (case.new + 1), "nothing may end a sequence early"
    return times[0] - started, times[-1] - times[0]


@torch.inference_mode()
def step_times(loaded: LoadedModel, case: Case) -> Iterator[tuple[float, float]]:
    """Yield the seconds of the engine and of the default chain for each of `new` steps after a prompt."""
    engine, random_ids = loaded.model, torch.Generator().manual_seed(0)
    prompt = torch.randint(loaded.config.vocab_size, (1, case.prompt), generator=random_ids)
    cache = KVCache(loaded.config, capacity=case.prompt + case.new, device=engine.device)
    parts = prompt.split(engine.chunk, dim=1)
    logits: Tensor = [engine(part, cache, last_only=True)[:, -1] for part in parts][-1]  # (1, V)
    cache, logits = cache.copy(rows=case.n), logits.expand(case.n, -1)
    tokens = torch.empty(case.n, cache.capacity, dtype=torch.int64)  # (B, T)
    tokens[:, : case.prompt] = prompt
    draw = start_draws(default_chain(), engine, seed=0, rows=case.n)
    for length in range(case.prompt, cache.capacity):
        started = time.perf_counter()
        drawn = draw(logits, tokens[:, :length])  # (B, V) -> (B,)
        drawn_at = time.perf_counter()
        logits = engine(drawn[:, None], cache, last_only=True)[:, -1]
        yield time.perf_counter() - drawn_at, drawn_at - started
        tokens[:, length] = drawn


def bandwidth() -> float:
    """Measure the memory bandwidth in bytes per second: the best of some products of a large matrix and a vector."""
    matrix = torch.ones(STREAMED // 4 // 4096, 4096)
    vector = torch.ones(4096)
    times = []
    for _ in range(3 * REPEATS):
        started = time.perf_counter()
        torch.mv(matrix, vector)
        times.append(time.perf_counter() - started)
    return matrix.nbytes / min(times)


def peak_bytes() -> int:
    """Return the peak memory of this process in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage includes the parent process
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    memory = psutil.Process().memory_info()
    if hasattr(memory, "peak_wset"):  # Windows
        return int(memory.peak_wset)
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    """Measure the case given as JSON or, without one, the bandwidth."""
    if len(sys.argv) > 1:
        print(json.dumps(asdict(measure(Case(**json.loads(sys.argv[1]))))))
    else:
        print(json.dumps({"bytes_per_second": bandwidth()}))


if __name__ == "__main__":
    main()
