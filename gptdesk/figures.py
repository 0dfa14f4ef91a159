"""Figures in words: those of a generation in a line, as the engine measured them, and durations."""

import psutil

from gptdesk.generation import GenerationStart, new_tokens_after
from gptdesk.streams import GenerationResult
from models.manager import ModelKey

FINISHES = {
    "stop": "the text came to its end",
    "length": "max new tokens reached",
    "context": "the context is full",
    "stopped": "you stopped it",
    "deadline": "out of time",
}


def figures(result: GenerationResult, key: ModelKey) -> str:
    """The stats line as Markdown: times in ms or s, memory of this process in GB."""
    start = result.start
    if start is None:
        return "Reading the prompt …"
    parts = [f"**{key}** by {start.kernels}"]
    known = f" ({start.known_tokens:,} of them known)" if start.known_tokens else ""
    parts.append(f"prompt {_plural(start.prompt_tokens, 'token')}{known} in {_duration(start.seconds)}")
    if result.seconds_to_first_token is not None:
        parts.append(f"first token after {_duration(result.seconds_to_first_token)}")
    if (speed := result.tokens_per_second) is not None:
        parts.append(f"{speed:,.0f} tokens/s")
    parts.append(_plural(sum(map(len, result.tokens)), "token"))
    if all(result.finish_reasons):
        reasons = dict.fromkeys(FINISHES[reason] for reason in result.finish_reasons if reason)
        parts.append(f"ended: {', '.join(reasons)}")
    parts.append(f"memory {psutil.Process().memory_info().rss / 1e9:.2f} GB")
    parts.append(f"seed {start.seed}")
    line = " · ".join(parts)
    if cut := cut_prompt(start):
        line += f"\n\n⚠ {cut[:1].upper()}{cut[1:]}."
    return line


def cut_prompt(start: GenerationStart) -> str:
    """Return a sentence about the tokens cut from the front of the prompt; empty if there are none."""
    if not start.dropped_tokens:
        return ""
    room = new_tokens_after(start.prompt_tokens, context=start.context)
    left_out = "token was" if start.dropped_tokens == 1 else f"{start.dropped_tokens:,} tokens were"
    return (
        f"the first {left_out} left out of the prompt, so that {_plural(room, 'new token')} "
        f"{'fits' if room == 1 else 'fit'} the context of {_plural(start.context, 'token')}"
    )


def clock(seconds: float) -> str:
    """A duration as a clock shows it: 5:30 or 1:05:30."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
