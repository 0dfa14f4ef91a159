"""What the Train tab says and draws, without a browser."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from gptdesk.desk import Desk
from gptdesk.page.app import build_app
from gptdesk.page.tabs.train import words
from gptdesk.page.tabs.train.panels import AXES, Look, loss_chart, overlay, points, text_rows, tiles
from gptdesk.settings import Settings
from gptdesk.training import DataOptions
from gptdesk.training.control import RunInfo
from gptdesk.training.diagnostics import Diagnostic
from gptdesk.training.metrics import Metrics
from gptdesk.training.run_directory import RunPlan, RunStatus

METRICS = [
    {
        "step": step,
        "tokens": step * 64,
        "seconds": step * 0.5,
        "train_loss": 4 - step / 100,
        "val_loss": 3.9 if step == 50 else 3.5 if step == 100 else None,
        "learning_rate": 1e-3,
        "grad_norm": 0.5,
        "tokens_per_second": 128.0,
    }
    for step in range(10, 101, 10)
]
COLUMNS = Metrics.of(METRICS)


def info(state: str = "training", **status: object) -> RunInfo:
    known = RunStatus(**({"steps": 200, "step": 100} | status))  # type: ignore[arg-type]
    return RunInfo("my-book", Path("my-book"), state, known, dict(METRICS[-1]))


def test_a_public_desk_offers_no_training(tmp_path: Path, in_event_loop: Callable) -> None:
    def page(settings: Settings) -> str:
        return str(in_event_loop(lambda: build_app(Desk(settings)).config))

    public, private = page(Settings(home=tmp_path, host="0.0.0.0")), page(Settings(home=tmp_path))
    assert "train-start" not in public
    assert "Training, importing models, a history" in public
    assert "train-start" in private
    assert "Training, importing models, a history" not in private


def test_the_encoding_is_chosen_or_typed_and_checked(tmp_path: Path, in_event_loop: Callable) -> None:
    config = in_event_loop(lambda: build_app(Desk(Settings(home=tmp_path))).config)
    (box,) = [one["props"] for one in config["components"] if one["props"].get("elem_id") == "train-encoding"]
    assert (box["value"], box["allow_custom_value"]) == ("auto", True)
    offered = [value for _, value in box["choices"]]
    assert [DataOptions(encoding=value).encoding for value in offered] == offered
    assert DataOptions(encoding=" ").encoding == "auto"  # an empty box
    with pytest.raises(
        ValueError, match=r"^encoding must be auto or an encoding of text such as utf-8, .*, not 'zip'$"
    ):
        DataOptions(encoding="zip")


@pytest.mark.parametrize(
    ("run", "order", "said"),
    [
        (info(), "resume", "**my\\-book** trains."),
        (info(), "stop", "**my\\-book** trains, and will stop after a checkpoint."),
        (info("paused"), "pause", "**my\\-book** is paused."),
        (
            info("preparing", message="encoding", progress=0.25),
            "stop",
            "**my\\-book** is being prepared, and will stop.",
        ),
        (
            info("preparing", message="encoding", progress=0.25),
            "resume",
            "**my\\-book** is being prepared: encoding (25%).",
        ),
        (info("stopped", message="saved as x"), "stop", "**my\\-book** was stopped: saved as x."),
        (info("interrupted"), "resume", "**my\\-book** was interrupted."),
    ],
)
def test_the_state_is_a_sentence(run: RunInfo, order: str, said: str) -> None:
    assert words.state(run, order) == said  # type: ignore[arg-type]


def test_stats_tell_what_is_left_and_what_was_best() -> None:
    run = info(best_loss=3.5, best_step=100, saved_step=100)
    told = {name: (value, remark) for name, value, remark in words.stats(run, COLUMNS, memory=2_000_000_000)}
    assert told["Step"] == ("100", "of 200")
    assert told["Time left"] == ("0:50", "0:50 so far")  # 6,400 tokens at 128 a second
    assert told["Validation loss"] == ("3.5000", "best 3.5000 at step 100")
    assert told["Memory"] == ("2.00 GB", "checkpoint at step 100")
    paused = {name: value for name, value, _ in words.stats(replace(run, state="paused"), COLUMNS, memory=None)}
    assert not any(character.isdigit() for character in paused["Time left"] + paused["Memory"])


def test_warnings_do_not_repeat_the_state() -> None:
    found = [Diagnostic("error", "the disk is full"), Diagnostic("note", "it was read ten times")]
    assert words.diagnostics_text(found, shown="the disk is full") == "It was read ten times."
    assert words.diagnostics_text(found, shown="").startswith("⚠ The disk is full.")


def test_the_curves_go_by_steps_tokens_or_minutes() -> None:
    ends = {axis: points(COLUMNS, "train_loss", axis)[-1] for axis in AXES}
    assert ends == {"steps": (100.0, 3.0), "tokens": (6400.0, 3.0), "minutes": (pytest.approx(50 / 60), 3.0)}
    assert [y for _, y in points(COLUMNS, "val_loss", "steps")] == [3.9, 3.5]


def test_the_best_evaluation_is_marked_and_baselines_are_named() -> None:
    drawn = loss_chart(COLUMNS, Look(), levels=[("unigram baseline", 3.7)])
    assert "best: 3.5000" in drawn
    assert "unigram baseline" in drawn
    assert drawn.count('class="mark') == 1
    empty = loss_chart(Metrics.of([]), Look(), levels=[("unigram baseline", 3.7)])
    assert "Nothing yet" in empty


def test_compared_runs_have_colours_of_their_own() -> None:
    drawn = overlay({"one": COLUMNS, "two": COLUMNS}, Look("steps", 0, log_x=True, log_y=True))
    assert drawn.count("dot c0") == drawn.count("dot c1") == 2


def test_names_and_texts_are_no_markup() -> None:
    evil = '<img src=x onerror="alert(1)">'
    shown = tiles([(evil, evil, evil)]) + text_rows([(evil, evil)]) + overlay({evil: COLUMNS}, Look())
    assert "<img" not in shown


def test_every_option_is_shown() -> None:
    rows = words.choices(RunPlan(name="my-book", data=("a.txt", "b.txt")), None)
    told = {row[0]: row[1] for row in rows}
    assert told["Data"] == "a.txt, b.txt"
    assert told["Learning rate"] == "0.006"
    assert told["Batch size"] == "24"
