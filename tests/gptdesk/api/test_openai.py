"""Conformance of /v1: the official client and raw requests against a real server with the tiny model."""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import torch
from conftest import Observed
from starlette.testclient import TestClient

from gptdesk.api.openai import work
from gptdesk.desk import Desk
from gptdesk.generation import GenerationRequest, collect
from gptdesk.server import web_app
from gptdesk.settings import load_settings
from models.manager import LoadedModel, ModelKey
from models.tokenizer import Tokenizer
from samplers import Chain, build

PROMPT = "Once upon a time"
JSON = {"content-type": "application/json"}


def ask(raw: httpx.Client, **fields: object) -> httpx.Response:
    body = json.dumps({"model": "tiny", "prompt": PROMPT, "seed": 1} | fields)
    return raw.post("/v1/completions", content=body, headers=JSON)


def answer(raw: httpx.Client, **fields: object) -> dict[str, Any]:
    found = ask(raw, **fields)
    assert found.status_code == 200, found.text
    return found.json()


def error(found: httpx.Response, status: int) -> dict[str, Any]:
    """Require a status and a whole error object with a sentence; return it."""
    assert found.status_code == status, found.text
    assert found.headers["content-type"] == "application/json"
    assert set(found.json()) == {"error"}
    fault = found.json()["error"]
    assert set(fault) == {"message", "type", "param", "code"}
    assert fault["message"]
    assert "\n" not in fault["message"]
    return fault


def chunks(raw: httpx.Client, **fields: object) -> list[dict[str, Any]]:
    """Require the framing of server-sent events; return the chunks before [DONE]."""
    found = ask(raw, stream=True, **fields)
    assert found.status_code == 200, found.text
    assert found.headers["content-type"].startswith("text/event-stream")
    *frames, rest = found.content.decode("utf-8").split("\n\n")
    assert rest == ""
    assert all(frame.startswith("data: ") and "\n" not in frame for frame in frames)
    assert frames[-1] == "data: [DONE]"
    return [json.loads(frame.removeprefix("data: ")) for frame in frames[:-1]]


# Values that are refused, each with the field that the error names. 401 is one more than the ids of the model.
REFUSED = [
    ("prompt", [1, "a"]),
    ("prompt", [-1]),
    ("prompt", [400]),
    ("prompt", [2**40]),
    ("prompt", [2**70]),
    ("prompt", [1.5]),
    ("prompt", [True]),
    ("prompt", []),
    ("prompt", [[]]),
    ("prompt", [[1], "a"]),
    ("prompt", {"a": 1}),
    ("prompt", 5),
    ("max_tokens", -1),
    ("max_tokens", 1.5),
    ("max_tokens", "5"),
    ("max_tokens", True),
    ("max_tokens", 65),
    ("max_tokens", 2**63),
    ("n", 0),
    ("n", 17),
    ("n", 2**31),
    ("best_of", 0),
    ("best_of", 17),
    ("temperature", 2.1),
    ("temperature", -0.1),
    ("temperature", "1"),
    ("temperature", []),
    ("temperature", 10**400),
    ("top_p", 1.1),
    ("top_p", -1),
    ("top_k", -1),
    ("min_p", 2),
    ("logprobs", 6),
    ("logprobs", -1),
    ("logprobs", True),
    ("stop", list("abcde")),
    ("stop", ""),
    ("stop", [""]),
    ("stop", 5),
    ("stop", "x" * 1_001),
    ("presence_penalty", 2.01),
    ("frequency_penalty", -2.01),
    ("logit_bias", {"400": 1}),
    ("logit_bias", {"a": 1}),
    ("logit_bias", {"5": 101}),
    ("logit_bias", {"5": "1"}),
    ("logit_bias", {str(i): 1 for i in range(10_000)}),
    ("logit_bias", []),
    ("seed", -1),
    ("seed", 2**63),
    ("suffix", "the end"),
    ("stream", 1),
    ("stream", "true"),
    ("echo", "yes"),
    ("user", 5),
    ("precision", "int3"),
    ("chain", [{"name": "top_k", "top_k": -1}]),
    ("chain", []),
    ("chain", [5]),
    ("chain", "greedy"),
]


