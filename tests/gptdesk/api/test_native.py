"""The desk's own routes against a real server: they agree with the desk, and refuse in a sentence."""

import gzip
import html
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import torch
from api_checks import served

from gptdesk.desk import Desk
from gptdesk.generation import GenerationRequest, collect
from gptdesk.settings import load_settings
from models.cache import KVCache
from models.manager import ModelKey
from samplers import Chain, chain_of, default_chain

CHAIN = [{"name": "top_k", "top_k": 7}, {"name": "temperature", "temperature": 1.5}]
ONCE = {"model": "tiny", "prompt": "Once upon a time", "seed": 3, "max_new_tokens": 12}


def post(raw: httpx.Client, path: str, **fields: object) -> Any:
    found = raw.post(path, json=fields)
    assert found.status_code == 200, found.text
    return found.json()


def test_generate_gives_the_text_of_the_desk(raw: httpx.Client, api_desk: Desk) -> None:
    answer = post(raw, "/generate", **ONCE, n=2, chain=CHAIN, top_logprobs=2)
    request = GenerationRequest(
        prompt="Once upon a time", seed=3, max_new_tokens=12, n=2, chain=Chain.from_data(CHAIN), top_logprobs=2
    )
    result = collect(api_desk.generate(ModelKey("tiny"), request), n=2)
    assert [one["text"] for one in answer["texts"]] == result.texts
    assert [[step["token"] for step in one["tokens"]] for one in answer["texts"]] == result.tokens
    assert answer["model"] == "tiny:float32"
    assert answer["seed"] == 3
    first = answer["texts"][0]["tokens"][0]
    assert len(first["top"]) == 2
    assert first["top"][0]["logprob"] >= first["logprob"]


def test_a_stream_has_the_same_text_and_ends_with_the_answer(raw: httpx.Client) -> None:
    whole = post(raw, "/generate", **ONCE, n=2)
    with raw.stream("POST", "/generate", json=ONCE | {"n": 2, "stream": True}) as found:
        lines = [line.removeprefix("data: ") for line in found.iter_lines() if line]
    assert lines[-1] == "[DONE]"
    start, *steps, answer = map(json.loads, lines[:-1])
    assert start["seed"] == 3
    for row, text in enumerate(whole["texts"]):
        assert "".join(step["text"] for step in steps if step["row"] == row) == text["text"]
    assert answer["texts"] == whole["texts"]


def test_constraints_hold_in_both_apis_and_are_refused_in_a_sentence(raw: httpx.Client, client: openai.OpenAI) -> None:
    fields = {"banned_phrases": ["e", "a", " t"], "word_bias": {"fox": 9}}
    [text] = post(raw, "/generate", **ONCE, **fields)["texts"]
    assert not set(fields["banned_phrases"]) & {*text["text"]}
    assert text["text"] != post(raw, "/generate", **ONCE)["texts"][0]["text"]
    chain = Chain.from_data(CHAIN).to_data()
    sampled = {"model": "tiny", "prompt": ONCE["prompt"], "seed": 3, "max_tokens": 12}
    stream = client.completions.create(**sampled, stream=True, extra_body={"chain": chain, **fields})
    [same] = post(raw, "/generate", **ONCE, **fields, chain=chain)["texts"]
    assert "".join(chunk.choices[0].text for chunk in stream) == same["text"]
    choices = client.completions.create(**sampled, n=3, extra_body={"choices": [" yes", " no"]}).choices
    assert all(choice.text in (" yes", " no") and choice.finish_reason == "stop" for choice in choices)
    for stream in (False, True):
        refused = raw.post("/generate", json=ONCE | {"choices": ["a" * 500], "stream": stream})
        assert refused.status_code == 400
        assert "tokens, and there is room for 12" in refused.json()["error"]["message"]


def test_a_batch_answers_each_as_alone_and_keeps_failures_apart(raw: httpx.Client) -> None:
    other = ONCE | {"prompt": "The dog", "n": 2}
    answer = post(raw, "/generate/batch", requests=[ONCE, ONCE | {"model": "nosuch"}, other])
    first, refused, last = answer["results"]
    assert first["texts"] == post(raw, "/generate", **ONCE)["texts"]
    assert last["texts"] == post(raw, "/generate", **other)["texts"]
    assert "there is no model 'nosuch'" in refused["error"]["message"]


