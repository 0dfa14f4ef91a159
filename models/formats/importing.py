"""Import of a foreign model: its conversion apart, and the checkpoint folder that appears whole or not at all."""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from models import storage
from models.about import ABOUT, About, about_to_json
from models.checkpoint import GPT2_VOCABULARIES, Checkpoint
from models.formats import guesses
from models.formats.child_process import Answer, ImportStopped, convert_apart
from models.formats.companions import GPT2
from models.formats.converting import NAMES, find_file
from models.formats.options import ImportOptions
from models.tokenizer import Tokenizer, gpt2_tokenizer

__all__ = ["ImportStopped", "Imported", "MissingOptions", "import_folder", "wished_name"]

MISSING = {"n_head": "how many heads it has", "activation": "which activation", "tokenizer": "which tokenizer"}


@dataclass(frozen=True)
class Imported:
    """An imported model: the format of its file, and remarks on what was changed."""

    kind: str
    remarks: tuple[str, ...]


class MissingOptions(ValueError):
    """Refusal of a model whose file does not say some options, with the best guess for its numbers."""

    def __init__(self, sentence: str, *, missing: tuple[str, ...], guess: ImportOptions, why: str) -> None:
        super().__init__(sentence)
        self.missing, self.guess, self.why = missing, guess, why  # names of options; their likeliest values; reason

    @property
    def question(self) -> str:
        """Clause that says what is missing."""
        unknown = [MISSING[name] for name in self.missing]
        listed = " and ".join([", ".join(unknown[:-1]), unknown[-1]] if unknown[1:] else unknown)
        return f"it does not say {listed}"


def wished_name(path: Path) -> str:
    """Return the name that suits a model of a file or folder: of the folder, if the file's name says nothing."""
    path = path.absolute()
    is_common = path.is_dir() or path.name in NAMES
    return (path if path.is_dir() else path.parent).name if is_common else path.name.removesuffix(path.suffix)


def import_folder(
    path: Path,
    target: Path,
    options: ImportOptions,
    *,
    cache_folder: Path,
    origin: str = "",
    adding: Callable[[], AbstractContextManager[None]] = nullcontext,
    stop: threading.Event | None = None,
) -> Imported:
    """Write the model in the file or folder `path` as the new checkpoint folder `target`.

    Nothing that the file says is run: it is read in a process of its own, and only the safetensors which that writes
    is opened here. `origin` are words for where it comes from, instead of its path; `adding` gives the context in which
    the finished folder gets its name.
    Raises ImportStopped once `stop` is set before the file is read.
    Raises ValueError if it cannot be imported, MissingOptions for options that its file does not say;
    FileExistsError if there is anything at `target`, OSError if the disk refuses.
    """
    if options.tokenizer not in ("", GPT2):
        options = replace(options, tokenizer=str(Path(options.tokenizer).absolute()))
    # left in reverse order: the folder has its name before the context is left
    with ExitStack() as stack, storage.new_folder(target, replace=False) as folder:
        try:
            file = find_file(path)
            answer = convert_apart(file, folder, options, stop=stop)
            checkpoint = _completed(folder, origin or file.name, answer, cache_folder)
            if answer.missing:
                raise _question(checkpoint, answer, cache_folder, origin or str(path))
            doubts = _doubts(checkpoint, options, cache_folder)
        except MissingOptions:
            raise
        except ValueError as error:
            # of a checkpoint, the reason without the name of the temporary folder
            reason = error.__cause__ if folder.name in str(error) and error.__cause__ else error
            raise ValueError(f"{origin or path} cannot be imported: {reason}") from error
        stack.enter_context(adding())
    return Imported(answer.kind, answer.remarks + doubts)


def _completed(folder: Path, origin: str, answer: Answer, cache_folder: Path) -> Checkpoint:
    """Return the opened checkpoint, with the documents that its foreign file does not have; ValueError if unusable."""
    checkpoint = Checkpoint.open(folder)
    config = checkpoint.config
    if answer.gpt2 and config.vocab_size not in GPT2_VOCABULARIES:
        gpt2_tokenizer(cache_folder).save(folder, context=config.block_size)
    if not (folder / "generation_config.json").exists():
        data = storage.read_json(folder / "config.json", limit=1_000_000)
        ids = {name: data.get(name) for name in ("bos_token_id", "eos_token_id")}
        settings = ids | {"pad_token_id": ids["eos_token_id"], "do_sample": True}
        storage.write_file(folder / "generation_config.json", storage.json_bytes(settings))
    if not (folder / ABOUT).exists():
        about = About(source=f"imported from {origin} ({answer.kind})".encode("utf-8", "replace").decode())
        content = about_to_json(about, parameters=checkpoint.parameters)
        storage.write_file(folder / ABOUT, storage.json_bytes(content))
    return Checkpoint.open(folder)


def _question(checkpoint: Checkpoint, answer: Answer, cache_folder: Path, origin: str) -> MissingOptions:
    """Return the refusal that asks for the options that are missing, with the best guess."""
    tokenizer = None if "tokenizer" in answer.missing else _tokenizer(checkpoint, cache_folder)
    config, why = guesses.best_config(checkpoint, answer.missing, tokenizer)
    numbers = [name for name in answer.missing if name != "tokenizer"]
    guess = ImportOptions(**{name: getattr(config, name) for name in numbers})
    error = MissingOptions("", missing=answer.missing, guess=guess, why=why)
    with_flags = f" with {guesses.flags_of(config, numbers)} ({why})" if numbers else ""
    file = "--tokenizer FILE, its tokenizer.json, meta.pkl or meta.json, or --tokenizer gpt2"
    more = (f" and {file}" if with_flags else f" with {file}") if "tokenizer" in answer.missing else ""
    error.args = (f"{origin} cannot be imported: {error.question}; import it again{with_flags}{more}",)
    return error


def _doubts(checkpoint: Checkpoint, options: ImportOptions, cache_folder: Path) -> tuple[str, ...]:
    """Return the sentence that numbers which a user gave are unlikely, if they are."""
    given = [name for name in ("n_head", "activation") if getattr(options, name)]
    doubt = guesses.doubt(checkpoint, given, _tokenizer(checkpoint, cache_folder)) if given else None
    return (doubt,) if doubt else ()


def _tokenizer(checkpoint: Checkpoint, cache_folder: Path) -> Tokenizer | None:
    """Return the tokenizer to measure a loss with; None if GPT-2's is wanted and cannot be downloaded."""
    try:
        return checkpoint.load_tokenizer(cache_folder)
    except ValueError:
        return None
