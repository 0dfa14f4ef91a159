"""Kept files whose values are damaged, not their syntax: all is read on, by defaults or with one sentence."""

import json
import logging
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import gradio as gr
import orjson
import pytest
from cli_checks import Capture
from gradio.components import Component
from training_checks import begin, resume

from gptdesk.__main__ import main
from gptdesk.cli import VERBS
from gptdesk.comparison.blind import Tally
from gptdesk.desk import Desk
from gptdesk.page.app import build_app
from gptdesk.page.tab_links import TabLinks
from gptdesk.page.tabs.train.form import FormView
from gptdesk.page.tabs.train.listing import ListingView
from gptdesk.page.tabs.train.run_view import RunView
from gptdesk.presets import built_in_presets
from gptdesk.saved_items import MOST
from gptdesk.settings import Settings, load_settings
from gptdesk.stored_values import warn_once
from gptdesk.system.single_instance import find_running
from gptdesk.training import control
from gptdesk.training.lock import holder, holding_process
from gptdesk.training.metrics import MetricsReader
from gptdesk.training.run_directory import (
    CONTROL,
    METRICS,
    PLAN,
    RESOLVED,
    SAMPLES,
    STATUS,
    Resolved,
    RunStatus,
    Sample,
)
from models.checkpoint import Checkpoint
from models.listing import describe
from models.storage import read_json
from samplers import OptionError

DEEP: Any = 0
for _ in range(60):
    DEEP = [DEEP]
VALUES = {
    "null": None,
    "true": True,
    "false": False,
    "zero": 0,
    "one": 1,
    "negative": -1,
    "fraction": 0.5,
    "large": 10**16,
    "beyond 64 bits": 2**64,
    "beyond a float": 10**400,
    "largest float": 1.7e308,
    "least float": -1.7e308,
    "nan": float("nan"),
    "infinity": float("inf"),
    "minus infinity": float("-inf"),
    "text": "x",
    "empty text": "",
    "number in text": "7",
    "nan in text": "nan",
    "half a pair": "\ud800",
    "half a pair inside": "a\udfffb",
    "markup": "<img src=x onerror=alert(1)>",
    "nul": "a\0b",
    "long text": "x" * 300_000,
    "list": [],
    "list of numbers": [1, 2],
    "list of texts": ["x", "top_k", "top_k"],
    "list of lists": [[1], [None]],
    "deep list": DEEP,
    "object": {},
    "object of numbers": {"x": 1, "name": 2},
    "object of texts": {"name": "top_k", "order": "x", "options": ["y"]},
    "half a chain": {"order": ["top_k", 5, None], "options": {"top_k": "\ud800", "temperature": float("nan")}},
}
every_value = pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)


def write(path: Path, data: object) -> None:
    path.write_text(json.dumps(data), "utf-8")  # half a pair as an escape; NaN and Infinity as Python spells them


# What a page keeps


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, in_event_loop: Callable) -> tuple[Desk, gr.Blocks]:
    desk = Desk(Settings(home=tmp_path_factory.mktemp("home")))
    return desk, in_event_loop(lambda: build_app(desk))


def loaded(page: gr.Blocks) -> Iterator[tuple[Component, object]]:
    """What every tab shows when the page loads, in the form in which it is sent."""
    handlers = [made.fn for made in page.fns.values() if any(event == "load" for _, event in made.targets)]
    assert len(handlers) >= 3
    for handler in handlers:
        assert handler is not None
        for block, update in handler().items():
            if not isinstance(block, Component) or isinstance(block, gr.State | gr.Timer):
                continue
            value = update.get("value") if isinstance(update, dict) and "__type__" in update else update
            orjson.dumps(
                [update if isinstance(update, dict) else None, value]
            )  # as Gradio does; half a pair is no text
            # a value among new choices, which Gradio gives the component first
            sent = value if isinstance(update, dict) and "choices" in update else block.postprocess(value)
            yield block, sent if isinstance(sent, str | int | float | bool | list | None) else None


