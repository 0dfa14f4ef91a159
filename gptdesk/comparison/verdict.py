"""Measurements as sentences."""

import math

from gptdesk.comparison.divergence import Chances, Divergence
from gptdesk.comparison.measuring import Spread, Timing
from gptdesk.comparison.quality import Pair
from gptdesk.evaluation import Closeness
from gptdesk.formatting import percent, visible

# Mean KL divergence in nats a token up to which a difference goes by this name.
BANDS = ((0.01, "negligible"), (0.05, "small"), (0.15, "moderate"))
ENOUGH = 100  # tokens below which there is no verdict
EVEN = 0.05  # a ratio this near to 1 is called even


def band(kl: float) -> str:
    """Return the name of a mean KL divergence in nats."""
    return next((name for most, name in BANDS if kl < most), "large")


def is_identical(closeness: Closeness) -> bool:
    """Return whether all probabilities of all scored tokens were equal."""
    return closeness.kl_max == 0 and closeness.probability_change_rms == 0


def verdict(closeness: Closeness) -> str:
    """Return the verdict on a candidate in a few words."""
    if is_identical(closeness):
        return "identical: not one probability differs"
    if (tokens := closeness.reference.tokens) < ENOUGH:
        return f"too little text to say ({tokens} tokens)"
    name = band(closeness.kl_mean + 2 * closeness.kl_mean_se)
    if name == BANDS[0][1]:
        return "practically the same"
    name = band(closeness.kl_mean) if closeness.kl_mean >= BANDS[0][0] else name
    ratio, error = closeness.perplexity_ratio, closeness.perplexity_ratio_se
    clearly = math.isinf(ratio) or abs(ratio - 1) > 2 * error
    effect = (", for the worse" if ratio > 1 else ", for the better on this text") if clearly else ""
    return f"a {name} difference{effect}"


def summary(
    name: str,
    reference: Timing | None,
    candidate: Timing | None,
    pair: Pair | None,
    *,
    same_tokens: bool = True,
) -> str:
    """Return the summary "int8: 3.9 x smaller, 2.4 x faster, perplexity x 1.0004, ...: practically the same".

    Without `same_tokens` the tokenizers differ, so tokens per second cannot be compared and are left out.
    """
    parts = []
    if reference and candidate:
        parts.append(ratio_words(reference.memory_bytes / candidate.memory_bytes, "smaller", "larger", "as large"))
        if same_tokens and reference.speed and candidate.speed:
            parts.append(speed_words(reference.speed, candidate.speed))
    if pair and pair.perplexity_ratio is not None:
        parts.append(f"perplexity x {pair.perplexity_ratio:.4f}")
    if pair and pair.bits and None not in pair.bits:
        parts.append(f"{pair.bits[1]:.3f} bits a character against {pair.bits[0]:.3f}")
    ending = ""
    if pair and pair.closeness:
        parts.append(f"same next word {percent(pair.closeness.same_top1, 1)} of the time")
        ending = f": {verdict(pair.closeness)}"
    return f"{name}: {', '.join(parts)}{ending}" if parts else f"{name}: nothing was measured"


