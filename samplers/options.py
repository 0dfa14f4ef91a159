"""Options: values a user sets, validated, with one sentence for a mistake."""

import reprlib
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

# pydantic explains these after a comma ("a valid integer, unable to parse ..."); the offending value says it better.
WRONG_TYPE = ("_parsing", "_type", "_from_float")


class Options(BaseModel):
    """Immutable set of options: unknown names, values out of range, NaN and infinity are refused.

    Raises ValueError with one sentence that names the option, what is allowed and what was given.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def __init__(self, /, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ValueError(_sentence(type(self), error)) from None


def _sentence(options: type[Options], error: ValidationError) -> str:
    """Return the first fault of `error` as a sentence that a user can act on."""
    fault = error.errors(include_url=False)[0]
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
