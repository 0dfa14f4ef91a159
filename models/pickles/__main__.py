"""`python -m models.pickles FILE SECONDS`: says why a file by torch.save cannot be read safely, if it cannot.

Needs neither torch nor much memory. The output is a line of JSON, {} or {"refused": why}.
"""

import json
import sys
from pathlib import Path

from models.pickles.archive import PICKLE, check_start, entries_of
from models.pickles.limits import limit_process
from models.pickles.reader import read_pickle

MOST_MEMORY = 600_000_000  # bytes of address space beside that of the interpreter


def main(arguments: list[str]) -> int:
    """Check a file as the arguments say and print the answer; returns the exit code."""
    path, seconds = arguments
    limit_process(memory=MOST_MEMORY, seconds=int(seconds))
    answer = {}
    try:
        check(Path(path))
    except ValueError as error:
        answer = {"refused": str(error)}
    except MemoryError:
        answer = {"refused": "it would take far more memory than its size"}
    except OSError as error:
        answer = {"refused": f"it cannot be read ({error.strerror or error})"}
    print(json.dumps(answer))
    return 0


def check(path: Path) -> None:
    """Raise ValueError unless a file is an archive by torch.save whose pickle asks for nothing but data."""
    with open(path, "rb") as file:
        check_start(file.read(512))
        entry = entries_of(path)[PICKLE]
        file.seek(entry.start)
        read_pickle(file.read(entry.size))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
