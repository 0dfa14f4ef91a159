"""How fast and how large a model is at each precision, as its user sees it: what is measured, and what it amounts to.

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

PROMPTS, SEQUENCES = (16, 700), (1, 5)  # what is measured unless told otherwise
NEW = 128  # tokens timed after the first
LEAST_NEW = 16  # with room for fewer, a context is not worth measuring


@dataclass(frozen=True)
class Case:
    """What one process measures."""

    folder: str  # the checkpoint, as stored at the precision
    name: str  # by which the library knows it
    vocabularies: str  # the library's cache folder
    device: str  # as in the settings
    precision: str
    prompt: int  # tokens
    n: int  # sequences
    new: int  # tokens of each sequence after its first


@dataclass(frozen=True)
class Row:
    """What is reported of a case. `context` tokens are in the cache when the timed decode begins: the prompt.

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
    """A row, with what else is known of it."""

    row: Row
    empty_mb: float  # most memory before the model was loaded: Python, torch and this program
    engine_seconds: float  # of one step: n tokens in, n rows of logits out
    sampler_seconds: float  # to draw n tokens with the default chain
    default_tokens_per_second: float  # with the default chain instead of the greedy one
    step_bytes: float  # that one step must read
    others: float  # share of the processors that other programs took meanwhile: next to nothing, or measure again

    @property
    def sampler_share(self) -> float:
        """The default chain's share of a step."""
        return self.sampler_seconds / (self.sampler_seconds + self.engine_seconds)


def step_bytes(config: GPTConfig, precision: Precision, *, context: float, n: int) -> float:
    """What one step must read: the weights, and `context` keys and values of each of n sequences.

    The weights count once and as stored, but of the two tables only a row is read for each token.
    """
    shapes = precision.matrices(config)
    head = {} if HEAD in shapes else {WTE: shapes[WTE]}  # read whole, since it is the head too
    read = {name: shape for name, shape in shapes.items() if name not in (WTE, WPE)} | head
    matrices = sum(precision.encoding(name, config).nbytes(*shape) for name, shape in read.items())
    trained = PRECISIONS["float32"].matrices(config).values()
    vectors = config.parameters() - sum(N * K for N, K in trained)  # layer norms and biases
    return matrices + 4 * vectors + n * context * 8 * config.n_layer * config.n_embd


def share_of_limit(measured: Measured, bandwidth: float) -> float:
    """The speed of decoding, as a share of what it would be if a step took no longer than to read its bytes."""
    return measured.row.tokens_per_second * measured.step_bytes / (measured.row.n * bandwidth)


def find_folder(library: ModelLibrary, text: str) -> Path:
    """The checkpoint of a model by its name or, if there is none of that name, the folder; ValueError if neither."""
    named = {info.name: info.path for info in library.available()}
    if text not in named and Path(text).is_dir():
        return Path(text).resolve()
    return named.get(text) or library.info(text).path


def fitting(context: int, *, prompts: Sequence[int], sequences: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """(prompt, n, new) of every case that fits a model's context; those that do not are logged."""
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
    """The cases to run of a checkpoint folder, by default at every precision there is.

    For as long as the `with` block lasts, the model lies quantized in a temporary folder; every kernel has been chosen
    and every file read once. Raises ValueError for a precision that the model or this computer does not have, OSError
    if the disk refuses.
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
        found = []
        for key in keys if shapes else []:
            log.info("preparing %s", key)
            as_it_is = key.precision == "float32" or len(info.precisions) == 1
            path = folder if as_it_is else library.quantize(key.name, key.precision).path
            name = key.name if as_it_is else path.name
            case = Case(str(path), name, str(vocabularies), device, key.precision, prompt=1, n=1, new=1)
            run(case)
            found += [replace(case, prompt=prompt, n=n, new=new) for prompt, n, new in shapes]
        yield found


def run(case: Case, *, under: Sequence[str] = ()) -> Measured:
    """Measure a case in a new process, started by the words `under`, if any; ValueError if it fails."""
    found = _in_child([*under, sys.executable, "-m", __name__, json.dumps(asdict(case))])
    row = Row(**found.pop("row"))  # type: ignore[arg-type]
    return Measured(row, **found)  # type: ignore[arg-type]


def run_bandwidth(*, under: Sequence[str] = ()) -> float:
    """Bytes per second that this computer reads in sequence, measured in a new process."""
    return float(_in_child([*under, sys.executable, "-m", __name__])["bytes_per_second"])  # type: ignore[arg-type]


def median(measured: Sequence[Measured]) -> Measured:
    """Every figure's median over repeated measurements of one case."""
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
    """Run a program in the environment that the desk runs in; the JSON object that it prints."""
    environment = os.environ | lacking(os.environ)
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise ValueError(f"a measurement ended with exit code {done.returncode}: {last}")
    found: dict[str, object] = json.loads(done.stdout)
    return found
