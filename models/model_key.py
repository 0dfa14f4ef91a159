"""Key of a model that can be loaded: its name, and a precision."""

from dataclasses import dataclass

from models.names import KNOWN_AS, check_name
from models.precision import PRECISIONS, Precision


@dataclass(frozen=True)
class ModelKey:
    """A model and the precision to run it in; raises ValueError for what cannot be one."""

    name: str
    precision: str = "float32"

    def __post_init__(self) -> None:
        check_name(self.name, KNOWN_AS)
        if self.precision not in PRECISIONS:
            raise ValueError(f"there is no precision {self.precision[:100]!r}; there is: {', '.join(PRECISIONS)}")

    @classmethod
    def parse(cls, text: str) -> "ModelKey":
        """Return the key spelled NAME or NAME:PRECISION; without a precision it is float32."""
        name, colon, precision = text.strip().partition(":")
        return cls(name, precision) if colon else cls(name)

    @property
    def spelled(self) -> str:
        """NAME:PRECISION, as `parse` reads it."""
        return f"{self.name}:{self.precision}"

    def __str__(self) -> str:
        return f"{self.name} · {self.precision}"


def runnable(key: ModelKey) -> Precision:
    """Return the precision of a key; ValueError if this computer cannot run it."""
    precision = PRECISIONS[key.precision]
    if reason := precision.missing():
        raise ValueError(f"this computer cannot run {key}: {reason}")
    return precision
