"""A whole comparison: measured, judged and put into words; what the page, the command line and every export show."""

import math
import platform
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import torch

from gptdesk.comparison import Side, Stage
from gptdesk.comparison.divergence import Divergence, diverge
from gptdesk.comparison.measuring import Measurement, Spread, Timing, measure
from gptdesk.comparison.quality import GREEDY_TOKENS, Pair, Quality, check_text, judge
from gptdesk.comparison.words import band, parting, summary
from gptdesk.evaluation import Closeness, Evaluation
from gptdesk.neighbours import QUIET
from models.engine import THREADS
from models.manager import ModelManager

Json = dict[str, object]


@dataclass(frozen=True)
class Report:
    """Sides, and what was found of them. Without a text to judge by there is no quality."""

    sides: tuple[Side, ...]
    measurement: Measurement
    divergences: tuple[Divergence, ...]  # of each side but the first
    quality: Quality | None
    text_name: str  # of the text judged by or, without quality, why there is none
    made: str  # ISO 8601
    computer: str

    @property
    def names(self) -> list[str]:
        """Those of the sides."""
        return [side.name for side in self.sides]

    def pair(self, i: int) -> Pair | None:
        """What the text showed of side `i` beside the first."""
        return self.quality.pairs[i - 1] if self.quality and i else None


@dataclass(frozen=True)
class Line:
    """One figure of every side, as a reader sees it. Where a cell is empty, `notes` has the reason."""

    section: str
    label: str
    cells: tuple[str, ...]
    notes: tuple[str, ...] = ()


def study(
    manager: ModelManager,
    sides: Sequence[Side],
    *,
    text: str | None = None,
    text_name: str = "",
    repeats: int = 5,
    stop: threading.Event | None = None,
) -> Iterator[Stage | Report]:
    """Measure the sides and, with a `text`, judge them by it; the report comes last, unless `stop` was set.

    Raises ValueError as `measure`, and for a text that a side cannot be judged by; should judging fail later, the
    report says why.
    """
    measurement = quality = None
    if text is not None:
        check_text(manager, [side.key for side in sides], text)  # before the long part
    for event in measure(manager, sides, repeats=repeats, stop=stop):
        if isinstance(event, Stage):
            yield event
        else:
            measurement = event
    if measurement is None:
        return
    if text is not None:
        try:
            for found in judge(manager, [side.key for side in sides], text, stop=stop):
                if isinstance(found, Stage):
                    yield found
                else:
                    quality = found
        except ValueError as error:  # what was measured is not lost
            text_name = str(error)
        else:
            if quality is None:
                return
    yield Report(
        tuple(sides),
        measurement,
        diverge(manager, sides, measurement.results),
        quality,
        text_name,
        datetime.now(UTC).isoformat(timespec="seconds"),
        computer(),
    )


def are_coupled(sides: Sequence[Side]) -> bool:
    """Whether all sides draw with the same samplers and luck, so that only the models can make texts differ."""
    return all(
        (one.request.seed, one.request.chain) == (sides[0].request.seed, sides[0].request.chain) for one in sides
    )


def computer() -> str:
    """What the figures were measured on."""
    processor = platform.processor() or platform.machine()
    cores = f"{THREADS} threads" if THREADS > 1 else "1 thread"
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{platform.system()} on {processor} ({capability}), {cores}, torch {torch.__version__.partition('+')[0]}"


def sentences(report: Report) -> list[str]:
    """What it comes to: a sentence for every side but the first."""
    timings, found = report.measurement.timings, []
    for i in range(1, len(report.sides)):
        same_tokens = report.divergences[i - 1].same is not None
        found.append(summary(report.names[i], timings[0], timings[i], report.pair(i), same_tokens=same_tokens) + ".")
    return found


def partings(report: Report) -> list[str]:
    """Where the texts part, a sentence for every side but the first."""
    names = report.names
    coupled = are_coupled(report.sides)
    return [parting(one, names[0], names[i], coupled=coupled) for i, one in enumerate(report.divergences, 1)]