@pytest.mark.parametrize(("field", "value"), REFUSED)
def test_a_wrong_value_is_refused_with_its_field(raw: httpx.Client, field: str, value: object) -> None:
    fault = error(ask(raw, **{field: value}), 400)
    assert field in fault["message"] or fault["param"] == field
    assert len(fault["message"]) < 400


@pytest.mark.parametrize(
    "fields",
    [
        {"best_of": 1, "n": 2},
        {"best_of": 2, "stream": True},
        {"stream_options": {"include_usage": True}},
        {"chain": [{"name": "greedy"}], "temperature": 0.5},
        {"model": "tiny:int8", "precision": "float32"},
    ],
)
def test_fields_that_contradict_each_other_are_refused(raw: httpx.Client, fields: dict[str, object]) -> None:
    error(ask(raw, **fields), 400)


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": ""},
        {"prompt": None},
        {"prompt": [PROMPT]},
        {"prompt": [1, 2, 3]},
        {"prompt": "\0 \ud800"},
        {"temperature": 0},
        {"temperature": 2},
        {"temperature": None},
        {"top_p": 0},
        {"top_p": 1},
        {"seed": None},
        {"seed": 2**63 - 1},
        {"presence_penalty": -2, "frequency_penalty": 2},
        {"stop": list("wxyz")},
        {"user": "someone"},
        {"suffix": None},
        {"unknown_field": 1},
        {"logit_bias": {}},
        {"top_k": 0, "min_p": 0.1},
        {"precision": "int8"},
        {"model": "tiny:int8"},
    ],
)
def test_allowed_values_are_answered(raw: httpx.Client, fields: dict[str, object]) -> None:
    found = answer(raw, **fields)
    assert found["object"] == "text_completion"
    assert found["id"].startswith("cmpl-")
    assert type(found["created"]) is int
    (choice,) = found["choices"]
    assert choice["finish_reason"] in ("stop", "length")
    assert choice["logprobs"] is None
    usage = found["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert 1 <= usage["completion_tokens"] <= 16


BODIES = [
    (b"", 400),
    (b"[]", 400),
    (b"5", 400),
    (b"{", 400),
    (b"\xff", 400),
    (b"{" * 100_000, 400),
    (b"[" * 100_000, 400),
    (b'{"model": "tiny", "prompt": "a", "temperature": NaN}', 400),
    (b'{"model": "tiny", "prompt": "a", "temperature": 1e999}', 400),
    (b'{"model": "tiny", "prompt": "a", "seed": ' + b"9" * 5_000 + b"}", 400),
    (b'{"model": "tiny", "prompt": "a", "prompt": "b"}', 400),
    (b'{"model": "tiny"}', 400),
    (b'{"prompt": "a"}', 400),
    (b'{"model": null, "prompt": "a"}', 400),
    (b'{"model": "no\\ud800such", "prompt": "a"}', 400),
    (b'{"model": "../tiny", "prompt": "a"}', 404),
    (b'{"model": "", "prompt": "a"}', 404),
    (b'{"model": "tiny:int3", "prompt": "a"}', 404),
    (b'{"model": "tiny", "prompt": "' + b"a" * 9_000_000 + b'"}', 413),
]


@pytest.mark.parametrize(("body", "status"), BODIES, ids=range(len(BODIES)))
def test_bodies_that_are_refused(raw: httpx.Client, body: bytes, status: int) -> None:
    error(raw.post("/v1/completions", content=body, headers=JSON), status)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/completions", 405),
        ("PUT", "/v1/completions", 405),
        ("OPTIONS", "/v1/completions", 405),
        ("POST", "/v1/models", 405),
        ("GET", "/v1/models/nosuch", 404),
        ("GET", "/v1/models/tiny:int3", 404),
        ("GET", "/v1/nowhere", 404),
        ("POST", "/v1/", 404),
        ("POST", "/v1/chat/completions", 404),
        ("POST", "/v1/embeddings", 404),
    ],
)
def test_other_routes_and_methods_have_error_objects(raw: httpx.Client, method: str, path: str, status: int) -> None:
    found = raw.request(method, path)
    error(found, status)
    assert ("allow" in found.headers) == (status == 405)


