"""Exit codes of benchmarks, with a sentence instead of a traceback."""

import sys
from collections.abc import Callable


def exit_code(run: Callable[[], None]) -> int:
    """Return 0 if `run` succeeds, 2 after a user's mistake, which is printed, 130 after Ctrl-C."""
    try:
        run()
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except KeyboardInterrupt:
        return 130
    return 0
