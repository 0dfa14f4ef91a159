"""Ways to hold and multiply a model's weights, by name; each file of this package is one of them."""

from collections.abc import Callable
from dataclasses import dataclass

from models.gpt import GPT
from models.precision import float32


@dataclass(frozen=True)
class Precision:
    """One way to run a model."""

    name: str  # as users write it: "starter:float32"
    title: str
    prepare: Callable[[GPT], GPT]  # the model for inference; shares what weights it can with the one given
    available: Callable[[], str | None]  # why this computer cannot run it, or None


PRECISIONS: dict[str, Precision] = {
    precision.name: precision
    for precision in (Precision("float32", "32-bit floats, as trained", float32.prepare, lambda: None),)
}