def test_a_body_of_another_type_and_another_host_have_error_objects(raw: httpx.Client) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        error(raw.post("/v1/completions", content=b"{}", headers={"content-type": kind}), 415)
    error(raw.get("/v1/models", headers={"host": "evil.com"}), 403)
    error(raw.post("/v1/completions", content=b"{}", headers=JSON | {"origin": "http://evil.com"}), 403)
    error(raw.get("/v1/models", headers={"sec-fetch-site": "cross-site"}), 403)


def test_the_models(client: openai.OpenAI, raw: httpx.Client) -> None:
    listed = client.models.list()
    assert [model.id for model in listed.data] == ["starter", "tiny"]
    assert all(model.object == "model" and type(model.created) is int and model.owned_by for model in listed.data)
    assert client.models.retrieve("tiny:int8").id == "tiny:int8"
    with pytest.raises(openai.NotFoundError) as refused:
        client.models.retrieve("nosuch")
    assert refused.value.code == "model_not_found"
    assert "tiny" in refused.value.message
    assert raw.head("/v1/models").status_code == 200


# What is generated


def test_the_same_chain_and_seed_give_the_desks_own_text(api_desk: Desk, client: openai.OpenAI) -> None:
    chain = Chain(samplers=(build("presence_frequency", presence_penalty=0.5), build("temperature", temperature=0.7)))
    request = GenerationRequest(prompt=PROMPT, chain=chain, max_new_tokens=24, seed=9, n=2)
    expected = collect(api_desk.generate(ModelKey("tiny"), request), n=2).texts
    options: dict[str, Any] = {"model": "tiny", "prompt": PROMPT, "max_tokens": 24, "seed": 9, "n": 2}
    by_fields = client.completions.create(**options, temperature=0.7, presence_penalty=0.5)
    by_chain = client.completions.create(**options, extra_body={"chain": chain.to_data()})
    assert [choice.text for choice in by_fields.choices] == expected
    assert [choice.text for choice in by_chain.choices] == expected
    assert by_fields.model == "tiny:float32"


def test_prompts_of_all_forms(raw: httpx.Client, tokenizer: Tokenizer) -> None:
    ids = [tokenizer.encode(text) for text in ("Once", "The fox")]
    texts = answer(raw, prompt=["Once", "The fox"], n=2)
    assert [choice["index"] for choice in texts["choices"]] == [0, 1, 2, 3]
    assert texts["usage"]["prompt_tokens"] == sum(map(len, ids))
    by_ids = answer(raw, prompt=ids, n=2)
    assert [c["text"] for c in by_ids["choices"]] == [c["text"] for c in texts["choices"]]
    alone = [choice["text"] for prompt in ids for choice in answer(raw, prompt=prompt, n=2)["choices"]]
    assert alone == [choice["text"] for choice in texts["choices"]]


@pytest.mark.parametrize("value", [5, [5], list("abcde"), {"a": 1}])
def test_stop_says_what_it_takes(raw: httpx.Client, value: object) -> None:
    fault = error(ask(raw, stop=value), 400)
    assert fault["message"].startswith("stop must be a text or a list of up to 4 texts, not ")
    assert fault["param"] == "stop"


def test_a_drawn_seed_is_returned_and_repeats_the_texts(raw: httpx.Client, client: openai.OpenAI) -> None:
    drawn = answer(raw, prompt=["Once", "The fox"], seed=None, n=2)
    again = answer(raw, prompt=["Once", "The fox"], seed=drawn["seed"], n=2)
    assert again["choices"] == drawn["choices"]
    assert answer(raw, seed=2**63 - 1)["seed"] == 2**63 - 1
    parts = chunks(raw, seed=None, stream_options={"include_usage": True})
    assert len({part["seed"] for part in parts}) == 1
    stream = client.completions.create(model="tiny", prompt=PROMPT, seed=parts[0]["seed"], stream=True)
    read = list(stream)
    assert [part.choices[0].text for part in read] == [part["choices"][0]["text"] for part in parts[:-1]]
    assert read[0].seed == parts[0]["seed"]  # type: ignore[attr-defined]


def test_seeds(raw: httpx.Client) -> None:
    texts = [answer(raw, seed=seed)["choices"][0]["text"] for seed in (1, 1, 2, None, None)]
    assert texts[0] == texts[1]
    assert len(set(texts)) == 4


