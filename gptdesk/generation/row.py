"""Row of a generation: one sequence up to its end; and the clock of a request."""

import threading
import time

from gptdesk.generation.events import FinishReason, GenerationStep
from gptdesk.stop_strings import StopStrings
from gptdesk.token_logprobs import Alternatives
from models.manager import LoadedModel


class Clock:
    """Time since the start of the request, checked against its deadline and stop event."""

    def __init__(self, deadline: float | None, stop: threading.Event | None) -> None:
        self._started = time.perf_counter()
        self._deadline = deadline
        self._stop = stop

    def seconds(self) -> float:
        """Return the seconds since the start."""
        return time.perf_counter() - self._started

    def finish_reason(self) -> FinishReason | None:
        """Return "stopped" or "deadline" if the request must end now, else None."""
        if self._stop is not None and self._stop.is_set():
            return "stopped"
        if self._deadline is not None and self.seconds() >= self._deadline:
            return "deadline"
        return None


class Row:
    """Sequence in generation: decoder, stop strings and end."""

    def __init__(self, index: int, loaded: LoadedModel, stop: tuple[str, ...]) -> None:
        self.index = index
        self.finished = False
        self._decoder = loaded.tokenizer.stream()
        self._ends = frozenset(loaded.tokenizer.special_ids.eos)
        self._stops = StopStrings(stop)

    def add_token(
        self, token: int, logprob: float, top: Alternatives, reason: FinishReason | None, seconds: float
    ) -> GenerationStep:
        """Add one token; a `reason` ends the row after it, unless the token or a stop string already does."""
        if token in self._ends:
            text, reason = self._flush(), "stop"
        else:
            text = self._stops.push(self._decoder.push(token))
            if self._stops.hit is not None:
                reason = "stop"
            elif reason:
                text += self._flush()
        self.finished = reason is not None
        return GenerationStep(self.index, text, token, logprob, reason, seconds, self._stops.hit, top)

    def end(self, reason: FinishReason | None, seconds: float) -> GenerationStep:
        """End without another token, and release the held-back text."""
        self.finished = True
        return GenerationStep(self.index, self._flush(), None, None, reason, seconds, self._stops.hit)

    def _flush(self) -> str:
        """Return the text that the decoder and the stop strings hold back."""
        return self._stops.push(self._decoder.flush()) + self._stops.flush()
