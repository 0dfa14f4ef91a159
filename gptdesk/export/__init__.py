"""Export of models to formats that other programs open, one file for each format."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gptdesk.export.gguf import write_gguf
from gptdesk.export.html import write_html
from gptdesk.export.huggingface import write_huggingface
from gptdesk.export.pt import write_pt
from gptdesk.export.space import write_space
from models.checkpoint import Checkpoint
from models.tokenizer import Tokenizer

# (opened checkpoint, its tokenizer, the model's name, target, options) -> what to open; ValueError if it cannot be
Writer = Callable[..., Path]


@dataclass(frozen=True)
class ExportFormat:
    """A format that models can be exported to."""

    name: str  # as users write it: --format html
    title: str
    write: Writer
    options: tuple[str, ...] = ()  # that `write` takes by keyword, beside the model and the target
    repository: str = ""  # kind on the Hub that the folder can be pushed to: model, space


FORMATS = (
    ExportFormat("html", "a page that runs the model in any browser, without network", write_html),
    ExportFormat(
        "huggingface", "a folder with a model card that transformers opens", write_huggingface, ("repository",), "model"
    ),
    ExportFormat("pt", "a state dict for PyTorch, as tutorials write it", write_pt, ("precision", "zip")),
    ExportFormat("gguf", "a file for llama.cpp and Ollama", write_gguf, ("precision",)),
    ExportFormat("space", "the folder of a Hugging Face Space", write_space, ("sdk", "precision"), "space"),
)


def export_format(name: str) -> ExportFormat:
    """Return the format of this name; ValueError lists the formats that exist."""
    for known in FORMATS:
        if known.name == name:
            return known
    raise ValueError(
        f"there is no export format {name[:100]!r}; there is: {', '.join(known.name for known in FORMATS)}"
    )


def export(
    checkpoint: Checkpoint, tokenizer: Tokenizer, *, name: str, to: Path, format: str, **options: str | bool | None
) -> Path:
    """Write a model to `to` in a format and return what to open; nothing that exists is replaced but an empty folder.

    `options` are those of the format; None and False mean that one is not given. Raises ValueError for a format that
    does not exist, an option that it does not have, a model that it cannot hold, and a path that is taken or cannot be
    written.
    """
    chosen = export_format(format)
    given = {option: value for option, value in options.items() if value not in (None, False)}
    for option in given.keys() - set(chosen.options):
        having = ", ".join(known.name for known in FORMATS if option in known.options)
        raise ValueError(f"{option} is no option of the format {format}, only of {having or 'none'}; leave it out")
    to = to.absolute()
    try:
        with _free(to):
            return chosen.write(checkpoint, tokenizer, name, to, **given)
    except OSError as error:
        raise ValueError(f"{name} was not exported: {to} cannot be written ({error.strerror or error})") from error


@contextmanager
def _free(path: Path) -> Iterator[None]:
    """Remove an empty folder at `path` for the block, which comes back if the block fails; ValueError for all else."""
    empty = path.is_dir() and not path.is_symlink() and not any(path.iterdir())
    if not empty and (path.exists() or path.is_symlink()):
        raise ValueError(f"{path} exists already; choose another path, or remove it first")
    if empty:
        path.rmdir()
    try:
        yield
    except BaseException:
        if empty:
            path.mkdir(exist_ok=True)
        raise
