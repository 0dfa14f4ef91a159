"""Stats of a generation, measured by the engine: the main ones in a line, the others in a list."""

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
NOTHING = "The model takes the text as finished: it added nothing. Change the text or the seed, or write on by hand."


def stats_line(result: GenerationResult, *, left_out: str = "", pace: str = "") -> str:
    """Return number of new tokens, speed and finish reasons as a line of Markdown, and notes below it.

    These say that nothing was added, and that the prompt was cut, up to the words `left_out` if those are known.
    `pace`: at which it is shown, if that is not how fast it was written.
    """
    start = result.start
    if start is None:
        return "Reading the prompt …"
    parts = [plural(sum(map(len, result.tokens)), "token")]
    if (speed := result.tokens_per_second) is not None:
        parts.append(f"{speed:,.0f} tokens/s")
    if all(result.finish_reasons):
        texts: dict[str, list[str]] = {}  # the numbers of those that ended for a reason
        for number, (reason, stop) in enumerate(zip(result.finish_reasons, result.stop_strings, strict=True), 1):
            if reason:
                texts.setdefault(_end(reason, stop), []).append(str(number))
        ends = [
            end if len(texts) == 1 else f"{end} (text{'s' * (len(which) > 1)} {', '.join(which)})"
            for end, which in texts.items()
        ]
        parts.append(f"ended: {', '.join(ends)}")
    line = " · ".join([*parts, pace] if pace else parts)
    if all(reason == "stop" for reason in result.finish_reasons) and not any([*result.texts, *result.stop_strings]):
        line += f"\n\n{NOTHING}"
    if cut := cut_prompt(start):
        line += f"\n\n⚠ {cut[:1].upper()}{cut[1:]}."
        line += f" Left out is the beginning, up to {left_out}." if left_out else ""
    return line


def stats_details(result: GenerationResult, key: ModelKey) -> str:
    """Return the other stats as a Markdown list: times in ms or s, memory of this process in GB."""
    start = result.start
    if start is None:
        return ""
    parts = [f"**{key}** by {start.kernels}"]
    known = f" ({start.known_tokens:,} of them known)" if start.known_tokens else ""
    parts.append(f"prompt {plural(start.prompt_tokens, 'token')}{known} in {duration(start.seconds)}")
    if result.seconds_to_first_token is not None:
        parts.append(f"first token after {duration(result.seconds_to_first_token)}")
    parts.append(f"memory {psutil.Process().memory_info().rss / 1e9:.2f} GB")
    parts.append(f"seed {start.seed}")
    return "\n".join(f"- {part}" for part in parts)


def _end(reason: FinishReason, stop_string: str | None) -> str:
    """Return as Markdown why a sequence ended."""
    if stop_string is None:
        return FINISHES[reason]
    return f"stop string {markdown_text(json.dumps(stop_string, ensure_ascii=False))}"
