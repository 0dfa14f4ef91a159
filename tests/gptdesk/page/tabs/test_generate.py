"""Generate tab without a browser: token count below the prompt, and state of a page that opens."""

import threading
from collections.abc import Callable
from pathlib import Path

import gradio as gr
import pytest

from gptdesk.desk import Desk
from gptdesk.page.long_action import Call
from gptdesk.page.tabs.generate.tab import GenerateTab
from gptdesk.page.tabs.generate.writing import Plan
from gptdesk.settings import Settings
from models.manager import LoadedModel, ModelKey

FOUR = "… the the the the"


@pytest.fixture
def tab(tmp_path: Path, in_event_loop: Callable) -> GenerateTab:
    return in_event_loop(lambda: _tab(tmp_path))


def _tab(home: Path) -> GenerateTab:
    desk = Desk(Settings(home=home))
    with gr.Blocks() as page:
        return GenerateTab(desk, page)


def _prompt(tab: GenerateTab, tokens: int) -> str:
    text = " the" * tokens
    assert len(tab.desk.tokenizer("starter").encode(text)) == tokens
    return text


@pytest.mark.parametrize(
    ("tokens", "wanted", "told"),
    [
        (0, 100, "0 of 256 tokens"),
        (157, 100, "157 of 256 tokens"),
        (158, 100, "⚠ 158 of 256 tokens: the first one, up to “… the”, will be left out, so that 100 new ones fit"),
        (
            255,
            100,
            f"⚠ 255 of 256 tokens: the first 98, up to “{FOUR}”, will be left out, so that 100 new ones fit",
        ),
        (
            257,
            100,
            f"⚠ 257 of 256 tokens: the first 100, up to “{FOUR}”, will be left out, so that 100 new ones fit",
        ),
        (257, 1, "⚠ 257 of 256 tokens: the first one, up to “… the”, will be left out, so that 1 new one fits"),
        (
            300,
            1000,
            f"⚠ 300 of 256 tokens: the first 172, up to “{FOUR}”, will be left out, so that 129 new ones fit",
        ),
        (128, 1000, "128 of 256 tokens"),
    ],
)
def test_the_count_tells_what_will_be_cut(tab: GenerateTab, tokens: int, wanted: int, told: str) -> None:
    assert tab._on_prompt(_prompt(tab, tokens), "starter", wanted, False) == told


def test_the_count_is_that_of_parsed_special_tokens_if_they_are_parsed(tab: GenerateTab) -> None:
    assert tab._on_prompt("<|endoftext|>", "starter", 100, True) == "1 of 256 tokens"
    assert tab._on_prompt("<|endoftext|>", "starter", 100, False) != "1 of 256 tokens"


def test_what_cannot_be_asked_for_is_told_in_place_of_the_count(tab: GenerateTab) -> None:
    assert "max\\_new\\_tokens must be" in tab._on_prompt("Once", "starter", None, False)


def test_stop_while_the_model_loads_ends_at_once_and_leaves_the_texts(
    tab: GenerateTab, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop, loading, go_on, manager = threading.Event(), threading.Event(), threading.Event(), tab.desk.manager
    read = manager._read

    def read_slowly(key: ModelKey, path: Path) -> LoadedModel:
        loading.set()
        go_on.wait(30)
        return read(key, path)

    monkeypatch.setattr(manager, "_read", read_slowly)
    values = {one: getattr(one, "value", None) for one in (*tab.kept.controls, *tab.texts.inputs)}
    plan = Plan(*tab.settings.request(values, "Once"), prompt="Once")
    stream = tab.writer.stream(plan, Call(stop, None), values=values)
    assert next(stream)[tab.stats.line] == "Reading the prompt …"
    updates = [next(stream)]
    assert loading.wait(30)
    stop.set()
    updates += stream
    assert not [box for box in tab.texts.boxes for update in updates if box in update]
    assert updates[-1] == {tab.stats.line: "You stopped it before the text began."}
    [thread] = [thread for thread in threading.enumerate() if thread.name == "generation"]
    go_on.set()
    thread.join(30)
    assert manager.loaded() == [plan.key]
    assert tab.desk.history is not None
    assert tab.desk.history.count() == 0


def test_steps_of_an_earlier_version_name_a_chosen_text_and_are_still_undone(tab: GenerateTab) -> None:
    steps = [{"texts": ["a", "b"], "chosen": 2}, {"prompt": "c"}, {"texts": ["d"]}, {"texts": [1]}, {"chosen": 1}]
    tab.desk.page.put("Generate: undo", steps)
    assert tab.texts.restored(tab.kept.values())[tab.texts.history] == steps[:3]
    updates = tab._on_undo({tab.texts.history: steps[:1]})
    assert [updates[box]["value"] for box in tab.texts.boxes[:2]] == ["a", "b"]
