"""`gptdesk bench`: speed, memory and size of a model at every precision on this computer."""

import argparse
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from gptdesk.bench import Measured, find_folder, prepared, run, run_bandwidth, share_of_limit
from gptdesk.cli.parsing import path, verb_parser
from gptdesk.desk import Desk
from gptdesk.settings import Settings
from gptdesk.system.cpu_load import QUIET

log = logging.getLogger(__name__)

HEAD = (
    f"{'PRECISION':13} {'PROMPT':>6} {'N':>2} {'FIRST TOKEN':>12} {'TOKENS/S':>9} {'OF LIMIT':>8} {'SAMPLERS':>8}"
    f" {'LOAD':>7} {'PEAK':>8} {'FILE':>9}  KERNEL"
)
LEGEND = """
TOKENS/S: of all N sequences, with the greedy sampler, after the first token. OF LIMIT: share of the speed at which a
step only reads weights, keys and values once. SAMPLERS: share of a step that the default chain would take.
PEAK: peak memory of the whole process, of which {empty:.0f} MB before the model is loaded."""


def bench(desk: Desk, arguments: Sequence[str]) -> int:
    """Print a line for each case as it is measured, or all of them as JSON."""
    parser = verb_parser("bench", "Measure speed, memory and size of a model; close everything else meanwhile.")
    parser.add_argument("model", type=path, metavar="MODEL", help="name of a model, or a checkpoint folder")
    parser.add_argument("--precision", nargs="+", default=[], metavar="P", help="default: all")
    options = parser.parse_args(arguments)
    folder = find_folder(desk.library, options.model)
    measured = _measure(desk.settings, folder, options)
    if options.json:
        print(json.dumps([asdict(one.row) for one in measured], indent=1))
    elif measured:
        print(LEGEND.format(empty=measured[0].empty_mb))
    if (others := max((one.others for one in measured), default=0.0)) > QUIET:
        taken = f"{others:.0%} of the processors"
        log.warning("other programs used %s meanwhile: close them and measure again", taken)
    return 0


def _measure(settings: Settings, folder: Path, options: argparse.Namespace) -> list[Measured]:
    measured = []
    with prepared(folder, options.precision, vocabularies=settings.vocabularies, device=settings.device) as cases:
        bandwidth = 0.0
        if not options.json:
            bandwidth = run_bandwidth()
            print(f"{options.model}: memory is read at {bandwidth / 1e9:.1f} GB/s\n{HEAD}", flush=True)
        for case in cases:
            measured.append(run(case))
            if not options.json:
                print(_line(measured[-1], share_of_limit(measured[-1], bandwidth)), flush=True)
    return measured


def _line(measured: Measured, share: float) -> str:
    """Return the line of a case, in the columns of HEAD."""
    row = measured.row
    return (
        f"{row.precision:13} {row.prompt:>6} {row.n:>2} {row.seconds_to_first_token * 1e3:>9.1f} ms"
        f" {row.tokens_per_second:>9.1f} {share:>8.0%} {measured.sampler_share:>8.1%}"
        f" {row.load_seconds:>5.2f} s {row.peak_mb:>5.0f} MB {row.file_mb:>6.1f} MB  {row.kernel}"
    )