def test_max_tokens(raw: httpx.Client, tokenizer: Tokenizer) -> None:
    assert answer(raw, logit_bias={"399": -100})["usage"]["completion_tokens"] == 16
    size = len(tokenizer.encode(PROMPT))
    whole = answer(raw, max_tokens=64 - size, logit_bias={"399": -100})
    assert (whole["usage"]["total_tokens"], whole["choices"][0]["finish_reason"]) == (64, "length")
    fault = error(ask(raw, max_tokens=65 - size), 400)
    assert fault["code"] == "context_length_exceeded"
    error(ask(raw, prompt=[1] * 65, max_tokens=0), 400)
    nothing = answer(raw, max_tokens=0)
    assert (nothing["choices"][0]["text"], nothing["usage"]["completion_tokens"]) == ("", 0)


@pytest.mark.parametrize("bias", [-100, 100])
def test_logit_bias_bans_and_forces(raw: httpx.Client, tokenizer: Tokenizer, bias: int) -> None:
    plain = answer(raw, temperature=0, logprobs=0)["choices"][0]["logprobs"]["tokens"][0]
    (token,) = [one for one in range(400) if tokenizer.token_bytes(one) == plain.encode()]
    chosen = token if bias < 0 else 17
    first = answer(raw, temperature=0, logprobs=0, max_tokens=1, logit_bias={str(chosen): bias})["choices"][0]
    assert (first["logprobs"]["tokens"] == [tokenizer.decode([chosen])]) == (bias > 0)


def test_stop_strings_end_the_text_and_do_not_leak(raw: httpx.Client) -> None:
    plain = answer(raw, max_tokens=40)["choices"][0]["text"]
    stop = plain[12:17]
    ended = answer(raw, max_tokens=40, stop=stop)["choices"][0]
    assert (ended["text"], ended["finish_reason"]) == (plain[: plain.index(stop)], "stop")
    parts = chunks(raw, max_tokens=40, stop=["never", stop])
    assert "".join(part["choices"][0]["text"] for part in parts) == ended["text"]


def test_best_of_returns_the_most_probable(raw: httpx.Client) -> None:
    def mean(choice: dict[str, Any]) -> float:
        values = choice["logprobs"]["token_logprobs"]
        return sum(values) / len(values)

    rows = answer(raw, n=5, logprobs=0)["choices"]
    best = answer(raw, n=2, best_of=5, logprobs=0)
    expected = sorted(rows, key=mean, reverse=True)[:2]
    assert [choice["text"] for choice in best["choices"]] == [choice["text"] for choice in expected]
    assert best["usage"]["completion_tokens"] == sum(len(row["logprobs"]["tokens"]) for row in rows)


# Logprobs


@pytest.mark.parametrize("wanted", [0, 1, 5])
def test_logprobs_are_those_of_a_forward_pass(
    raw: httpx.Client, tiny: LoadedModel, tokenizer: Tokenizer, wanted: int
) -> None:
    """With any samplers: they are the raw model's. The prompt is echoed, so that it is scored as well."""
    ids = [7, 50, 93, 7, 120]
    (choice,) = answer(raw, prompt=ids, echo=True, logprobs=wanted, temperature=1.7, top_k=40)["choices"]
    lists = choice["logprobs"]
    assert len({len(values) for values in lists.values()}) == 1
    names = [tokenizer.token_bytes(token) for token in range(400)]
    spelled = [name.encode().removeprefix(b"bytes:") for name in lists["tokens"]]
    tokens = [names.index(eval(b"b'" + n + b"'") if n.startswith(b"\\x") else n) for n in spelled]
    assert tokens[:5] == ids
    with torch.inference_mode():
        expected = tiny.model(torch.tensor([tokens])).log_softmax(2)[0]
    assert lists["token_logprobs"][0] is None
    assert lists["top_logprobs"][0] is None
    for i, (value, top) in enumerate(zip(lists["token_logprobs"][1:], lists["top_logprobs"][1:], strict=True)):
        assert value == pytest.approx(float(expected[i, tokens[i + 1]]), abs=1e-4)
        assert top[lists["tokens"][i + 1]] == value
        assert wanted <= len(top) <= wanted + 1
        assert sum(map(math.exp, top.values())) <= 1 + 1e-6
        best = expected[i].topk(wanted).values.tolist() if wanted else []
        assert sorted(top.values(), reverse=True)[:wanted] == pytest.approx(best, abs=1e-4)


