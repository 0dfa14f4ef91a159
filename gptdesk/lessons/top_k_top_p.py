"""Lesson on top-k and top-p."""

import random

from gptdesk.formatting import percent, plural
from gptdesk.lessons.material import after_chain, lend_starter, likeliest, quoted, story_beginning, warm
from gptdesk.lessons.tasks import ChoiceTask, Lesson, NumberTask, Option, Task, options
from models.manager import LoadedModel, ModelManager
from samplers import Chain, build

TOP_K = 5
NEUTRAL = warm(1.0)


def _top_k(count: int) -> Chain:
    return Chain(samplers=(build("top_k", top_k=count),))


def _top_p(share: float) -> Chain:
    return Chain(samplers=(build("top_p", top_p=share),))


def _make(manager: ModelManager, source: random.Random) -> tuple[Task, ...]:
    with lend_starter(manager) as loaded:
        return _kept(loaded, source), _mass_lost(loaded, source), _cut(loaded, source)


def _kept(loaded: LoadedModel, source: random.Random) -> Task:
    """Return the task to guess how many tokens top-p leaves."""
    for _ in range(20):
        text = story_beginning(source, words=source.randint(8, 30))
        count = int((after_chain(loaded, text, _top_p(0.5)) > 0).sum())
        if 2 <= count <= 12:
            break
    first = likeliest(after_chain(loaded, text, NEUTRAL), count)
    listed = ", ".join(quoted(loaded.tokenizer.decode([token])) for token in first[:6])
    tokens = "token is" if count == 1 else "tokens are"
    return NumberTask(
        "How many tokens does top-p 0.5 leave after this text? A guess counts if it is at most 1 off.",
        count,
        1,
        f"{count} {tokens} left: {listed}{' and more' if count > 6 else ''}. Together they have at least half of the "
        "probability.",
        (("Text", text),),
    )


def _mass_lost(loaded: LoadedModel, source: random.Random) -> Task:
    """Return the task to find the text after which top-k cuts the most probability."""
    texts = [story_beginning(source, words=source.randint(6, 30)) for _ in range(8)]
    lost = {text: 1 - float(after_chain(loaded, text, NEUTRAL).topk(TOP_K).values.sum()) for text in texts}
    pair = [max(lost, key=lost.__getitem__), min(lost, key=lost.__getitem__)]
    source.shuffle(pair)
    names = ("Text A", "Text B")
    first, second = (percent(lost[text]) for text in pair)
    reply = (
        f"Top-k {TOP_K} cuts {first} of the probability after text A and {second} after text B: "
        "it keeps the same number of tokens, whether the model is sure or not."
    )
    return ChoiceTask(
        f"Top-k {TOP_K} keeps the {TOP_K} likeliest tokens. After which text does it cut more of the probability?",
        tuple(
            Option(
                name, lost[text] == max(lost.values()), reply, f"There it cuts {percent(lost[text])}, the smaller part."
            )
            for name, text in zip(names, pair, strict=True)
        ),
        tuple(zip(names, pair, strict=True)),
    )


def _cut(loaded: LoadedModel, source: random.Random) -> Task:
    """Return the task to find the setting that cuts a given token."""
    chains = {"Top-k 3": _top_k(3), "Top-k 50": _top_k(50), "Top-p 0.999": _top_p(0.999)}
    for _ in range(20):
        text = story_beginning(source, words=source.randint(8, 30))
        plain = after_chain(loaded, text, NEUTRAL)
        rank = source.randint(5, 10)
        token = likeliest(plain, rank)[-1]
        left = {name: after_chain(loaded, text, chain) for name, chain in chains.items()}
        cut = {name: float(probabilities[token]) == 0 for name, probabilities in left.items()}
        if list(cut.values()).count(True) == 1:
            break
    ones = ", ".join(f"{name} {'cuts' if is_cut else 'keeps'} it" for name, is_cut in cut.items())
    reply = f"It is number {rank} of the likeliest tokens: {ones}."
    hints = {
        name: f"{name} leaves {plural(int((probabilities > 0).sum()), 'token')} here, and this one is number {rank}."
        for name, probabilities in left.items()
    }
    name = quoted(loaded.tokenizer.decode([token]))
    return ChoiceTask(
        f"After this text, the token {name} has a probability of {percent(float(plain[token]), 1)}. Which setting "
        "makes it impossible?",
        options(source, *(Option(name, is_cut, reply, hints[name]) for name, is_cut in cut.items())),
        (("Text", text),),
    )


LESSON = Lesson(
    "top-k-top-p",
    "Top-k and top-p",
    "Thousands of unlikely tokens together are likely, so that pure chance takes one sooner or later. **Top-k** keeps "
    "a fixed number of the likeliest tokens. **Top-p** keeps as few of the likeliest as have a share p of the "
    "probability together: few where the model is sure, many where it is not.",
    _make,
)
