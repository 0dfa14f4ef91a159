"""What the views of the Train tab show and do as runs come, go on and go, without a browser."""

import json
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gradio as gr
import pytest

from gptdesk.desk import Desk
from gptdesk.formatting import short
from gptdesk.page.tab_links import TabLinks
from gptdesk.page.tabs.train.choice import choice_sentence, measure_of
from gptdesk.page.tabs.train.form import MINUTES, FormView
from gptdesk.page.tabs.train.library import STOPPED
from gptdesk.page.tabs.train.listing import ListingView
from gptdesk.page.tabs.train.panels import Look
from gptdesk.page.tabs.train.result import CLOSEST, UNSEEN
from gptdesk.page.tabs.train.run_view import NO_RUN, RunView
from gptdesk.page.tabs.train.text_source import FILES, LIBRARY, PASTED, PLACE
from gptdesk.settings import Settings
from gptdesk.training import ModelOptions, TrainingOptions, control
from gptdesk.training.estimate import outlook
from gptdesk.training.lock import training_lock
from gptdesk.training.metrics import MetricsReader
from gptdesk.training.options import ResolvedTraining
from gptdesk.training.plan import RunPlan
from gptdesk.training.run_directory import METRICS, Resolved, RunDirectory, RunStatus, Sample
from gptdesk.training.text_input import TextInput
from models.gpt import PRESETS

LINES = [
    {"step": step, "tokens": 64 * step, "seconds": step / 2, "train_loss": 3.6, "val_loss": 3.5}
    for step in range(20, 101, 20)
]


class Views:
    """The three views on a page without a browser."""

    def __init__(self, home: Path) -> None:
        self.desk = Desk(Settings(home=home))
        with gr.Blocks() as page:
            self.watch = RunView(self.desk, TabLinks(page, gr.Tabs()), MetricsReader())
            self.listing = ListingView(self.desk, MetricsReader())
            self.form = FormView(self.desk)

    def make(self, name: str, *, evaluations: int = 5, data: str = "book.txt", **training: object) -> RunDirectory:
        """A finished run with a text at every evaluation."""
        plan = RunPlan(name=name, data=(data,), training=TrainingOptions(**training))
        run = RunDirectory.create(self.desk.settings.runs / name, plan)
        run.write_status(RunStatus(state="finished", steps=100, step=100, saved_step=100, message="all steps are done"))
        (run.path / METRICS).write_text("".join(f"{json.dumps(line)}\n" for line in LINES))
        run.log_samples([Sample(step, "Once", f"text {step}") for step in range(1, evaluations + 1)])
        return run

    def given(self, name: str | None, **values: object) -> dict:
        """What the page holds, with these values of Watch's inputs by name."""
        watch = self.watch
        widgets = {"axis": watch.axis, "weight": watch.weight, "logs": watch.logs, "seen": watch.seen}
        widgets |= {"sample": watch.samples.slider, "count": watch.samples.count}
        held = {"axis": "steps", "weight": 0.6, "logs": [], "sample": 1, "count": 0, "seen": ((), "")} | values
        return {watch.name: name} | {widgets[key]: value for key, value in held.items()}

    def set(self, **values: object) -> dict:
        """What the form holds: its first values, but for these options and widgets by name."""
        boxes = self.form.remembered
        return {box: box.value for box in boxes.values()} | {boxes[name]: value for name, value in values.items()}


@pytest.fixture
def views(tmp_path: Path, in_event_loop: Callable) -> Views:
    return in_event_loop(lambda: Views(tmp_path))


