"""HTML of the Tokens view: token chips, the next-token table with bars, and sentences about flip points."""

import html
import math
from collections.abc import Mapping, Sequence

from gptdesk.formatting import plural
from gptdesk.inspection import FlipPoints, NextToken, NextTokenTable, TokenFigures
from gptdesk.page.option_widgets import label
from gptdesk.page.tabs.generate.tokens.opened_texts import OpenText
from models.tokenizer import Tokenizer

MOST_SURPRISE = 8.0  # nats at which a token has the strongest colour
MOST_RANK = 1000
MOST_ENTROPY = 6.0  # nats
MOST_DIFFERENCE = 1.0  # nats
MEASURES = {"probability": "Probability", "rank": "Rank", "entropy": "Entropy"}
DIFFERENCE = "difference"  # the measure of a text that a second model has read


def shown(token: int, tokenizer: Tokenizer) -> str:
    """Return the text of a token with visible spaces, line breaks, control characters and incomplete bytes."""
    data = tokenizer.token_bytes(token)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return "".join(f"\\x{byte:02x}" for byte in data)
    marks = {" ": "·", "\n": "⏎", "\t": "⇥"}
    return "".join(marks.get(c, c if c.isprintable() else f"\\u{ord(c):04x}") for c in text) or "∅"


def percent(share: float) -> str:
    """Return a share as text: "83.1 %", "<0.01 %", "0 %"."""
    if share == 0:
        return "0 %"
    return "<0.01 %" if share < 0.0001 else f"{share:.2%}".replace("%", " %") if share < 0.1 else f"{100 * share:.1f} %"


def text_html(opened: OpenText, tokenizer: Tokenizer) -> str:
    """Return the heat map: a line of figures, the choice of colours, and a button for each token."""
    figures = (*[None] * opened.dropped, *opened.figures.tokens)
    measures = MEASURES | ({DIFFERENCE: f"Difference to {opened.beside.key}"} if opened.beside else {})
    measure = list(measures)[-1] if opened.beside else next(iter(measures))
    chips = "".join(
        _chip(i, token, one, tokenizer, given=i < opened.prompt, beside=_beside_tip(opened, i))
        for i, (token, one) in enumerate(zip(opened.tokens, figures, strict=True))
    )
    end = f'<button type="button" tabindex="-1" class="end" data-i="{len(opened.tokens)}">next …</button>'
    name = "Text" if opened.card == 0 else f"Text {opened.card + 1}"
    return (
        f'<section class="token-view" tabindex="-1" data-card="{opened.card + 1}" data-first="{measure}" '
        f'aria-label="Tokens of {name}">'
        f'<p class="token-head"><b>{name}</b> <span>{html.escape(_headline(opened))}</span></p>'
        f'<div class="token-bar">{_choice(measures, measure)}<span class="token-scale" aria-hidden="true">'
        '<span class="least">likely</span><i></i><span class="most">surprising</span></span></div>'
        f'<div class="tokens" role="toolbar" aria-label="Tokens; arrow keys move, Enter explains" '
        f'data-by="{measure}">{chips}{end}</div>'
        '<p class="token-tip" role="status">Choose a token to see what else could have come there.</p></section>'
    )


def _headline(opened: OpenText) -> str:
    parts = [opened.key.spelled, plural(len(opened.tokens), "token")]
    if (perplexity := opened.figures.perplexity) is not None:
        parts.append(f"perplexity {perplexity:,.4g}")
    if (entropy := opened.figures.entropy) is not None:
        parts.append(f"mean entropy {entropy:.2f} nats")
    if opened.beside and (other := opened.beside.figures.perplexity) is not None:
        parts.append(f"{opened.beside.key.spelled}: perplexity {other:,.4g}")
    if opened.dropped:
        parts.append(f"the first {opened.dropped:,} are not read here")
    return " · ".join(parts)


def _choice(measures: Mapping[str, str], chosen: str) -> str:
    options = "".join(
        f'<label><input type="radio" name="token-colour" value="{value}"{" checked" if value == chosen else ""}>'
        f"{html.escape(text)}</label>"
        for value, text in measures.items()
    )
    return f'<fieldset class="token-colour"><legend>Colour</legend>{options}</fieldset>'


