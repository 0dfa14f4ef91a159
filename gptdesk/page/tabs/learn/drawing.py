"""Attention, predictions, tokens and merges as HTML, with every character escaped."""

import base64
import html
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image
from torch import Tensor

from gptdesk.anatomy.fading import FadedText
from gptdesk.anatomy.merges import Word
from gptdesk.anatomy.network import GivenTokens
from gptdesk.anatomy.view import InsideView
from gptdesk.formatting import percent, visible
from gptdesk.markup import pane
from models.tokenizer import Tokenizer

INDIGO = (99, 99, 222)  # of the maps, in both themes
CELL, WIDE = 14, 660  # pixels of a token in the large map at most, and of the whole map if possible
MOST_READ = 5  # tokens that a sentence lists
LEAST_STRONG = 0.01  # nats of a divergence that has the full colour at least


def attention_html(view: InsideView, given: GivenTokens, tokenizer: Tokenizer) -> str:
    """Return the maps of all heads, the first one large, and the tokens that the last token reads from."""
    L, H = view.attention.shape[:2]
    names = [visible(tokenizer.decode([token])) for token in view.tokens]
    size = max(22, min(64, 420 // max(L, H)))
    heads = "".join(f"<span>{h}</span>" for h in range(1, H + 1))
    rows = ""
    for i, layer in enumerate(view.attention):
        maps = "".join(_head(head, i, j, first=i == j == 0) for j, head in enumerate(layer))
        rows += f"<span>Layer {i + 1}</span>{maps}"
    grid = (
        f'<div class="heads" data-heads="{H}" '
        f'style="--map:max(20px,min({size}px,(100vw - 120px)/{H} - 10px));grid-template-columns:max-content '
        f'repeat({H},max-content)"><span>Head</span>{heads}{rows}</div>'
    )
    return (
        f'<div class="inside"><p>{_shown(given)}</p><div class="maps">'
        f'<div class="learn-scroll" role="group" tabindex="0" aria-label="Heads"><h4>All heads</h4>{grid}</div>'
        f'<div><h4 class="big-title">{_head_name(0, 0)}</h4>{_large(view.attention[0, 0], names)}</div></div>'
        f"<h4>What a token reads from</h4>{_words(view.attention[0, 0, -1], names)}</div>"
    )


def _shown(given: GivenTokens) -> str:
    read = len(given.ids)
    whole = f"All {read} tokens are shown." if read == given.total else f"The first {read} of {given.total:,} tokens."
    return f"{whole} Rows read from columns: the darker, the more."


def _head_name(layer: int, head: int) -> str:
    return f"Layer {layer + 1}, head {head + 1}"


def _head(weights: Tensor, layer: int, head: int, *, first: bool) -> str:
    """Return the button of a head with its map (T, T)."""
    return (
        f'<button type="button" class="head-map" aria-pressed="{str(first).lower()}" tabindex="{0 if first else -1}" '
        f'aria-label="{_head_name(layer, head)}"><img alt="" src="{_image(weights)}"></button>'
    )


def _image(weights: Tensor) -> str:
    """Return weights (T, T) from 0 to 1 as the address of a PNG whose opacity they are."""
    image = Image.fromarray((weights * 255).round().numpy().astype(np.uint8), mode="P")
    image.putpalette(INDIGO * 256)
    file = io.BytesIO()
    image.save(file, "PNG", transparency=bytes(range(256)))
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _large(weights: Tensor, names: Sequence[str]) -> str:
    """Return a map (T, T) with the tokens beside its rows and above its columns."""
    cell = max(10, min(28, WIDE // len(names)))
    labels = "".join(f"<span>{html.escape(name)}</span>" for name in names)
    return (
        '<div class="learn-scroll" role="group" tabindex="0" aria-label="Map of a head">'
        f'<div class="big" style="--cell:{cell}px;--count:{len(names)}">'
        f'<div class="of-columns" aria-hidden="true">{labels}</div>'
        f'<div class="of-rows" aria-hidden="true">{labels}</div>'
        f'<img alt="{_head_name(0, 0)}" src="{_image(weights)}"></div></div>'
    )


def _words(weights: Tensor, names: Sequence[str]) -> str:
    """Return the tokens as buttons, shaded by what the last one reads from them: weights (T,)."""
    last = len(names) - 1
    buttons = "".join(
        f'<button type="button" aria-pressed="{str(i == last).lower()}" tabindex="{0 if i == last else -1}" '
        f'data-text="{html.escape(name, quote=True)}" style="--weight:{float(weight):.3f}">{html.escape(name)}</button>'
        for i, (name, weight) in enumerate(zip(names, weights, strict=True))
    )
    most = [i for i in weights.argsort(descending=True)[:MOST_READ].tolist() if weights[i] >= 0.005]
    read = ", ".join(f"“{names[i]}” {percent(float(weights[i]))}" for i in most)
    sentence = html.escape(f"“{names[last]}” → {read}")
    return f'<div class="words">{buttons}</div><p class="reading" role="status">{sentence}</p>'


def lens_html(view: InsideView, tokenizer: Tokenizer) -> str:
    """Return the likeliest next token after each layer (rows, the last one on top) at each position (columns)."""
    head = "".join(f'<th scope="col">{html.escape(visible(tokenizer.decode([token])))}</th>' for token in view.tokens)
    rows = ""
    for i, row in reversed(list(enumerate(view.lens))):
        cells = "".join(
            f'<td class="{"same" if one.token == last.token else "other"}" style="--weight:{one.probability:.3f}">'
            f"{html.escape(visible(tokenizer.decode([one.token])))}<small>{percent(one.probability)}</small></td>"
            for one, last in zip(row, view.lens[-1], strict=True)
        )
        rows += f'<tr><th scope="row">{f"Layer {i}" if i else "Embedding"}</th>{cells}</tr>'
    return (
        '<div class="inside"><h4>Logit lens</h4><p>The likeliest next token if the model ended after this layer. Bold: '
        "the same as at the end. The columns are the tokens of the text.</p>"
        '<div class="learn-scroll" role="group" tabindex="0" aria-label="Logit lens">'
        f'<table class="lens"><thead><tr><th scope="col">After</th>{head}</tr></thead><tbody>{rows}</tbody></table>'
        "</div></div>"
    )


def divergence_html(faded: FadedText, given: GivenTokens, tokenizer: Tokenizer) -> str:
    """Return the tokens of the text, shaded by the KL divergence of the prediction after each."""
    strong = max(LEAST_STRONG, *faded.divergence)
    spans = "".join(
        f'<span tabindex="0" role="img" aria-label="{html.escape(f"{name}: {nats:.3f} nats", quote=True)}" '
        f'title="{nats:.3f} nats" style="--weight:{nats / strong:.3f}">{html.escape(name)}</span>'
        for name, nats in (
            (visible(tokenizer.decode([token])), nats) for token, nats in zip(given.ids, faded.divergence, strict=True)
        )
    )
    mean = sum(faded.divergence) / len(faded.divergence)
    return (
        f'<div class="inside"><h4>KL divergence of the next token</h4><p>{mean:.3f} nats on average, at most '
        f'{max(faded.divergence):.3f} (full colour).</p><div class="kl">{spans}</div></div>'
    )


def faded_panes(faded: FadedText, prompt: str, tokenizer: Tokenizer) -> tuple[str, str]:
    """Return both texts, with the first token that differs highlighted."""
    panes, at = [], faded.parting
    for name, tokens in (("As it is", faded.plain), ("Faded", faded.faded)):
        mark = None
        if at is not None:
            mark = len(tokenizer.decode(tokens[:at])), len(tokenizer.decode(tokens[: at + 1]))
        panes.append(pane(name, prompt, tokenizer.decode(tokens), mark=mark))
    return panes[0], panes[1]


def chips_html(tokens: Sequence[int], tokenizer: Tokenizer, *, most: int) -> str:
    """Return tokens as chips with their ids, `most` of them."""
    chips = "".join(
        f"<span>{html.escape(visible(tokenizer.decode([token])))}<small>{token}</small></span>"
        for token in tokens[:most]
    )
    more = f"<p>and {len(tokens) - most:,} more</p>" if len(tokens) > most else ""
    return f'<div class="chips">{chips}</div>{more}'


def merges_html(words: Sequence[Word], *, most: int) -> str:
    """Return the merges of each word, step by step; the one with the most merges is open."""
    longest = max(words[:most], key=lambda word: len(word.steps), default=None)
    details = "".join(_word(word, is_open=word is longest) for word in words[:most])
    more = f"<p>and {len(words) - most:,} more words</p>" if len(words) > most else ""
    return f'<div class="merges">{details}{more}</div>'


def _word(word: Word, *, is_open: bool) -> str:
    count = len(word.steps)
    title = f"{_shown_bytes(b''.join(word.letters))}: {count} {'merge' if count == 1 else 'merges'}"
    rows = f"<li><em>Bytes</em>{_parts(word.letters)}</li>" + "".join(
        f"<li><em>Merge {step.number:,}</em>{_parts(step.parts, joined=step.joined)}</li>" for step in word.steps
    )
    return f"<details{' open' if is_open else ''}><summary>{html.escape(title)}</summary><ol>{rows}</ol></details>"


def _parts(parts: Sequence[bytes], *, joined: int | None = None) -> str:
    chips = "".join(
        f"<span{' class=joined' if i == joined else ''}>{html.escape(_shown_bytes(part))}</span>"
        for i, part in enumerate(parts)
    )
    return f'<div class="chips">{chips}</div>'


def _shown_bytes(data: bytes) -> str:
    """Return bytes as text, those that are no whole characters as hexadecimal numbers."""
    try:
        return visible(data.decode("utf-8"))
    except UnicodeDecodeError:
        return data.hex(" ").upper()