def test_the_slider_reaches_every_text_and_follows_new_ones_from_its_end(views: Views) -> None:
    watch = views.watch
    for name, evaluations in (("two", 2), ("five", 5)):
        views.make(name, evaluations=evaluations)
        for number in range(1, evaluations + 1):
            updates = watch._on_sample(views.given(name, sample=number, count=evaluations))
            assert updates[watch.samples.slider]["value"] == number
            assert f"text {number}" in updates[watch.samples.texts]
    stays = watch._on_tick(views.given("five", sample=3, count=4))  # the fifth has just come
    follows = watch._on_tick(views.given("five", sample=4, count=4))
    assert (stays[watch.samples.slider]["value"], stays[watch.samples.count]) == (3, 5)
    assert follows[watch.samples.slider]["value"] == 5
    assert watch._on_run(views.given("two", sample=1, count=5))[watch.samples.slider]["value"] == 2


def test_what_is_opened_is_drawn_as_the_widgets_say(views: Views) -> None:
    views.make("one")
    views.make("other", seed=1)
    watch, listing = views.watch, views.listing
    assert "by minutes" in watch.show("one", views.given("one", axis="minutes"))[watch.losses]
    kept = {box: {"axis": "tokens"}.get(name, box.value) for name, box in watch.remembered.items()}
    assert "by tokens" in watch.show("one", kept)[watch.losses]
    assert "by minutes" in listing._on_open(["one", "other"], "minutes", 0.6, [])[listing.curves]


def test_a_smoothing_that_was_typed_is_kept_within_its_bounds(views: Views) -> None:
    assert [Look.of("steps", weight, []).weight for weight in (1, -3, None, 0.5)] == [0.99, 0, 0, 0.5]
    views.make("one")
    assert "training, smoothed" in views.watch._on_choice(views.given("one", weight=1))[views.watch.losses]
    assert "one" in views.listing._on_choice(["one"], "steps", None, [])[views.listing.curves]


def test_nothing_of_a_run_stays_when_it_is_gone(views: Views) -> None:
    watch = views.watch
    shutil.rmtree(views.make("gone").path)
    for look in (watch._on_tick, watch._on_choice, watch._on_run, watch._on_sample):
        updates = look(views.given("gone", seen=(("gone",), "gone finished")))
        assert updates[watch.state] == NO_RUN
        assert (updates[watch.tiles], updates[watch.diagnostics]) == ("", "")
        hidden = [watch.name, *watch.buttons.outputs, watch._curves, watch.samples.column, watch._chosen]
        assert not any(updates[box]["visible"] for box in hidden)
    views.make("next")
    assert "next" in watch._on_tick(views.given("gone"))[watch.state]
    (views.desk.settings.runs / "next" / "plan.json").write_text("{}")
    damaged = watch._on_choice(views.given("next"))
    assert "cannot be read" in damaged[watch.state]
    assert (damaged[watch.tiles], damaged[watch.diagnostics], damaged[watch.options]) == ("", "", "")


def test_a_page_notices_runs_that_others_begin_and_draws_nothing_twice(views: Views) -> None:
    watch = views.watch
    empty = watch.show(None, {})
    assert watch._on_tick(views.given(None, seen=empty[watch.seen])) == gr.skip()
    views.make("one")
    found = watch._on_tick(views.given(None, seen=empty[watch.seen]))
    assert found[watch.name]["value"] == "one"
    assert watch._on_tick(views.given("one", seen=found[watch.seen])) == gr.skip()
    views.make("two")
    listed = watch._on_tick(views.given("one", seen=found[watch.seen]))
    assert listed[watch.name]["choices"] == ["two", "one"]
    assert "one" in listed[watch.state]
    assert watch._on_tick(views.given("one", seen=listed[watch.seen])) == gr.skip()


def test_a_run_that_was_shortened_is_judged_by_its_own_steps(views: Views) -> None:
    run = views.make("short")
    found = {"digest": "d", "split": "position", "tokenizer": "chars", "parameters": 9, "block_size": 16}
    found |= {"bfloat16": False, "tokens": 900, "validation_tokens": 90, "tokens_per_second": 1.0, "memory_bytes": 1}
    run.write_resolved(Resolved(**found, steps=100, chance=4.0, unigram=3.3, bigram=2.5))
    findings = views.watch.show("short", {})[views.watch.diagnostics]
    assert "no better than the unigram baseline" in findings


