"""Next-token table and flip points of the picked token, as HTML: from its logits, without a forward pass."""

from torch import Tensor

from gptdesk.formatting import plural
from gptdesk.inspection import drawn_token, flip_points, key_of_draw, table
from gptdesk.page.tabs.generate.tokens.drawing import explanation_html, heading_html
from gptdesk.page.tabs.generate.tokens.opened_texts import OpenText, Written
from models.tokenizer import Tokenizer
from samplers import Chain

LISTED = 10  # of the most probable tokens
CONSTRAINED = (
    "This text was written with banned phrases, choices or a word bias. They are not in this table, and its draws "
    "cannot be repeated one by one, so no flip points are given."
)
SLID = (
    "The text is longer than the model's context. The table shows what the model predicts after the last {read}, all "
    "that fit; the seed of a text draws nothing here."
)


def next_token_table(opened: OpenText, chain: Chain, tokenizer: Tokenizer) -> str:
    """Return the table of the picked place for a chain; ValueError as `Chain.explain`."""
    place, key = opened.place, key_of(opened)
    assert place is not None
    before = opened.before(place.index)
    drawn = None if key is None else drawn_token(place.logits, before, chain, key)
    # another network with the same tokenizer may have more rows
    size = place.logits.shape[1]
    wanted = [token for token in (opened.own, drawn, *place.found) if token is not None and token < size]
    shown = table(place.logits, before, chain, top=LISTED, asked=wanted)
    return explanation_html(opened, shown, tokenizer, drawn=drawn)


def heading(opened: OpenText, chain: Chain, tokenizer: Tokenizer) -> str:
    """Return the picked token with the sentences about its flip points; ValueError as `Chain.explain`."""
    place, key = opened.place, key_of(opened)
    assert place is not None
    if key is None:
        read = plural(len(opened.before(place.index)), "token")
        notes = [SLID.format(read=read)] if opened.unread(place.index) else []
        notes += [CONSTRAINED] if _is_drawn_under_constraints(opened) else []
        return heading_html(opened, [], tokenizer, drawn=None, notes=notes)
    before = opened.before(place.index)
    drawn = drawn_token(place.logits, before, chain, key)
    return heading_html(opened, flip_points(place.logits, before, chain, key), tokenizer, drawn=drawn)


def key_of(opened: OpenText) -> Tensor | None:
    """Return the key (1,) of the draw of the picked token; None for one of the prompt or of an unknown generation.

    None under constraints, too: tokens that were forbidden are in no table. None as well where the beginning of the
    text no longer fits the context: a generation ends there.
    """
    drawn = _drawn(opened)
    if drawn is None or drawn[0].request.constraints() or (opened.place and opened.unread(opened.place.index)):
        return None
    written, step = drawn
    return key_of_draw(written.seed, step=step, row=written.row)


def _is_drawn_under_constraints(opened: OpenText) -> bool:
    """Return whether the picked token was, or would be, drawn under constraints."""
    drawn = _drawn(opened)
    return drawn is not None and bool(drawn[0].request.constraints())


def _drawn(opened: OpenText) -> tuple[Written, int] | None:
    """Return the generation of the picked token, and which of its draws it is; None for one that was given."""
    if opened.written is None or opened.place is None or opened.place.index < opened.prompt:
        return None
    return opened.written, opened.place.index - opened.prompt
