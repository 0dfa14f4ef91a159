"""Stop strings: text held back while it may become one, and their spelling in a text box."""

import re
from collections.abc import Iterable


def unescape(line: str) -> str:
    r"""A line as it was typed, with each \n made a new line, and each \\n a backslash and an n."""
    return re.sub(r"(\\?)\\n", lambda found: r"\n" if found[1] else "\n", line)


class StopStrings:
    """Lets text through up to the first stop string, holding back an end that may become one."""

    def __init__(self, stops: Iterable[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.hit = False

    def push(self, text: str) -> str:
        """Text that can be shown for certain after `text` came in; nothing more once a stop string was hit."""
        if self.hit:
            return ""
        self._held += text
        found = [(at + len(stop), at) for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:  # the one that was complete first, so that the result does not depend on how the text came in
            self.hit = True
            shown, self._held = self._held[: min(found)[1]], ""
            return shown
        keep = max((self._overlap(stop) for stop in self._stops), default=0)
        cut = len(self._held) - keep
        shown, self._held = self._held[:cut], self._held[cut:]
        return shown

    def flush(self) -> str:
        """What is still held back, when nothing more will come."""
        shown, self._held = self._held, ""
        return shown

    def _overlap(self, stop: str) -> int:
        """Length of the longest end of the held text that `stop` begins with."""
        longest = min(len(stop) - 1, len(self._held))
        return next((size for size in range(longest, 0, -1) if self._held.endswith(stop[:size])), 0)