def test_an_ended_run_shows_both_models_the_one_to_use_first(views: Views) -> None:
    run = views.make("two", evaluations=5)
    for closest, first, second in (("two-last", CLOSEST, UNSEEN), ("", UNSEEN, CLOSEST)):
        run.write_status(replace(run.status(), best_step=2, closest=closest))
        card = views.watch._on_choice(views.given("two"))[views.watch.result]
        assert card.index(first) < card.index(second)
        assert "text 2" in card
        assert "text 5" in card
    run.write_status(replace(run.status(), best_step=100))
    assert views.watch._on_choice(views.given("two"))[views.watch.result] == ""


def test_a_run_fills_the_form_with_its_plan(views: Views, tmp_path: Path) -> None:
    text = tmp_path / "book.txt"
    text.write_text("Once upon a time")
    plan = views.make("old", data=str(text), steps=70, learning_rate=0.01).plan()
    updates = views.form.fill(plan)
    values = {box: box.value for box in views.form.remembered.values()}
    values |= {
        box: update["value"] for box, update in updates.items() if isinstance(update, dict) and "value" in update
    }
    values |= {views.form.name: "", views.form.source.source: updates[views.form.source.source]}
    again = views.form._plan(values)
    assert (again.name, again.model, again.training) == ("book", plan.model, plan.training)
    shown = views.form.fill(plan.model_copy(update={"pasted": str(text)}))
    assert shown[views.form.source.text]["value"] == "Once upon a time"


def test_an_empty_box_is_chosen_automatically(views: Views) -> None:
    def training(**values: object) -> ResolvedTraining:
        return views.form._plan(views.set(text="a text", name="x", **values)).resolve_training()

    assert dict(training()) == dict(TrainingOptions().resolve()) | {"max_minutes": MINUTES, "patience": 0}
    assert training(optimizer="adamw").learning_rate == 0.002
    assert training(optimizer="adamw", learning_rate=0.006).learning_rate == 0.006
    assert training(start="starter").learning_rate == 0.0005
    short = training(steps=300)
    assert (short.warmup_steps, short.evaluate_every) == (30, 20)
    assert training(steps=300, warmup_steps=50).warmup_steps == 50


def text_of(views: Views, **values: object) -> TextInput:
    """The text that the form gives, with these values of its widgets by name."""
    *_, text = views.form.source.obtain(views.set(**values), views.form._actions.line, threading.Event())
    assert isinstance(text, TextInput)
    return text


def test_every_source_gives_one_text_and_a_name(views: Views) -> None:
    for values, text, title in (
        ({"source": PASTED, "text": "some words"}, TextInput(pasted="some words"), "some words"),
        (
            {"source": PASTED, "text": "Älter, als die See!\n"},
            TextInput(pasted="Älter, als die See!\n"),
            "alter als die see",
        ),
        ({"source": PASTED, "text": "море"}, TextInput(pasted="море"), "pasted"),
        (
            {"source": FILES, "files": ["/u/a.txt", "/u/b.txt"]},
            TextInput(uploads=(Path("/u/a.txt"), Path("/u/b.txt"))),
            "a",
        ),
        ({"source": PLACE, "place": " /books/one.txt "}, TextInput(paths=(Path("/books/one.txt"),)), "one"),
    ):
        assert text_of(views, **values) == text
        assert views.form.source.title(views.set(**values)) == title
    for source, sentence in (
        (PASTED, "the text is empty"),
        (FILES, "no file is chosen"),
        (PLACE, "no folder is named"),
    ):
        with pytest.raises(ValueError, match=f"^{sentence}"):
            text_of(views, source=source)


