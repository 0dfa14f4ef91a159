"""`gptdesk recipe`: runs the recipe of a text, and says whether the same text came out."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from gptdesk.cli.parsing import path, standard_input, verb_parser
from gptdesk.cli.requests import stop_on_interrupt
from gptdesk.desk import Desk
from gptdesk.generation import GenerationResult
from gptdesk.recipe import LARGEST, Recipe
from models.manager import ModelKey
from models.storage import read_bytes
from models.weights_hash import weights_hash


def recipe(desk: Desk, arguments: Sequence[str]) -> int:
    """Generate by a recipe, print the text, and return 0 if it is the same as in the recipe, else 1."""
    parser = verb_parser("recipe", "Run a recipe, and say whether the same text comes out.")
    parser.add_argument("file", type=path, metavar="FILE", help="recipe of `gptdesk history recipe`; - for stdin")
    options = parser.parse_args(arguments)
    if options.file == "-":
        found = Recipe.read(standard_input("the recipe").read(LARGEST), name="the standard input")
    else:
        file = Path(options.file)
        if file.exists() and not file.is_file():
            raise ValueError(f"{file} is no regular file; give one, or - for the standard input")
        found = Recipe.read(read_bytes(file, limit=LARGEST), name=file.name)
    found.check_model([info.name for info in desk.library.available()])
    result = GenerationResult(found.request.n)
    with stop_on_interrupt() as stop:
        key = ModelKey(found.model, found.precision)
        for event in desk.generate(key, found.request, stop=stop, origin="cli"):
            result.add(event)
    if stop.is_set():
        print("stopped; nothing was compared", file=sys.stderr)
        return 130
    weights = weights_hash(desk.library.checkpoint(found.model).path)
    verdict = found.verdict(result, weights=weights, tokenizer=desk.library.tokenizer(found.model))
    if options.json:
        print(json.dumps({"texts": result.texts, "same": verdict.same} | asdict(verdict), indent=1))
    else:
        for text in result.texts:
            print(f"{found.request.prompt}{text}\n")
        print(verdict.sentence, file=sys.stderr)
    return 0 if verdict.same else 1
