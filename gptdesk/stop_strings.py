"""Stop strings: text held back while it may become one, and their spelling in a text box."""

import re
from collections.abc import Iterable


def unescape(line: str) -> str:
    r"""Return a typed line with each \n replaced by a new line, and each \\n by a backslash and an n."""
    return re.sub(r"(\\?)\\n", lambda match: r"\n" if match[1] else "\n", line)


def escape(text: str) -> str:
    r"""Return a stop string as it is typed on a line: the inverse of `unescape`."""
    return text.replace(r"\n", r"\\n").replace("\n", r"\n")


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
