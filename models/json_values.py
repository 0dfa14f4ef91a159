"""JSON from anywhere as values that can be written again: no lone surrogates, no numbers that JSON does not have."""

import json
import math
import re

HALF_A_PAIR = re.compile(rb"\\u[dD][89a-fA-F]")  # in JSON, of a pair or alone


def parse_json(data: bytes, *, file_names: bool = False) -> object:
    """Return the value that UTF-8 JSON has; ValueError if it is no JSON, or too deep.

    An escaped half of a surrogate pair, which no text can be written with, becomes U+FFFD, unless `file_names` may be
    in it and it stands for a byte of one; NaN, infinity and numbers beyond a float, which JSON does not have, become
    null.
    """
    try:
        value: object = DECODER.decode(data.decode("utf-8"))
        return _whole(value, HALVES_BUT_BYTES if file_names else HALVES) if HALF_A_PAIR.search(data) else value
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _finite(number: str) -> float | None:
    return value if math.isfinite(value := float(number)) else None


DECODER = json.JSONDecoder(parse_float=_finite, parse_constant=lambda name: None)
HALVES = re.compile("[\ud800-\udfff]")
HALVES_BUT_BYTES = re.compile("[\ud800-\udc7f\udd00-\udfff]")  # the rest is how Python spells bytes of file names


def _whole(value: object, halves: re.Pattern[str]) -> object:
    """Return the same value without these lone surrogates."""
    if isinstance(value, str):
        return halves.sub("\ufffd", value)
    if isinstance(value, list):
        return [_whole(item, halves) for item in value]
    if isinstance(value, dict):
        return {_whole(name, halves): _whole(item, halves) for name, item in value.items()}
    return value
