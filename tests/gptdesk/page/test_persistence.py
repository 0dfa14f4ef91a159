"""Saved widget state without a page: what is saved, and what is left out when it is read."""

import json
from collections.abc import Callable
from pathlib import Path

import gradio as gr
import pytest

from gptdesk.desk import Desk
from gptdesk.page.option_widgets import ChainPanel
from gptdesk.page.persistence import MOST_KEPT, SavedState
from gptdesk.settings import Settings, load_settings
from gptdesk.stored_values import warn_once
from samplers import names


class Tab:
    """A tab of a text, a number from 1 to 9, a choice of two and a chain of samplers."""

    def __init__(self, settings: Settings, in_event_loop: Callable) -> None:
        self.desk = Desk(settings)
        self.file = settings.home / "page.json"
        self.page = in_event_loop(self._page)

    def _page(self) -> gr.Blocks:
        with gr.Blocks(analytics_enabled=False) as page:
            self.text, self.number = gr.Textbox(), gr.Slider(1, 9, value=5)
            self.choice, self.panel = gr.Dropdown(["a", "b"], value="a"), ChainPanel(names())
            self.panel.place_rest()
            widgets = {"text": self.text, "number": self.number, "choice": self.choice}
            self.saved = SavedState(self.desk, "Tab", widgets, {"chain": self.panel})
            self.saved.wire()
        return page

    def remember(self, *, restored: bool = True, **values: object) -> None:
        shown = {widget: widget.value for widget in self.saved.controls} | {self.saved.restored: restored}
        self.saved.remember(shown | {getattr(self, name): value for name, value in values.items()})

    def written(self) -> dict[str, object]:
        return json.loads(self.file.read_text("utf-8"))["Tab"]

    def write(self, **values: object) -> None:
        self.file.write_text(json.dumps({"Tab": values, "Other": {"text": 7}}), "utf-8")

    def shown(self) -> dict[str, object]:
        """Values that a page gets as it opens, by widget."""
        updates = self.saved.updates(self.saved.read())
        names = {self.text: "text", self.number: "number", self.choice: "choice", self.panel.order: "order"}
        return {
            names[block]: update["value"]
            for block, update in updates.items()
            if block in names and isinstance(update, dict) and "value" in update
        }


@pytest.fixture
def tab(tmp_path: Path, in_event_loop: Callable) -> Tab:
    warn_once.cache_clear()
    return Tab(Settings(home=tmp_path), in_event_loop)


def test_what_is_saved_is_shown_again(tab: Tab, tmp_path: Path, in_event_loop: Callable) -> None:
    tab.remember(text="Once", number=3, choice="b")
    assert tab.written() | {"text": "Once", "number": 3, "choice": "b"} == tab.written()
    assert set(tab.written()) == {"text", "number", "choice", "chain"}
    again = Tab(Settings(home=tmp_path), in_event_loop)
    order = tab.panel.order.value
    assert again.shown() == {"text": "Once", "number": 3, "choice": "b", "order": order}


def test_a_page_that_has_not_been_filled_in_yet_saves_nothing(tab: Tab) -> None:
    tab.remember(text="Once", restored=False)
    assert not tab.file.exists()


def test_every_change_of_every_widget_is_saved(tab: Tab) -> None:
    (event,) = [made for made in tab.page.fns.values() if made.fn == tab.saved.remember]
    assert {number for number, _ in event.targets} == {widget._id for widget in tab.saved.controls}
    assert {trigger for _, trigger in event.targets} == {"change"}
    assert {*event.inputs} == {*tab.saved.controls, tab.saved.restored}


def test_a_public_desk_saves_none(tmp_path: Path, in_event_loop: Callable) -> None:
    public = Tab(load_settings({"home": str(tmp_path), "host": "0.0.0.0"}), in_event_loop)
    assert not any(made.fn == public.saved.remember for made in public.page.fns.values())
    public.remember(text="Once")
    assert not public.file.exists()


@pytest.mark.parametrize(
    ("damaged", "left"),
    [
        ({"text": 7}, {"number": 3, "choice": "b"}),
        ({"number": 99}, {"text": "Once", "choice": "b"}),
        ({"number": "3"}, {"text": "Once", "choice": "b"}),
        ({"text": "x" * MOST_KEPT}, {"number": 3, "choice": "b"}),
        ({"chain": "top_k"}, {"text": "Once", "number": 3, "choice": "b"}),
        ({"gone": 1}, {"text": "Once", "number": 3, "choice": "b"}),
    ],
)
def test_damaged_values_are_left_out_and_named(
    tab: Tab, caplog: pytest.LogCaptureFixture, damaged: dict[str, object], left: dict[str, object]
) -> None:
    tab.write(**({"text": "Once", "number": 3, "choice": "b"} | damaged))
    assert [tab.shown() for _ in range(2)] == [left, left]
    (warning,) = [record.message for record in caplog.records]  # once, however often the page is opened
    assert "Tab" in warning
    assert f"({', '.join(damaged)})" in warning


def test_a_choice_that_is_no_longer_offered_is_as_at_first(tab: Tab, caplog: pytest.LogCaptureFixture) -> None:
    tab.write(text="Once", choice="c")
    assert tab.shown() == {"text": "Once"}
    assert not caplog.records  # it is not damaged


@pytest.mark.parametrize("content", ['{"Tab": 5}', '{"Tab": null}', "{}", "{"])
def test_whatever_the_file_is_the_page_is_as_at_first(tab: Tab, content: str) -> None:
    tab.file.write_text(content)
    assert tab.shown() == {}
    tab.remember(text="Once")
    assert tab.shown()["text"] == "Once"


def test_texts_that_are_too_long_are_not_saved(tab: Tab) -> None:
    tab.remember(text="x" * MOST_KEPT, number=3)
    assert set(tab.written()) == {"number", "choice", "chain"}
    tab.remember(text="x" * (MOST_KEPT - 1))
    assert len(str(tab.shown()["text"])) == MOST_KEPT - 1


def test_a_disk_that_is_full_costs_nothing_but_what_is_saved(
    tab: Tab, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(name: str, value: object) -> None:
        raise ValueError("page.json cannot be written: no space left on device")

    monkeypatch.setattr(tab.desk.page, "put", full)
    tab.remember(text="Once")
    assert caplog.messages == ["page.json cannot be written: no space left on device"]