@pytest.fixture(scope="module")
def names(page: tuple[Desk, gr.Blocks]) -> dict[str, list[str]]:
    """The names of all that each tab keeps: written down by the tabs themselves, as if a widget had been changed."""
    desk, blocks = page
    for made in blocks.fns.values():
        keeper = getattr(made.fn, "__self__", None)
        if getattr(made.fn, "__name__", "") == "remember" and keeper is not None:
            values = {block: getattr(block, "value", None) for block in keeper.controls}
            keeper.remember(values | {keeper.restored: True})
    found = json.loads((desk.settings.home / "page.json").read_text())
    return {title: list(found[title]) for title in ("Generate", "Compare", "Train", "Models")}


@every_value
def test_a_page_opens_whatever_its_file_holds(
    page: tuple[Desk, gr.Blocks], names: dict[str, list[str]], value: object
) -> None:
    desk, blocks = page
    first = Path(desk.settings.home, "page.json")
    chain = {"order": value, "options": {"temperature": value, "top_k": value, "gone": value}}
    damaged: list[dict] = [
        {},
        dict.fromkeys(names, value),
        {"Generate: texts": value},
        {"Generate: texts": [value] * 20},
    ]
    for title, found in names.items():
        damaged.append({title: dict.fromkeys(found, value)})
        damaged.append({title: {name: chain for name in found if "chain" in name}})
    for held in damaged:
        write(first, held)
        assert list(loaded(blocks))
        assert read_json(first, limit=10**8).keys() == held.keys(), "nothing is lost of what could be read"


def test_damaged_widgets_are_as_at_first_and_the_others_as_they_were(
    page: tuple[Desk, gr.Blocks], caplog: pytest.LogCaptureFixture
) -> None:
    desk, blocks = page
    wrong = {"max_new_tokens": [5], "seed": {"a": 1}, "n": 1e9, "new_seed": "yes", "stop": 7, "precision": ["x"]}
    write(desk.settings.home / "page.json", {"Generate": {"prompt": "half \ud800 a pair", "preset": "Careful"} | wrong})
    warn_once.cache_clear()
    for _ in range(3):
        shown = {block.elem_id: sent for block, sent in loaded(blocks)}
    assert (shown["prompt"], shown["preset"]) == ("half \ufffd a pair", "Careful")
    assert shown["max-new-tokens"] == 200
    assert not {"seed", "n", "new-seed", "stop-strings"} & set(shown)
    (told,) = [record.message for record in caplog.records if "does not fit the page" in record.message]
    assert all(name in told for name in wrong)


@every_value
def test_presets_are_listed_whatever_the_file_holds(tmp_path: Path, value: object) -> None:
    write(tmp_path / "presets.json", {"mine": value, "\ud800": value, "": value, "Balanced": value, "x" * 999: value})
    desk = Desk(Settings(home=tmp_path))
    listed = desk.preset_names()
    assert set(listed) <= {*built_in_presets(), "mine", "\ufffd"}
    orjson.dumps(listed)
    assert desk.preset("Balanced") == built_in_presets()["Balanced"]
    with pytest.raises(ValueError, match=r"^(there is no preset 'mine'|a sampler|the sampler|no sampler)"):
        desk.preset("mine")
    desk.save_preset("good", built_in_presets()["Careful"])
    assert desk.preset_names()[-1] == "good"
    desk.presets.delete("mine")
    assert "mine" not in desk.preset_names()


