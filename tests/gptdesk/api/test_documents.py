"""Examples of docs/api.md, run as they stand against a real server, but for its port."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import openai
import pytest

GUIDE = (Path(__file__).parents[3] / "docs" / "api.md").read_text(encoding="utf-8")
(CURL,) = re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL)
PLAIN, CLIENT = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
HERE = "http://127.0.0.1:7860"


def run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_examples_give_the_same_text(url: str, client: openai.OpenAI) -> None:
    body = {"model": "starter", "prompt": "Once upon a time", "max_tokens": 30, "seed": 1}
    expected = client.completions.create(**body).choices[0].text  # type: ignore[call-overload]
    assert run([sys.executable, "-c", PLAIN.replace(HERE, url)]) == f"{expected}\n"
    chain = [{"name": "temperature", "temperature": 0.7}, {"name": "top_k", "top_k": 40}]
    whole = client.completions.create(**body | {"model": "starter:int8"}, extra_body={"chain": chain})  # type: ignore[call-overload]
    assert run([sys.executable, "-c", CLIENT.replace(HERE, url)]) == whole.choices[0].text


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on this machine")
def test_the_curl_example(url: str, client: openai.OpenAI) -> None:
    answer = json.loads(run(["sh", "-c", CURL.replace("curl", "curl -s --noproxy '*'", 1).replace(HERE, url)]))
    whole = client.completions.create(model="starter", prompt="Once upon a time", max_tokens=30, seed=1)
    assert answer["choices"][0]["text"] == whole.choices[0].text
