"""Numbers, counts, durations and ends of texts as people read them."""

import re

VISIBLE = str.maketrans({" ": "·", "\n": "⏎", "\t": "⇥", "\r": "␍"})


def clock(seconds: float) -> str:
    """Return a duration as a clock shows it: 5:30 or 1:05:30."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def duration(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def short(value: float) -> str:
    """Return a number in at most four digits: 1.25, 0.0003, 15k, 2.4M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        rounded = float(f"{value / size:.3g}")
        if abs(rounded) >= (10 if letter == "k" else 1):
            return f"{rounded:g}{letter}"
    return f"{value:.4g}" if abs(value) >= 1e-3 or not value else f"{value:.2g}"


def percent(share: float, digits: int = 0) -> str:
    """Return a share of 1 in percent: 62 %; 97.9 % with one digit."""
    return f"{100 * share:.{digits}f} %"


def visible(text: str) -> str:
    """Return a text with its white space visible: ·little⏎."""
    return text.translate(VISIBLE)


def file_size(size: int) -> str:
    """Return bytes as text: 512 bytes, 2.1 kB, 10.7 MB, 1.50 GB."""
    if size < 1000:
        return f"{size} bytes"
    return f"{size / 1e3:.1f} kB" if size < 1e6 else f"{size / 1e6:,.1f} MB" if size < 1e9 else f"{size / 1e9:.2f} GB"


def ending(text: str, most: int) -> str:
    """Return the last `most` characters of a text; one that is cut begins at a word, after an ellipsis."""
    if len(text) <= most:
        return text
    end = text[-most - 1 :]
    rest_of_word = re.match(r"\S*\s+(?=\S)", end)
    return f"… {end[rest_of_word.end() :] if rest_of_word else end[1:]}"
