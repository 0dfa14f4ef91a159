"""Catalogue: model names and their folders; and the description of a model in a list."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from models import storage
from models.checkpoint import Checkpoint
from models.names import KNOWN_AS, NAME_RULE, folded
from models.precision import PRECISIONS

log = logging.getLogger(__name__)

Result = TypeVar("Result")
Supplier = Callable[[], Mapping[str, Path]]  # gives checkpoint folders by name, those that exist when it is called


@dataclass(frozen=True)
class ModelInfo:
    """One line of the list of models. With a problem, a sentence for the user, the numbers are 0."""

    name: str
    path: Path
    parameters: int
    context: int  # tokens
    vocab_size: int  # logits for each token; the tokenizer may have fewer tokens
    tokenizer: str
    precisions: tuple[str, ...]  # that this computer can run, the default first
    size_bytes: int  # on disk
    problem: str | None
    source: str = ""  # in its author's words
    validation_loss: float | None = None  # nats per token
    own_precision: str = ""  # that its folder is stored at
    remarks: tuple[str, ...] = ()  # sentences about what it holds and is not used


@dataclass(frozen=True)
class Entry:
    """The folder of a model, and the reason why it cannot go by its name, if there is one."""

    path: Path
    clash: str | None = None


class Catalogue:
    """Folders by model name: the sub-folders of `folder`, the `bundled` ones, and those that `supplier` gives.

    A folder whose name, but for capitals, is that of a bundled model or of another folder cannot be used: it is listed
    with that as its problem. A folder hides a model of the supplier that has its name. No new model can have one of
    the names that `reserved` gives.
    """

    def __init__(
        self,
        folder: Path,
        *,
        bundled: Sequence[Path],
        supplier: Supplier | None,
        reserved: Callable[[], Iterable[str]] | None = None,
    ) -> None:
        self.folder = folder
        self.bundled = {path.parent.name if path.name == "checkpoint" else path.name: path for path in bundled}
        self._supplier = supplier
        self._reserved = reserved

    def find(self, name: str) -> Path:
        """Return the folder of a model; ValueError lists the models that exist, or says why this one cannot be used."""
        entry = self.entry(name)
        if entry.clash:
            raise ValueError(entry.clash)
        return entry.path

    def using(self, name: str, use: Callable[[Path], Result]) -> Result:
        """Return what `use` makes of a model's folder, or where that fails, of the folder that the model has by now.

        A run that saves its newest checkpoint deletes the one before, which may just be read. Raises ValueError as
        `find` and `use`.
        """
        path = self.find(name)
        while True:
            try:
                return use(path)
            except ValueError:
                before, path = path, self.find(name)
                if path == before:
                    raise

    def names(self, *, but: Path | None = None) -> dict[str, str]:
        """Return the names that a new model cannot have, each with what has it: see `check_new_name`.

        The folder `but` does not count: its model gets the new name.
        """
        runs = dict.fromkeys(self._reserved() if self._reserved else (), "run")
        models = (name for name in storage.names(self.folder) if but is None or name != but.name)
        return runs | dict.fromkeys(models, "model") | dict.fromkeys(self.bundled, "bundled model")

    def own_folder(self, name: str, change: str) -> Path:
        """Return the folder of a model that the user may rename or remove, even if it cannot be used.

        Raises ValueError, with the `change` refused, for a bundled model and for a checkpoint of a run.
        """
        path = self.entry(name).path
        if path in self.bundled.values():
            raise ValueError(f"{name} comes with the desk and cannot be {change}")
        if path.parent != self.folder:
            raise ValueError(f"{name} is a checkpoint of a run and cannot be {change}; it is removed with its run")
        return path

    def entry(self, name: str) -> Entry:
        """Return the entry of a model; ValueError lists the models that exist."""
        entries = self.entries()
        if name in entries:
            return entries[name]
        of, state, _ = name.partition("@")
        if states := [known for known in entries if state and known.startswith(f"{of}@")]:
            raise ValueError(f"there is no {name!r} now, it may have been replaced; there is: {', '.join(states)}")
        usable = ", ".join(name for name, entry in entries.items() if "@" not in name and not entry.clash)
        raise ValueError(f"there is no model {name!r}; the models here are: {usable or 'none'}")

    def entries(self) -> dict[str, Entry]:
        """Return the entry of each model, in order of their names; those of the supplier follow in their own order."""
        entries = {name: Entry(path) for name, path in self.bundled.items()}
        holders = {folded(name): name for name in self.bundled}
        for path in sorted(self._folders(), key=lambda path: (path.name != folded(path.name), path.name)):
            name, holder = path.name, holders.setdefault(folded(path.name), path.name)
            if name in entries:
                clash = f"the folder {path} has the name of a bundled model; rename the folder to use what is in it"
                entries[f"{path.parent.name}/{name}"] = Entry(path, clash)
            elif name != holder:
                clash = (
                    f"the folder {path} differs from the model {holder} only in capitals; rename the folder to use it"
                )
                entries[name] = Entry(path, clash)
            else:
                entries[name] = Entry(path)
        others = self._supplier() if self._supplier else {}
        return dict(sorted(entries.items())) | {
            name: Entry(path) for name, path in others.items() if name not in entries
        }

    def _folders(self) -> list[Path]:
        """Return the sub-folders of the user's folder of models; none, with a warning, if they cannot be listed."""
        try:
            return storage.folders(self.folder)
        except FileNotFoundError:
            pass  # nothing was ever saved
        except OSError as error:
            log.warning("the models in %s cannot be listed: %s", self.folder, error)
        return []


def describe(name: str, path: Path, *, opened: Callable[[Path], Checkpoint] = Checkpoint.open) -> ModelInfo:
    """Return the description of a checkpoint folder, which `opened` opens; what that refuses becomes the `problem`."""
    try:
        if not KNOWN_AS.fullmatch(name):
            raise ValueError(f"rename the folder {name!r}: {NAME_RULE}")
        checkpoint = opened(path)
        if checkpoint.tokenizer_kind == "none":
            checkpoint.load_tokenizer()  # raises
        if checkpoint.quantized and (reason := checkpoint.quantized.missing()):
            raise ValueError(f"this computer cannot run {checkpoint.quantized.name}: {reason}")
    except ValueError as error:
        return unusable(name, path, str(error))
    stored = checkpoint.quantized
    offered = [precision for precision in PRECISIONS.values() if stored is None or stored.name == precision.name]
    offered.sort(key=lambda precision: not checkpoint.is_copy_at(precision.name))  # what it was made for comes first
    precisions = tuple(precision.name for precision in offered if precision.missing() is None)
    return ModelInfo(
        name,
        path,
        parameters=checkpoint.parameters,
        context=checkpoint.config.block_size,
        vocab_size=checkpoint.config.vocab_size,
        tokenizer=checkpoint.tokenizer_kind,
        precisions=precisions,
        size_bytes=checkpoint.size_bytes,
        problem=None,
        source=checkpoint.about.source,
        validation_loss=checkpoint.about.validation_loss,
        own_precision=next((name for name in PRECISIONS if checkpoint.is_copy_at(name)), "float32"),
        remarks=checkpoint.remarks,
    )


def unusable(name: str, path: Path, problem: str) -> ModelInfo:
    """Return the description of a folder that cannot be used."""
    return ModelInfo(name, path, 0, 0, 0, "", (), 0, problem)
