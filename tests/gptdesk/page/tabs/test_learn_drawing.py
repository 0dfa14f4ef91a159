"""Drawings of the Learn tab: weights in the maps, texts as text."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image

from gptdesk.anatomy.fading import FadedText
from gptdesk.anatomy.merges import merge_steps
from gptdesk.anatomy.network import GivenTokens
from gptdesk.anatomy.view import InsideView, Prediction
from gptdesk.lessons.tasks import ChoiceTask, Option
from gptdesk.page.tabs.learn.drawing import (
    attention_html,
    chips_html,
    divergence_html,
    faded_panes,
    lens_html,
    merges_html,
)
from gptdesk.page.tabs.learn.lessons import Sitting, _question_html
from models.tokenizer import Tokenizer

HOSTILE = "<img src=x onerror=alert(1)>\"'${1}&\n"


class Tags(HTMLParser):
    """Elements of a page, with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.fixture
def given(tokenizer: Tokenizer) -> GivenTokens:
    ids = tuple(tokenizer.encode(HOSTILE))
    return GivenTokens(ids, len(ids) + 5)


def test_maps_hold_the_weights(tokenizer: Tokenizer, given: GivenTokens) -> None:
    T = len(given.ids)
    attention = torch.rand(2, 3, T, T).tril()
    attention /= attention.sum(-1, keepdim=True)
    row = tuple(Prediction(token, 0.5) for token in given.ids)
    drawn = attention_html(InsideView(given.ids, attention, (row, row, row)), given, tokenizer)
    tags = Tags(drawn).found
    heads = [attributes for tag, attributes in tags if attributes.get("class") == "head-map"]
    assert [head["aria-label"] for head in heads] == [f"Layer {i}, head {j}" for i in (1, 2) for j in (1, 2, 3)]
    addresses = re.findall(r'alt="" src="data:image/png;base64,([^"]+)"', drawn)
    assert len(addresses) == 6
    for address, weights in zip(addresses, attention.flatten(0, 1), strict=True):
        image = Image.open(io.BytesIO(base64.b64decode(address))).convert("RGBA")
        alpha = torch.from_numpy(np.array(image)[..., 3].astype("float32"))
        assert (alpha / 255 - weights).abs().max() <= 0.5 / 255 + 1e-6
    assert f"The first {T} of {T + 5} tokens" in drawn


def test_hostile_text_stays_text(tokenizer: Tokenizer, given: GivenTokens) -> None:
    T = len(given.ids)
    row = tuple(Prediction(token, 0.5) for token in given.ids)
    view = InsideView(given.ids, torch.eye(T)[None, None], (row, row))
    faded = FadedText((0.1,) * T, given.ids, given.ids[::-1])
    task = ChoiceTask(HOSTILE, (Option(HOSTILE, True, HOSTILE),), ((HOSTILE, HOSTILE),))
    for drawn in (
        attention_html(view, given, tokenizer),
        lens_html(view, tokenizer),
        divergence_html(faded, given, tokenizer),
        *faded_panes(faded, HOSTILE, tokenizer),
        chips_html(given.ids, tokenizer, most=10),
        merges_html(merge_steps(tokenizer, HOSTILE), most=3),
        _question_html(task, Sitting("temperature", (task,))),
    ):
        for tag, attributes in Tags(drawn).found:
            assert tag != "img" or str(attributes["src"]).startswith("data:image/png;base64,")
            assert not any(name.startswith("on") for name in attributes)
