"""Export of models to formats that other programs open, one file for each format."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gptdesk.export.html import write_html
from gptdesk.export.huggingface import write_huggingface
from gptdesk.export.state_dict import write_state_dict
from models.checkpoint import Checkpoint
from models.tokenizer import Tokenizer

# (opened checkpoint, its tokenizer, the model's name, target) -> what was written; ValueError if it cannot be
Writer = Callable[[Checkpoint, Tokenizer, str, Path], Path]


@dataclass(frozen=True)
class ExportFormat:
    """A format that models can be exported to."""

    name: str  # as users write it: --format html
    title: str
    write: Writer


FORMATS = (
    ExportFormat("html", "a page that runs the model in any browser, without network", write_html),
    ExportFormat("huggingface", "a folder with a model card that transformers opens", write_huggingface),
    ExportFormat("pt", "model.pt, config.json and meta.json, as tutorials write them", write_state_dict),
)


def export_format(name: str) -> ExportFormat:
    """Return the format of this name; ValueError lists the formats that exist."""
    for known in FORMATS:
        if known.name == name:
            return known
    raise ValueError(
        f"there is no export format {name[:100]!r}; there is: {', '.join(known.name for known in FORMATS)}"
    )


def export(checkpoint: Checkpoint, tokenizer: Tokenizer, *, name: str, to: Path, format: str) -> Path:
    """Write a model to `to` in a format and return what to open; nothing that exists is replaced.

    Raises ValueError for a format that does not exist, a model that the format cannot hold, and a path that is taken or
    cannot be written.
    """
    chosen = export_format(format)
    to = to.absolute()
    if to.exists() or to.is_symlink():
        raise ValueError(f"{to} exists already; choose another path, or remove it first")
    try:
        return chosen.write(checkpoint, tokenizer, name, to)
    except OSError as error:
        raise ValueError(f"{name} was not exported: {to} cannot be written ({error.strerror or error})") from error
