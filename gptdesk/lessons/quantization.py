"""Lesson on what int8 costs."""

import math
import random

from gptdesk.lessons.material import MODEL, PROMPTS, lend_starter, quoted_text, warm, write
from gptdesk.lessons.tasks import ChoiceTask, Lesson, NumberTask, Option, Task, options
from gptdesk.starter.stories import generate_stories
from gptdesk.token_logprobs import score_tokens
from models.manager import LoadedModel, ModelManager
from models.precision import PRECISIONS

LONG = 60  # tokens of the two texts
STORIES = 3  # whose perplexity is measured


def _make(manager: ModelManager, source: random.Random) -> tuple[Task, ...]:
    with lend_starter(manager) as exact, lend_starter(manager, "int8") as rounded:
        return _size(exact), _parting(exact, rounded, source), _perplexities(exact, rounded, source)


def _size(exact: LoadedModel) -> Task:
    """Return the task to guess the memory at int8."""
    before, after = (PRECISIONS[name].memory_bytes(exact.config) / 1e6 for name in ("float32", "int8"))
    return NumberTask(
        f"In float32 each weight has 32 bits, and the weights of {MODEL} take {before:.1f} MB. How many MB do they "
        "take in int8? A guess counts if it is at most 0.5 MB off.",
        after,
        0.5,
        f"They take {after:.1f} MB: a quarter, and a little more for the scales and what is not rounded.",
    )


def _parting(exact: LoadedModel, rounded: LoadedModel, source: random.Random) -> Task:
    """Return the task on where two greedy texts part."""
    prompt = source.choice(PROMPTS)
    one, other = (write(loaded, prompt, warm(0), seed=1, new_tokens=LONG) for loaded in (exact, rounded))
    pairs = list(zip(one.tokens[0], other.tokens[0], strict=False))
    at = next((i for i, (a, b) in enumerate(pairs) if a != b), len(pairs))
    same = at == len(pairs)
    tokenizer = exact.tokenizer
    parts = [quoted_text(tokenizer.decode(tokens[at : at + 5])) for tokens in (one.tokens[0], other.tokens[0])]
    reply = (
        f"All {at} tokens are the same."
        if same
        else f"They are the same for {at} tokens; then float32 says {parts[0]}, and int8 {parts[1]}."
    )
    return ChoiceTask(
        f"The likeliest tokens after {quoted_text(prompt)} have just been written in float32 and in int8. How long are "
        "the two texts the same?",
        (
            Option("For fewer than 10 tokens", at < 10 and not same, reply, "The first 10 tokens are the same."),
            Option(
                f"For 10 tokens or more, but not for {LONG}",
                at >= 10 and not same,
                reply,
                f"All {LONG} are the same." if same else "Among the first 10 tokens, one differs.",
            ),
            Option("To the end", same, reply, f"Among the {LONG} tokens, one differs."),
        ),
        revealed=tuple((name, prompt + result.texts[0]) for name, result in (("float32", one), ("int8", other))),
    )


def _perplexities(exact: LoadedModel, rounded: LoadedModel, source: random.Random) -> Task:
    """Return the task on the perplexity of new stories."""
    stories = list(generate_stories(source.randrange(10_000, 1_000_000), STORIES))
    texts = [exact.tokenizer.encode(story.text)[: exact.config.block_size] for story in stories]
    before, after = (_perplexity(loaded, texts) for loaded in (exact, rounded))
    reply = f"It is {after:.3f} instead of {before:.3f}, a change of {100 * (after / before - 1):+.2f} %."
    first = [_perplexity(loaded, texts[:1]) for loaded in (exact, rounded)]
    hint = f"On the first of the stories it is {first[0]:.3f} in float32 and {first[1]:.3f} in int8."
    change = abs(after / before - 1)
    return ChoiceTask(
        f"On {STORIES} new stories, the perplexity in float32 is {before:.2f}. By how much does int8 change it?",
        options(
            source,
            Option("By less than 1 %", change < 0.01, reply, hint),
            Option("By 1 to 20 %", 0.01 <= change <= 0.2, reply, hint),
            Option("By more than 20 %", change > 0.2, reply, hint),
        ),
    )


def _perplexity(loaded: LoadedModel, texts: list[list[int]]) -> float:
    nats = [-one.logprob for text in texts for one in score_tokens(loaded, text) if one.logprob is not None]
    return math.exp(sum(nats) / len(nats))


LESSON = Lesson(
    "int8",
    "What int8 costs",
    "A trained model is a list of numbers, each of 32 bits in **float32**. In **int8** each is rounded to one of 255 "
    "steps, with a scale for each row of a matrix. That takes a quarter of the memory, and often less time, because "
    "reading the weights is most of the work. What it costs is small errors in every probability.",
    _make,
)
