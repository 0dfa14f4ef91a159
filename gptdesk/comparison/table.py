"""Report as a table: a row of labelled cells for every figure, with reasons for empty cells."""

from collections.abc import Callable
from dataclasses import dataclass

from gptdesk.comparison.measuring import Spread, Timing
from gptdesk.comparison.quality import GREEDY_TOKENS, Pair
from gptdesk.comparison.report import Report
from gptdesk.comparison.verdict import band
from gptdesk.evaluation import Closeness, Evaluation
from gptdesk.formatting import percent


@dataclass(frozen=True)
class TableRow:
    """A figure of every side, as text; `notes` has the reason for an empty cell."""

    section: str
    label: str
    cells: tuple[str, ...]
    notes: tuple[str, ...] = ()


def report_table(report: Report) -> list[TableRow]:
    """Return a row for every figure, in reading order."""
    timings, evaluations = report.measurement.timings, report.quality.evaluations if report.quality else ()
    pairs = [report.pair(i) for i in range(len(report.sides))]
    reasons = tuple((pair.absent or "") if pair else "" for pair in pairs)

    def timed(section: str, label: str, cell: Callable[[Timing], str]) -> TableRow:
        return TableRow(section, label, tuple(map(cell, timings)))

    def paired(label: str, cell: Callable[[Pair], str]) -> TableRow:
        cells = tuple("reference" if i == 0 else cell(pair) if pair else "" for i, pair in enumerate(pairs))
        return TableRow("Quality", label, cells, reasons)

    def close(label: str, cell: Callable[[Pair], str]) -> TableRow:
        return paired(label, lambda pair: cell(pair) if pair.closeness else "")

    rows = [
        timed("Size", "Weights file", lambda t: f"{t.file_bytes / 1e6:,.1f} MB"),
        timed("Size", "Memory of the weights", lambda t: f"{t.memory_bytes / 1e6:,.1f} MB"),
        timed("Speed", "Load time", lambda t: _spread(t.load_seconds, "s")),
        timed("Speed", "Time to first token", lambda t: _spread(t.first_token, "ms", 1e3)),
        timed("Speed", "Prompt tokens", lambda t: f"{t.prompt_tokens:,}"),
        timed("Speed", "Prompt tokens per second", lambda t: _spread(t.prompt_speed, "tokens/s")),
        timed("Speed", "Tokens per second", lambda t: _spread(t.speed, "tokens/s")),
        TableRow("Speed", "Tokens written", tuple(f"{len(r.tokens[0]):,}" for r in report.measurement.results)),
        timed("Speed", "Latency of a token, p50", lambda t: _spread(t.latency_p50, "ms", 1e3)),
        timed("Speed", "Latency of a token, p95", lambda t: _spread(t.latency_p95, "ms", 1e3)),
        timed("Speed", "Kernels", lambda t: t.kernels),
    ]
    if not report.quality:
        return rows
    return [
        *rows,
        TableRow("Quality", "Perplexity", tuple(map(_perplexity, evaluations, pairs)), reasons),
        TableRow(
            "Quality", "Bits per character", tuple(map(_bits, evaluations)), ("it has no characters",) * len(pairs)
        ),
        TableRow("Quality", "Tokens scored", tuple(f"{e.tokens:,}" for e in evaluations)),
        paired("Perplexity ratio", _ratio_cell),
        *(close(label, cell) for label, cell in CLOSENESS.items()),
        paired("Tokens before greedy texts diverge", _first_divergence),
    ]


CLOSENESS: dict[str, Callable[[Pair], str]] = {
    "KL divergence, mean": lambda p: (
        f"{_nats(_of(p).kl_mean)} ± {_nats(_of(p).kl_mean_se)} nats: {band(_of(p).kl_mean)}"
    ),
    "KL divergence, median": lambda p: f"{_nats(_of(p).kl_median)} nats",
    "KL divergence, 99 %": lambda p: f"{_nats(_of(p).kl_p99)} nats",
    "KL divergence, largest": lambda p: f"{_nats(_of(p).kl_max)} nats",
    "Same most likely token": lambda p: f"{percent(_of(p).same_top1, 2)} ± {percent(_of(p).same_top1_se, 2)}",
    "Top 5 shared": lambda p: percent(_of(p).top5_overlap, 1),
    "Change of a probability, RMS": lambda p: percent(_of(p).probability_change_rms, 2),
}


def _of(pair: Pair) -> Closeness:
    assert pair.closeness is not None
    return pair.closeness


def _perplexity(evaluation: Evaluation, pair: Pair | None) -> str:
    """Return the perplexity; empty for a candidate with another tokenizer, whose perplexity is not comparable."""
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


def _bits(evaluation: Evaluation) -> str:
    bits = evaluation.bits_per_character
    return "" if bits is None else f"{bits:.4f}"
