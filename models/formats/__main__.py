"""`python -m models.formats FILE FOLDER OPTIONS`: converts a foreign file, with limits on its memory and time.

The last line of the output is JSON: what is known of the model, or {"refused": why}.
"""

import json
import sys
import warnings
from pathlib import Path

import torch

from models.formats.converting import convert, size_of
from models.formats.options import ImportOptions
from models.pickles.limits import limit_process

ROOM = 400_000_000  # bytes of address space beside the weights
PER_BYTE = 6  # bytes of address space for each of the file: mapped, and one tensor at a time in float32


def main(arguments: list[str]) -> int:
    """Convert a file as the arguments say, and print the answer; returns the exit code."""
    path, folder, options, seconds = arguments
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    limit_process(memory=PER_BYTE * size_of(Path(path)) + ROOM, seconds=int(seconds))
    try:
        answer = convert(Path(path), Path(folder), ImportOptions(**json.loads(options)))
    except ValueError as error:
        answer = {"refused": str(error)}
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "allocate memory" not in str(error):
            raise
        answer = {"refused": "it would take far more memory than its size"}
    except OSError as error:
        answer = {"refused": f"the disk refused ({error.strerror or error})"}
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