def _beside_tip(opened: OpenText, index: int) -> tuple[str, float] | None:
    """Return what the second model says of a token, and the difference in nats; None without one, or a prediction."""
    if opened.beside is None or index < opened.dropped:
        return None
    other, at = opened.beside, index - opened.dropped
    logprob, difference = other.figures.tokens[at].logprob, other.differences[at]
    if logprob is None or difference is None:
        return None
    return f"{other.key.spelled} {percent(math.exp(logprob))} ({difference:+.3f} nats)", difference


def _chip(
    index: int,
    token: int,
    one: TokenFigures | None,
    tokenizer: Tokenizer,
    *,
    given: bool,
    beside: tuple[str, float] | None,
) -> str:
    text, classes, style = shown(token, tokenizer), ["given"] if given else [], ""
    tip = [text, f"id {token}"]
    if one is None:
        classes.append("cut")
        tip.append("not read here")
    elif one.logprob is None or one.rank is None or one.entropy is None:
        tip.append("nothing before it, so no prediction")
    else:
        tip += [percent(math.exp(one.logprob)), f"rank {one.rank:,}", f"entropy {one.entropy:.2f} nats"]
        rank = min(1.0, math.log(one.rank) / math.log(MOST_RANK))
        surprise, entropy = min(1.0, -one.logprob / MOST_SURPRISE), min(1.0, one.entropy / MOST_ENTROPY)
        style = f"--p:{surprise:.2f};--r:{rank:.2f};--e:{entropy:.2f}"
        if beside:
            tip.append(beside[0])
            # small differences are the usual ones: their root shows them
            style += f";--d:{math.sqrt(min(1.0, abs(beside[1]) / MOST_DIFFERENCE)):.2f}"
            classes += ["likelier"] if beside[1] > 0 else []
        style = f' style="{style}"'
    if given:
        tip.append("prompt")
    line = "<br>" if "⏎" in text else ""
    return (
        f'<button type="button" tabindex="{0 if index == 0 else -1}" data-i="{index}" class="{" ".join(classes)}" '
        f'data-tip="{html.escape(" · ".join(tip))}"{style}>{html.escape(text)}</button>{line}'
    )


def heading_html(
    opened: OpenText,
    flips: Sequence[FlipPoints],
    tokenizer: Tokenizer,
    *,
    drawn: int | None,
    notes: Sequence[str] = (),
) -> str:
    """Return the picked token, and the sentences about its flip points; `drawn` as in `explanation_html`.

    The `notes` are sentences in their place.
    """
    own = opened.own
    number = opened.place.index + 1 if opened.place else 0
    title = "What comes next" if own is None else f"Token {number:,}: {html.escape(shown(own, tokenizer))}"
    said = notes or _flip_sentences(flips, drawn, own, tokenizer)
    sentences = "".join(f"<li>{html.escape(text)}</li>" for text in said)
    lines = f"<ul>{sentences}</ul>" if sentences else ""
    return f'<div class="token-heading"><h3 aria-level="2">{title}</h3>{lines}</div>'


def explanation_html(opened: OpenText, table: NextTokenTable, tokenizer: Tokenizer, *, drawn: int | None) -> str:
    """Return the next-token table of the picked place; `drawn`: what its seed draws with the chain as it is now."""
    place, own = opened.place, opened.own
    assert place is not None
    listed = {one.token for one in table.distribution.tokens}
    links = _changing_links(table)
    head = "".join(f'<th scope="col">{html.escape(_link_name(table, i))}</th>' for i in links)
    rows = "".join(_row(one, links, table, tokenizer, own=own, drawn=drawn) for one in table.distribution.tokens)
    others = [one for one in table.asked if one.token not in listed]
    asked = "".join(_row(one, links, table, tokenizer, own=own, drawn=drawn) for one in others)
    if asked:
        rows += f'</tbody><tbody><tr><th scope="rowgroup" colspan="{len(links) + 2}">Others</th></tr>{asked}'
    return (
        f'<section class="token-table" aria-label="Next-token table" data-place="{place.index}">'
        f'<p class="token-legend">{_legend(links)}</p>'
        '<div class="figures-table" tabindex="0" role="group" aria-label="Table"><table><thead><tr>'
        f'<th scope="col">Token</th>{head}<td></td></tr></thead><tbody>{rows}</tbody>'
        f"<tfoot>{_feet(links, table)}</tfoot></table></div>{_idle_links(links, table)}</section>"
    )


