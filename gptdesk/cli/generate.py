"""`gptdesk generate`: text, streamed to the terminal."""

import json
import logging
import sys
from collections.abc import Sequence

from gptdesk.cli.parsing import UsageError, add_encoding_option, read_standard_input, verb_parser
from gptdesk.cli.requests import add_request_options, read_request, stop_on_interrupt
from gptdesk.desk import Desk
from gptdesk.encodings import AUTO
from gptdesk.generation import GenerationQueued, GenerationRequest, GenerationResult, GenerationStart, cut_prompt
from models.manager import ModelKey

log = logging.getLogger(__name__)


def generate(desk: Desk, arguments: Sequence[str]) -> int:
    """Print the text as it is generated, or one JSON object at the end."""
    parser = verb_parser("generate", "Continue a prompt.")
    parser.add_argument("--model", default="starter", metavar="NAME[:PRECISION]", help="default: starter")
    parser.add_argument(
        "--prompt", default="", help="text to continue; - reads it from the standard input, without a final line end"
    )
    add_encoding_option(parser, of="--prompt -")
    parser.add_argument("--interactive", action="store_true", help="ask for prompts until Ctrl-D")
    add_request_options(parser, "max_new_tokens", "n", "seed", "deadline")
    options = parser.parse_args(arguments)

    key = desk.library.key(options.model)
    if options.interactive and (options.json or options.prompt):
        raise UsageError(
            "--interactive asks for the prompts itself and prints plain text; leave out --prompt and --json"
        )
    if options.encoding != AUTO and options.prompt != "-":
        raise UsageError("--encoding applies to the standard input; leave it out, or read the prompt with --prompt -")
    if options.prompt == "-":
        prompt = read_standard_input("the prompt", encoding=options.encoding).removesuffix("\n")
    else:
        prompt = options.prompt
    request = read_request(options, prompt)
    if options.interactive:
        return _ask_for_prompts(desk, key, request)
    stopped = _stream(desk, key, request, as_json=options.json)
    return 130 if stopped else 0


def _stream(desk: Desk, key: ModelKey, request: GenerationRequest, *, as_json: bool = False) -> bool:
    """Generate and print, and return whether Ctrl-C ended the text; it does not end the program."""
    result = GenerationResult(request.n)
    live = request.n == 1 and not as_json
    with stop_on_interrupt() as stop:
        for event in desk.generate(key, request, stop=stop, origin="cli"):
            result.add(event)
            if isinstance(event, GenerationQueued):
                continue
            if isinstance(event, GenerationStart):
                if cut := cut_prompt(event):
                    log.warning("%s", cut)
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
    """Ask for prompts and continue each; Ctrl-C ends a text, Ctrl-D the loop."""
    if sys.stdin is None:
        raise ValueError("--interactive asks for prompts, but the standard input is closed; give a prompt by --prompt")
    log.info("Type a prompt and press Enter; Ctrl-C ends a text, Ctrl-D ends the program.")
    while True:
        try:
            prompt = input("> ")
        except EOFError:
            print()
            return 0
        except UnicodeDecodeError:
            raise ValueError("the typed prompt is not valid UTF-8; set the terminal to UTF-8") from None
        try:
            _stream(desk, key, GenerationRequest(**(dict(request) | {"prompt": prompt})))
        except ValueError as error:
            log.warning("%s", error)
