"""`gptdesk models`: management of the models, quantization, import and export."""

import argparse
import json
from collections.abc import Sequence
from functools import partial

from gptdesk import management
from gptdesk.cli.exporting import add_export, export_model
from gptdesk.cli.importing import add_import, import_model
from gptdesk.cli.managing import ACTIONS, add_actions, as_json
from gptdesk.cli.parsing import Parser, path, verb_parser
from gptdesk.cli.sensitivity import add_raise_option, read_raised
from gptdesk.desk import Desk
from models.listing import ModelInfo
from models.precision import PRECISIONS


def models(desk: Desk, arguments: Sequence[str]) -> int:
    """List and manage the models, quantize, import or export one."""
    parser = verb_parser("models", "Manage the models in the home folder.")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.type = path  # the rest is validated by the parser of the action
    _add_action(actions, "list", "show every model")
    quantize = _add_action(actions, "quantize", "save a smaller and faster copy of a model")
    quantize.add_argument("name", metavar="NAME", help="model to read; it is not changed")
    quantize.add_argument("--precision", required=True, metavar="P", help=", ".join(list(PRECISIONS)[1:]))
    quantize.add_argument("--to", metavar="NAME", help="name of the new model; default: NAME-PRECISION")
    add_raise_option(quantize)
    add = partial(_add_action, actions)
    add_import(add)
    add_export(add)
    add_actions(add)
    options = parser.parse_args(arguments)
    more = {"quantize": _quantize, "import": import_model, "export": export_model}
    return (ACTIONS | more)[options.action](desk, options)


def _add_action(actions: "argparse._SubParsersAction[Parser]", name: str, words: str) -> Parser:
    parser = actions.add_parser(name, help=words, description=words[0].upper() + words[1:] + ".", allow_abbrev=False)
    parser.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")
    return parser


def _quantize(desk: Desk, options: argparse.Namespace) -> int:
    """Write the new model and print its size. Raises ValueError if that fails."""
    original = desk.model(options.name)
    try:
        raised = read_raised(options.raised)
        copy = desk.library.quantize(options.name, options.precision, to=options.to, raised=raised)
    except OSError as error:
        reason = error.strerror or error
        raise ValueError(f"{options.name} was not quantized and nothing was changed: {reason}") from error
    ratio = copy.size_bytes / original.size_bytes
    if options.json:
        print(json.dumps(_as_json(desk, copy) | {"original_size_bytes": original.size_bytes, "ratio": ratio}, indent=1))
        return 0
    if copy.problem:
        print(f"{copy.name} was written to {copy.path}, but cannot be used here: {copy.problem}")
        return 1
    sizes = f"{copy.size_bytes / 1e6:,.1f} MB, {ratio:.0%} of {original.name}'s {original.size_bytes / 1e6:,.1f} MB"
    print(f"{copy.name}: {sizes}, in {copy.path}")
    return 0


def _as_json(desk: Desk, info: ModelInfo) -> dict[str, object]:
    return as_json(management.listed(desk.library, info))