def test_the_fields_of_the_tutorials_are_those_of_the_default_chain(raw: httpx.Client, api_desk: Desk) -> None:
    """prompt, max_length, temperature, top_k and top_p in; generated_text and the rest out."""
    prompt, size = "Once upon a time", len(api_desk.tokenizer("tiny").encode("Once upon a time"))
    sampling = {"temperature": 1.3, "top_k": 30, "top_p": 0.8, "min_p": 0.01, "repetition_penalty": 1.2}
    chain = chain_of([sampler.name for sampler in default_chain().samplers], sampling)
    fields = {"model": "tiny", "prompt": prompt, "seed": 3, "max_length": size + 9, **sampling}
    request = GenerationRequest(prompt=prompt, seed=3, max_new_tokens=9, n=2, chain=chain)
    expected = collect(api_desk.generate(ModelKey("tiny"), request), n=2)
    one, two = post(raw, "/generate", **fields), post(raw, "/generate", **fields, n=2, precision="float32")
    assert two["generated_texts"] == [prompt + text for text in expected.texts]
    assert two["tokens"] == sum(map(len, expected.tokens)) > one["tokens"] == len(expected.tokens[0])
    assert "generated_texts" not in one
    assert (one["prompt"], one["text"]) == (prompt, expected.texts[0])
    assert one["generated_text"] == prompt + expected.texts[0]
    assert (one["finish_reason"], one["seed"]) == (expected.finish_reasons[0], 3)
    assert one["texts"] == two["texts"][:1]
    assert one["seconds"] > 0 < one["tokens_per_second"]
    ids = api_desk.tokenizer("tiny").encode(prompt)
    by_ids = post(raw, "/generate", **fields | {"prompt": "", "prompt_ids": ids})
    assert by_ids["generated_text"] == one["generated_text"]
    with raw.stream("POST", "/generate", json=fields | {"stream": True}) as found:
        *_, answer, _ = [line.removeprefix("data: ") for line in found.iter_lines() if line]
    assert json.loads(answer)["generated_text"] == one["generated_text"]
    assert post(raw, "/generate", **fields | {"precision": "int8"})["model"] == "tiny:int8"
    assert post(raw, "/generate", prompt="Once", max_new_tokens=1)["model"] == "starter:float32"  # none is named
    table = post(raw, "/logits", model="tiny", prompt=prompt, top_k=7)
    assert table["kept"][table["links"].index("top_k")] == 7


def test_a_batch_of_prompts_shares_the_other_fields(raw: httpx.Client) -> None:
    shared = {"model": "tiny", "seed": 3, "max_length": 20, "temperature": 1.3}
    prompts = ["Once upon a time", "The dog", "word " * 40]
    answer = post(raw, "/generate/batch", prompts=prompts, **shared)
    alone = [post(raw, "/generate", prompt=prompt, **shared) for prompt in prompts[:2]]
    assert answer["generated_texts"] == [*(one["generated_text"] for one in alone), None]
    assert [one["texts"] for one in answer["results"][:2]] == [one["texts"] for one in alone]
    assert "max_length counts prompt and text together" in answer["results"][2]["error"]["message"]


def test_logits_equal_the_model_and_the_chain(raw: httpx.Client, api_desk: Desk) -> None:
    answer = post(raw, "/logits", model="tiny", prompt="Once upon", chain=CHAIN, top=20)
    with api_desk.manager.lend(ModelKey("tiny")) as loaded, torch.inference_mode():
        ids = torch.tensor([loaded.tokenizer.encode_prompt("Once upon")])
        logits = loaded.model(ids, KVCache(loaded.config, capacity=ids.shape[1]), last_only=True)[:, -1].float()
    logprobs = logits[0].log_softmax(0)
    links = Chain.from_data(CHAIN).explain(logits, ids)
    assert answer["links"] == [link.name for link in links] == ["model", "top_k", "temperature"]
    assert [one["token"] for one in answer["tokens"]] == logits[0].argsort(descending=True, stable=True)[:20].tolist()
    for one in answer["tokens"]:
        assert one["logprob"] == pytest.approx(float(logprobs[one["token"]]), abs=1e-5)
        expected = [float(link.probabilities[0, one["token"]]) for link in links]
        assert one["probabilities"] == pytest.approx(expected, abs=1e-6)
    assert answer["kept"] == [logits.shape[1], 7, 7]
    entropy = -sum(p * math.log(p) for p in links[1].probabilities[0].tolist() if p)
    assert answer["entropy"][1] == pytest.approx(entropy, abs=1e-4)


def test_tokens_go_there_and_back(raw: httpx.Client, api_desk: Desk) -> None:
    text = "Once upon a time, ümlaut"
    answer = post(raw, "/tokenize", model="tiny", text=text)
    assert answer["ids"] == api_desk.tokenizer("tiny").encode(text)
    assert answer["count"] == len(answer["ids"]) == len(answer["tokens"])
    assert post(raw, "/detokenize", model="tiny", ids=answer["ids"])["text"] == text
    assert post(raw, "/detokenize", model="tiny", ids=[])["text"] == ""


