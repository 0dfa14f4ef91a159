"""Presets with another temperature: where it goes, and where it is refused."""

import pytest

from gptdesk.presets import built_in_presets, with_temperature
from samplers import Chain


def links(chain: Chain) -> list[tuple[str, object]]:
    return [(link["name"], link.get("temperature")) for link in chain.to_data()]


def test_a_temperature_replaces_that_of_the_preset() -> None:
    hotter = with_temperature(built_in_presets()["Adventurous"], 0.25)
    assert links(hotter) == [("presence_frequency", None), ("temperature", 0.25), ("min_p", None)]


def test_a_chain_without_one_gets_it_before_tokens_are_cut_and_after_penalties() -> None:
    assert links(with_temperature(built_in_presets()["Top-k only"], 1.5)) == [("temperature", 1.5), ("top_k", None)]
    chain = Chain.from_data([{"name": "repetition_penalty"}, {"name": "top_p"}])
    assert [name for name, _ in links(with_temperature(chain, 1.5))] == ["repetition_penalty", "temperature", "top_p"]


def test_what_no_temperature_can_change_is_refused() -> None:
    with pytest.raises(ValueError, match="leave its temperature empty"):
        with_temperature(built_in_presets()["Most likely word"], 1.5)
    with pytest.raises(ValueError, match="temperature"):
        with_temperature(built_in_presets()["Balanced"], 2.5)
