"""`gptdesk compare` and `gptdesk evaluate`: the measurements of the Compare tab."""

import argparse
import json
import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from gptdesk.cli.parsing import UsageError, add_encoding_option, number, path, verb_parser
from gptdesk.cli.requests import add_request_options, read_request, stop_on_interrupt
from gptdesk.comparison import MOST_SIDES, Side, Stage, side_names, with_seed
from gptdesk.comparison.quality import Quality, judge
from gptdesk.comparison.report import (
    Report,
    caveats,
    divergence_sentences,
    quality_json,
    study,
    summary_sentences,
    to_json,
)
from gptdesk.comparison.table import report_table
from gptdesk.comparison.texts import find_held_out_text, read_text
from gptdesk.comparison.verdict import summary
from gptdesk.desk import Desk
from gptdesk.encodings import AUTO, checked_encoding
from models.manager import ModelKey

log = logging.getLogger(__name__)

Wanted = TypeVar("Wanted")
MODEL = "NAME[:PRECISION]"


def compare(desk: Desk, arguments: Sequence[str]) -> int:
    """Measure models one after the other, evaluate them on a text, and print the report."""
    parser = verb_parser("compare", "Compare models: size, speed, text and quality; close everything else meanwhile.")
    parser.add_argument("models", nargs="+", metavar=MODEL, help="two or three models; the first is the reference")
    parser.add_argument(
        "--text", type=path, metavar="FILE", help="evaluation text; default: validation text of the first model"
    )
    add_encoding_option(parser, of="--text")
    parser.add_argument("--prompt", default="", help="prompt of each side while it is timed")
    parser.add_argument("--repeats", default="5", metavar="N", help="how often each side is timed (default 5)")
    add_request_options(parser, "max_new_tokens", "seed")
    options = parser.parse_args(arguments)
    if not 2 <= len(options.models) <= MOST_SIDES:
        raise UsageError(
            f"compare takes 2 or {MOST_SIDES} models, not {len(options.models)}; see `{parser.prog} --help`"
        )
    keys = [desk.library.key(text) for text in options.models]
    request = with_seed(read_request(options, options.prompt))
    sides = [Side(name, key, request) for name, key in zip(side_names(keys), keys, strict=True)]
    text, text_name = evaluation_text(desk, options, keys)
    with stop_on_interrupt() as stop:
        events = study(desk.manager, sides, text=text, text_name=text_name, repeats=_whole(options.repeats), stop=stop)
        report = last_event(events, Report)
    if report is None:
        return 130
    if options.json:
        print(json.dumps(to_json(report), indent=1))
    else:
        _print(report)
    return 0


def evaluate(desk: Desk, arguments: Sequence[str]) -> int:
    """Print how well a model predicts a text, and how close it is to a reference model."""
    parser = verb_parser("evaluate", "Evaluate a model on a text.")
    parser.add_argument("model", metavar=MODEL)
    parser.add_argument(
        "--text", type=path, metavar="FILE", help="evaluation text; default: validation text of the model"
    )
    add_encoding_option(parser, of="--text")
    parser.add_argument("--against", metavar=MODEL, help="reference model to compare it with")
    options = parser.parse_args(arguments)
    key = desk.library.key(options.model)
    keys = [desk.library.key(options.against), key] if options.against else [key]
    text, text_name = evaluation_text(desk, options, keys)
    if text is None:
        raise ValueError(f"{text_name} with --text")
    with stop_on_interrupt() as stop:
        quality = last_event(judge(desk.manager, keys, text, stop=stop), Quality)
    if quality is None:
        return 130
    measures = quality_json(quality, len(keys) - 1)
    if options.json:
        print(
            json.dumps(
                {
                    "model": key.spelled,
                    "against": keys[0].spelled if options.against else None,
                    "judged_by": text_name,
                    **measures,
                },
                indent=1,
            )
        )
        return 0
    for name, value in measures.items():
        if value is not None:
            print(f"{name:24} {value:,.6g}" if isinstance(value, int | float) else f"{name:24} {value}")
    if options.against:
        print(summary(str(key), None, None, quality.pairs[0]) + ".")
    return 0


def evaluation_text(desk: Desk, options: argparse.Namespace, keys: Sequence[ModelKey]) -> tuple[str | None, str]:
    """Return the evaluation text and its name, or None and the reason why there is none."""
    encoding = checked_encoding(options.encoding)
    if options.text is not None:
        path = Path(options.text)
        text = read_text(path, encoding=encoding)
        for remark in text.reading.remarks(path.name):
            log.warning("%s", remark)
        return text.text, path.name
    if encoding != AUTO:
        raise UsageError("--encoding applies to the file of --text; leave it out, or give a file")
    return find_held_out_text(desk.manager, keys)


def _whole(text: str) -> int:
    value = number(text)
    if not isinstance(value, int):
        raise ValueError(f"repeats must be a whole number, not {text!r}")
    return value


def _print(report: Report) -> None:
    for sentence in (*summary_sentences(report), *divergence_sentences(report)):
        print(sentence)
    print()
    rows = [
        ("", *report.names),
        *((line.label, *(cell or "-" for cell in line.cells)) for line in report_table(report)),
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    for note in dict.fromkeys(note for line in report_table(report) if "" in line.cells for note in line.notes if note):
        print(f"- {note}")
    print()
    for note in caveats(report):
        print(note)


def last_event(events: Iterator[Stage | Wanted], kind: type[Wanted]) -> Wanted | None:
    """Return the last event of this kind, if any; show the progress on stderr if that is a terminal."""
    last = None
    on_terminal = sys.stderr.isatty()
    try:
        for event in events:
            if isinstance(event, kind):
                last = event
            elif on_terminal and isinstance(event, Stage):
                done = "" if event.done is None else f" {event.done:4.0%}"
                sys.stderr.write(f"\r\x1b[K{event.text}{done}")
                sys.stderr.flush()
    finally:
        if on_terminal:
            sys.stderr.write("\r\x1b[K")
    return last
