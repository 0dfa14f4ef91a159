"""Sentence on the model and time that are chosen for a new run."""

import re
from dataclasses import replace

from gptdesk.desk import Desk
from gptdesk.formatting import short
from gptdesk.markup import markdown_text
from gptdesk.training.corpus import expected_vocabulary
from gptdesk.training.options import ModelOptions
from gptdesk.training.run_models import title
from gptdesk.training.time_choice import TIME_CHOICES, expected_speed
from models.gpt import PRESETS

# A text is not sent for this sentence, but its bytes and the number of its distinct characters; see `measure_of`.
MEASURE = "(text, ...rest) => [`${new Blob([text ?? '']).size} ${new Set(text ?? '').size}`, ...rest]"
BY_LENGTH = ("auto", "bpe")  # tokenizers whose vocabulary depends on the length of the text
MEASURED = re.compile(r"(\d{1,12}) (\d{1,7})")


def measure_of(text: str) -> str:
    """Return bytes and distinct characters of a text, as the script MEASURE does."""
    return f"{len(text.encode())} {len(set(text))}"


def choice_sentence(
    desk: Desk, *, preset: object, tokenizer: object, minutes: object, base: object, measure: object = ""
) -> str:
    """Return what the choices mean as Markdown.

    A run from a `base` model has that one's size and tokenizer; the vocabulary of a new one follows from the `measure`
    of its text, which is empty as long as there is none. Empty for a model or tokenizer that does not exist.
    """
    size, distinct = map(int, found.groups()) if (found := MEASURED.fullmatch(str(measure or ""))) else (0, 0)
    tokens = 0 if base else _vocabulary(tokenizer, size=size, distinct=distinct)
    parameters = _parameters(desk, str(base)) if base else _new_parameters(str(preset), tokens)
    if not parameters:
        return ""
    model = f"Base model {title(str(base))}" if base else f"New model {preset}, tokenizer {tokenizer}"
    text = f"{model}: about {short(parameters)} parameters"
    if not base:
        fewer = ", fewer for a short text" if not size and tokenizer in BY_LENGTH else ""
        text += f" with {tokens:,} tokens{fewer}"
    speed = expected_speed(desk.run_context, parameters=parameters)
    if speed is None:
        text += ". Preview measures the speed"
    else:
        text += f", about {short(speed.tokens_per_second)} tokens per second, estimated from the run {speed.run}"
        if isinstance(minutes, int | float) and minutes > 0:
            text += f": up to {short(minutes * 60 * speed.tokens_per_second)} tokens seen"
    return markdown_text(f"{text}.")


def dial_of(*, preset: object, tokenizer: object, minutes: object, steps: object, base: object) -> str | None:
    """Return the time of TIME_CHOICES that these choices are those of; None if they are of none.

    Size and tokenizer are not chosen for a run from a `base` model.
    """
    for time, usual in TIME_CHOICES.items():
        is_size = bool(base) or (usual.preset, usual.tokenizer) == (preset, tokenizer)
        if is_size and (usual.minutes, usual.steps) == (minutes, steps):
            return time
    return None


def _vocabulary(tokenizer: object, *, size: int, distinct: int) -> int:
    """Return about how many tokens a new model will have; 0 for a tokenizer that does not exist."""
    try:
        kind = ModelOptions(tokenizer=str(tokenizer)).tokenizer
    except ValueError:  # said when the run is started
        return 0
    return expected_vocabulary(kind, size=size, distinct=distinct)


def _new_parameters(preset: str, tokens: int) -> int:
    return replace(PRESETS[preset], vocab_size=tokens).parameters() if tokens and preset in PRESETS else 0


def _parameters(desk: Desk, name: str) -> int:
    """Return the parameters of a base model; 0 if it is gone."""
    try:
        return desk.library.info(name).parameters
    except ValueError:
        return 0