def test_there_are_so_many_presets_and_no_more(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    chain = built_in_presets()["Careful"]
    write(tmp_path / "presets.json", {f"p{i}": chain.to_data() for i in range(10_000)})
    desk = Desk(Settings(home=tmp_path))
    for _ in range(3):
        assert desk.preset_names() == [*built_in_presets(), *(f"p{i}" for i in range(MOST))]
    assert caplog.text.count("are not listed") == 1
    with pytest.raises(
        ValueError, match=r"^200 presets are as many as can be kept; delete one of yours, then save this$"
    ):
        desk.save_preset("one more", chain)
    desk.save_preset("p7", chain)  # in the place of an older one
    assert desk.preset("p9999") == chain
    with pytest.raises(ValueError, match=r"^there is no preset 'gone'; there are: .* and 194 more$"):
        desk.preset("gone")
    write(tmp_path / "presets.json", {f"p{i}": chain.to_data() for i in range(MOST)})
    desk.presets.delete("p0")
    desk.save_preset("one more", chain)


@every_value
def test_votes_settings_and_addresses_are_read_or_refused(tmp_path: Path, value: object) -> None:
    for data in (value, {"first": value, "second": 1, "ties": 0}):
        assert isinstance(Tally.from_json(data), Tally)
    write(tmp_path / "votes.json", {"a against b": value})
    assert isinstance(Tally.from_json(Desk(Settings(home=tmp_path)).votes.read()["a against b"]), Tally)
    for name in Settings.model_fields:
        write(tmp_path / "settings.json", {name: value})
        refused(lambda: load_settings({"home": str(tmp_path)}))
    (tmp_path / "settings.json").unlink()
    for data in (value, {"url": value}, {"url": "http://127.0.0.1:1/", "pid": value}):
        write(tmp_path / "running.json", data)
        assert find_running(tmp_path, patience=0.01) is None


# What a run keeps


class Run:
    """A run with all its files, and all that reads them."""

    def __init__(self, home: Path) -> None:
        self.desk = Desk(Settings(home=home))
        self.run = begin(home, "run")
        self.run.write_status(
            RunStatus(state="stopped", step=40, steps=100, saved_step=40, best_step=20, best_loss=3.5)
        )
        found = {"digest": "d", "split": "position", "tokenizer": "chars", "parameters": 9, "block_size": 16}
        found |= {
            "bfloat16": False,
            "tokens": 900,
            "validation_tokens": 90,
            "tokens_per_second": 1.0,
            "memory_bytes": 1,
        }
        self.run.write_resolved(Resolved(**found, steps=100, chance=4.0, unigram=3.3, bigram=2.5))
        write_lines(self.run.path / METRICS, [LINE | {"step": step} for step in range(10, 50, 10)])
        self.run.log_samples([Sample(step, "Once", f"text {step}") for step in (20, 40)])
        with gr.Blocks() as page:
            self.watch = RunView(self.desk, TabLinks(page, gr.Tabs()), MetricsReader())
            self.listing = ListingView(self.desk, MetricsReader())
            self.form = FormView(self.desk)

    def read(self, *, damaged: str, capsys: Capture) -> control.RunInfo:
        """Look at the run by every way there is; what is shown must be such that it can be sent."""
        context, watch = self.desk.run_context, self.watch
        (info,) = control.listing(context)
        assert control.newest_first(context) == [info]
        control.seconds_left(info)
        given = {watch.name: "run", watch.axis: "steps", watch.weight: 0.6, watch.logs: ["axis", "loss"]}
        given |= {watch.samples.slider: 1, watch.samples.count: 1, watch.seen: ((), "")}
        for updates in (
            watch.show("run", given),
            watch._on_tick(given),
            watch._on_run(given),
            watch._on_choice(given),
            watch._on_sample(given),
            self.listing._on_open(["run"], "minutes", 0.6, []),
            self.listing._on_choice(["run"], "tokens", 0.6, ["loss"]),
        ):
            assert isinstance(updates, dict), damaged
            orjson.dumps([update for block, update in updates.items() if not isinstance(block, gr.State | gr.Timer)])
        for arguments in (["runs"], ["runs", "--json"]):
            assert VERBS[arguments[0]](self.desk, arguments[1:]) == 0
        assert "Traceback" not in capsys.readouterr().err
        return info


LINE = {
    **{"step": 10, "train_loss": 3.5, "val_loss": 3.6, "learning_rate": 1e-3, "grad_norm": 0.5},
    **{"tokens_per_second": 100.5, "seconds": 1.5, "tokens": 640, "epoch": 0.1, "best": True},
}


def write_lines(path: Path, lines: list[object]) -> None:
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), "utf-8")


