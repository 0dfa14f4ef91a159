"""Recipe of a run in about.json: in every export and import, in the form of a new run, and refused when it is bad."""

import json
import shutil
from pathlib import Path

import pytest
from cli_checks import Capture, answer
from training_checks import begin, context_in, plan, resume

from gptdesk.training.run_recipe import RunRecipe, plan_of
from models.about import read_about

HASH = "0" * 64
RECIPE = {"run": "gone", "model": {"preset": "mini"}, "split": {}, "training": {"steps": 777}, "text": HASH}


def with_recipe(folder: Path, recipe: object) -> Path:
    """Write a recipe into the about.json of a model and return its folder."""
    file = folder / "about.json"
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | {"recipe": recipe}), "utf-8")
    return folder


def test_a_model_of_a_run_fills_a_form_with_and_without_the_folder_of_the_run(tmp_path: Path) -> None:
    run = begin(tmp_path, steps=4, split={"validation_share": 0.2})
    list(resume(run))
    context = context_in(tmp_path)
    again, recipe = plan_of(context, "run")
    assert again == run.plan()
    assert len(recipe.files) == 1
    shutil.rmtree(run.path)
    again, _ = plan_of(context, "run")
    assert again == plan(steps=4, split={"validation_share": 0.2})
    assert again.data == ()


def test_another_run_of_that_name_does_not_give_its_text(tmp_path: Path) -> None:
    list(resume(begin(tmp_path, steps=4)))
    folder = tmp_path / "models" / "run"
    with_recipe(folder, read_about(folder).recipe | {"text": HASH})  # type: ignore[operator]
    assert plan_of(context_in(tmp_path), "run")[0].data == ()


@pytest.mark.parametrize("kind", ["huggingface", "pt", "html"])
def test_an_export_carries_the_recipe_and_an_import_brings_it(
    tmp_path: Path, tiny_folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("GPTDESK_HOME", str(tmp_path))
    recipe = RunRecipe.read(RECIPE, name="kept").model_dump(mode="json")
    with_recipe(shutil.copytree(tiny_folder / "tiny", tmp_path / "models" / "kept"), recipe)
    answer(capsys, "models", "export", "kept", "--format", kind, "--to", str(tmp_path / "out"))
    if kind == "html":
        assert json.dumps(HASH) in (tmp_path / "out" / "index.html").read_text("utf-8")
        return
    made = answer(capsys, "models", "import", str(tmp_path / "out"), "--name", "back")
    assert read_about(Path(made["path"])).recipe == recipe
    assert plan_of(context_in(tmp_path), "back")[0].training.steps == 777
    with_recipe(tmp_path / "out", None)
    made = answer(capsys, "models", "import", str(tmp_path / "out"), "--name", "plain")
    assert read_about(Path(made["path"])).recipe is None


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ({"version": 2, "written_by": "9.9"}, "is of a newer version of GPT Desk ('9.9'); update"),
        ({**RECIPE, "run": "../../etc"}, "cannot be read: '../../etc' cannot be the name of a run"),
        ({**RECIPE, "training": {"steps": "many"}}, "cannot be read: .*steps"),
        ({**RECIPE, "command": "rm"}, "cannot be read: .*command"),
        ([1], "about.json has recipe = .1., which is no object"),
        (None, "the model kept has no recipe"),
    ],
)
def test_a_bad_recipe_is_one_sentence(tmp_path: Path, tiny_folder: Path, recipe: object, words: str) -> None:
    with_recipe(shutil.copytree(tiny_folder / "tiny", tmp_path / "models" / "kept"), recipe)
    with pytest.raises(ValueError, match=words.replace("(", r"\(").replace(")", r"\)")) as error:
        plan_of(context_in(tmp_path), "kept")
    assert len(str(error.value).splitlines()) == 1