def test_a_text_is_scored_without_a_new_token(raw: httpx.Client, tokenizer: Tokenizer) -> None:
    (choice,) = answer(raw, prompt=PROMPT, echo=True, logprobs=1, max_tokens=0)["choices"]
    lists = choice["logprobs"]
    assert choice["text"] == "".join(lists["tokens"]) == PROMPT
    assert len(lists["tokens"]) == len(tokenizer.encode(PROMPT))
    assert [PROMPT[at:].startswith(token) for at, token in zip(lists["text_offset"], lists["tokens"], strict=True)]
    plain = answer(raw, prompt=PROMPT, echo=True)["choices"][0]["text"]
    assert plain == PROMPT + answer(raw, prompt=PROMPT)["choices"][0]["text"]


# Streams


@pytest.mark.parametrize(
    "fields",
    [
        {"max_tokens": 40},
        {"n": 3, "logprobs": 2},
        {"prompt": ["Once", "é中😀", ""], "n": 2, "echo": True},
        {"echo": True, "logprobs": 1, "max_tokens": 3},
        {"echo": True, "max_tokens": 0},
        {"temperature": 2, "max_tokens": 48},
    ],
)
def test_streamed_equals_unstreamed(raw: httpx.Client, fields: dict[str, Any]) -> None:
    whole = answer(raw, **fields)
    parts = chunks(raw, **fields, stream_options={"include_usage": True})
    assert len({part["id"] for part in parts}) == 1
    *parts, last = parts
    assert (last["choices"], last["usage"]) == ([], whole["usage"])
    assert all(part["usage"] is None for part in parts)
    for choice in whole["choices"]:
        own = [one for part in parts for one in part["choices"] if one["index"] == choice["index"]]
        assert "".join(one["text"] for one in own) == choice["text"]
        assert [one["finish_reason"] for one in own] == [None] * (len(own) - 1) + [choice["finish_reason"]]
        for name, values in (choice["logprobs"] or {}).items():
            assert [value for one in own for value in one["logprobs"][name]] == values


def test_usage_comes_only_when_wanted(raw: httpx.Client) -> None:
    for options in ({}, {"stream_options": {}}, {"stream_options": {"include_usage": False}}):
        parts = chunks(raw, **options)
        assert all(part["choices"] and "usage" not in part for part in parts)


def test_the_official_client_reads_a_stream(client: openai.OpenAI) -> None:
    options: dict[str, Any] = {"model": "tiny", "prompt": PROMPT, "seed": 3, "max_tokens": 20}
    whole = client.completions.create(**options).choices[0].text
    assert "".join(part.choices[0].text for part in client.completions.create(**options, stream=True)) == whole


# Failures


@pytest.fixture
def engine_of(monkeypatch: pytest.MonkeyPatch, api_desk: Desk) -> Callable[[Callable[[], None]], None]:
    """Have something done before every pass of the tiny model."""

    def patch(before: Callable[[], None]) -> None:
        import models.manager as manager

        plain = manager.ModelLibrary.load_engine

        def load(*arguments: Any, **options: Any) -> object:
            def observe(_: object, run: Callable[[], torch.Tensor]) -> torch.Tensor:
                before()
                return run()

            return Observed(plain(*arguments, **options), observe)

        monkeypatch.setattr(manager.ModelLibrary, "load_engine", load)
        api_desk.manager.unload()

    return patch


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_stops_the_work(
    url: str, raw: httpx.Client, engine_of: Callable, api_desk: Desk, stream: bool
) -> None:
    passes: list[float] = []

    def slowly() -> None:
        passes.append(time.monotonic())
        time.sleep(0.05)

    engine_of(slowly)
    body = {"model": "tiny", "prompt": PROMPT, "max_tokens": 55, "logit_bias": {"399": -100}, "stream": stream}
    with httpx.Client(trust_env=False) as leaving:
        if stream:
            with leaving.stream("POST", f"{url}/v1/completions", json=body, timeout=30) as found:
                next(found.iter_raw())
        else:
            with pytest.raises(httpx.ReadTimeout):
                leaving.post(f"{url}/v1/completions", json=body, timeout=0.5)
    left = time.monotonic()
    limit = left + 20
    while api_desk.scheduler._running and time.monotonic() < limit:
        time.sleep(0.01)
    assert not api_desk.scheduler._running
    assert sum(begun > left for begun in passes) <= 10  # half a second of tokens
    api_desk.manager.unload()


