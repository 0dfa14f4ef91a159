"""Process that compiles the step for every precision, so that no user waits for it: `python -m models.native`."""

import logging
import signal
import sys
import threading

from models.native.compiled import choice, compile_all


def main() -> int:
    """Compile what is not in the cache and return the exit code: 1 where this computer cannot run it.

    SIGTERM ends it once the precision at hand is compiled. Where torch's kernels are chosen, nothing is compiled.
    """
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    reason = compile_all(stop) if choice() != "torch" else None
    if reason:
        print(f"the compiled step is not used: {reason}", file=sys.stderr)
    return 1 if reason else 0


if __name__ == "__main__":
    sys.exit(main())