def caveats(report: Report) -> list[str]:
    """What a reader must know to trust the figures."""
    measurement = report.measurement
    times = "once" if measurement.repeats == 1 else f"{measurement.repeats} times"
    notes = [
        f"Each side was timed {times}, one after the other in alternating order after a warm-up; shown are the median "
        "and, in brackets, the lowest and highest.",
        f"Measured {report.made} on {report.computer}.",
    ]
    if measurement.note:
        notes.append(f"Not all at once: {measurement.note}.")
    if measurement.others > QUIET:
        notes.append(
            f"Other programs took {measurement.others:.0%} of the processors meanwhile: close them and measure again."
        )
    if report.quality:
        context = report.quality.context
        notes.append(
            f"Quality is that on {report.text_name}, read in windows of {context:,} tokens. After ± stands the "
            "standard error, which takes tokens to be independent of their neighbours."
        )
    else:
        notes.append(f"Quality was not judged: {report.text_name}.")
    if len({len(result.tokens[0]) for result in measurement.results}) > 1:
        notes.append("The texts differ in length, and a longer one is slower at its end: compare speeds with care.")
    return notes


def lines(report: Report) -> list[Line]:
    """Every figure, in the order in which to read them."""
    timings, evaluations = report.measurement.timings, report.quality.evaluations if report.quality else ()
    pairs = [report.pair(i) for i in range(len(report.sides))]
    reasons = tuple((pair.absent or "") if pair else "" for pair in pairs)

    def timed(section: str, label: str, cell: Callable[[Timing], str]) -> Line:
        return Line(section, label, tuple(map(cell, timings)))

    def paired(label: str, cell: Callable[[Pair], str]) -> Line:
        cells = tuple("reference" if i == 0 else cell(pair) if pair else "" for i, pair in enumerate(pairs))
        return Line("Quality", label, cells, reasons)

    def close(label: str, cell: Callable[[Pair], str]) -> Line:
        return paired(label, lambda pair: cell(pair) if pair.closeness else "")

    found = [
        timed("Size", "Weights file", lambda t: f"{t.file_bytes / 1e6:,.1f} MB"),
        timed("Size", "Memory of the weights", lambda t: f"{t.memory_bytes / 1e6:,.1f} MB"),
        timed("Speed", "Load time", lambda t: _spread(t.load_seconds, "s")),
        timed("Speed", "Time to first token", lambda t: _spread(t.first_token, "ms", 1e3)),
        timed("Speed", "Tokens of the prompt", lambda t: f"{t.prompt_tokens:,}"),
        timed("Speed", "Prompt read at", lambda t: _spread(t.prompt_speed, "tokens/s")),
        timed("Speed", "Tokens per second", lambda t: _spread(t.speed, "tokens/s")),
        Line("Speed", "Tokens written", tuple(f"{len(r.tokens[0]):,}" for r in report.measurement.results)),
        timed("Speed", "Latency of a token, p50", lambda t: _spread(t.latency_p50, "ms", 1e3)),
        timed("Speed", "Latency of a token, p95", lambda t: _spread(t.latency_p95, "ms", 1e3)),
        timed("Speed", "Kernels", lambda t: t.kernels),
    ]
    if not report.quality:
        return found
    return [
        *found,
        Line("Quality", "Perplexity", tuple(map(_perplexity, evaluations, pairs)), reasons),
        Line("Quality", "Bits per character", tuple(_optional(e.bits_per_character, ".4f") for e in evaluations)),
        Line("Quality", "Tokens scored", tuple(f"{e.tokens:,}" for e in evaluations)),
        paired("Perplexity ratio", _ratio_cell),
        *(close(label, cell) for label, cell in CLOSENESS.items()),
        paired("Tokens alike, most likely text", _first_divergence),
    ]


CLOSENESS: dict[str, Callable[[Pair], str]] = {
    "KL divergence, mean": lambda p: (
        f"{_nats(_of(p).kl_mean)} ± {_nats(_of(p).kl_mean_se)} nats: {band(_of(p).kl_mean)}"
    ),
    "KL divergence, median": lambda p: f"{_nats(_of(p).kl_median)} nats",
    "KL divergence, 99 %": lambda p: f"{_nats(_of(p).kl_p99)} nats",
    "KL divergence, largest": lambda p: f"{_nats(_of(p).kl_max)} nats",
    "Same most likely token": lambda p: f"{_of(p).same_top1:.2%} ± {_of(p).same_top1_se:.2%}",
    "Top 5 shared": lambda p: f"{_of(p).top5_overlap:.1%}",
    "Change of a probability, RMS": lambda p: f"{_of(p).probability_change_rms:.2%}",
}