def _legend(links: Sequence[int]) -> str:
    """Return how the columns of the table are read."""
    if len(links) == 1:
        return "No sampler changes anything here: the next token is drawn by these probabilities of the model."
    return (
        "Probabilities of the model, then after each sampler, from left to right. "
        "By those of the last column the next token is drawn."
    )


def fault_html(error: object) -> str:
    """Return an error as HTML."""
    return f'<p class="token-fault" role="alert">⚠ {html.escape(str(error))}</p>'


def _link_name(table: NextTokenTable, index: int) -> str:
    return "Model" if index == 0 else label(table.distribution.links[index])


def _changing_links(table: NextTokenTable) -> list[int]:
    """Return the model, and the links that change a probability in the table or cut something."""
    every, found = (*table.distribution.tokens, *table.asked), [0]
    for i in range(1, len(table.distribution.links)):
        entropy = table.distribution.entropy
        if entropy[i] != entropy[i - 1] or any(one.probabilities[i] != one.probabilities[i - 1] for one in every):
            found.append(i)
    return found


def _row(
    one: NextToken,
    links: Sequence[int],
    table: NextTokenTable,
    tokenizer: Tokenizer,
    *,
    own: int | None,
    drawn: int | None,
) -> str:
    text = html.escape(shown(one.token, tokenizer))
    cells = []
    for i in links:
        share = one.probabilities[i]
        if one.cut_by is not None and i >= one.cut_by:
            by = html.escape(_link_name(table, one.cut_by))
            cells.append(f"<td><s>cut</s> <small>{by}</small></td>" if i == one.cut_by else "<td><s>cut</s></td>")
        else:
            cells.append(f'<td><i style="--share:{share:.3f}"></i><span>{percent(share)}</span></td>')
    marks = ["in the text"] if one.token == own else []
    marks += ["this seed draws it now"] if one.token == drawn != own else []
    mark = f" <small>{', '.join(marks)}</small>" if marks else ""
    button = (
        ""
        if one.token == own
        else f'<button type="button" class="branches" data-token="{one.token}" '
        f'aria-label="Continue with {text}">Continue<span> with this</span></button>'
    )
    classes = " ".join(
        name for name, holds in (("own", one.token == own), ("gone", one.probabilities[-1] == 0)) if holds
    )
    return f'<tr class="{classes}"><th scope="row"><b>{text}</b>{mark}</th>{"".join(cells)}<td>{button}</td></tr>'


def _feet(links: Sequence[int], table: NextTokenTable) -> str:
    distribution = table.distribution
    lines = (
        ("Entropy", [f"{distribution.entropy[i]:.2f} nats" for i in links]),
        ("Tokens kept", [f"{distribution.kept[i]:,}" for i in links]),
        ("Removed", [percent(table.removed[i]) if i else "" for i in links]),
    )
    return "".join(
        f'<tr><th scope="row">{name}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}<td></td></tr>'
        for name, cells in lines
    )


def _idle_links(links: Sequence[int], table: NextTokenTable) -> str:
    idle = [_link_name(table, i) for i in range(1, len(table.distribution.links)) if i not in links]
    return f'<p class="token-idle">Without effect here: {html.escape(", ".join(idle))}.</p>' if idle else ""


def _flip_sentences(flips: Sequence[FlipPoints], drawn: int | None, own: int | None, tokenizer: Tokenizer) -> list[str]:
    """Return a sentence about each option at which the same seed writes another token."""
    if drawn is None:
        return []
    sentences = []
    if drawn != own:
        sentences.append(f"With the settings as they are now, this seed writes “{shown(drawn, tokenizer)}” here.")
    for points in flips:
        whole = points.option == "top_k"
        parts = []
        for flip, word in ((points.below, "below"), (points.above, "above")):
            if flip is not None:
                bound = _beside(flip.value, below=word == "below", whole=whole)
                parts.append(f"{word} {bound} this seed writes “{shown(flip.token, tokenizer)}”")
        if parts:
            more = "" if points.nearest else " (another change may lie between)"
            sentences.append(f"{label(points.option)}: {'; '.join(parts)}{more}.")
    if not any(points.below or points.above for points in flips):
        sentences.append("No single slider changes the token that this seed draws here.")
    return sentences


def _beside(value: float, *, below: bool, whole: bool) -> str:
    """Return the flip point as a number to show: of a whole number, the last that does not flip."""
    return f"{int(value) + (1 if below else -1)}" if whole else f"{value:.4g}"
