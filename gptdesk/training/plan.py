"""Plan of a run: all that a user chooses about it, as plan.json holds it."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, field_validator

from gptdesk.system.terminal import readable
from gptdesk.training.options import AUTOMATIC, DataOptions, ModelOptions, ResolvedTraining, TrainingOptions
from gptdesk.training.text_input import PASTED_FILE
from models.names import NAME, NAME_RULE
from samplers.options import Options


class RunPlan(Options):
    """Options of a run. It gives its name to the model that it makes. `control.create` sets the fields of the text."""

    name: str = Field(description="name of the run and of its model")
    data: tuple[str, ...] = Field(default=(), description="files and folders with the text")
    pasted: str = Field(default="", description="the one of them that holds pasted text; empty: none")
    model: ModelOptions = ModelOptions()
    split: DataOptions = DataOptions()
    training: TrainingOptions = TrainingOptions()

    @field_validator("name")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        if not NAME.fullmatch(name):
            raise ValueError(f"{name[:100]!r} cannot be the name of a run: {NAME_RULE}")
        return name

    def resolve_training(self) -> ResolvedTraining:
        """Return the options of training with those that were left to be chosen automatically."""
        return self.training.resolve(base_model=bool(self.model.start))

    def text_names(self) -> tuple[str, ...]:
        """Return the names of files and folders with the text; that of pasted text says so."""
        return tuple("pasted text" if path == self.pasted else readable(Path(path).name) for path in self.data)

    def options(self) -> dict[str, object]:
        """Return all options that apply, by their names, which no two groups share; of the text, its names."""
        return {"data": self.text_names()} | dict(self.model) | dict(self.split) | dict(self.resolve_training())


def upgrade(data: Mapping[str, object]) -> dict[str, object]:
    """Return the contents of a plan.json in the format of this version; those that cannot be understood as they are.

    Before `pasted` was stored, a pasted text was known by its path, and what had been chosen automatically was stored
    as if the user had chosen it: here it becomes None, which resolves to the same value.
    """
    if "pasted" in data:
        return dict(data)
    paths, model, training = data.get("data"), data.get("model"), data.get("training")
    upgraded = dict(data)
    if isinstance(paths, list):
        known = ("pasted", str(data.get("name")), PASTED_FILE)
        found = (path for path in paths if isinstance(path, str) and Path(path).parts[-3:] == known)
        upgraded["pasted"] = next(found, "")
    if isinstance(model, dict) and isinstance(training, dict):
        try:
            steps, optimizer = training.get("steps", 1500), training.get("optimizer", "muon")
            usual = TrainingOptions(steps=steps, optimizer=optimizer).resolve(base_model=bool(model.get("start")))
        except ValueError:
            return upgraded  # the plan is refused with the option that is wrong
        kept = {
            name: value for name, value in training.items() if name not in AUTOMATIC or value != getattr(usual, name)
        }
        upgraded["training"] = kept
    return upgraded
