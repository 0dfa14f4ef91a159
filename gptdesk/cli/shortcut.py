"""`gptdesk shortcut`: GPT Desk in the applications menu."""

import json
from collections.abc import Sequence

from platformdirs import user_data_path

from gptdesk.cli.parsing import verb_parser
from gptdesk.desk import Desk
from gptdesk.system.shortcut import make_shortcut

DESCRIPTION = "Put GPT Desk in the applications menu. Other options are kept in the shortcut: --port 8000, say."


def shortcut(desk: Desk, arguments: Sequence[str]) -> int:
    """Write the shortcut, which opens this home with the options that are not the verb's own; print its path."""
    options, words = verb_parser("shortcut", DESCRIPTION).parse_known_args(arguments)
    home = desk.settings.home
    if home != user_data_path("gptdesk", appauthor=False):
        words = ["--home", str(home), *words]
    path = make_shortcut(words)
    print(json.dumps({"path": str(path)}) if options.json else f"Made {path}")
    return 0