def divergence_sentence(divergence: Divergence, reference: str, candidate: str, *, coupled: bool = True) -> str:
    """Return a divergence as a sentence; `coupled` if both sides had the same samplers and seed."""
    same = divergence.same
    if divergence.identical:
        if divergence.cut_short:
            return f"{candidate} wrote the same as {reference} as far as both got ({_tokens(same)})."
        return f"{candidate} wrote the same as {reference}, word for word."
    if same is None:
        return (
            f"{candidate} and {reference} write the same {divergence.characters} characters first; they have different "
            "tokenizers, so no probabilities can be compared."
        )
    if divergence.reference is None or divergence.candidate is None:
        ended, other = (reference, candidate) if divergence.reference is None else (candidate, reference)
        (goes_on,) = _words(divergence.reference or divergence.candidate or "")
        return f"After {_tokens(same)} alike, {ended} ended and {other} went on with “{goes_on}”."
    ours, theirs = _words(divergence.reference, divergence.candidate)
    start = f"After {_tokens(same)} alike, {reference} wrote “{ours}” and {candidate} “{theirs}”"
    if (chances := divergence.chances) is None:
        return f"{start}."
    cuts = (chances.reference_cut, chances.candidate_cut) if coupled else (None, None)
    by_model = (
        f"To “{ours}” {reference} gave {_chance(chances.reference_own)}, "
        f"{candidate} {_chance(chances.candidate_other, cuts[1])}; "
        f"to “{theirs}” {reference} gave {_chance(chances.reference_other, cuts[0])}, "
        f"{candidate} {_chance(chances.candidate_own)}"
    )
    if coupled:
        return f"{start}. {by_model}: {_meaning((ours, theirs), chances, reference, candidate)}."
    if chances.same_model:
        by_model = (
            f"The model gave “{ours}” {_chance(chances.reference_own)} and “{theirs}” {_chance(chances.candidate_own)}"
        )
    left = divergence.after_samplers
    return (
        f"{start}. {by_model}. {_left((ours, theirs), left, reference, candidate)}" if left else f"{start}. {by_model}."
    )


def _words(*tokens: str) -> list[str]:
    """Return tokens without the white space around them; with it, made visible, where they are equal or empty without.

    Of one token alone, that is where it is empty.
    """
    words = [token.strip() for token in tokens]
    return words if all(words) and len(set(words)) == len(words) else [visible(token) for token in tokens]


def _chance(probability: float, cut: str | None = None) -> str:
    """Return a probability, with the sampler that left the token out."""
    return (
        f"{precise_percent(probability)}, which {cut.replace('_', '-')} cut off"
        if cut
        else precise_percent(probability)
    )


def _left(tokens: tuple[str, str], left: Chances, reference: str, candidate: str) -> str:
    """Return what the samplers of each side left of both tokens, as a sentence; 0 % is what one of them cut off."""

    def share(probability: float, cut: str | None) -> str:
        return f"0 % (cut off by {cut.replace('_', '-')})" if cut else precise_percent(probability)

    ours, theirs = tokens
    return (
        f"After the samplers, {reference} had “{ours}” at {precise_percent(left.reference_own)} and “{theirs}” at "
        f"{share(left.reference_other, left.reference_cut)}; {candidate} had “{ours}” at "
        f"{share(left.candidate_other, left.candidate_cut)} and “{theirs}” at {precise_percent(left.candidate_own)}."
    )


def _meaning(tokens: tuple[str, str], chances: Chances, reference: str, candidate: str) -> str:
    """Return which side preferred which of both tokens, or that their chances are nearly equal on both sides."""
    if chances.nearly_equal:
        return "nearly equal chances on both sides, so the draw decided"
    pairs = (chances.reference_own, chances.reference_other), (chances.candidate_other, chances.candidate_own)
    first, second = (tokens[0] if ours >= theirs else tokens[1] for ours, theirs in pairs)
    if first == second:
        return f"both sides preferred “{first}”"
    return f"{reference} preferred “{first}”, {candidate} “{second}”"


def precise_percent(probability: float) -> str:
    """Return a probability in percent, in two digits at least: 62 %, 4.1 %, 0.03 %."""
    if probability >= 0.0995 or not probability:
        return percent(probability)
    return f"{100 * probability:.2g} %" if probability >= 1e-6 else "less than 0.0001 %"


def speed_words(reference: Spread, candidate: Spread) -> str:
    """Return a candidate's speed beside the reference's in words; no factor where the ranges of both overlap."""
    ratio = candidate.median / reference.median
    if abs(ratio - 1) > EVEN and candidate.low <= reference.high and reference.low <= candidate.high:
        return "about as fast (ranges overlap)"
    return ratio_words(ratio, "faster", "slower", "as fast")


def ratio_words(value: float, more: str, less: str, even: str) -> str:
    """Return a ratio as "2.4 x faster", or `even` if it is near to 1."""
    if abs(value - 1) <= EVEN:
        return even
    return f"{value:.1f} x {more}" if value > 1 else f"{1 / value:.1f} x {less}"


def _tokens(count: int | None) -> str:
    return f"{count} token" if count == 1 else f"{count} tokens"
