"""`gptdesk history`: list, search, show, compare, rate, export and delete what was generated."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from gptdesk.cli.parsing import Parser, UsageError, path, verb_parser
from gptdesk.desk import Desk
from gptdesk.formatting import ending
from gptdesk.history import History, HistoryFilter, Summary
from gptdesk.history.comparing import compare_entries
from gptdesk.history.exporting import EXPORTS
from gptdesk.history.statistics import EXPORTS as STATISTICS
from gptdesk.recipe import Recipe
from models.storage import move_file

ENTRIES = 20  # that a list shows
WIDTH = 60  # characters of a text in a list
RATINGS = {"liked": 1, "disliked": -1, "none": 0}


def history(desk: Desk, arguments: Sequence[str]) -> int:
    """Print, export or change the history of this home."""
    parser = verb_parser("history", "List, search, show, compare, rate, export and delete what was generated.")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.type = path  # the rest is validated by the parser of the action
    listing = _add_action(actions, "list", "show the newest entries")
    searching = _add_action(actions, "search", "show the newest entries with all of these words")
    searching.add_argument("words", nargs="+", metavar="WORD", help="in prompt, text, note or tags")
    for one in (listing, searching):
        one.add_argument("--limit", type=int, default=ENTRIES, metavar="N", help=f"default: {ENTRIES}")
    show = _add_action(actions, "show", "print an entry with its texts")
    show.add_argument("id", type=int, metavar="ID", help="number of the entry")
    compare = _add_action(actions, "compare", "say what differs between two entries, and where their texts diverge")
    for name in ("first", "second"):
        compare.add_argument(name, type=int, metavar="ID", help=f"number of the {name} entry")
    recipe = _add_action(actions, "recipe", "print the recipe of an entry: `gptdesk recipe` runs it anywhere")
    recipe.add_argument("id", type=int, metavar="ID", help="number of the entry")
    mark = _add_action(actions, "mark", "rate an entry, or set its note or tags")
    mark.add_argument("id", type=int, metavar="ID", help="number of the entry")
    mark.add_argument("--rating", choices=list(RATINGS), help=", ".join(RATINGS))
    mark.add_argument("--note", metavar="TEXT", help="replaces the note")
    mark.add_argument("--tag", action="append", dest="tags", metavar="WORD", help="replaces the tags; repeatable")
    export = _add_action(actions, "export", "write entries to a file or the standard output")
    export.add_argument("--format", choices=list(EXPORTS), default="json", help=f"{', '.join(EXPORTS)}; default: json")
    export.add_argument("--to", type=path, metavar="FILE", help="new file; default: the standard output")
    statistics = _add_action(actions, "statistics", "print counts and mean speeds by day, model and precision")
    statistics.add_argument("--since", type=_day, metavar="DATE", help="first day, as in 2026-11-28; default: all")
    for one in (listing, searching, export):
        _add_filters(one)
    for name, words in (("delete", "delete entries; for a day `restore` undoes it"), ("restore", "undo a deletion")):
        one = _add_action(actions, name, words)
        one.add_argument("ids", type=int, nargs="+", metavar="ID", help="numbers of entries")
    options = parser.parse_args(arguments)
    if desk.history is None:
        raise ValueError("the history is switched off here; remove `history` from settings.json or the environment")
    return ACTIONS[options.action](desk.history, options)


def _add_action(actions: "argparse._SubParsersAction[Parser]", name: str, words: str) -> Parser:
    parser = actions.add_parser(name, help=words, description=words[0].upper() + words[1:] + ".", allow_abbrev=False)
    parser.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")
    return parser


def _add_filters(parser: Parser) -> None:
    parser.add_argument("--model", default="", metavar="NAME", help="only of this model")
    parser.add_argument("--precision", default="", metavar="P", help="only at this precision")
    parser.add_argument("--tag", default="", metavar="WORD", help="only with this tag")
    parser.add_argument("--rating", choices=list(RATINGS)[:2], help="only liked, or only disliked ones")
    parser.add_argument("--since", type=_day, metavar="DATE", help="first day, as in 2026-11-28")
    parser.add_argument("--until", type=_day, metavar="DATE", help="first day that does not count")


def _day(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r:.60} is no date; write it as 2026-11-28") from None


def _filter(options: argparse.Namespace) -> HistoryFilter:
    return HistoryFilter(
        text=" ".join(getattr(options, "words", ())),
        model=options.model,
        precision=options.precision,
        tag=options.tag,
        rating=RATINGS[options.rating] if options.rating else None,
        since=options.since,
        until=options.until,
    )


def _list(history: History, options: argparse.Namespace) -> int:
    if options.limit < 1:
        raise UsageError(f"argument --limit: at least 1, not {options.limit}")
    found = history.search(_filter(options), limit=options.limit)
    if options.json:
        print(json.dumps([asdict(summary) for summary in found], indent=1))
        return 0
    for summary in found:
        print(_line(summary))
    if not found:
        print("nothing in the history fits", file=sys.stderr)
    return 0


def _line(summary: Summary) -> str:
    when = datetime.fromtimestamp(summary.created).strftime("%Y-%m-%d %H:%M")
    prompt, text = ending(" ".join(summary.prompt.split()), WIDTH // 2), " ".join(summary.text.split())
    mark = {1: "+", -1: "-"}.get(summary.rating or 0, " ")
    model = f"{summary.model}:{summary.precision}"
    return f"{summary.id:>6} {mark} {when} {model:24} {f'{prompt} | {text}'[:WIDTH]}".rstrip()


def _show(history: History, options: argparse.Namespace) -> int:
    entry = history.entry(options.id)
    if options.json:
        print(json.dumps(asdict(entry), indent=1))
        return 0
    print("".join(EXPORTS["markdown"]([entry])).rstrip())
    return 0


def _compare(history: History, options: argparse.Namespace) -> int:
    comparison = compare_entries(history.entry(options.first), history.entry(options.second))
    print(json.dumps(comparison.to_json(), indent=1) if options.json else "\n".join(comparison.sentences()))
    return 0


def _recipe(history: History, options: argparse.Namespace) -> int:
    print(Recipe.of(history.entry(options.id)).to_json(), end="")
    return 0


def _mark(history: History, options: argparse.Namespace) -> int:
    rating = RATINGS[options.rating] if options.rating else None
    if rating is None and options.note is None and options.tags is None:
        raise UsageError("`history mark` needs --rating, --note or --tag")
    history.annotate(options.id, note=options.note, rating=rating, tags=options.tags)
    return 0


def _export(history: History, options: argparse.Namespace) -> int:
    parts = EXPORTS[options.format](history.entries(_filter(options)))
    if options.to is None:
        sys.stdout.writelines(parts)
        return 0
    target = Path(options.to)
    if target.exists():
        raise ValueError(f"{target} exists; choose another name with --to, or delete it")
    partial = target.with_name(f".{target.name}.partial")
    try:
        with partial.open("wb") as file:
            file.writelines(part.encode("utf-8") for part in parts)
        move_file(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    return 0


def _statistics(history: History, options: argparse.Namespace) -> int:
    figures = history.statistics(since=options.since or 0.0)
    print(STATISTICS["json" if options.json else "csv"](figures), end="")
    return 0


def _delete(history: History, options: argparse.Namespace) -> int:
    history.delete(options.ids)
    return 0


def _restore(history: History, options: argparse.Namespace) -> int:
    history.restore(options.ids)
    return 0


ACTIONS = {
    "list": _list,
    "search": _list,
    "show": _show,
    "compare": _compare,
    "recipe": _recipe,
    "mark": _mark,
    "export": _export,
    "statistics": _statistics,
    "delete": _delete,
    "restore": _restore,
}
