"""`gptdesk about`: versions, device and available precisions."""

import json
from collections.abc import Sequence

from gptdesk.cli.parsing import verb_parser
from gptdesk.desk import Desk
from gptdesk.installation import installation_facts


def about(desk: Desk, arguments: Sequence[str]) -> int:
    """Print versions, device and precisions; a kernel is known once a model has been loaded at its precision."""
    options = verb_parser("about", "Show versions, device, and the precisions available here.").parse_args(arguments)
    facts = installation_facts(desk)
    if options.json:
        print(json.dumps(facts, indent=1))
        return 0
    for name, value in facts.items():
        print(f"{name:12} {'' if isinstance(value, dict) else value}".rstrip())
        if isinstance(value, dict):
            for key, words in value.items():
                print(f"    {key}: {words}")
    return 0
