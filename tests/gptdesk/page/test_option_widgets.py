"""Option widgets: the widget of each type, and panels that return the chain they show."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import gradio as gr
import pytest
import torch
from conftest import WHISPER
from pydantic import Field

from gptdesk.markup import markdown_text
from gptdesk.page.option_widgets import ChainPanel, widget
from gptdesk.page.pickers import neutral_chain
from gptdesk.presets import built_in_presets
from samplers import Options, build, default_chain, get, load_plugins, names


class Everything(Options):
    bounded: float = Field(0.5, gt=0, le=1, description="between", json_schema_extra={"step": 0.05})
    whole: int = Field(3, ge=0, description="count", json_schema_extra={"slider_max": 200})
    free: float = Field(2.0, description="any")
    switch: bool = Field(True, description="on or off")
    choice: Literal["a", "b"] = Field("b", description="one of two")
    text: str = Field("x", description="words")
    pair: tuple[int, int] = (1, 2)


def test_each_type_has_its_widget_with_bounds_value_and_explanation() -> None:
    fields = Everything.model_fields
    bounded = widget("bounded", fields["bounded"])
    assert isinstance(bounded, gr.Slider)
    assert (bounded.minimum, bounded.maximum, bounded.step, bounded.value) == (0.05, 1, 0.05, 0.5)
    assert (bounded.label, bounded.info) == ("Bounded", "Between")
    whole = widget("whole", fields["whole"])
    assert isinstance(whole, gr.Slider)
    assert (whole.minimum, whole.maximum, whole.step, whole.value) == (0, 200, 1, 3)
    for name, kind in (("free", gr.Number), ("switch", gr.Checkbox), ("choice", gr.Dropdown), ("text", gr.Textbox)):
        made = widget(name, fields[name])
        assert isinstance(made, kind)
        assert made.value == fields[name].default
    with pytest.raises(TypeError, match="pair"):
        widget("pair", fields["pair"])


def test_every_registered_option_has_a_slider_its_default_fits_or_a_text_box() -> None:
    for name in names():
        for option, field in get(name).model_fields.items():
            slider = widget(option, field)
            if field.annotation is str:
                assert isinstance(slider, gr.Textbox), option
                continue
            assert isinstance(slider, gr.Slider), option
            assert slider.minimum <= slider.value <= slider.maximum
            for edge in (slider.minimum, slider.maximum):  # what the widget can show, the sampler accepts
                build(name, **{option: type(field.default)(edge)})


@pytest.fixture
def panel(in_event_loop: Callable) -> ChainPanel:
    return in_event_loop(_panel)


def _panel() -> ChainPanel:
    with gr.Blocks():
        panel = ChainPanel(names())
        panel.place("temperature", "top_k", "top_p")
        panel.place_rest()
    return panel


def _values(panel: ChainPanel) -> dict:
    return {component: component.value for component in panel.components}


def test_a_new_panel_shows_the_default_chain(panel: ChainPanel) -> None:
    assert panel.chain(_values(panel)) == default_chain()
    for sampler, component in panel._options.values():
        assert component.visible == (sampler in {link.name for link in default_chain().samplers})


@pytest.mark.parametrize("name", list(built_in_presets()))
def test_what_a_panel_shows_is_the_chain_it_gives(panel: ChainPanel, name: str) -> None:
    chain = built_in_presets()[name]
    values = _values(panel)
    for component, update in panel.show(chain).items():
        if "value" in update:
            values[component] = update["value"]
    assert panel.chain(values) == chain
    again = _values(panel)
    for component, update in panel.restored(panel.remembered(values)).items():
        if "value" in update:
            again[component] = update["value"]
    assert panel.chain(again) == chain


def test_the_order_is_the_users(panel: ChainPanel) -> None:
    values = _values(panel) | {panel.order: ["top_p", "temperature"]}
    assert [sampler.name for sampler in panel.chain(values).samplers] == ["top_p", "temperature"]
    with pytest.raises(ValueError, match="empty"):
        panel.chain(values | {panel.order: []})


@pytest.mark.parametrize("kept", [None, [], {}, {"order": 1, "options": 2}, {"order": ["gone"], "options": {"x": 1}}])
def test_remembered_nonsense_is_left_out(panel: ChainPanel, kept: object) -> None:
    for update in panel.restored(kept).values():
        assert update.get("value", []) == []


def test_neutral_chains_change_nothing() -> None:
    logits, tokens = torch.randn(2, 40), torch.randint(40, (2, 5))
    for chain in built_in_presets().values():
        model, *links = neutral_chain(chain).explain(logits, tokens)
        for link in links:
            torch.testing.assert_close(link.probabilities, model.probabilities)


def test_a_dropped_in_sampler_has_a_slider_and_works(tmp_path: Path, in_event_loop: Callable) -> None:
    (tmp_path / "whisper.py").write_text(WHISPER)
    assert load_plugins(tmp_path) == []
    panel = in_event_loop(_panel)
    sampler, slider = panel._options["softness"]
    assert (sampler, slider.maximum, slider.visible) == ("whisper", 2, False)
    values = _values(panel) | {panel.order: ["whisper"], slider: 1.5}
    assert panel.chain(values).to_data() == [{"name": "whisper", "softness": 1.5}]


def test_markdown_is_shown_not_rendered() -> None:
    assert markdown_text("a *b* <i>_c_</i>") == "a \\*b\\* \\<i\\>\\_c\\_\\</i\\>"
    assert markdown_text("0.5: https://a.b www.a.b c@d") == "0.5: https\\://a.b www\\.a.b c\\@d"  # no links
