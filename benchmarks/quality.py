"""Quality loss of a precision: `python -m benchmarks.quality MODEL --text FILE`.

Each precision is compared with float32 on the text, once reading whole windows, as a long prompt is read, and once
token by token through the KV cache, as a text is generated. The float32 of both comparisons reads whole windows.
Lines `<|endoftext|>` in the file separate documents.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from gptdesk.evaluation import Closeness, closeness, compare, in_pieces
from gptdesk.settings import load_settings, make_folder
from gptdesk.starter import CHECKPOINT as STARTER
from gptdesk.text_windows import text_windows
from models.library import ModelLibrary
from models.manager import ModelKey, ModelManager
from models.precision import PRECISIONS

HEAD = ("precision", "way", "tokens", "perplexity ratio", "KL mean", "median", "99 %", "same top 1", "top 5", "RMS Δp")
WIDTHS = (12, 6, 7, 19, 8, 8, 8, 16, 6, 6)


@dataclass(frozen=True)
class Row:
    """Measurement of one precision, read as a "prompt", whole windows, or "single", token by token."""

    precision: str
    way: str
    kernel: str
    closeness: Closeness  # to float32


def open_model(name: str) -> tuple[ModelManager, str]:
    """Return a manager and the name of a model in it, given a checkpoint folder or the name of a model of the desk."""
    settings = load_settings()
    make_folder(settings.vocabularies)
    if Path(name).is_dir():
        folder = Path(name).resolve()
        return ModelManager(ModelLibrary(folder.parent, cache_folder=settings.vocabularies)), folder.name
    library = ModelLibrary(settings.models, bundled=[STARTER], cache_folder=settings.vocabularies)
    return ModelManager(library), name


def first(windows: list[Tensor], tokens: int) -> list[Tensor]:
    """Return the first windows with at least `tokens` scored tokens, or all windows."""
    scored = 0
    for count, window in enumerate(windows):
        if scored >= tokens:
            return windows[:count]
        scored += len(window) - 1
    return windows


def measure(manager: ModelManager, key: ModelKey, text: str, *, tokens: int, single_tokens: int) -> Iterator[Row]:
    """Yield the closeness of a model to its float32 version, for each way that has more than 0 tokens."""
    with manager.lend(ModelKey(key.name)) as reference, manager.lend(key) as candidate:
        windows = text_windows(text, reference.tokenizer, context=reference.config.block_size)
        engine = candidate.model
        for way, model, limit in (("prompt", engine, tokens), ("single", in_pieces(engine, size=1), single_tokens)):
            if limit:
                pairs = compare(reference.model, model, first(windows, limit))
                yield Row(key.precision, way, engine.kernels, closeness(pairs, reference.tokenizer))


def cells(row: Row) -> tuple[str, ...]:
    """Return the cells of a line of the table under HEAD."""
    found = row.closeness
    return (
        row.precision,
        row.way,
        f"{found.reference.tokens:,}",
        f"{found.perplexity_ratio:.5f} ± {found.perplexity_ratio_se:.5f}",
        *(f"{kl:.2e}" for kl in (found.kl_mean, found.kl_median, found.kl_p99)),
        f"{found.same_top1:.2%} ± {found.same_top1_se:.2%}",
        f"{found.top5_overlap:.1%}",
        f"{found.probability_change_rms:.2%}",
    )


def print_line(columns: tuple[str, ...]) -> None:
    aligned = (
        cell.ljust(w) if i < 2 else cell.rjust(w) for i, (cell, w) in enumerate(zip(columns, WIDTHS, strict=True))
    )
    print("  ".join(aligned), flush=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    parser.add_argument("model", help="folder of a checkpoint, or the name of a model of the desk")
    parser.add_argument("--text", type=Path, required=True, help="UTF-8 file that the model was not trained on")
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, help="default: all that this computer can run")
    parser.add_argument("--tokens", type=int, default=50_000, help="most to read in windows (default: %(default)s)")
    parser.add_argument("--single-tokens", type=int, default=2048, help="most to read singly (default: %(default)s)")
    parser.add_argument("--threads", type=int, help="torch threads")
    parser.add_argument("--json", action="store_true", help="print a list of rows instead of the table")
    return parser.parse_args()


def run(given: argparse.Namespace) -> None:
    """Print a line for every precision and way once it is measured, or all of them as JSON."""
    text = given.text.read_text(encoding="utf-8")
    manager, name = open_model(given.model)
    rows: list[Row] = []
    for precision in given.precision or manager.library.info(name).precisions:
        key = ModelKey(name, precision)
        for row in measure(manager, key, text, tokens=given.tokens, single_tokens=given.single_tokens):
            rows.append(row)
            if not given.json:
                if len(rows) == 1:
                    print_line(HEAD)
                print_line(cells(row))
        manager.unload(key)
    if given.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
        return
    base = rows[0].closeness.reference
    print(
        f"float32 of {name} on {given.text.name}: {base.nats_per_token:.4f} ± {base.nats_per_token_se:.4f} nats a token"
        f", perplexity {base.perplexity:.3f}, {base.nats_per_character:.4f} nats a character"
    )
    print("\n".join(dict.fromkeys(f"{row.precision}: {row.kernel}" for row in rows)))


def main() -> int:
    given = parse()
    if given.threads:
        torch.set_num_threads(given.threads)
    try:
        run(given)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
