"""Sentence on the model and time that are chosen for a new run."""

from gptdesk.desk import Desk
from gptdesk.formatting import short
from gptdesk.markup import markdown_text
from gptdesk.training.run_models import title
from gptdesk.training.time_choice import TIME_CHOICES, expected_speed
from models.gpt import PRESETS


def choice_sentence(
    desk: Desk, dial: object, preset: object, tokenizer: object, minutes: object, steps: object, base: object
) -> str:
    """Return what the choices mean as Markdown, with "(changed)" if they are not those of the dial.

    A run from a `base` model has that one's size and tokenizer. Empty for a model that does not exist.
    """
    usual = TIME_CHOICES.get(str(dial))
    kept = (
        usual is not None
        and (usual.minutes, usual.steps) == (minutes, steps)
        and (bool(base) or (usual.preset, usual.tokenizer) == (preset, tokenizer))
    )
    parameters = _parameters(desk, str(base)) if base else _new_parameters(str(preset))
    if not parameters:
        return ""
    model = f"Base model {title(str(base))}" if base else f"New model {preset}, tokenizer {tokenizer}"
    text = f"{model}: about {short(parameters)} parameters"
    speed = expected_speed(desk.run_context, parameters=parameters)
    if speed is None:
        text += ". Preview measures the speed"
    else:
        text += f", about {short(speed.tokens_per_second)} tokens per second, estimated from the run {speed.run}"
        if isinstance(minutes, int | float) and minutes > 0:
            text += f": up to {short(minutes * 60 * speed.tokens_per_second)} tokens seen"
    return markdown_text(f"{text}.{'' if kept else ' (changed)'}")


def _new_parameters(preset: str) -> int:
    return PRESETS[preset].parameters() if preset in PRESETS else 0


def _parameters(desk: Desk, name: str) -> int:
    """Return the parameters of a base model; 0 if it is gone."""
    try:
        return desk.library.info(name).parameters
    except ValueError:
        return 0
