"""Lesson on the temperature."""

import math
import random
from statistics import mean

from gptdesk.formatting import percent
from gptdesk.lessons.material import (
    PROMPTS,
    after_chain,
    lend_starter,
    likeliest,
    quoted,
    quoted_text,
    story_beginning,
    warm,
    write,
)
from gptdesk.lessons.tasks import ChoiceTask, Lesson, NumberTask, Option, Task, options
from gptdesk.token_logprobs import score_tokens
from models.manager import LoadedModel, ModelManager

TEMPERATURES = (0.3, 0.8, 1.5)
CLOSE = 10.0  # percentage points by which a guess may be off
WORDS = 20


def _make(manager: ModelManager, source: random.Random) -> tuple[Task, ...]:
    with lend_starter(manager) as loaded:
        return _hottest(loaded, source), _sharpened(loaded, source), _at_zero(loaded, source)


def _hottest(loaded: LoadedModel, source: random.Random) -> Task:
    """Return the task to tell apart three texts by their temperatures."""
    prompt, seed = source.choice(PROMPTS), source.randrange(1_000_000)
    texts = [(one, prompt + write(loaded, prompt, warm(one), seed=seed).texts[0]) for one in TEMPERATURES]
    source.shuffle(texts)
    names = [f"Text {letter}" for letter in "ABC"]
    told = ", ".join(f"{name} at {one:g}" for name, (one, _) in zip(names, texts, strict=True))
    shares = [percent(_mean_probability(loaded, text)) for _, text in texts]
    hints = [
        f"{name} was written at {one:g}: the model gives its tokens {share} on average."
        for name, share, (one, _) in zip(names, shares, texts, strict=True)
    ]
    reply = f"They were written at these temperatures: {told}."
    return ChoiceTask(
        "These three texts have just been written, with the same seed, at the temperatures 0.3, 0.8 and 1.5. "
        "Which one was written at 1.5?",
        tuple(
            Option(name, one == max(TEMPERATURES), reply, hint)
            for name, hint, (one, _) in zip(names, hints, texts, strict=True)
        ),
        tuple((name, text) for name, (_, text) in zip(names, texts, strict=True)),
    )


def _mean_probability(loaded: LoadedModel, text: str) -> float:
    """Return the mean probability of the tokens of a text but for the first, at temperature 1."""
    scored = score_tokens(loaded, loaded.tokenizer.encode(text))
    return mean(math.exp(one.logprob) for one in scored if one.logprob is not None)


def _sharpened(loaded: LoadedModel, source: random.Random) -> Task:
    """Return the task to guess the likeliest token's probability at another temperature."""
    # a place where the answer is neither 0 nor 100 per cent
    for _ in range(20):
        text = story_beginning(source, words=source.randint(8, 30))
        plain, sharp = after_chain(loaded, text, warm(1.0)), after_chain(loaded, text, warm(0.5))
        if 0.2 < float(plain.max()) < 0.7:
            break
    token = quoted(loaded.tokenizer.decode(likeliest(plain, 1)))
    before, after = 100 * float(plain.max()), 100 * float(sharp.max())
    return NumberTask(
        f"After this text, the likeliest next token is {token}, with {before:.0f} % at temperature 1. How many per "
        f"cent has it at temperature 0.5? A guess counts if it is at most {CLOSE:.0f} off.",
        after,
        CLOSE,
        f"At temperature 0.5 it has {after:.0f} %: what was likely has become likelier.",
        (("Text", text),),
    )


def _at_zero(loaded: LoadedModel, source: random.Random) -> Task:
    """Return the task on what a seed changes at temperature 0."""
    prompt, seeds = source.choice(PROMPTS), source.sample(range(1_000), 2)
    texts = [write(loaded, prompt, warm(0), seed=seed).texts[0] for seed in seeds]
    runs = [text.split()[:WORDS] for text in texts]
    same = sum(one == other for one, other in zip(*runs, strict=False)) / max(1, len(runs[0]))
    reply = f"{percent(same)} of the words are the same: at temperature 0 the likeliest token is always taken."
    plain, sharp = (after_chain(loaded, prompt, warm(one)) for one in (1.0, 0.0))
    (first,) = likeliest(plain, 1)
    token, before, after = quoted(loaded.tokenizer.decode([first])), float(plain[first]), float(sharp[first])
    hint = (
        f"After the beginning, the likeliest token {token} has {percent(before)} at temperature 1 and {percent(after)} "
        "at temperature 0, whatever the seed."
    )
    return ChoiceTask(
        f"Two texts begin with {quoted_text(prompt)}, both at temperature 0, with the seeds {seeds[0]} and {seeds[1]}. "
        f"How many of their first {WORDS} words are the same?",
        options(
            source,
            Option("None", same < 0.1, reply, hint),
            Option("About half", 0.1 <= same <= 0.9, reply, hint),
            Option("All", same > 0.9, reply, hint),
        ),
        revealed=tuple((f"Seed {seed}", prompt + text) for seed, text in zip(seeds, texts, strict=True)),
    )


LESSON = Lesson(
    "temperature",
    "Temperature",
    "A model gives every token a probability of being the next one. The **temperature** divides the logits, the "
    "model's raw scores of the tokens, before they become probabilities: below 1, likely tokens become likelier still "
    "and the text careful; above 1, unlikely tokens gain and the text becomes wild. At 0 there is no chance left: the "
    "likeliest token is always taken.",
    _make,
)
