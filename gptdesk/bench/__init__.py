"""Speed, memory and size of a model at every precision.

Each case is measured by `python -m gptdesk.bench`, in a process of its own. Nothing else should run meanwhile.
"""

import json
import logging
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from gptdesk.system.environment import lacking
from models.gpt import GPTConfig
from models.library import ModelKey, ModelLibrary
from models.precision import HEAD, PRECISIONS, WPE, WTE, Precision

log = logging.getLogger(__name__)

PROMPTS, SEQUENCES = (16, 700), (1, 5)  # the default cases
NEW = 128  # tokens timed after the first
LEAST_NEW = 16  # cases with room for fewer new tokens are left out


@dataclass(frozen=True)
class Case:
    """Case that one process measures."""

    folder: str  # the checkpoint, as stored at the precision
    name: str  # of the model in the library
    vocabularies: str  # the library's cache folder
    device: str  # as in the settings
    precision: str
    prompt: int  # tokens
    n: int  # sequences
    new: int  # tokens of each sequence after its first


@dataclass(frozen=True)
class Row:
    """Figures of a case. `context` is the number of tokens in the cache when the timed decode begins: the prompt.

    A figure that was not measured is None. MB are 10^6 bytes; `peak_mb` is of the whole process.
    """

    precision: str
    prompt: int
    context: int
    n: int
    seconds_to_first_token: float
    tokens_per_second: float  # of all n sequences, greedy, after the first token of each
    load_seconds: float | None
    peak_mb: float
    file_mb: float
    kernel: str | None


@dataclass(frozen=True)
class Measured:
    """Row with further figures of its case."""

    row: Row
    empty_mb: float  # most memory before the model was loaded: Python, torch, numba and this program
    engine_seconds: float  # of one step: n tokens in, n rows of logits out
    sampler_seconds: float  # to draw n tokens with the default chain
    default_tokens_per_second: float  # with the default chain instead of the greedy one
    step_bytes: float  # that one step must read
    cache_bytes: int  # keys and values of all sequences at their ends
    others: float  # CPU load from other processes meanwhile, as a share of all processors; should be near 0

    @property
    def sampler_share(self) -> float:
        """Share of the default chain in a step."""
        return self.sampler_seconds / (self.sampler_seconds + self.engine_seconds)


def step_bytes(config: GPTConfig, precision: Precision, *, context: float, n: int) -> float:
    """Return the bytes that one step must read: the weights, and `context` keys and values of each of n sequences.

    The weights count once and as stored, but of the two tables only a row is read for each token.
    """
    shapes = precision.matrices(config)
    head = {} if HEAD in shapes else {WTE: shapes[WTE]}  # read whole, since it is the head too
    read = {name: shape for name, shape in shapes.items() if name not in (WTE, WPE)} | head
    matrices = sum(precision.encoding(name, config).nbytes(*shape) for name, shape in read.items())
    trained = PRECISIONS["float32"].matrices(config).values()
    vectors = config.parameters() - sum(N * K for N, K in trained)  # layer norms and biases
    return matrices + 4 * vectors + n * context * position_bytes(config)


def position_bytes(config: GPTConfig) -> int:
    """Return the bytes of the keys and values of one position."""
    return 8 * config.n_layer * config.n_embd


def share_of_limit(measured: Measured, bandwidth: float) -> float:
    """Return the decode speed as a share of its limit: a step that only reads its bytes at `bandwidth` (bytes/s)."""
    return measured.row.tokens_per_second * measured.step_bytes / (measured.row.n * bandwidth)


def find_folder(library: ModelLibrary, text: str) -> Path:
    """Return the checkpoint folder of a model by name or, if there is no such model, by path; ValueError if neither."""
    named = {info.name: info.path for info in library.available()}
    if text not in named and Path(text).is_dir():
        return Path(text).resolve()
    return named.get(text) or library.info(text).path


def fitting(context: int, *, prompts: Sequence[int], sequences: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Yield (prompt, n, new) for every case that fits a model's context; log the others."""
    for prompt in prompts:
        if prompt + LEAST_NEW > context:
            log.warning("left out: a prompt of %d tokens, since the context of this model is %d", prompt, context)
            continue
        yield from ((prompt, n, min(NEW, context - prompt)) for n in sequences)


@contextmanager
def prepared(
    folder: Path,
    precisions: Sequence[str] = (),
    *,
    vocabularies: Path,
    device: str = "auto",
    prompts: Sequence[int] = PROMPTS,
    sequences: Sequence[int] = SEQUENCES,
) -> Iterator[list[Case]]:
    """Prepare and yield the cases of a checkpoint folder, by default at every precision there is.

    Quantized copies are in a temporary folder until the `with` block ends; kernels have been tuned and files read once.
    Raises ValueError for a precision that the model or this computer does not have, OSError if the disk refuses.
    """
    with TemporaryDirectory(prefix="gptdesk-bench-") as temporary:
        library = ModelLibrary(Path(temporary), cache_folder=vocabularies, bundled=[folder])
        [info] = library.available()
        if info.problem:
            raise ValueError(info.problem)
        keys = [ModelKey(info.name, precision) for precision in precisions or info.precisions]
        for key in keys:
            if key.precision not in info.precisions:
                reason = PRECISIONS[key.precision].missing() or f"it is stored as {info.precisions[0]}"
                raise ValueError(f"{key} cannot be measured: {reason}")
        shapes = list(fitting(info.context, prompts=prompts, sequences=sequences))
        cases = []
        for key in keys if shapes else []:
            log.info("preparing %s", key)
            is_stored = key.precision == "float32" or len(info.precisions) == 1
            path = folder if is_stored else library.quantize(key.name, key.precision).path
            name = key.name if is_stored else path.name
            case = Case(str(path), name, str(vocabularies), device, key.precision, prompt=1, n=1, new=1)
            run(case)
            cases += [replace(case, prompt=prompt, n=n, new=new) for prompt, n, new in shapes]
        yield cases


def run(case: Case, *, under: Sequence[str] = ()) -> Measured:
    """Measure a case in a new process, started by the command prefix `under`, if any; ValueError if it fails."""
    figures = _in_child([*under, sys.executable, "-m", __name__, json.dumps(asdict(case))])
    row = Row(**figures.pop("row"))  # type: ignore[arg-type]
    return Measured(row, **figures)  # type: ignore[arg-type]


def run_bandwidth(*, under: Sequence[str] = ()) -> float:
    """Measure the memory bandwidth of sequential reads in bytes per second, in a new process."""
    return float(_in_child([*under, sys.executable, "-m", __name__])["bytes_per_second"])  # type: ignore[arg-type]


def median(measured: Sequence[Measured]) -> Measured:
    """Return the median of every figure over repeated measurements of one case."""
    row, first = measured[0].row, measured[0]
    rows = [asdict(one.row) for one in measured]
    timed = {name for name, value in asdict(row).items() if isinstance(value, float)}
    others = [field.name for field in fields(first) if field.name != "row"]
    return replace(
        first,
        row=replace(row, **{name: statistics.median(one[name] for one in rows) for name in timed}),
        **{name: statistics.median(getattr(one, name) for one in measured) for name in others},
    )


def _in_child(command: Sequence[str]) -> dict[str, object]:
    """Run a program in the desk's environment and return the JSON object that it prints; ValueError if it fails."""
    environment = os.environ | lacking(os.environ)
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise ValueError(f"a measurement ended with exit code {done.returncode}: {last}")
    figures: dict[str, object] = json.loads(done.stdout)
    return figures
