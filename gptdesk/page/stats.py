"""Stats of a generation in one line, measured by the engine."""

import json

import psutil

from gptdesk.formatting import duration, plural
from gptdesk.generation import FinishReason, GenerationResult, cut_prompt
from gptdesk.markup import markdown_text
from models.manager import ModelKey

FINISHES = {
    "stop": "end of text",
    "length": "max new tokens reached",
    "context": "context is full",
    "stopped": "you stopped it",
    "deadline": "time limit reached",
}


def stats_line(result: GenerationResult, key: ModelKey) -> str:
    """Return the stats line as Markdown: times in ms or s, memory of this process in GB."""
    start = result.start
    if start is None:
        return "Reading the prompt …"
    parts = [f"**{key}** by {start.kernels}"]
    known = f" ({start.known_tokens:,} of them known)" if start.known_tokens else ""
    parts.append(f"prompt {plural(start.prompt_tokens, 'token')}{known} in {duration(start.seconds)}")
    if result.seconds_to_first_token is not None:
        parts.append(f"first token after {duration(result.seconds_to_first_token)}")
    if (speed := result.tokens_per_second) is not None:
        parts.append(f"{speed:,.0f} tokens/s")
    parts.append(plural(sum(map(len, result.tokens)), "token"))
    if all(result.finish_reasons):
        ends = zip(result.finish_reasons, result.stop_strings, strict=True)
        reasons = dict.fromkeys(_end(reason, stop) for reason, stop in ends if reason)
        parts.append(f"ended: {', '.join(reasons)}")
    parts.append(f"memory {psutil.Process().memory_info().rss / 1e9:.2f} GB")
    parts.append(f"seed {start.seed}")
    line = " · ".join(parts)
    if cut := cut_prompt(start):
        line += f"\n\n⚠ {cut[:1].upper()}{cut[1:]}."
    return line


def _end(reason: FinishReason, stop_string: str | None) -> str:
    """Return as Markdown why a sequence ended."""
    if stop_string is None:
        return FINISHES[reason]
    return f"stop string {markdown_text(json.dumps(stop_string, ensure_ascii=False))}"
