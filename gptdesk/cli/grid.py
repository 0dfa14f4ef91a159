"""`gptdesk grid`: one prompt and seed, with two sampler options along the sides of a table."""

import sys
from collections.abc import Sequence

from gptdesk.batch.exporting import grid_json
from gptdesk.batch.grid import TEMPERATURE, TOP_P, Axis, Grid, grid_cells, read_axis
from gptdesk.cli.parsing import UsageError, verb_parser
from gptdesk.cli.requests import add_request_options, read_request, stop_on_interrupt
from gptdesk.desk import Desk
from gptdesk.generation import draw_seed

WIDTH = 76  # characters of a text


def grid(desk: Desk, arguments: Sequence[str]) -> int:
    """Print the texts of all values of two options, equal ones once, and a sentence on where they differ."""
    parser = verb_parser("grid", "Write one text for each pair of values of two sampler options, with one seed.")
    parser.add_argument("--prompt", default="", metavar="TEXT", help="text to continue; default: a new text")
    parser.add_argument("--model", default="starter", metavar="NAME[:PRECISION]", help="default: starter")
    parser.add_argument("--down", type=_axis, default=TEMPERATURE, metavar="OPTION=V,V", help="default: temperature")
    parser.add_argument("--across", type=_axis, default=TOP_P, metavar="OPTION=V,V", help="default: top_p")
    add_request_options(parser, "max_new_tokens", "seed")
    options = parser.parse_args(arguments)
    request = read_request(options, options.prompt)
    seed = draw_seed() if request.seed is None else request.seed
    request = request.model_copy(update={"seed": seed})
    down, across, texts = options.down, options.across, [""] * (len(options.down.values) * len(options.across.values))
    with stop_on_interrupt() as stop:
        key = desk.library.key(options.model)
        for cell in grid_cells(desk, key, request, down=down, across=across, stop=stop, origin="cli"):
            texts[cell.down * len(across.values) + cell.across] = cell.text
            print(f"{cell.down * len(across.values) + cell.across + 1} of {len(texts)}", file=sys.stderr)
    if stop.is_set():
        print("stopped; nothing was compared", file=sys.stderr)
        return 130
    width = len(across.values)
    rows = tuple(tuple(texts[i : i + width]) for i in range(0, len(texts), width))
    _print(Grid(down, across, rows), seed, as_json=options.json)
    return 0


def _axis(text: str) -> Axis:
    option, equals, values = text.partition("=")
    if not equals:
        raise UsageError(f"write an option with its values as top_p=0.5,0.9,1, not {text!r:.60}")
    return read_axis(option.strip().replace("-", "_"), values)


def _print(grid: Grid, seed: int, *, as_json: bool) -> None:
    if as_json:
        print(grid_json(grid, seed=seed))
        return
    shown: dict[str, str] = {}
    for y, line in zip(grid.down.values, grid.texts, strict=True):
        for x, text in zip(grid.across.values, line, strict=True):
            place = f"{grid.down.option} {y:g}, {grid.across.option} {x:g}"
            same = shown.setdefault(text, place)
            words = " ".join(text.split())
            print(f"{place}: {f'as {same}' if same != place else words[:WIDTH]}")
    print(f"\nSeed {seed}. {grid.sentence}")
