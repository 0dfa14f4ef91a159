"""Lesson on attention."""

import random

import torch

from gptdesk.anatomy.fading import coupled_texts
from gptdesk.anatomy.network import GivenTokens, LentNetwork, given_tokens, lend_network
from gptdesk.anatomy.passes import Fade
from gptdesk.anatomy.view import InsideView, look_inside
from gptdesk.formatting import percent, plural
from gptdesk.lessons.material import MODEL, quoted, quoted_text, story_beginning, warm
from gptdesk.lessons.tasks import ChoiceTask, Lesson, Option, Task, options
from models.manager import ModelManager

FIRST = 8  # tokens of a text after which it is asked about
STRENGTHS = (1.0, 0.8, 0.6, 0.4, 0.2, 0.0)


def _make(manager: ModelManager, source: random.Random) -> tuple[Task, ...]:
    text = story_beginning(source, words=24)
    with lend_network(manager, MODEL) as lent:
        given = given_tokens(lent, text)
        view = look_inside(lent, given)
        return _looks_at(lent, view, text, source), _settled(lent, view, source), _faded(lent, given, text, source)


def _looks_at(lent: LentNetwork, view: InsideView, text: str, source: random.Random) -> Task:
    """Return the task to find the token that a head looks at most."""
    attention = view.attention.clone()  # (L, H, T, T)
    # neither a token itself nor the first one, at which heads look that have nothing to do
    attention.diagonal(dim1=2, dim2=3).zero_()
    attention[..., 0] = 0
    # words alone, from a place on where there is a choice
    words = torch.tensor([lent.tokenizer.decode([token]).strip().isalpha() for token in view.tokens])
    attention[..., ~words] = 0
    attention[:, :, ~words] = 0
    attention[:, :, :FIRST] = 0
    layer, head, at, seen = (int(i) for i in torch.unravel_index(attention.argmax(), attention.shape))
    weights = view.attention[layer, head, at].tolist()
    shown = {i: _token(lent, view.tokens[i]) for i in range(len(view.tokens))}
    # one place for each text
    others = [
        i
        for i in {shown[i]: i for i in range(1, at)}.values()
        if words[i] and shown[i] != shown[seen] and weights[i] < weights[seen]
    ]
    chosen = [seen, *source.sample(others, min(2, len(others)))]
    context = quoted_text(lent.tokenizer.decode(view.tokens[max(0, at - 4) : at + 1]))
    hints = {i: f"It gives {percent(weights[i])} of its attention to {shown[i]}." for i in chosen}
    reply = f"It gives {percent(weights[seen])} of its attention to {shown[seen]}, {plural(at - seen, 'token')} before."
    return ChoiceTask(
        f"Head {head + 1} of layer {layer + 1} reads {shown[at]} at the end of {context}. Which token does it look "
        "at most? The map of this head, in Inside the model, shows it.",
        options(source, *(Option(shown[i], i == seen, reply, hints[i]) for i in chosen)),
        (("Text", text),),
    )


def _settled(lent: LentNetwork, view: InsideView, source: random.Random) -> Task:
    """Return the task to guess the layer from which on the prediction stays the same."""
    places = {at: _settled_layer(view, at) for at in range(FIRST, len(view.tokens))}
    # a layer first, or nearly all questions would have the last one as their answer
    settled = source.choice(sorted(set(places.values())))
    at = source.choice([at for at, layer in places.items() if layer == settled])
    last = [row[at] for row in view.lens]
    final, text = last[-1].token, lent.tokenizer.decode(view.tokens[: at + 1])
    path = ", ".join(f"{_layer(i)} {_token(lent, one.token)}" for i, one in enumerate(last))
    reply = f"The logit lens says: {path}."

    def hint(i: int) -> str:
        # a layer from there on that says something else, or one before that says the same
        layer = next((j for j in range(i, settled) if last[j].token != final), i - 1)
        token, share = _token(lent, last[layer].token), percent(last[layer].probability)
        return f"{_layer(layer).capitalize()}: the likeliest token is {token}, with {share}."

    return ChoiceTask(
        f"After this text the model says {_token(lent, final)}. From which layer on is that the likeliest token?",
        tuple(Option(_layer(i).capitalize(), i == settled, reply, hint(i)) for i in range(len(last))),
        (("Text", text),),
    )


def _settled_layer(view: InsideView, at: int) -> int:
    """Return the layer from which on the likeliest token after a position is the last layer's; 0: the embedding."""
    tokens = [row[at].token for row in view.lens]
    return next(i for i in range(len(tokens)) if set(tokens[i:]) == {tokens[-1]})


def _faded(lent: LentNetwork, given: GivenTokens, text: str, source: random.Random) -> Task:
    """Return the task to fade a part of the network until the text changes."""
    config = lent.network.config
    layer = source.randrange(config.n_layer)
    fades = [Fade(layer, None, strength) for strength in STRENGTHS]
    *_, texts = coupled_texts(lent, given, fades, chain=warm(0), seed=1, new_tokens=12)
    plain, *_ = texts.rows
    shown = [lent.tokenizer.decode(row) for row in texts.rows]
    changed = [row != plain for row in texts.rows]
    labels = [percent(strength) for strength in STRENGTHS]
    right = changed.index(True) if any(changed) else len(changed) - 1
    return ChoiceTask(
        f"Everything that layer {layer + 1} adds is now multiplied by a strength. Which of these strengths is the "
        "largest at which the likeliest next 12 tokens change?",
        tuple(
            Option(label, i == right, _went_on(label, shown[i], changed[i]), hint=_went_on(label, shown[i], changed[i]))
            for i, label in enumerate(labels)
        ),
        (("Text", text), ("Goes on at 100 %", shown[0])),
    )


def _went_on(strength: str, text: str, changed: bool) -> str:
    beside = "which is not what it is at 100 %" if changed else "as at 100 %"
    return f"At {strength} the text goes on: {quoted_text(text)}, {beside}."


def _token(lent: LentNetwork, token: int) -> str:
    return quoted(lent.tokenizer.decode([token]))


def _layer(i: int) -> str:
    return f"layer {i}" if i else "before layer 1"


LESSON = Lesson(
    "attention",
    "Attention",
    "In every layer, several **heads** decide for each token which tokens before it to read from: the weights of a "
    "head add up to 100 %. What they read is added to a stream of numbers that runs through all layers. The **logit "
    "lens** shows what the model would say if it ended after a layer.",
    _make,
)
