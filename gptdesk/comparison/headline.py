"""Headline figures of a report: size, speed and quality of a candidate beside the reference."""

from dataclasses import dataclass

from gptdesk.comparison.report import Report
from gptdesk.comparison.verdict import ratio_words, speed_words, verdict
from gptdesk.formatting import percent

UNKNOWN = "not measured"


@dataclass(frozen=True)
class Headline:
    """One large figure, with the numbers behind it."""

    title: str
    figure: str
    details: str


def headlines(report: Report, i: int) -> list[Headline]:
    """Return size, speed and quality of side `i` beside the first, in this order."""
    reference, candidate = report.measurement.timings[0], report.measurement.timings[i]
    sizes = reference.memory_bytes, candidate.memory_bytes
    size = Headline(
        "Size",
        ratio_words(sizes[0] / sizes[1], "smaller", "larger", "as large"),
        f"{sizes[1] / 1e6:,.1f} MB against {sizes[0] / 1e6:,.1f} MB in memory",
    )
    speed = Headline("Speed", UNKNOWN, "too few tokens were written")
    if report.divergences[i - 1].same is None:  # their tokens are not the same length of text
        speed = Headline("Speed", "not comparable", "the tokenizers differ, so a token is not the same amount of text")
    elif reference.speed and candidate.speed:
        speeds = reference.speed.median, candidate.speed.median
        speed = Headline(
            "Speed",
            speed_words(reference.speed, candidate.speed),
            f"{speeds[1]:,.0f} against {speeds[0]:,.0f} tokens/s",
        )
    return [size, speed, _quality(report, i)]


def _quality(report: Report, i: int) -> Headline:
    pair = report.pair(i)
    if report.sides[i].key == report.sides[0].key:
        return Headline("Quality", "the same model", "samplers do not change the model's probabilities")
    if pair is None:
        return Headline("Quality", UNKNOWN, report.text_name)
    details = []
    if pair.perplexity_ratio is not None:
        details.append(f"perplexity x {pair.perplexity_ratio:.4f}")
    if pair.closeness:
        details.append(f"same next word {percent(pair.closeness.same_top1, 1)} of the time")
        return Headline("Quality", verdict(pair.closeness), ", ".join(details))
    if pair.bits and None not in pair.bits:
        first = pair.bits[1] or 0.0, pair.bits[0] or 0.0
        better = "better" if first[0] < first[1] else "worse" if first[0] > first[1] else "the same"
        return Headline("Quality", f"{better} on this text", f"{first[0]:.3f} against {first[1]:.3f} bits a character")
    return Headline("Quality", UNKNOWN, pair.absent or report.text_name)
