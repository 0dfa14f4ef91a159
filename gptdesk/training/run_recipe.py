"""Recipe of a run: the options of its plan and the hash of its text, as about.json of its models holds it."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from gptdesk import __version__
from gptdesk.training.context import RunContext
from gptdesk.training.corpus import Corpus
from gptdesk.training.options import DataOptions, ModelOptions, TrainingOptions
from gptdesk.training.plan import RunPlan
from gptdesk.training.run_directory import RunDirectory
from models.about import read_about
from samplers.options import Options

VERSION = 1
MOST_HASHES = 20  # files of a text that are named by their hashes


class RunRecipe(Options):
    """Options of a run, without its text and the places where that lay."""

    format: Literal["gptdesk run recipe"] = Field("gptdesk run recipe", description="marks the object as a recipe")
    version: int = Field(VERSION, description="version of the format")
    written_by: str = Field(__version__, max_length=60, description="version of GPT Desk")
    run: str = Field(description="name of the run")
    model: ModelOptions = Field(description="as in plan.json")
    split: DataOptions = Field(description="as in plan.json")
    training: TrainingOptions = Field(description="as in plan.json")
    text: str = Field(max_length=200, description="hash of the whole text, as in resolved.json")
    files: tuple[str, ...] = Field((), description=f"SHA-256 of each of its files, if there are at most {MOST_HASHES}")

    @classmethod
    def of(cls, plan: RunPlan, corpus: Corpus) -> "RunRecipe":
        """Return the recipe of a run with this plan and text."""
        hashes = tuple(file.digest for file in corpus.files)
        return cls(
            run=plan.name,
            model=plan.model,
            split=plan.split,
            training=plan.training,
            text=corpus.digest,
            files=hashes if len(hashes) <= MOST_HASHES else (),
        )

    @classmethod
    def read(cls, data: Mapping[str, object], *, name: str) -> "RunRecipe":
        """Return the recipe of the model `name` in its about.json.

        Raises ValueError, with the name, if a newer version wrote it or it cannot be read.
        """
        version = data.get("version")
        if isinstance(version, int) and version > VERSION:
            by = data.get("written_by")
            raise ValueError(
                f"the recipe of the model {name} is of a newer version of GPT Desk ({by!r:.30}); update this one"
            )
        try:
            recipe = cls(**data)
            recipe.plan()
        except ValueError as error:
            raise ValueError(f"the recipe of the model {name} cannot be read: {error}") from None
        return recipe

    def plan(self) -> RunPlan:
        """Return the plan of a new run with these options, and no text."""
        return RunPlan(name=self.run, model=self.model, split=self.split, training=self.training)


def plan_of(context: RunContext, name: str) -> tuple[RunPlan, RunRecipe]:
    """Return the plan in the recipe of a model, with the text of its run if that is still here, and the recipe.

    NotFound if there is no such model; ValueError if it has no recipe, or one that cannot be read.
    """
    data = read_about(context.library.find(name)).recipe
    if data is None:
        raise ValueError(
            f"the model {name} has no recipe: only models that a run of this or a newer version made have one"
        )
    recipe = RunRecipe.read(data, name=name)
    plan, run = recipe.plan(), RunDirectory(context.settings.runs / recipe.run)
    try:
        known, of_run = run.resolved(), run.plan()
    except ValueError:  # it is gone, or damaged
        return plan, recipe
    if known is None or known.digest != recipe.text:
        return plan, recipe
    return plan.model_copy(update={"data": of_run.data, "pasted": of_run.pasted}), recipe
