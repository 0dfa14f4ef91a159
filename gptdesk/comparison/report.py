"""Report of a comparison: measurement, quality and sentences, for the page, the command line and every export."""

import math
import platform
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import torch

from gptdesk.comparison import Side, Stage, weights_of
from gptdesk.comparison.divergence import Divergence, diverge
from gptdesk.comparison.measuring import Measurement, measure
from gptdesk.comparison.quality import Pair, Quality, check_text, judge
from gptdesk.comparison.verdict import divergence_sentence, summary
from gptdesk.formatting import percent
from gptdesk.recipe import Recipe
from gptdesk.system.cpu_load import QUIET
from models.engine import THREADS
from models.manager import ModelManager

Json = dict[str, object]
RECIPE = "recipe"  # field of a side that `gptdesk recipe` can run


@dataclass(frozen=True)
class Report:
    """Sides with their measurement, divergences and quality; without a text there is no quality."""

    sides: tuple[Side, ...]
    measurement: Measurement
    divergences: tuple[Divergence, ...]  # of each side but the first
    quality: Quality | None
    weights: tuple[str | None, ...]  # SHA-256 of each side's; None: not known
    text_name: str  # name of the evaluation text or, without quality, the reason
    made: str  # ISO 8601
    computer: str

    @property
    def names(self) -> list[str]:
        """Names of the sides."""
        return [side.name for side in self.sides]

    def pair(self, i: int) -> Pair | None:
        """Return the comparison of side `i` with the first on the text; None for the first, and without quality."""
        return self.quality.pairs[i - 1] if self.quality and i else None


def study(
    manager: ModelManager,
    sides: Sequence[Side],
    *,
    text: str | None = None,
    text_name: str = "",
    repeats: int = 5,
    stop: threading.Event | None = None,
) -> Iterator[Stage | Report]:
    """Measure the sides and, with a `text`, evaluate them on it; the report comes last, unless `stop` was set.

    Raises ValueError as `measure`, and for a text that a side cannot be evaluated on; if the evaluation fails later,
    the report has the reason.
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
            for progress in judge(manager, [side.key for side in sides], text, stop=stop):
                if isinstance(progress, Stage):
                    yield progress
                else:
                    quality = progress
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
        weights_of(manager, sides),
        text_name,
        datetime.now(UTC).isoformat(timespec="seconds"),
        computer(),
    )


def are_coupled(sides: Sequence[Side]) -> bool:
    """Return whether all sides have the same samplers and seed, so that only the models can make texts differ."""
    return all(
        (one.request.seed, one.request.chain) == (sides[0].request.seed, sides[0].request.chain) for one in sides
    )


def computer() -> str:
    """Return a description of this computer: system, processor, threads, torch."""
    processor = platform.processor() or platform.machine()
    cores = f"{THREADS} threads" if THREADS > 1 else "1 thread"
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{platform.system()} on {processor} ({capability}), {cores}, torch {torch.__version__.partition('+')[0]}"


def summary_sentences(report: Report) -> list[str]:
    """Return a summary of each candidate, a sentence each."""
    timings, sentences = report.measurement.timings, []
    for i in range(1, len(report.sides)):
        same_tokens = report.divergences[i - 1].same is not None
        sentences.append(
            summary(report.names[i], timings[0], timings[i], report.pair(i), same_tokens=same_tokens) + "."
        )
    return sentences


def divergence_sentences(report: Report) -> list[str]:
    """Return the divergence of each candidate's text, a sentence each."""
    names = report.names
    coupled = are_coupled(report.sides)
    return [
        divergence_sentence(one, names[0], names[i], coupled=coupled) for i, one in enumerate(report.divergences, 1)
    ]


def caveats(report: Report) -> list[str]:
    """Return the conditions of the measurement and the limits of its figures, a sentence or two each."""
    measurement = report.measurement
    times = "once" if measurement.repeats == 1 else f"{measurement.repeats} times"
    notes = [
        f"Each side was timed {times}, one after the other in alternating order after a warm-up; shown are the median "
        "and, in brackets, the lowest and highest.",
        f"Measured {report.made} on {report.computer}.",
    ]
    if measurement.note:
        notes.append(f"Not all at once: {measurement.note}.")
    notes += disturbance(report)
    if report.quality:
        context = report.quality.context
        notes.append(
            f"Quality is that on {report.text_name}, read in windows of {context:,} tokens. After ± stands the "
            "standard error, which assumes that tokens are independent."
        )
    else:
        notes.append(f"Quality was not evaluated: {report.text_name}.")
    if len({len(result.tokens[0]) for result in measurement.results}) > 1:
        notes.append("The texts differ in length, and a longer one is slower at its end: compare speeds with care.")
    return notes


def disturbance(report: Report, *, public: bool = False) -> list[str]:
    """Return the sentence on other programs if they took much of the processors; a visitor cannot close them."""
    others = report.measurement.others
    if others <= QUIET:
        return []
    advice = "speeds are uncertain; measure again later" if public else "close them and measure again"
    return [f"Other programs took {percent(others)} of the processors meanwhile: {advice}."]


def to_json(report: Report) -> Json:
    """Return the whole report as JSON values, in SI units and bytes."""
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
    """Return the quality of side `i` as JSON values, alone and compared with the first."""
    one = quality.evaluations[i]
    figures: Json = {
        name: getattr(one, name) for name in ("tokens", "perplexity", "bits_per_character", "bits_per_byte")
    }
    if i == 0:
        return _finite(figures)
    pair = quality.pairs[i - 1]
    figures |= {"perplexity_ratio": pair.perplexity_ratio, "perplexity_ratio_se": pair.perplexity_ratio_se}
    close = asdict(pair.closeness) if pair.closeness else {}
    names = ("kl_mean", "kl_mean_se", "kl_median", "kl_p99", "kl_max", "same_top1", "same_top1_se", "top5_overlap")
    figures |= {name: close.get(name) for name in (*names, "probability_change_mean", "probability_change_rms")}
    return _finite(figures | {"first_divergence": pair.first_divergence, "absent": pair.absent})


def _finite(figures: Json) -> Json:
    """Replace infinite values by None, for JSON; the perplexity of a broken model can be infinite."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in figures.items()
    }


def _side_json(report: Report, i: int) -> Json:
    side, timing, result = report.sides[i], report.measurement.timings[i], report.measurement.results[i]
    fields: Json = {
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
        RECIPE: Recipe.of_result(side.key, side.request, result, weights=report.weights[i]).model_dump(mode="json"),
    }
    if i:
        fields["divergence"] = asdict(report.divergences[i - 1])
    return fields | (quality_json(report.quality, i) if report.quality else {})