def to_json(report: Report) -> Json:
    """Everything, in SI units and bytes."""
    return {
        "made": report.made,
        "computer": report.computer,
        "repeats": report.measurement.repeats,
        "other_programs": report.measurement.others,
        "loaded_in_turn": report.measurement.note,
        "judged_by": report.text_name if report.quality else None,
        "prompt": report.sides[0].request.prompt,
        "sides": [_side_json(report, i) for i in range(len(report.sides))],
    }


def quality_json(quality: Quality, i: int) -> Json:
    """What the text showed of side `i`, alone and beside the first."""
    one = quality.evaluations[i]
    found: Json = {name: getattr(one, name) for name in ("tokens", "perplexity", "bits_per_character", "bits_per_byte")}
    if i == 0:
        return _finite(found)
    pair = quality.pairs[i - 1]
    found |= {"perplexity_ratio": pair.perplexity_ratio, "perplexity_ratio_se": pair.perplexity_ratio_se}
    close = asdict(pair.closeness) if pair.closeness else {}
    names = ("kl_mean", "kl_mean_se", "kl_median", "kl_p99", "kl_max", "same_top1", "same_top1_se", "top5_overlap")
    found |= {name: close.get(name) for name in (*names, "probability_change_mean", "probability_change_rms")}
    return _finite(found | {"first_divergence": pair.first_divergence, "absent": pair.absent})


def _finite(figures: Json) -> Json:
    """JSON has no infinity, which the perplexity of a broken model can be: None stands for it."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in figures.items()
    }


def _side_json(report: Report, i: int) -> Json:
    side, timing, result = report.sides[i], report.measurement.timings[i], report.measurement.results[i]
    found: Json = {
        "name": side.name,
        "model": side.key.spelled,
        "samplers": side.request.chain.to_data(),
        "seed": side.request.seed,
        "kernels": timing.kernels,
        "file_bytes": timing.file_bytes,
        "memory_bytes": timing.memory_bytes,
        "load_seconds": asdict(timing.load_seconds),
        "prompt_tokens": timing.prompt_tokens,
        "seconds_to_first_token": asdict(timing.first_token),
        "prompt_tokens_per_second": asdict(timing.prompt_speed),
        "tokens_per_second": asdict(timing.speed) if timing.speed else None,
        "latency_p50_seconds": asdict(timing.latency_p50) if timing.latency_p50 else None,
        "latency_p95_seconds": asdict(timing.latency_p95) if timing.latency_p95 else None,
        "latencies_seconds": list(timing.latencies),
        "text": result.texts[0],
        "tokens_generated": len(result.tokens[0]),
        "finish_reason": result.finish_reasons[0],
    }
    if i:
        found["divergence"] = asdict(report.divergences[i - 1])
    return found | (quality_json(report.quality, i) if report.quality else {})


def _of(pair: Pair) -> Closeness:
    assert pair.closeness is not None
    return pair.closeness


def _perplexity(evaluation: Evaluation, pair: Pair | None) -> str:
    """Of other tokens than the reference's it would mislead."""
    return "" if pair and pair.bits else f"{evaluation.perplexity:#,.5g}"


def _ratio_cell(pair: Pair) -> str:
    if pair.perplexity_ratio is None:
        return ""
    return f"x {pair.perplexity_ratio:.4f} ± {pair.perplexity_ratio_se:.4f}"


def _first_divergence(pair: Pair) -> str:
    if pair.closeness is None and pair.perplexity_ratio is None:
        return ""
    return f"more than {GREEDY_TOKENS}" if pair.first_divergence is None else f"{pair.first_divergence:.0f} (median)"


def _spread(spread: Spread | None, unit: str, scale: float = 1.0) -> str:
    if spread is None:
        return "too few tokens"
    middle, low, high = (value * scale for value in (spread.median, spread.low, spread.high))
    digits = 0 if middle >= 100 else 1 if middle >= 10 else 2
    return f"{middle:,.{digits}f} {unit} ({low:,.{digits}f} to {high:,.{digits}f})"


def _nats(value: float) -> str:
    if 0 < value < 1e-6:
        return "under 0.000001"
    return f"{value:.4f}" if value >= 1e-3 or value == 0 else f"{value:.6f}"


def _optional(value: float | None, form: str) -> str:
    return "" if value is None else f"{value:{form}}"
