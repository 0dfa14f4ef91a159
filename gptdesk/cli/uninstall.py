"""`gptdesk uninstall`: removal of all that the desk has put on this computer, except the clone itself."""

import json
import sys
from collections.abc import Sequence

from gptdesk.cli.parsing import verb_parser
from gptdesk.desk import Desk
from gptdesk.disk_usage import OTHER, WORK, remove_all, usage
from gptdesk.system.shortcut import ROOT, remove_shortcut
from gptdesk.system.single_instance import find_running
from gptdesk.training.lock import holder

DESCRIPTION = "Delete what the desk has put into its home folder, and its entry in the applications menu; ask once."


def uninstall(desk: Desk, arguments: Sequence[str]) -> int:
    """Delete the home after one question; code 1 if the answer is no, or something could not be deleted.

    Raises ValueError while a desk or a run uses the home.
    """
    parser = verb_parser("uninstall", DESCRIPTION)
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--keep-models", action="store_true", help="keep models, runs, texts and settings")
    options = parser.parse_args(arguments)
    home = desk.settings.home
    if url := find_running(home):
        raise ValueError(f"GPT Desk is running at {url}; end it first (Ctrl-C in its terminal)")
    if run := holder(home):
        raise ValueError(f"the run {run} is training; stop it first: gptdesk runs stop {run}")
    parts = [part for part in usage(home) if part.kind != OTHER and not (options.keep_models and part.kind in WORK)]
    talks = not options.json
    if not options.yes:
        print(f"This deletes from {home}:")
        for part in parts:
            print(f"{part.size_bytes / 1e6:>14,.1f} MB  {part.kind}: {', '.join(path.name for path in part.paths)}")
        print("Type yes to delete it all: ", end="", flush=True)
        if sys.stdin is None or sys.stdin.readline().strip().lower() not in ("y", "yes"):
            print("Nothing was deleted.")
            return 1
    shortcut = remove_shortcut(home)
    left = remove_all(parts, home)
    freed = sum(part.size_bytes for part in parts)
    others = [path.name for part in usage(home) for path in part.paths if path not in left] if home.exists() else []
    if options.json:
        names = [str(path) for path in left]
        print(json.dumps({"home": str(home), "size_bytes": freed, "not_deleted": names, "kept": others}))
    if talks:
        print(f"Deleted {freed / 1e6:,.1f} MB" + (f", and {shortcut}" if shortcut else "") + ".")
        if others:
            print(f"Kept in {home}: {', '.join(others)}.")
        for path in left:
            print(f"{path} could not be deleted; delete it yourself once this program has ended.")
        if (ROOT / "launch.py").exists():
            print(f"The program itself is the folder {ROOT}; delete it to be rid of that, too.")
    return 1 if left else 0
