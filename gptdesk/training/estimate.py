"""Estimate of a run before it starts: memory by arithmetic, time by a few steps on a copy of the model."""

import copy
import statistics
import threading
import time
from dataclasses import dataclass

import psutil
import torch

from gptdesk.training.distributed import ProcessGroup
from gptdesk.training.loader import Rows
from gptdesk.training.optimizer import has_bfloat16
from gptdesk.training.options import TrainingOptions
from gptdesk.training.trainer import Trainer
from models.gpt import GPT, LARGE_VOCABULARY, GPTConfig
from models.loss import ROWS

PROBE_STEPS = 10
PROBE_SECONDS = 4.0  # after which the probe of a precision ends, but for the step it is in
PLANNED = 0.95  # share of the minutes that the steps are planned to fill
FEW = 200  # steps below which a text shows little in what a model writes
MARGIN = 0.9  # share of the free memory that a run may plan with


@dataclass(frozen=True)
class Estimate:
    """Estimate of a run before it starts; seconds are those of the steps alone."""

    steps: int
    tokens: int
    epochs: float
    seconds: float
    tokens_per_second: float
    memory_bytes: int
    bfloat16: bool


def memory_bytes(config: GPTConfig, options: TrainingOptions, *, rows: int, block_size: int, shards: int = 1) -> int:
    """Return about how many bytes training takes with `rows` rows computed at once, in float32.

    It was measured to be within a fifth of what CPUs use. With several `shards` it is that of one process: its part of
    the model, and at evaluations all of the weights.
    """
    C, L, V, T = config.n_embd, config.n_layer, config.vocab_size, block_size
    inner = config.inner
    # float32 weights, gradients and two moments: 4 bytes each
    weights = config.parameters() * (16 + (8 if options.average else 0))  # gradient, two moments, mean
    # the matrices of a layer have 4 C^2 + 2 C inner parameters, of which Muon keeps one moment less
    if options.optimizer == "muon":
        weights -= 4 * L * C * (4 * C + 2 * inner)  # one moment
    weights //= shards
    weights += config.parameters() * 4 if shards > 1 else 0
    # activations that the backward pass needs, as float32 numbers for each token
    token = L * (14 * C + 3 * inner) + 8 * C
    if config.dropout:  # attention with dropout writes its (T, T) matrices out
        token += round(3.5 * L * config.n_head * T) + 2 * L * C
    # logits: in blocks of ROWS rows for a large vocabulary, else (tokens, V) with softmax and gradient
    if V > LARGE_VOCABULARY:
        weights += 4 * (V * C + 3 * ROWS * V)
    else:
        token += 3 * V
    return weights + 4 * token * rows * T


