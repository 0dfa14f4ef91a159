"""Examples of docs/api.md, run as they stand against a real server, but for its port; /docs and its examples."""

import html
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from api_checks import served
from page_checks import NEEDS_BROWSER, WINDOW, running_browser, sync_api

import gptdesk.api
from gptdesk.desk import Desk
from gptdesk.generation import MAX_SEED
from gptdesk.presets import built_in_presets
from gptdesk.settings import load_settings
from samplers import get, names

GUIDE = (Path(__file__).parents[3] / "docs" / "api.md").read_text(encoding="utf-8")
(CURL,) = re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL)
PLAIN, CLIENT = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
expect = sync_api.expect
HERE = "http://127.0.0.1:7860"
EXAMPLES = Path(gptdesk.api.__file__).with_name("examples.json")
WRITE = os.environ.get("GPTDESK_WRITE_EXAMPLES")  # set: the answers of this machine become the examples
# what differs from run to run, from machine to machine, or by version
NAMES = ("id", "created", "system_fingerprint", "version", "home", "device", "kernels", "compiled_step", "precisions")
UNSTABLE = {*NAMES, "seconds", "seconds_to_first_token", "tokens_per_second"}
COUNTED = "generations_total|generated_tokens_total|queue_length|loaded_models"
METRICS = re.compile(rf"^(?:# \w+ )?gptdesk_(?:{COUNTED})\b.*$", re.MULTILINE)

# cells, but for the last of a row, whose text has several lines
BROKEN = """[...document.querySelectorAll("td:not(:last-child), thead th")].filter((cell) => {
  const range = document.createRange();
  range.selectNodeContents(cell);
  return new Set([...range.getClientRects()].map((line) => Math.round(line.bottom / 9))).size > 1;
}).map((cell) => cell.textContent)"""
PLUGIN = '''
from pydantic import Field
from samplers import Sampler

class Own(Sampler):
    """Shift all logits."""

    name = "documented_own"
    amount: float = Field(0.25, gt=-3, le=1.5, description="How far")

    def __call__(self, logits, tokens):
        return logits + self.amount
'''


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


# /docs and openapi.json


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory, in_event_loop: Callable) -> Iterator[httpx.Client]:
    """A desk with the starter alone, as the examples have it."""
    desk = Desk(load_settings({"home": str(tmp_path_factory.mktemp("home"))}))
    with served(desk, in_event_loop) as url, httpx.Client(base_url=url, trust_env=False, timeout=60) as raw:
        yield raw


def stable(value: Any) -> Any:
    """The parts of an answer that every run gives, numbers as far as machines agree."""
    if isinstance(value, dict):
        return {name: None if name in UNSTABLE else stable(one) for name, one in value.items()}
    if isinstance(value, list):
        return [stable(one) for one in value]
    return pytest.approx(value, abs=1e-3) if isinstance(value, float) else value


def rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: rounded(one) for name, one in value.items()}
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return round(value, 5) if isinstance(value, float) else value


def answers(raw: httpx.Client) -> dict[str, dict[str, Any]]:
    """The answers to all examples, by operation and type, as the document has them."""
    found: dict[str, dict[str, Any]] = {}
    for path, operations in raw.get("/openapi.json").json()["paths"].items():
        for method, operation in operations.items():
            extra = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            answer = raw.request(method, path.replace("{model}", "starter"), json=extra.get("example"))
            assert answer.status_code == 200, f"{path}: {answer.text}"
            kind = answer.headers["content-type"].partition(";")[0]
            shown = answer.json() if kind == "application/json" else "\n".join(METRICS.findall(answer.text))
            found[f"{method.upper()} {path}"] = {kind: shown}
    stream = raw.post(
        "/v1/completions",
        json={"model": "starter", "prompt": "Once upon a time", "max_tokens": 20, "seed": 1, "stream": True},
    )
    first, *_, last, done = stream.text.strip().split("\n\n")
    found["POST /v1/completions"]["text/event-stream"] = "\n\n".join([first, last, done])
    return found


def _chunks(examples: dict[str, dict[str, Any]]) -> Any:
    """Take the example of a stream out of the examples; its chunks before [DONE]."""
    frames = examples["POST /v1/completions"].pop("text/event-stream").split("\n\n")
    assert frames.pop() == "data: [DONE]"
    return [stable(json.loads(frame.removeprefix("data: "))) for frame in frames]


