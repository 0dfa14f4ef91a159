"""Process that compiles the step for every precision, so that no user waits for it: `python -m models.native`."""

import logging
import sys

from models.native.compiled import compile_all


def main() -> int:
    """Compile what is not in the cache and return the exit code: 1 where this computer cannot run it."""
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    reason = compile_all()
    if reason:
        print(f"the compiled step is not used: {reason}", file=sys.stderr)
    return 1 if reason else 0


if __name__ == "__main__":
    sys.exit(main())