def check_memory(
    config: GPTConfig, options: TrainingOptions, *, block_size: int, free: int, processes: ProcessGroup | None = None
) -> int:
    """Return the bytes that the run will take; ValueError, with numbers that fit, if fewer are `free`."""
    processes = processes or ProcessGroup()

    def needed(rows: int) -> int:
        shards = processes.size if processes.sharded else 1
        return memory_bytes(config, options, rows=rows, block_size=block_size, shards=shards)

    # rows of one process, and of those the rows that it computes at once, both rounded up
    share = -(-options.batch_size // processes.size)
    at_once = -(-share // options.accumulation)
    if (most := needed(at_once)) <= free * MARGIN:
        return most
    if needed(1) > free * MARGIN:
        raise ValueError(
            f"training a model of {config.parameters():,} parameters needs {_gb(needed(1))} of memory and {_gb(free)} "
            "are free; choose a smaller preset"
        )
    # memory is linear in the rows: the free rest over the cost of one row
    fits = int((free * MARGIN - needed(0)) // (needed(1) - needed(0)))
    fits = min(1 << (fits.bit_length() - 1), options.batch_size)  # a power of two
    raise ValueError(
        f"a batch_size of {options.batch_size:,} needs about {_gb(most)} of memory and {_gb(free)} are free; "
        f"batch_size {fits * processes.size} fits, or accumulation {-(-share // fits)} computes it in parts"
    )


def free_memory(device: torch.device) -> int:
    """Return the free bytes of memory on the device."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def probe(
    model: GPT,
    rows: Rows,
    *,
    options: TrainingOptions,
    stop: threading.Event | None = None,
    processes: ProcessGroup | None = None,
) -> tuple[bool, float]:
    """Return whether to multiply in bfloat16, and tokens per second so, from up to PROBE_STEPS steps on a copy.

    All `processes` of a group must probe, and the result of the first one counts.
    """
    processes = processes or ProcessGroup()
    # 0 only if the hardware of every process has bfloat16
    lacking = processes.sum(not has_bfloat16(model.wte.weight.device))[0]
    speeds = {
        bfloat16: _speed(model, rows, options=options, bfloat16=bfloat16, stop=stop, processes=processes)
        for bfloat16 in {"auto": (False, True), "float32": (False,), "bfloat16": (True,)}[options.precision]
        if not bfloat16 or options.precision == "bfloat16" or not lacking
    }
    fastest = max(speeds, key=speeds.__getitem__)
    if fastest and speeds[True] < 1.1 * speeds.get(False, 0.0):  # hardly faster is not worth the digits
        fastest = False
    return fastest, speeds[fastest]


def steps_within(options: TrainingOptions, *, block_size: int, speed: float) -> int:
    """Return how many of the chosen steps fit into the budgets, at `speed` tokens per second."""
    # tokens in a step
    per_step = options.batch_size * block_size
    steps = options.steps
    if options.max_tokens:
        steps = min(steps, -(-options.max_tokens // per_step))
    if options.max_minutes:
        steps = min(steps, round(options.max_minutes * 60 * speed * PLANNED / per_step))
    return max(steps, 1)


def estimate(options: TrainingOptions, rows: Rows, *, speed: float, memory: int, bfloat16: bool) -> Estimate:
    """Return the estimate of a run within its budgets; `speed` in tokens per second."""
    steps = steps_within(options, block_size=rows.width - 1, speed=speed)
    tokens = steps * options.batch_size * (rows.width - 1)
    epochs = steps * options.batch_size / rows.count
    return Estimate(steps, tokens, epochs, tokens / speed, speed, memory, bfloat16)


def outlook(options: TrainingOptions, *, base: str, steps: int, seconds: float) -> str:
    """Return the sentence on the `steps` that the minutes are enough for; empty if those reach the limit on steps.

    `seconds` are those of a step. Few steps teach a new model hardly a word, and change the `base` model little.
    """
    if not options.max_minutes or steps >= options.steps:
        return ""
    hours, minutes = divmod(max(1, round(options.steps * seconds / PLANNED / 60)), 60)
    whole = f"{hours} h {minutes:02} min" if hours else f"{minutes} minutes"
    unit = "minute is" if options.max_minutes == 1 else "minutes are"
    text = f"{options.max_minutes:g} {unit} enough for about {steps:,} steps, then the run ends"
    if steps < min(FEW, options.steps / 4):
        text += f": expect it to write much as {base} does still" if base else ": expect hardly a word that makes sense"
    return f"{text}; its limit of {options.steps:,} steps would need about {whole}"


def _speed(
    model: GPT,
    rows: Rows,
    *,
    options: TrainingOptions,
    bfloat16: bool,
    stop: threading.Event | None,
    processes: ProcessGroup,
) -> float:
    """Return tokens per second: the median of the steps after the first, or of the first alone; 1 if stopped."""
    short = TrainingOptions(**(dict(options) | {"steps": PROBE_STEPS, "warmup_steps": 0, "max_minutes": 0}))
    trainer = Trainer(copy.deepcopy(model), rows, options=short, bfloat16=bfloat16, processes=processes)
    speeds = []
    begin = time.perf_counter()
    for step in trainer.run(stop):
        speeds.append(step.tokens_per_second)
        if processes.sum(time.perf_counter() - begin > PROBE_SECONDS)[0]:
            break
    return statistics.median(speeds[1:] or speeds or [1.0])


def _gb(size: int) -> str:
    return f"{size / 1e9:,.1f} GB"
