"""`gptdesk sensitivity`: where the bits of a quantized model go, and what raised matrices buy."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict

from gptdesk.cli.compare import MODEL, evaluation_text, last_event
from gptdesk.cli.parsing import UsageError, add_encoding_option, path, verb_parser
from gptdesk.cli.requests import stop_on_interrupt
from gptdesk.comparison.raising import Raising, measure_raising, raising_sentences
from gptdesk.comparison.sensitivity import MatrixSensitivity, sensitivities
from gptdesk.desk import Desk
from models.manager import ModelKey

DEFAULT = "int4"


def sensitivity(desk: Desk, arguments: Sequence[str]) -> int:
    """Print the KL divergence that each matrix causes alone, or with --raise what those matrices buy."""
    parser = verb_parser(
        "sensitivity",
        "Print the KL divergence that each matrix causes when it alone is quantized, on the first 1,000 tokens of a "
        "text. With --raise, measure what these matrices buy at a higher precision, on all of the text.",
    )
    parser.add_argument("model", metavar=MODEL, help="float model, and int4 or int8; default: int4")
    parser.add_argument(
        "--text", type=path, metavar="FILE", help="evaluation text; default: validation text of the model"
    )
    add_encoding_option(parser, of="--text")
    add_raise_option(parser)
    options = parser.parse_args(arguments)
    key = ModelKey.parse(options.model if ":" in options.model else f"{options.model}:{DEFAULT}")
    text, text_name = evaluation_text(desk, options, [key])
    if text is None:
        raise ValueError(f"{text_name} with --text")
    raised = read_raised(options.raised)
    if raised:
        return _print_raising(desk, key, raised, text, as_json=options.json)
    return _print_map(desk, key, text, text_name, as_json=options.json)


def add_raise_option(parser: argparse.ArgumentParser) -> None:
    """Add --raise, which may be given several times."""
    parser.add_argument(
        "--raise",
        dest="raised",
        action="append",
        default=[],
        metavar="MATRIX=P",
        help="keep a matrix at int8 or float32, as in h.0.mlp.c_proj=int8; may be repeated",
    )


def read_raised(given: Sequence[str]) -> dict[str, str]:
    """Return the values of --raise as matrix and encoding; UsageError for one without "=" or given twice."""
    raised: dict[str, str] = {}
    for text in given:
        matrix, equals, encoding = text.partition("=")
        if not equals:
            raise UsageError(f"argument --raise: {text[:60]!r} is not MATRIX=PRECISION, as in h.0.mlp.c_proj=int8")
        if matrix in raised:
            raise UsageError(f"argument --raise: {matrix[:60]} is given twice")
        raised[matrix] = encoding
    return raised


def _print_map(desk: Desk, key: ModelKey, text: str, text_name: str, *, as_json: bool) -> int:
    with stop_on_interrupt() as stop:
        results: list[MatrixSensitivity] = []
        for event in sensitivities(desk.manager, key, text, stop=stop):
            if isinstance(event, MatrixSensitivity):
                results.append(event)
                if not as_json:
                    print(f"{event.matrix:18} {event.encoding:9} {event.kl:.2e} ± {event.kl_se:.1e} nats", flush=True)
        if stop.is_set():
            return 130
    if as_json:
        print(
            json.dumps({"model": key.spelled, "judged_by": text_name, "matrices": list(map(asdict, results))}, indent=1)
        )
    return 0


def _print_raising(desk: Desk, key: ModelKey, raised: dict[str, str], text: str, *, as_json: bool) -> int:
    with stop_on_interrupt() as stop:
        raising = last_event(measure_raising(desk.manager, key, raised, text, stop=stop), Raising)
    if raising is None:
        return 130
    if as_json:
        print(json.dumps(asdict(raising), indent=1))
        return 0
    for sentence in raising_sentences(raising):
        print(f"{sentence}.")
    return 0
