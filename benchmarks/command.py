"""How a benchmark ends as a command: with an exit code, and a sentence instead of a traceback."""

import sys
from collections.abc import Callable


def exit_code(run: Callable[[], None]) -> int:
    """0 if `run` ends well, 2 after a mistake of the user's, which is told, 130 after Ctrl-C."""
    try:
        run()
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except KeyboardInterrupt:
        return 130
    return 0