def test_each_example_has_the_answer_that_the_documents_show(fresh: httpx.Client) -> None:
    found = answers(fresh)
    if WRITE:
        EXAMPLES.write_text(json.dumps(rounded(found), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    shown = json.loads(EXAMPLES.read_text("utf-8"))
    again = "; GPTDESK_WRITE_EXAMPLES=1 writes the examples anew"
    assert shown.keys() == found.keys()
    assert _chunks(shown) == _chunks(found), again
    metrics = [one["GET /metrics"].pop("text/plain") for one in (shown, found)]
    names_shown, names_found = ([line.rpartition(" ")[0] for line in one.split("\n")] for one in metrics)
    assert names_shown == names_found, again
    for operation, answer in found.items():
        assert stable(answer) == stable(shown[operation]), operation + again


def words(raw: httpx.Client) -> str:
    """The text of /docs without its markup."""
    page = raw.get("/docs").text
    return html.unescape(re.sub(r"<(style|script)>.*?</\1>|<[^>]*>", " ", page, flags=re.S))


def test_the_page_lists_every_operation_with_its_statuses_and_answers(fresh: httpx.Client) -> None:
    page, document = fresh.get("/docs").text, fresh.get("/openapi.json").json()
    links, anchors = (re.findall(pattern, page) for pattern in (r'<li><a href="#(.*?)"', r'<h2 id="(.*?)"'))
    assert links == anchors  # in this order
    assert next(one for one in links if one.startswith(("get-", "post-"))) == "post-v1-completions"
    assert {"get-health", "get-metrics"} < set(links)
    shown = re.findall(r"<p>Status codes: <a [^>]*>(.*?)</a>", page)
    operations = [one for path in document["paths"].values() for one in path.values()]
    assert [re.sub(r" \(.*?\)", "", one).split(", ") for one in shown] == [
        sorted(one["responses"]) for one in operations
    ]
    assert "429 (with Retry-After)" in shown[0]
    assert "Retry-After" in document["paths"]["/v1/completions"]["post"]["responses"]["429"]["headers"]
    said = words(fresh)
    assert "there was a generous duck" in said
    assert re.search(r"curl -N \S+/v1/completions .*\"stream\": true.*data: \{\"id\".*data: \[DONE\]", said, re.S)


def test_the_largest_seed_is_exact(fresh: httpx.Client) -> None:
    assert f"at most {MAX_SEED:,}" in words(fresh)
    assert f'"maximum":{MAX_SEED}' in fresh.get("/openapi.json").text


def test_presets_and_samplers_are_those_of_the_desk(tmp_path: Path, in_event_loop: Callable) -> None:
    (tmp_path / "samplers").mkdir()
    (tmp_path / "samplers" / "own.py").write_text(PLUGIN)
    desk = Desk(load_settings({"home": str(tmp_path)}))
    desk.save_preset("<b>mine", desk.preset("Careful"))
    with served(desk, in_event_loop) as url, httpx.Client(base_url=url, trust_env=False, timeout=60) as raw:
        page, said = raw.get("/docs").text, " ".join(words(raw).split())
    listed = page[page.index('id="samplers"') :]
    for name in names():
        options = get(name).model_fields
        assert [*re.findall(rf">{name}</code> <span>", listed)], name
        assert all(f"<td><code>{option}</code></td>" in listed for option in options)
    assert "documented_own Shift all logits. amount more than -3, at most 1.5 0.25 How far" in said
    assert "top_k Keep exactly the k most probable tokens (Fan et al. 2018). top_k at least 0 50 Number" in said
    assert all(f"<td>{html.escape(name)}</td>" in page for name in (*built_in_presets(), "<b>mine"))


def test_a_key_is_described_where_there_is_one(fresh: httpx.Client, tmp_path: Path, in_event_loop: Callable) -> None:
    plain = fresh.get("/openapi.json").json()
    assert "components" not in plain or "securitySchemes" not in plain["components"]
    assert "This desk has no key" in words(fresh)
    assert 'name="key"' not in fresh.get("/docs").text
    desk = Desk(load_settings({"home": str(tmp_path), "api_key": "secret-1"}))
    with served(desk, in_event_loop) as url, httpx.Client(base_url=url, trust_env=False, timeout=60) as raw:
        document = raw.get("/openapi.json").json()
        assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                asked = raw.request(method, path.replace("{model}", "starter"), json={})
                assert ("security" in operation) == (asked.status_code == 401), path
        shown = document["paths"]["/health"]["get"]["responses"]["200"]["content"]["application/json"]["example"]
        assert shown.keys() == raw.get("/health").json().keys()
        assert "This desk has a key" in words(raw)
        assert "secret-1" not in raw.get("/docs").text


@NEEDS_BROWSER
def test_a_request_can_be_tried_on_the_page(tmp_path: Path, in_event_loop: Callable) -> None:
    desk = Desk(load_settings({"home": str(tmp_path), "api_key": "secret-1"}))
    with served(desk, in_event_loop) as url, running_browser() as browser:
        (page,) = browser.contexts[0].pages
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("dialog", lambda dialog: faults.append(dialog.message))
        page.goto(f"{url}/docs")
        for width in (WINDOW["width"], 390):
            page.set_viewport_size({"width": width, "height": 844})
            assert page.evaluate("document.documentElement.scrollWidth") == width  # tables scroll in their boxes
            # no cell but the last of a row breaks its words
            assert page.evaluate(BROKEN) == []
        split = page.locator('form[data-path="/tokenize"]')
        split.get_by_role("button", name="Send").click()
        expect(split.get_by_role("status")).to_have_text("401 Unauthorized")
        page.get_by_label("Key").first.fill("secret-1")  # for all forms
        hostile = "<img src=x onerror=alert(1)></pre><script>alert(2)</script>"
        split.get_by_label("Body").fill(json.dumps({"model": "starter", "text": hostile}))
        split.get_by_role("button", name="Send").click()
        expect(split.get_by_role("status")).to_have_text("200 OK")
        assert "".join(json.loads(split.get_by_label("Answer").inner_text())["tokens"]) == hostile
        assert split.locator("img, script").count() == 0
        write = page.locator('form[data-path="/v1/completions"]')
        body = {"model": "starter", "prompt": "Once", "seed": MAX_SEED}
        write.get_by_label("Body").fill(json.dumps(body))
        write.get_by_role("button", name="Send").click()
        expect(write.get_by_label("Answer")).to_contain_text(f'"seed": {MAX_SEED},')  # not rounded
        write.get_by_label("Body").fill(json.dumps(body | {"stream": True}))
        write.get_by_role("button", name="Send").click()
        expect(write.get_by_label("Answer")).to_contain_text("data: [DONE]")
        expect(write.get_by_role("button", name="Stop")).to_be_hidden()
        # the policy lets no other script run, and nothing be asked for elsewhere
        page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=alert(3)>')")
        assert page.evaluate("fetch('http://localhost:1/').catch((error) => error.name)") == "TypeError"
        assert faults == []