def test_compare_uses_one_seed_and_counts_the_tokens_in_common(raw: httpx.Client) -> None:
    fields = {**ONCE, "seed": None} | {"models": ["tiny:float32", "tiny:int4", "tiny:float32"]}
    answer = post(raw, "/compare", **{name: value for name, value in fields.items() if name != "model"})
    sides = answer["sides"]
    assert [side["model"] for side in sides] == ["tiny:float32", "tiny:int4", "tiny:float32"]
    assert {side["seed"] for side in sides} == {answer["seed"]}
    ids = [[step["token"] for step in side["texts"][0]["tokens"]] for side in sides]
    assert ids[0] == ids[2]
    same = answer["same_tokens"][1]
    assert ids[0][:same] == ids[1][:same]
    assert ids[0][same : same + 1] != ids[1][same : same + 1] or same == len(ids[0])


@pytest.mark.parametrize(
    ("path", "fields", "status", "words"),
    [
        ("/generate", {"model": "nosuch"}, 404, "there is no model 'nosuch'"),
        ("/generate", ONCE | {"n": 17}, 400, "n must be less than or equal to 16, not 17"),
        ("/generate", ONCE | {"heat": 1}, 400, "the request has no option 'heat'"),
        ("/generate", ONCE | {"chain": CHAIN * 65}, 400, "chain may have at most 64 items"),
        ("/generate", ONCE | {"prompt_ids": [1]}, 400, "either prompt or prompt_ids"),
        ("/generate", {"model": "tiny", "prompt_ids": [999999]}, 400, "the model knows ids from 0"),
        ("/generate", ONCE | {"chain": [{"name": "nosuch"}]}, 400, "nosuch"),
        ("/generate", ONCE | {"chain": []}, 400, "the sampler chain is empty"),
        ("/generate", ONCE | {"preset": "nosuch"}, 404, "there is no preset 'nosuch'"),
        ("/generate", ONCE | {"preset": "Careful", "chain": CHAIN}, 400, "either chain or preset"),
        ("/generate", ONCE | {"preset": "Careful", "top_k": 3}, 400, "preset has all samplers, so top_k"),
        ("/generate", ONCE | {"chain": CHAIN, "top_p": 0.5}, 400, "chain has all samplers, so top_p"),
        ("/generate", ONCE | {"max_length": 20}, 400, "either max_length or max_new_tokens"),
        ("/generate", {"model": "tiny", "prompt": "Once upon", "max_length": 1}, 400, "must be above the prompt's"),
        ("/generate", {"model": "tiny", "max_length": 0}, 400, "max_length must be greater than"),
        ("/generate", {"model": "tiny", "temperature": 2.1}, 400, "temperature must be less than"),
        ("/generate", {"model": "tiny", "temperature": "1"}, 400, "temperature must be a valid number"),
        ("/generate", {"model": "tiny:int8", "precision": "int4"}, 400, "model says 'int8' and precision 'int4'"),
        ("/generate/batch", {"model": "tiny"}, 400, "either prompts"),
        ("/generate/batch", {"prompts": ["a"], "requests": [ONCE]}, 400, "either prompts"),
        ("/generate/batch", {"requests": [ONCE], "seed": 1}, 400, "seed is not allowed beside requests"),
        ("/generate/batch", {"prompts": ["a"], "stream": True}, 400, "the request has no option 'stream'"),
        ("/generate/batch", {"prompts": ["a"] * 65}, 400, "prompts may have at most 64 items"),
        ("/generate/batch", {"requests": []}, 400, "requests"),
        ("/generate/batch", {"requests": [ONCE] * 65}, 400, "requests may have at most 64 items"),
        ("/logits", {"model": "tiny", "prompt": "word " * 4000}, 400, "do not fit the context"),
        ("/logits", {"model": "tiny", "top": 0}, 400, "top must be greater"),
        ("/tokenize", {"model": "tiny"}, 400, "the request needs a value for text"),
        ("/detokenize", {"model": "tiny", "ids": [-1]}, 400, "the model knows ids from 0"),
        ("/detokenize", {"model": "tiny", "ids": "1"}, 400, "ids must be"),
        ("/detokenize", {"model": "tiny", "ids": [True]}, 400, "ids must be a valid integer, not True"),
        ("/compare", {"models": ["tiny"]}, 400, "models"),
        ("/compare", {"models": ["tiny", "nosuch"]}, 404, "there is no model 'nosuch'"),
    ],
)
def test_what_is_refused(raw: httpx.Client, path: str, fields: dict[str, object], status: int, words: str) -> None:
    found = raw.post(path, json=fields)
    assert found.status_code == status, found.text
    assert words in found.json()["error"]["message"]
    assert "\n" not in found.json()["error"]["message"]
    if "preset 'nosuch'" in words:
        assert found.json()["error"]["param"] == "preset"