def test_a_failure_after_the_start_is_an_event(raw: httpx.Client, engine_of: Callable, api_desk: Desk) -> None:
    count = iter(range(100))

    def fail() -> None:
        if next(count) == 4:
            raise ValueError("the model has broken")

    engine_of(fail)
    parts = chunks(raw, max_tokens=20, logit_bias={"399": -100})
    assert parts[-1]["error"]["message"] == "the model has broken"
    api_desk.manager.unload()


def test_a_bug_is_a_500_that_does_not_describe_itself(
    raw: httpx.Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(work, "encode_prompt", lambda *_: 1 / 0)
    assert "division" not in error(ask(raw), 500)["message"]
    assert "ZeroDivisionError" in caplog.text
    caplog.clear()


def test_a_full_queue_is_429_and_says_when_to_try_again(
    raw: httpx.Client, client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gptdesk.scheduler.MOST_WAITING", 0)
    for stream in (False, True):
        found = ask(raw, stream=stream)
        assert error(found, 429)["type"] == "rate_limit_error"
        assert int(found.headers["retry-after"]) > 0
    with pytest.raises(openai.RateLimitError):
        client.completions.create(model="tiny", prompt="a")


def test_a_turn_that_does_not_come_by_the_deadline_is_503(
    raw: httpx.Client, api_desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gptdesk.desk.LONGEST_REQUEST", 0.2)
    with api_desk.scheduler.queue(alone=True) as place:
        assert place.wait(5)
        error(ask(raw), 503)


def test_more_sequences_than_a_desk_allows(raw: httpx.Client) -> None:
    error(ask(raw, prompt=["a"] * 20, n=10), 413)


# Keys and public desks


def other_client(in_event_loop: Callable, home: Path, **settings: str) -> TestClient:
    desk = Desk(load_settings({"home": str(home)} | settings))
    app = in_event_loop(lambda: web_app(desk))
    return TestClient(app, base_url="http://127.0.0.1:7860", raise_server_exceptions=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_with_a_key_the_api_needs_it_and_nothing_else_does(in_event_loop: Callable, tmp_path: Path, host: str) -> None:
    keyed = other_client(in_event_loop, tmp_path, host=host, api_key="secret-1")
    for sent in (None, "Bearer secret", "Bearer", "Basic secret-1", "secret-1", "Bearer sécret-1"):
        headers = {} if sent is None else {"authorization": sent.encode("latin-1")}
        for path in ("/v1/models", "/v1/nowhere"):
            found = keyed.get(path, headers=headers)
            assert error(found, 401)["code"] == "invalid_api_key"
            assert found.headers["www-authenticate"] == "Bearer"
    assert keyed.get("/v1/models", headers={"authorization": "bearer secret-1"}).status_code == 200
    assert keyed.get("/health").status_code == 200
    assert keyed.get("/").status_code == 200


def test_a_key_that_no_header_can_carry_is_refused_and_not_shown(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="api_key") as refused:
        load_settings({"home": str(tmp_path), "api_key": "two words"})
    assert "two words" not in str(refused.value)
    assert "secret" not in repr(load_settings({"home": str(tmp_path), "api_key": "secret"}))


def test_a_public_desk_has_the_same_routes_with_tight_limits(in_event_loop: Callable, tmp_path: Path) -> None:
    public = other_client(in_event_loop, tmp_path, host="0.0.0.0")
    body: dict[str, object] = {"model": "starter", "prompt": "Once", "max_tokens": 2}
    assert public.post("/v1/completions", json=body).status_code == 200
    for fields in ({"n": 9}, {"prompt": ["a"] * 9}, {"prompt": ["a", "b"], "n": 5}):
        error(public.post("/v1/completions", json=body | fields), 413)
    error(public.post("/v1/completions", json=body | {"prompt": "a" * 1_000_001}), 413)
    for name in ("/v1/files", "/v1/fine_tuning/jobs"):
        error(public.post(name, json={}), 404)
