"""Stop strings: text held back while it may become one, and their spelling in a text box."""

import re
from collections.abc import Iterable

# all that ends a line for `str.splitlines`, as it is typed on one; \r alone would change what LaTeX's \right means
_CODES = {
    "\n": "n",
    **{chr(number): f"x{number:02x}" for number in (0xB, 0xC, 0xD, 0x1C, 0x1D, 0x1E, 0x85)},
    "\u2028": "u2028",
    "\u2029": "u2029",
}
_BACKSLASH = "x5c"  # only where one is before the end of a line, whose code it would hide
_CHARACTERS = {code: character for character, code in _CODES.items()} | {_BACKSLASH: "\\"}
_CODE, _END = "|".join(_CHARACTERS), f"[{''.join(_CODES)}]"
_TYPED = re.compile(rf"(\\?)\\({_CODE})")
_TO_TYPE = re.compile(rf"\\+(?={_END})|\\(?={_CODE})|{_END}")


def unescape(line: str) -> str:
    r"""Return a typed line with each \n replaced by a new line, and each \\n by a backslash and an n.

    So are the other ends of lines, typed as \x0d (carriage return), \x0b, \x0c, \x1c, \x1d, \x1e, \x85, \u2028 and
    \u2029, and \x5c, a backslash before one of them.
    """
    return _TYPED.sub(lambda match: f"\\{match[2]}" if match[1] else _CHARACTERS[match[2]], line)


def escape(text: str) -> str:
    """Return a stop string as it is typed on a line: the inverse of `unescape`."""

    def typed(match: re.Match[str]) -> str:
        if code := _CODES.get(match[0]):
            return f"\\{code}"
        is_before_end = text[match.end() : match.end() + 1] in _CODES
        return f"\\{_BACKSLASH}" * len(match[0]) if is_before_end else r"\\"

    return _TO_TYPE.sub(typed, text)


def read_lines(text: object) -> tuple[str, ...]:
    r"""Return the texts of a box, one a line, each by `unescape`; empty lines are left out."""
    return tuple(unescape(line) for line in str(text or "").splitlines() if line)


class StopStrings:
    """Filter of streamed text up to the first stop string; holds back an end that may become one."""

    def __init__(self, stops: Iterable[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.hit: str | None = None  # the stop string that ended the stream

    def push(self, text: str) -> str:
        """Add `text` and return what is certainly no part of a stop string; nothing once one was hit."""
        if self.hit is not None:
            return ""
        self._held += text
        hits = [(at + len(stop), at, stop) for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if hits:  # the one that was complete first, so that the result does not depend on how the text came in
            _, at, self.hit = min(hits)
            released, self._held = self._held[:at], ""
            return released
        keep = max((self._overlap(stop) for stop in self._stops), default=0)
        cut = len(self._held) - keep
        released, self._held = self._held[:cut], self._held[cut:]
        return released

    def flush(self) -> str:
        """Return the text that is still held back, at the end of the stream."""
        released, self._held = self._held, ""
        return released

    def _overlap(self, stop: str) -> int:
        """Return the length of the longest end of the held text that `stop` begins with."""
        longest = min(len(stop) - 1, len(self._held))
        return next((size for size in range(longest, 0, -1) if self._held.endswith(stop[:size])), 0)
