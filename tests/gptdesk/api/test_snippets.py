"""Snippets of a request: each is run against a real desk, and writes the texts that the desk itself writes."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from api_checks import served

from gptdesk.api.snippets import SNIPPETS, Address, completion_body
from gptdesk.desk import Desk
from gptdesk.generation import GenerationRequest, collect
from gptdesk.settings import load_settings
from models.manager import ModelKey
from samplers import Chain, build

PROMPT = """'"$H `id` \\n {x}
ü ☃ 𝄞"""
REQUEST = GenerationRequest(
    prompt=PROMPT,
    chain=Chain(samplers=(build("temperature", temperature=0.9), build("top_k", top_k=20))),
    max_new_tokens=16,
    n=2,
    seed=5,
    stop=("zebra's", "\n\n"),
)


@pytest.fixture(scope="module")
def keyed_desk(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Desk:
    home = tmp_path_factory.mktemp("home")
    (home / "models").symlink_to(tiny_folder)
    return Desk(load_settings({"home": str(home), "api_key": "secret-1"}))


@pytest.fixture(scope="module")
def keyed_url(keyed_desk: Desk, in_event_loop: Callable) -> Iterator[str]:
    with served(keyed_desk, in_event_loop) as url:
        yield url


@pytest.mark.parametrize("language", SNIPPETS)
@pytest.mark.parametrize(
    "request_",
    [
        REQUEST.model_copy(update={"banned_phrases": ("e", '"'), "word_bias": {"it's": 2.5}}),
        REQUEST.model_copy(update={"n": 1, "parse_special": True}),
    ],
)
def test_the_snippets_give_the_same_texts(
    keyed_desk: Desk, keyed_url: str, language: str, request_: GenerationRequest
) -> None:
    key = ModelKey("tiny", "float32")
    code = SNIPPETS[language](completion_body(keyed_desk, key, request_), Address(keyed_url, keyed=True))
    assert "secret-1" not in code
    if language == "curl" and shutil.which("curl") is None:
        pytest.skip("no curl on this machine")
    command = ["sh", "-c", code] if language == "curl" else [sys.executable, "-c", code]
    variables = {"GPTDESK_API_KEY": "secret-1", "NO_PROXY": "127.0.0.1", "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(command, capture_output=True, env=os.environ | variables, check=False, timeout=60)
    said = done.stdout.decode("utf-8")
    assert done.returncode == 0, done.stderr
    expected = collect(keyed_desk.generate(key, request_), n=request_.n).texts
    if language == "curl":
        assert [choice["text"] for choice in json.loads(said)["choices"]] == list(expected)
    else:
        assert said.replace(os.linesep, "\n") == "".join(f"{text}\n" for text in expected)


@pytest.mark.parametrize("prompt", [PROMPT, "the cat sat on the mat, " * 40])
def test_what_does_not_fit_the_context_is_cut_as_the_desk_cuts_it(keyed_desk: Desk, prompt: str) -> None:
    key = ModelKey("tiny", "float32")
    request = REQUEST.model_copy(update={"prompt": prompt, "max_new_tokens": 60, "n": 1, "stop": ()})
    body = completion_body(keyed_desk, key, request)
    ids, most = body["prompt"], body["max_tokens"]
    assert isinstance(most, int)
    assert 0 < most < 60
    same = {"prompt_ids": tuple(ids), "prompt": ""} if isinstance(ids, list) else {"prompt": ids}
    assert isinstance(ids, list) == (prompt != PROMPT)
    sent = collect(keyed_desk.generate(key, request.model_copy(update=same | {"max_new_tokens": most})), n=1)
    whole = collect(keyed_desk.generate(key, request), n=1)
    assert sent.tokens[0] == whole.tokens[0][:most]


def test_what_the_api_would_refuse_is_said_instead(keyed_desk: Desk) -> None:
    with pytest.raises(ValueError, match="stop"):
        completion_body(keyed_desk, ModelKey("tiny"), REQUEST.model_copy(update={"stop": tuple("abcde")}))