@pytest.mark.parametrize("path", ["/generate", "/logits", "/tokenize", "/compare"])
def test_bodies_that_are_no_json_object(raw: httpx.Client, path: str) -> None:
    json_type = {"content-type": "application/json"}
    packed = json_type | {"content-encoding": "gzip"}
    for body, headers, status, words in (
        (b"{", json_type, 400, "the body is no JSON"),
        (b"[1]", json_type, 400, "must be a JSON object"),
        (b'{"model": NaN}', json_type, 400, "NaN is no number"),
        (b'{"model": "\xe9"}', json_type, 400, "it is not UTF-8"),
        (b'{"top": ' + b"9" * 5_000 + b"}", json_type, 400, "a number has too many digits"),
        (b'{"\\udfff": 1}', json_type, 400, "is no text"),
        (b"{}", {"content-type": "text/plain"}, 415, "the body must be JSON"),
        (gzip.compress(b"{}"), packed, 415, "must not be compressed"),
        (b" " * 8_000_001, json_type, 413, "at most 8 MB"),
    ):
        found = raw.post(path, content=body, headers=headers)
        assert found.status_code == status, found.text
        assert words in found.json()["error"]["message"]
    assert raw.get(path).status_code == 405


def test_a_public_desk_has_tight_limits(tmp_path: Path, tiny_folder: Path, in_event_loop: Callable) -> None:
    (tmp_path / "models").symlink_to(tiny_folder)
    desk = Desk(load_settings({"home": str(tmp_path), "host": "0.0.0.0"}))
    with served(desk, in_event_loop) as url, httpx.Client(base_url=url, trust_env=False, timeout=30) as raw:
        assert post(raw, "/generate", **ONCE)["texts"][0]["tokens"]
        assert raw.post("/generate", json=ONCE | {"n": 9}).status_code == 413
        assert raw.post("/generate", json=ONCE | {"max_new_tokens": 1001}).status_code == 413
        assert raw.post("/generate", json={"model": "tiny", "prompt": "Once", "max_length": 2000}).status_code == 413
        assert raw.post("/generate/batch", json={"prompts": ["a"] * 9}).status_code == 413
        assert raw.post("/generate", json=ONCE | {"banned_phrases": ["ab"] * 33}).status_code == 413
        assert raw.post("/generate", json=ONCE | {"choices": ["a" * 999] * 3}).status_code == 413
        assert raw.post("/generate/batch", json={"requests": [ONCE] * 9}).status_code == 413
        assert raw.post("/compare", json=ONCE | {"models": ["tiny"] * 3, "n": 3}).status_code == 413


def test_each_example_of_the_docs_works(tmp_path: Path, in_event_loop: Callable) -> None:
    desk = Desk(load_settings({"home": str(tmp_path)}))
    with served(desk, in_event_loop) as url, httpx.Client(base_url=url, trust_env=False, timeout=60) as raw:
        page, document = raw.get("/docs"), raw.get("/openapi.json").json()
        for path, operations in document["paths"].items():
            for operation in operations.values():
                kinds = {status: [*answer["content"]] for status, answer in operation["responses"].items()}
                assert kinds.pop("200")[0] == ("text/plain" if path == "/metrics" else "application/json")
                ours = path in ("/health", "/metrics")
                assert set(kinds) == {"403"} if ours else {"401", "403"} <= set(kinds)
                assert "422" not in kinds
                assert {*map(str, kinds.values())} == {"['text/plain']" if ours else "['application/json']"}
        assert "https://" not in page.text  # it works without network
        commands = {
            path: html.unescape(body)
            for path, body in re.findall(
                rf"<pre[^>]*>curl {re.escape(url)}(\S+) [^<]*?-d &#x27;([^<]*?)&#x27;</pre>", page.text, re.S
            )
        }
        posts = [path for path, operations in document["paths"].items() if "post" in operations]
        assert sorted(commands) == sorted(posts)
        assert {"/generate", "/generate/batch", "/compare", "/logits", "/tokenize", "/detokenize"} <= set(posts)
        for path, body in commands.items():
            found = raw.post(path, content=body, headers={"content-type": "application/json"})
            assert found.status_code == 200, f"{path}: {found.text}"
        assert (
            json.loads(commands["/generate"])
            == (document["paths"]["/generate"]["post"]["requestBody"]["content"]["application/json"]["example"])
        )
