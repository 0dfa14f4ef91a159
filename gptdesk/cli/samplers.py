"""`gptdesk samplers`: list of the samplers with options and defaults."""

import json
from collections.abc import Sequence

from gptdesk.cli.parsing import flag, verb_parser
from gptdesk.desk import Desk
from samplers import get, names


def samplers(desk: Desk, arguments: Sequence[str]) -> int:
    """List the samplers, or print them as JSON."""
    options = verb_parser("samplers", "List the samplers and their options.").parse_args(arguments)
    listed = [
        {
            "name": name,
            "description": get(name).summary(),
            "options": {
                option: {"default": field.default, "description": field.description or ""}
                for option, field in get(name).model_fields.items()
            },
        }
        for name in names()
    ]
    if options.json:
        print(json.dumps(listed, indent=1))
        return 0
    for sampler in listed:
        print(f"{sampler['name']:20} {sampler['description']}")
        for option, about in sampler["options"].items():  # type: ignore[attr-defined]
            print(f"    {flag(option):24} {about['description']} (default {about['default']})")
    return 0
