"""Guess of the encoding of bytes that are not UTF-8, by charset-normalizer, with an excerpt."""

from charset_normalizer import CharsetMatch, from_bytes

EXCERPT = 60  # characters shown of a text whose encoding was guessed
# charset-normalizer knows 90 code pages, most of them rare, and every further one makes a wrong guess more probable.
_GUESSED = [
    *("cp1252", "cp1251", "cp1250", "gb18030", "cp932", "cp949", "big5hkscs", "euc_jp", "koi8_r", "koi8_u", "cp1253"),
    *("cp1254", "cp1255", "cp1256", "cp1257", "cp874", "cp866", "iso8859_2", "iso8859_5", "iso2022_jp"),
]
_GUESSED_LAST = ["cp850", "mac_roman"]  # of DOS and of the old Macs: only where nothing else fits
_HIGH = bytes(range(128, 256))
_CARONS = b"\x8a\x8e\x9a\x9e"  # the letters S and Z with a caron, in cp1250 as in cp1252


def likeliest(sample: bytes, *, ragged: bool = False) -> str | None:
    """Return the encoding that charset-normalizer finds, or cp1252 if that is as likely; None if none fits.

    If the sample is `ragged`, up to 3 bytes at its end may belong to a character that goes on.

    Its measures, mess and resemblance to languages, tell scripts apart but hardly the encodings of Latin ones, so that
    among those the most common wins: a difference below 0.03 and 0.02 decides nothing.
    """
    samples = [sample[: len(sample) - cut] for cut in range(4 if ragged else 1)]
    results = [list(from_bytes(one, cp_isolation=_GUESSED, enable_fallback=False)) for one in samples]
    matches = min(filter(None, results), key=lambda matches: (matches[0].chaos, -matches[0].coherence), default=None)
    if matches is None:
        last = from_bytes(sample, cp_isolation=_GUESSED_LAST, enable_fallback=False).best()
        return last.encoding if last else None
    best = matches[0]
    near = [m for m in matches if m.chaos <= best.chaos + 0.03 and m.coherence >= best.coherence - 0.02]
    if "cp1252" not in _names(near):
        return next(name for name in _GUESSED if name in _names([best]))
    # Western languages use these two letters in names at most; those of Central Europe in every line.
    carons, high = (len(sample) - len(sample.translate(None, some)) for some in (_CARONS, _HIGH))
    return "cp1250" if "cp1250" in _names(near) and carons * 50 > high else "cp1252"


def _names(matches: list[CharsetMatch]) -> set[str]:
    return {name for match in matches for name in match.could_be_from_charset}


def excerpt(text: str) -> str:
    """Return the first line with a character beyond ASCII, up to EXCERPT characters around it."""
    line = next((line for line in text.splitlines() if not line.isascii()), text[:EXCERPT])
    first = next((i for i, character in enumerate(line) if character > "\x7f"), 0)
    start = max(0, min(first - EXCERPT // 2, len(line) - EXCERPT))
    if start and (blank := line.find(" ", start, first)) >= 0:  # at the beginning of a word
        start = blank + 1
    visible = "".join(c if c.isprintable() else " " for c in line[start : start + EXCERPT]).strip()
    return f"{'...' * (start > 0)}{visible}{'...' * (len(line) > start + EXCERPT)}"
