"""Options: values a user sets, validated, with one sentence for a mistake."""

import reprlib
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

# pydantic explains these after a comma ("a valid integer, unable to parse ..."); the offending value says it better.
WRONG_TYPE = ("_parsing", "_type", "_from_float")


class OptionError(ValueError):
    """A value that an option does not take; `option` is its name, or that of the class for a fault of several."""

    def __init__(self, sentence: str, *, option: str) -> None:
        super().__init__(sentence)
        self.option = option


class Options(BaseModel):
    """Immutable set of options: unknown names, values out of range, NaN and infinity are refused.

    Raises OptionError, a ValueError with one sentence: the option, what is allowed and what was given.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def __init__(self, /, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
            option = str(fault["loc"][0]) if fault["loc"] else getattr(self, "name", type(self).__name__)
            raise OptionError(_sentence(type(self), fault), option=option) from None


def _sentence(options: type[Options], fault: ErrorDetails) -> str:
    """Return a fault as a sentence that a user can act on."""
    kind, message = fault["type"], fault["msg"]
    owner = getattr(options, "name", options.__name__)
    option = str(fault["loc"][0]) if fault["loc"] else owner
    if kind == "value_error":  # one of our own validators, which speak in sentences already
        return str(fault["ctx"]["error"])
    if kind == "extra_forbidden":
        known = ", ".join(options.model_fields)
        return f"{owner} has no option {option!r:.60}; " + (f"its options are: {known}" if known else "it has none")
    if kind == "missing":
        return f"{owner} needs a value for {option}"
    if kind in ("string_too_long", "too_long"):
        unit = "characters" if kind == "string_too_long" else "items"
        return f"{option} may have at most {fault['ctx']['max_length']:,} {unit}, not {len(fault['input']):,}"
    if not message.startswith("Input should be "):
        return f"{option} is not accepted: {message[0].lower()}{message[1:]}"
    allowed = message.removeprefix("Input should be ")
    if kind.endswith(WRONG_TYPE):
        allowed = allowed.split(",")[0]
    return f"{option} must be {allowed}, not {reprlib.repr(fault['input'])}"