def refused(read: Callable[[], object]) -> str:
    """The sentence with which something is refused; empty if it is not."""
    try:
        read()
    except ValueError as error:
        assert type(error) in (ValueError, OptionError)  # noqa: PT017 - some values are damaged, some are not
        assert "\n" not in str(error)  # noqa: PT017
        return str(error)
    return ""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, in_event_loop: Callable) -> Run:
    return in_event_loop(lambda: Run(tmp_path_factory.mktemp("runs")))


@pytest.fixture
def whole(run: Run) -> Iterator[Run]:
    """The run, which is as it was afterwards."""
    files = {path: path.read_bytes() for path in run.run.path.iterdir() if path.is_file()}
    yield run
    for path, content in files.items():
        path.write_bytes(content)


@every_value
def test_a_run_is_listed_and_watched_whatever_its_status_says(whole: Run, capsys: Capture, value: object) -> None:
    good = asdict(whole.run.status())
    for name in good:
        write(whole.run.path / STATUS, good | {name: value})
        status = whole.read(damaged=name, capsys=capsys).status
        others = {field.name for field in fields(RunStatus)} - {name}
        assert all(getattr(status, other) == good[other] for other in others), "the other values are as they were"
        assert type(getattr(status, name)) in (type(good[name]), type(getattr(RunStatus(), name)), float, int)
    write(whole.run.path / STATUS, dict.fromkeys(good, value))
    whole.read(damaged="all", capsys=capsys)
    write(whole.run.path / STATUS, value)
    assert whole.read(damaged="the file", capsys=capsys).status == RunStatus()


@every_value
def test_curves_and_texts_are_shown_as_far_as_they_are_good(whole: Run, capsys: Capture, value: object) -> None:
    for name in LINE:
        damaged = LINE | {name: value}
        write_lines(whole.run.path / METRICS, [LINE, damaged, value, LINE | {"step": 40}, damaged])
        metrics = whole.run.metrics()
        assert [line for line in metrics if line["step"] == 40 or line == LINE][-1]
        assert all(isinstance(line["step"], int) for line in metrics)
        whole.read(damaged=name, capsys=capsys)
    sample = asdict(Sample(20, "Once", "upon"))
    for name in sample:
        write_lines(whole.run.path / SAMPLES, [sample, sample | {name: value}, value, {"other": value}, sample])
        assert whole.run.samples()[0] == whole.run.samples()[-1] == Sample(20, "Once", "upon")
        whole.read(damaged=name, capsys=capsys)
    write(whole.run.path / CONTROL, value)
    assert whole.run.order() == "resume"
    (whole.run.path / CONTROL).write_bytes(b"\xff\xfe" + repr(value).encode("utf-8", "replace"))
    assert whole.run.order() == "resume"


@every_value
def test_what_a_run_cannot_do_without_is_refused_in_a_sentence(whole: Run, capsys: Capture, value: object) -> None:
    resolved = whole.run.resolved()
    assert resolved
    for name in asdict(resolved):
        write(whole.run.path / RESOLVED, asdict(resolved) | {name: value})
        if problem := whole.read(damaged=name, capsys=capsys).problem:
            assert problem.startswith(f"resolved.json cannot be understood: it has no usable {name}")
            assert problem.endswith("; mend it, or delete the run run")
    write(whole.run.path / RESOLVED, value)
    whole.read(damaged="the file", capsys=capsys)
    whole.run.write_resolved(resolved)
    good = json.loads((whole.run.path / PLAN).read_text("utf-8"))
    damaged = {name: good | {name: value} for name in good}
    damaged |= {
        f"{group} {name}": good | {group: good[group] | {name: value}}
        for group in ("model", "split", "training")
        for name in good[group]
    }
    for name, data in damaged.items():
        write(whole.run.path / PLAN, data)
        sentence = refused(whole.run.plan)
        (info,) = control.listing(whole.desk.run_context)
        assert (info.problem or "") == sentence
        if name in good or len(name) % 9 == 0:  # a few of them are looked at as a user does, which takes its time
            whole.read(damaged=name, capsys=capsys)
    write(whole.run.path / PLAN, value)
    assert whole.read(damaged="the file", capsys=capsys).state == "broken"


