"""Generation request from the command line: counts, seed, and the options of every sampler."""

import argparse
import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from gptdesk.cli.parsing import flag, number
from gptdesk.generation import GenerationRequest, read_word_bias
from gptdesk.stop_strings import unescape
from samplers import Chain, chain_of, default_chain, get, names

CONSTRAINTS = {
    "--ban-phrase": (r"text that must not be written, \n as in --stop", "TEXT"),
    "--choice": (r"a text to choose from: the model writes one of them and ends, \n as in --stop", "TEXT"),
    "--word-bias": ("a word and a number that makes it more (above 0) or less probable: dragon:3", "WORD:N"),
}


def add_request_options(parser: argparse.ArgumentParser, *names: str) -> None:
    """Add these fields of a request, the stop strings, the constraints and the samplers to a verb's options."""
    for name in names:
        parser.add_argument(flag(name), metavar="N", help=GenerationRequest.model_fields[name].description)
    parser.set_defaults(request_fields=names)
    description = GenerationRequest.model_fields["parse_special"].description
    parser.add_argument("--parse-special", action="store_true", help=description)
    stop = r"end at this text; may be repeated; \n stands for a new line, \\n for a backslash and an n"
    parser.add_argument("--stop", action="append", default=[], metavar="TEXT", help=stop)
    for flag_name, (what, metavar) in CONSTRAINTS.items():
        parser.add_argument(flag_name, action="append", default=[], metavar=metavar, help=f"{what}; may be repeated")
    parser.add_argument("--samplers", metavar="NAME,NAME", help="sampler chain, in order; default: %(default)s")
    parser.set_defaults(samplers=",".join(sampler.name for sampler in default_chain().samplers))
    for sampler, option in _sampler_options():
        field = get(sampler).model_fields[option]
        words = f"{sampler}: {field.description} (default {field.default})".replace("%", "%%")  # argparse formats it
        parser.add_argument(flag(option), metavar="X", help=words)


def read_request(options: argparse.Namespace, prompt: str) -> GenerationRequest:
    """Return the request; raises ValueError naming an option that is out of range."""
    given = {name: getattr(options, name) for name in options.request_fields}
    values = {name: number(value) for name, value in given.items() if value is not None}
    return GenerationRequest(
        prompt=prompt,
        chain=_chain(options),
        stop=tuple(map(unescape, options.stop)),
        banned_phrases=tuple(map(unescape, options.ban_phrase)),
        choices=tuple(map(unescape, options.choice)),
        word_bias=read_word_bias(options.word_bias),
        parse_special=options.parse_special,
        **values,
    )


@contextlib.contextmanager
def stop_on_interrupt() -> Iterator[threading.Event]:
    """Yield an event that the first Ctrl-C sets; the second one interrupts as usual."""
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


def _chain(options: argparse.Namespace) -> Chain:
    """Return the chain of --samplers with its options; an option of another sampler adds that one at the end."""
    chosen = filter(None, (part.strip() for part in options.samplers.split(",")))
    values: dict[str, object] = {}
    for sampler, option in _sampler_options():
        if (value := getattr(options, option)) is not None:
            kind = get(sampler).model_fields[option].annotation
            values[option] = number(value) if kind in (int, float) else value
    return chain_of(chosen, values)


def _sampler_options() -> list[tuple[str, str]]:
    return [(name, option) for name in names() for option in get(name).model_fields]
