"""Status writer of a run: keeps status.json up to date while the run's process works."""

import logging
import time
from dataclasses import replace

from gptdesk.system.terminal import readable
from gptdesk.training.run_directory import RunDirectory
from gptdesk.training.states import StoredState

log = logging.getLogger(__name__)

INTERVAL = 1.0  # seconds between two updates that need no attention


class StatusWriter:
    """Writes the status of a run, unless `silent`. A full disk is logged, for it must not keep a run from its end."""

    def __init__(self, run: RunDirectory, *, silent: bool = False) -> None:
        self._run, self._silent = run, silent
        self._status = run.status()
        self._written = 0.0

    def write(self, state: StoredState, **values: object) -> None:
        """Write the state, and other values by their names in RunStatus; the rest stays as it is."""
        if isinstance(message := values.get("message"), str):
            values["message"] = readable(message)
        self._status = replace(self._status, state=state, **values)  # type: ignore[arg-type]
        if not self._silent:
            self._written = time.monotonic()
            try:
                self._run.write_status(self._status)
            except OSError as error:
                log.warning("the status of the run could not be written (%s)", error.strerror)

    def write_if_due(self, state: StoredState, **values: object) -> None:
        """Write as `write` does, but not within INTERVAL of the last time."""
        if time.monotonic() - self._written > INTERVAL:
            self.write(state, **values)