@every_value
def test_a_damaged_lock_is_held_by_nobody(tmp_path: Path, value: object) -> None:
    for data in (value, {"run": value, "pid": 1, "started": 0}, {"run": "x", "pid": value, "started": value}):
        write(tmp_path / "training.lock", data)
        assert holder(tmp_path) is None
        assert holding_process(tmp_path) is None


def test_damage_is_told_once_however_often_it_is_looked_at(
    whole: Run, capsys: Capture, caplog: pytest.LogCaptureFixture
) -> None:
    warn_once.cache_clear()
    write(whole.run.path / STATUS, {"state": 7, "saved_step": "x", "step": 40})
    write_lines(whole.run.path / METRICS, [{"step": "a"}, LINE])
    write_lines(whole.run.path / SAMPLES, [{"wrong": 1}])
    for _ in range(3):
        whole.read(damaged="three files", capsys=capsys)
    told = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert sorted(told) == [
        f"{whole.run.path / METRICS} has values that cannot be understood; they are left out",
        f"{whole.run.path / SAMPLES} has lines that cannot be understood; they are left out",
        f"state, saved_step in {whole.run.path / STATUS} cannot be understood and is taken as not known",
    ]


@pytest.mark.parametrize("damage", ["nothing", STATUS, METRICS, SAMPLES, CONTROL, RESOLVED, PLAN])
def test_a_run_goes_on_or_says_why_not(tmp_path: Path, capsys: Capture, damage: str) -> None:
    run = begin(tmp_path, steps=4)
    list(resume(run))
    wrong = {
        "step": "a",
        "state": 7,
        "saved_step": "x",
        "best_loss": "nan",
        "best_step": None,
        "updated": [],
        "steps": {},
    }
    if damage in (METRICS, SAMPLES):
        with open(run.path / damage, "a") as file:
            file.write(json.dumps(wrong) + "\n[1]\nnull\n" + json.dumps({"step": 10**400, "text": 5}) + "\n")
    elif damage != "nothing":
        write(run.path / damage, wrong if damage not in (PLAN, RESOLVED) else {"training": [], "steps": "x"} | wrong)
    code = main(["--home", str(tmp_path), "train", "--resume", "run", "--steps", "6", "--json"])
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    if damage in (PLAN, RESOLVED):
        assert code == 2
        assert err.splitlines()[-1].startswith(f"gptdesk: {damage} cannot be understood: ")
    else:
        assert (code, json.loads(out)["step"], json.loads(out)["state"]) == (0, 6, "finished")


# What a checkpoint keeps


@every_value
def test_a_checkpoint_is_good_or_says_what_is_not(tiny_folder: Path, tmp_path: Path, value: object) -> None:
    path = tmp_path / "tiny"
    shutil.copytree(tiny_folder / "tiny", path)
    for file in ("config.json", "about.json"):
        good = json.loads((path / file).read_text("utf-8"))
        for data in (value, *({**good, name: value} for name in good), good | {"quantization_config": value}):
            write(path / file, data)
            sentence = refused(lambda: Checkpoint.open(path).load_tokenizer())
            info = describe("tiny", path)
            assert (info.problem or "") == sentence
            assert not sentence or file in sentence
            orjson.dumps([info.problem, info.parameters, info.context])
            if not sentence:
                json.dumps(asdict(Checkpoint.open(path).about), allow_nan=False)
        write(path / file, good)