def test_a_place_may_begin_with_the_home_of_its_user(
    views: Views, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert text_of(views, source=PLACE, place="~/book.txt") == TextInput(paths=(tmp_path / "book.txt",))


def test_stopping_while_a_text_is_made_is_said(views: Views) -> None:
    stop = threading.Event()
    stop.set()
    line = views.form._actions.line
    assert list(views.form.source.obtain(views.set(source=LIBRARY), line, stop)) == [{line: STOPPED}]


def test_models_are_offered_under_their_titles(views: Views, tiny_folder: Path) -> None:
    assert views.form.base.list_models("tiny")["value"] == ""
    shutil.copytree(tiny_folder / "tiny", views.desk.settings.models / "tiny")
    shutil.copytree(tiny_folder / "tiny", views.make("book").path / "step-00000040" / "model")
    offered = views.form.base.list_models("tiny")
    assert offered["value"] == "tiny"
    assert {("tiny", "tiny"), ("run book, step 40", "book@40")} <= set(offered["choices"])
    assert views.form._boxes.box(ModelOptions, "start").value == ""


def test_what_can_be_deleted_is_and_the_rest_is_told(views: Views) -> None:
    listing = views.listing
    for name in ("one", "two", "three"):
        views.make(name)
    with training_lock(views.desk.settings.home, "two"), pytest.warns(UserWarning, match="two is training"):
        updates = listing._on_delete(["one", "two", "three"], "steps", 0.6, [])
    assert [info.name for info in control.listing(views.desk.run_context)] == ["two"]
    assert updates[listing.chosen]["choices"] == ["two"]
    assert updates[listing.chosen]["value"] == ["two"]
    assert "one" not in updates[listing.table]


def test_pasted_texts_are_called_so_and_do_not_differ(views: Views) -> None:
    for name in ("one", "two"):
        text = TextInput(pasted=f"a text of the run {name}")
        control.create(views.desk.run_context, RunPlan(name=name), text=text)
    assert control.find(views.desk.run_context, "one").plan().data[0].endswith("text.txt")
    (views.desk.settings.home / "text.txt").write_text("no pasted text")
    views.make("three", data=str(views.desk.settings.home / "text.txt"))
    listing = views.listing
    updates = listing._on_open(["one", "two"], "steps", 0.6, [])
    assert "none" in updates[listing.differences]
    assert updates[listing.table].count("pasted text") == 2


def test_a_few_steps_and_a_base_model_are_put_in_plain_words(views: Views) -> None:
    options = TrainingOptions(steps=1500, max_minutes=3.0)
    few = outlook(options, base="starter", steps=20, seconds=1.6)
    assert few == (
        "3 minutes are enough for about 20 steps, then the run ends: expect it to write much as starter does still; "
        "its limit of 1,500 steps would need about 42 minutes"
    )
    assert "expect" not in outlook(options, base="", steps=900, seconds=0.2)
    assert outlook(options, base="", steps=1500, seconds=0.01) == ""
    chosen = {"preset": "mini", "tokenizer": "auto", "minutes": 3}
    said = choice_sentence(views.desk, **chosen, base="starter")
    assert said.startswith("Base model starter: about 2.62M parameters")
    assert choice_sentence(views.desk, **chosen, base="").startswith("New model mini")


def test_a_time_is_ticked_as_long_as_the_choices_are_its_own(views: Views) -> None:
    chosen = ("0 0", PASTED, "mini", "auto", 3, 1500, "")
    shown = views.form._on_limits(*chosen)[views.form.time]
    assert isinstance(shown, dict)
    assert shown["value"] == "3"
    for at, other, base, time in (
        (4, 2, "", None),
        (4, 10, "", None),  # with the steps of three minutes
        (2, "tiny", "", None),
        (2, "tiny", "starter", "3"),  # which has a size of its own
    ):
        values = [*chosen[:at], other, *chosen[at + 1 : -1], base]
        shown = views.form._on_limits(*values)[views.form.time]
        assert isinstance(shown, dict)
        assert shown["value"] == time


def test_a_name_that_is_none_becomes_one(views: Views) -> None:
    for typed, name in (("My Fables!", "My-Fables"), ("Märchen", "Marchen"), ("море", "run"), ("fables-2", "fables-2")):
        shown = views.form._named._on_leave(typed)
        assert isinstance(shown, dict)
        assert shown.get("value", typed) == name
        assert (f"it is {name} now" in shown["info"]) == (typed != name)
        assert views.form._plan(views.set(text="a text", name=typed)).name == name


def test_a_short_text_of_every_source_suggests_the_starter(views: Views, tmp_path: Path) -> None:
    page, book = tmp_path / "page.txt", tmp_path / "book.txt"
    page.write_text("a few words")
    book.write_text("many words " * 3000)
    hint = views.form.short_text.hint
    for given, visible in (
        (("a few words", "", PASTED, None, ""), True),
        (("a few words", "starter", PASTED, None, ""), False),
        (("", "", PASTED, [str(page)], str(page)), False),
        (("a few words", "", FILES, None, ""), False),
        (("", "", FILES, [str(page)], ""), True),
        (("", "", FILES, [str(page), str(book)], ""), False),
        (("", "", FILES, [str(page), str(tmp_path / "gone.txt")], ""), False),
        (("many words " * 3000, "", PLACE, None, str(page)), True),
        (("", "", PLACE, None, str(tmp_path)), False),
    ):
        shown = views.form._on_text(*given)[hint]
        assert isinstance(shown, dict)
        assert shown["visible"] == visible, given


def test_files_that_are_gone_are_named(views: Views, tmp_path: Path) -> None:
    source, (here, gone) = views.form.source, (tmp_path / "here.txt", tmp_path / "gone.txt")
    here.write_text("a text")
    views.desk.owns_upload = lambda visitor, path: path in (str(here), str(gone))
    kept = source.restore({"source": FILES, "files": [str(here)]})
    assert (kept[source.files], kept[source.lost]) == (gr.update(value=[str(here)]), "")
    lost = source.restore({"source": FILES, "files": [str(here), str(gone), "/etc/passwd"]})
    assert lost[source.files] == gr.update(value=None)
    assert "Choose gone.txt, passwd again" in str(lost[source.lost])


def test_models_of_a_run_that_were_renamed_or_removed_are_named(views: Views, tiny_folder: Path) -> None:
    run, library = views.make("fables"), views.desk.library
    run.write_status(replace(run.status(), model="fables", closest="fables-last", message="saved as fables"))
    for name in ("fables", "fables-last"):
        shutil.copytree(tiny_folder / "tiny", views.desk.settings.models / name)
    assert "since" not in str(views.watch.show("fables", {})[views.watch.state])
    library.rename("fables-last", "tales")
    library.rename("tales", "author")
    library.remove("fables")
    state = str(views.watch.show("fables", {})[views.watch.state])
    assert "The model fables has been removed since." in state
    assert "The model fables\\-last is called author now." in state
    assert control.model_of(views.desk.run_context, control.info(views.desk.run_context, "fables")) == "author"


def test_a_queued_run_says_which_run_it_waits_for(views: Views) -> None:
    for name in ("second", "third"):
        views.make(name).write_queued()
    with training_lock(views.desk.settings.home, "first"):
        assert "place 1, and starts when first has ended" in str(views.watch.show("second", {})[views.watch.state])
        assert "place 2, and starts when second has ended" in str(views.watch.show("third", {})[views.watch.state])


def test_the_choice_has_the_parameters_that_the_text_gives(views: Views) -> None:
    def said(tokenizer: str, text: str) -> str:
        chosen = {"preset": "mini", "tokenizer": tokenizer, "minutes": 3, "base": ""}
        return choice_sentence(views.desk, **chosen, measure=measure_of(text))

    letters = "abcdefghij " * 500
    shape = PRESETS["mini"]
    expected = short(replace(shape, vocab_size=11).parameters())
    assert f"about {expected} parameters with 11 tokens." in said("auto", letters)
    assert "with 512 tokens" in said("auto", letters * 20)  # long enough for a BPE
    assert "with 50,257 tokens" in said("gpt2", letters)
    assert "fewer for a short text" in said("auto", "")
    assert said("wrong", letters) == ""
