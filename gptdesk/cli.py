"""`gptdesk ...` in a terminal: one thin function a verb."""

import argparse
import contextlib
import dataclasses
import json
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import NoReturn

from gptdesk import __version__
from gptdesk.desk import Desk
from gptdesk.generation import GenerationRequest, GenerationResult, GenerationStart
from gptdesk.settings import load_settings
from models.manager import ModelKey
from samplers import Chain, default_chain, get, names
from samplers.base import OptionValue

log = logging.getLogger(__name__)

EPILOG = "Without a verb the desk opens in the browser. A model is NAME or NAME:PRECISION, as in starter:float32."


class UsageError(Exception):
    """What was typed is no command of ours; the message is one line."""


class _Parser(argparse.ArgumentParser):
    """Raises UsageError where argparse would print its usage and end the process."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see `{self.prog} --help`")


def main_parser() -> argparse.ArgumentParser:
    """The options of the desk itself, and the verbs without theirs."""
    parser = _Parser(prog="gptdesk", description="A workbench for small GPT models.", epilog=EPILOG)
    parser.add_argument("--version", action="version", version=f"gptdesk {__version__}")
    parser.add_argument("--home", metavar="DIR", help="folder of models and settings (also GPTDESK_HOME)")
    parser.add_argument("--host", help="address to listen on (default 127.0.0.1: this computer only)")
    parser.add_argument("--port", help="first port to try (default 7860)")
    parser.add_argument("--no-browser", dest="browser", action="store_const", const=False, help="open no page")
    parser.add_argument("--app-window", action="store_const", const=True, help="open a window of its own, if possible")
    parser.add_argument("verb", nargs="?", choices=list(VERBS), metavar="VERB", help=", ".join(VERBS))
    parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def run(verb: str, arguments: Sequence[str], *, home: str | None) -> int:
    """Run one verb; the exit code. Raises ValueError or UsageError for what the user got wrong."""
    # The options of `generate` depend on the samplers in the home folder, so that is looked for first.
    early = _Parser(prog=f"gptdesk {verb}", add_help=False)
    early.add_argument("--home", default=home)
    options, rest = early.parse_known_args(arguments)
    desk = Desk(load_settings({"home": options.home}))
    return VERBS[verb](desk, rest)


def generate(desk: Desk, arguments: Sequence[str]) -> int:
    """`gptdesk generate`: text to the terminal as it comes, or one JSON object at the end."""
    parser = _verb_parser("generate", "Continue a prompt.")
    parser.add_argument("--model", default="starter", metavar="NAME[:PRECISION]", help="default: starter")
    parser.add_argument("--prompt", default="", help="text to continue; - reads it from the standard input")
    parser.add_argument("--interactive", action="store_true", help="ask for one prompt after the other")
    for name in ("max_new_tokens", "n", "seed", "deadline"):
        parser.add_argument(_flag(name), metavar="N", help=GenerationRequest.model_fields[name].description)
    parser.add_argument("--stop", action="append", default=[], metavar="TEXT", help="end at this text; may be repeated")
    parser.add_argument("--samplers", metavar="NAME,NAME", help="the chain, in its order; default: %(default)s")
    parser.set_defaults(samplers=",".join(sampler.name for sampler in default_chain().samplers))
    for sampler, option in _sampler_options():
        field = get(sampler).model_fields[option]
        told = f"{sampler}: {field.description} (default {field.default})".replace("%", "%%")  # argparse formats it
        parser.add_argument(_flag(option), metavar="X", help=told)
    options = parser.parse_args(arguments)

    key = ModelKey.parse(options.model)
    given = {name: getattr(options, name) for name in ("max_new_tokens", "n", "seed", "deadline")}
    fixed = {name: _number(value) for name, value in given.items() if value is not None}
    if options.interactive and (options.json or options.prompt):
        raise UsageError(
            "--interactive asks for the prompts itself and prints plain text; leave out --prompt and --json"
        )
    prompt = sys.stdin.read() if options.prompt == "-" else options.prompt
    request = GenerationRequest(prompt=prompt, chain=_chain(options), stop=tuple(options.stop), **fixed)
    if options.interactive:
        return _ask_for_prompts(desk, key, request)
    stopped = _stream(desk, key, request, as_json=options.json)
    return 130 if stopped else 0


def _chain(options: argparse.Namespace) -> Chain:
    """The samplers named, with the options given; an option of a sampler that is not named adds it at the end."""
    links: dict[str, dict[str, OptionValue]] = {}
    for name in filter(None, (part.strip() for part in options.samplers.split(","))):
        links[name] = {"name": name}
    for sampler, option in _sampler_options():
        if (value := getattr(options, option)) is not None:
            kind = get(sampler).model_fields[option].annotation
            links.setdefault(sampler, {"name": sampler})[option] = _number(value) if kind in (int, float) else value
    return Chain.from_data(list(links.values()))


def _stream(desk: Desk, key: ModelKey, request: GenerationRequest, *, as_json: bool = False) -> bool:
    """Generate and print; Ctrl-C ends the text, not the program. Whether it was stopped."""
    result = GenerationResult(request.n)
    live = request.n == 1 and not as_json
    with _stop_on_interrupt() as stop:
        for event in desk.generate(key, request, stop=stop):
            result.add(event)
            if isinstance(event, GenerationStart):
                if event.dropped_tokens:
                    log.warning(
                        "the prompt does not fit the context of %d tokens: its first %d tokens were left out",
                        event.context,
                        event.dropped_tokens,
                    )
                print(request.prompt if live else "", end="", flush=True)
            elif live:
                print(event.text, end="", flush=True)
    if as_json:
        print(json.dumps(_as_json(key, result)))
    elif live:
        print()
    else:
        for i, text in enumerate(result.texts, 1):
            print(f"[{i}] {request.prompt}{text}\n")
    if not as_json and result.start:
        speed = f"{result.tokens_per_second:.0f} tokens/s, " if result.tokens_per_second else ""
        log.info(
            "%s, %d + %d tokens, %sseed %d",
            key,
            result.start.prompt_tokens,
            sum(map(len, result.tokens)),
            speed,
            result.start.seed,
        )
    return stop.is_set()


def _as_json(key: ModelKey, result: GenerationResult) -> dict[str, object]:
    assert result.start is not None
    return {
        "model": key.name,
        "precision": key.precision,
        "seed": result.start.seed,
        "prompt_tokens": result.start.prompt_tokens,
        "texts": result.texts,
        "tokens": [len(tokens) for tokens in result.tokens],
        "finish_reasons": result.finish_reasons,
        "seconds_to_first_token": result.seconds_to_first_token,
        "tokens_per_second": result.tokens_per_second,
    }


def _ask_for_prompts(desk: Desk, key: ModelKey, request: GenerationRequest) -> int:
    """A prompt loop: Ctrl-C ends a text, Ctrl-D the loop."""
    log.info("Type a prompt and press Enter; Ctrl-C ends a text, Ctrl-D ends the program.")
    while True:
        try:
            prompt = input("> ")
        except EOFError:
            print()
            return 0
        try:
            _stream(desk, key, GenerationRequest(**(dict(request) | {"prompt": prompt})))
        except ValueError as error:
            log.warning("%s", error)


@contextlib.contextmanager
def _stop_on_interrupt() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets; the second one interrupts as usual."""
    stop = threading.Event()

    def interrupt(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            signal.default_int_handler(number, frame)
        stop.set()

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


def samplers(desk: Desk, arguments: Sequence[str]) -> int:
    """`gptdesk samplers`: what there is to chain, with options and defaults."""
    options = _verb_parser("samplers", "List the samplers and their options.").parse_args(arguments)
    found = [
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
        print(json.dumps(found, indent=1))
        return 0
    for sampler in found:
        print(f"{sampler['name']:20} {sampler['description']}")
        for option, about in sampler["options"].items():  # type: ignore[attr-defined]
            print(f"    {_flag(option):24} {about['description']} (default {about['default']})")
    return 0


def models(desk: Desk, arguments: Sequence[str]) -> int:
    """`gptdesk models list`: the checkpoints there are."""
    parser = _verb_parser("models", "Manage the models in the home folder.")
    parser.add_argument("action", choices=["list"], help="list: show every model")
    options = parser.parse_args(arguments)
    found = desk.manager.available()
    if options.json:
        print(json.dumps([dataclasses.asdict(info) | {"path": str(info.path)} for info in found], indent=1))
        return 0
    print(f"{'NAME':24} {'PARAMETERS':>14} {'CONTEXT':>8} {'TOKENIZER':11} {'SIZE':>10}  PRECISIONS")
    for info in found:
        if info.problem:
            print(f"{info.name:24} cannot be used: {info.problem}")
        else:
            size = f"{info.size_bytes / 1e6:,.1f} MB"
            shape = f"{info.parameters:>14,} {info.context:>8,} {info.tokenizer:11} {size:>10}"
            print(f"{info.name:24} {shape}  {', '.join(info.precisions)}")
    return 0


VERBS: dict[str, Callable[[Desk, Sequence[str]], int]] = {"generate": generate, "samplers": samplers, "models": models}


def _verb_parser(verb: str, description: str) -> argparse.ArgumentParser:
    parser = _Parser(prog=f"gptdesk {verb}", description=description, allow_abbrev=False)
    parser.add_argument("--home", metavar="DIR", help="folder of models and settings (also GPTDESK_HOME)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _sampler_options() -> list[tuple[str, str]]:
    return [(name, option) for name in names() for option in get(name).model_fields]


def _number(text: str) -> int | float | str:
    """What was typed, as a number if it is one; the options class says what is wrong with the rest."""
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


def _flag(option: str) -> str:
    return "--" + option.replace("_", "-")
