"""Time of what the Tokens and Learn views compute: `python -m benchmarks.inspecting`, on GPT-2's size by default.

The weights are random: times depend on shapes alone, but for top-p, which is given logits as wide as a trained model's.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from benchmarks.decode import machine, random_checkpoint
from gptdesk.anatomy.network import GivenTokens, LentNetwork
from gptdesk.anatomy.view import look_inside
from gptdesk.inspection import flip_points, key_of_draw, table, text_figures
from models.checkpoint import Checkpoint
from models.library import ModelLibrary
from models.manager import ModelKey, ModelManager
from samplers import default_chain

TEXT = 1000  # tokens of the heat map
INSIDE = 32  # tokens that are looked at from the inside; a network of this size reads no more


def median_seconds(call: Callable[[], object], *, rounds: int) -> float:
    """Return the median time of a call, after one that is not counted."""
    call()
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def cases(manager: ModelManager, checkpoint: Checkpoint, precision: str) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield a description and a function to time for each view."""
    config = checkpoint.config
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(config.vocab_size, (min(TEXT, config.block_size),), generator=generator).tolist()
    logits = 3 * torch.randn(1, config.vocab_size, generator=generator)  # (1, V)
    key = key_of_draw(1, step=0)
    yield (
        f"next-token table, default chain, {config.vocab_size:,} tokens",
        lambda: table(logits, tokens[:16], default_chain(), top=20),
    )
    yield "flip points of a token, default chain", lambda: flip_points(logits, tokens[:16], default_chain(), key)

    def heat_map() -> None:
        with manager.lend(ModelKey(checkpoint.path.name, precision)) as loaded:
            text_figures(loaded, tokens)

    yield f"heat map of {len(tokens):,} tokens, {precision}", heat_map

    def inside() -> None:
        # with the weights read from their file, as for a first look
        lent = LentNetwork(checkpoint.path.name, checkpoint.load_model(), checkpoint.load_tokenizer(checkpoint.path))
        look_inside(lent, GivenTokens(tuple(tokens[:INSIDE]), len(tokens)))

    yield f"attention and logit lens of {INSIDE} tokens, float32, with the weights read", inside


def main() -> None:
    """Print a line for each view."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="gpt2", help="shape of the network")
    parser.add_argument("--precision", default="int8", help="of the heat map")
    parser.add_argument("--rounds", type=int, default=5, help="calls timed for each line")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Checkpoint.open(random_checkpoint(given.preset, Path(folder) / "models"))
        library = ModelLibrary(Path(folder) / "models", cache_folder=Path(folder) / "cache")
        print(machine())
        for words, call in cases(ModelManager(library), checkpoint, given.precision):
            print(f"{median_seconds(call, rounds=given.rounds):8.3f} s  {words}")


if __name__ == "__main__":
    main()
