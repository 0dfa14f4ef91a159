"""lm-evaluation-harness as a client of /v1/completions, on a made-up task, against transformers on the same weights.

Runs where `lm_eval` is installed (`pip install "lm_eval[api]"`), which the test environment does not bring.
"""

import importlib.util
import json
import os
import subprocess
import sys

import pytest
import torch

from gptdesk.starter import CHECKPOINT

pytestmark = pytest.mark.skipif(importlib.util.find_spec("lm_eval") is None, reason="lm_eval is not installed")

CHOICES = [
    ("Once upon a time there was a little", [" fox", " engine", "!!!"]),
    ("The hedgehog was", [" sad", " very happy and", " Quetzalcoatl"]),
    ("Dear diary,", [" today", " ☃ snow", "\n\n"]),
    ("She looked for her", [" red kite", " hat", " 1789"]),
]
PROMPTS = ["Once upon a time", "Dear diary,", "The fox"]
TASKS = {
    "made-up-choice": """
task: made-up-choice
dataset_path: json
dataset_kwargs: {data_files: {test: CHOICES}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{prompt}}"
doc_to_choice: "{{choices}}"
doc_to_target: 0
target_delimiter: ""
metric_list: [{metric: acc}]
""",
    "made-up-writing": """
task: made-up-writing
dataset_path: json
dataset_kwargs: {data_files: {test: PROMPTS}}
test_split: test
output_type: generate_until
doc_to_text: "{{prompt}}"
doc_to_target: "{{prompt}}"
generation_kwargs: {until: ["."], max_gen_toks: 12, temperature: 0}
metric_list: [{metric: exact_match}]
""",
}


@pytest.fixture(scope="module")
def samples(url: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict]]:
    """Run the command of docs/api.md; the answers of both tasks as lm_eval records them, and its figures on the way."""
    folder = tmp_path_factory.mktemp("harness")
    choices = [{"prompt": prompt, "choices": texts} for prompt, texts in CHOICES]
    for name, rows in (("CHOICES", choices), ("PROMPTS", [{"prompt": prompt} for prompt in PROMPTS])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, task in TASKS.items():
        for data in ("CHOICES", "PROMPTS"):
            task = task.replace(data, str(folder / f"{data}.jsonl"))
        (folder / f"{name}.yaml").write_text(task)
    arguments = (
        f"model=starter:float32,base_url={url}/v1/completions,tokenizer={CHECKPOINT},tokenizer_backend=huggingface"
    )
    command = [
        *(sys.executable, "-m", "lm_eval", "run", "--model", "local-completions"),
        *("--model_args", f"{arguments},tokenizer_backend=huggingface,max_length=256,num_concurrent=2,max_retries=1"),
        *("--tasks", ",".join(TASKS), "--include_path", str(folder)),
        *("--output_path", str(folder / "out"), "--log_samples"),
    ]
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(folder / "cache"), "no_proxy": "127.0.0.1"}
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | offline, timeout=300, cwd=folder)
    assert done.returncode == 0, done.stderr[-3_000:]
    print(done.stdout)
    found = {name: next((folder / "out").rglob(f"samples_{name}_*.jsonl")) for name in TASKS}
    return {name: [json.loads(line) for line in file.read_text().splitlines()] for name, file in found.items()}


def test_log_likelihoods_are_those_of_a_forward_pass(samples: dict[str, list[dict]], oracle: tuple) -> None:
    network, tokenizer = oracle
    compared = 0
    for sample in samples["made-up-choice"]:
        prompt = sample["doc"]["prompt"]
        for choice, (answer,) in zip(sample["doc"]["choices"], sample["resps"], strict=True):
            context, whole = tokenizer.encode(prompt), tokenizer.encode(prompt + choice)
            with torch.no_grad():
                logprobs = network(torch.tensor([whole])).logits[0].log_softmax(-1)  # (T, V)
            # of each token of the choice, after those before it
            rows, tokens = logprobs[len(context) - 1 : -1], torch.tensor(whole[len(context) :])
            expected = rows.gather(1, tokens[:, None]).sum().item()
            nats, greedy = float(answer[0]), str(answer[1]) == "True"
            assert nats == pytest.approx(expected, abs=1e-4 * len(tokens)), (prompt, choice)
            assert greedy == bool((rows.argmax(-1) == tokens).all()), (prompt, choice)
            compared += 1
    assert compared == 12


def test_texts_are_those_of_greedy_decoding(samples: dict[str, list[dict]], oracle: tuple) -> None:
    network, tokenizer = oracle
    for sample in samples["made-up-writing"]:
        ids = torch.tensor([tokenizer.encode(sample["doc"]["prompt"])])
        written = network.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=12)
        text = tokenizer.decode(written[0, ids.shape[1] :], skip_special_tokens=True)
        assert sample["resps"][0][0] == text.partition(".")[0]


@pytest.fixture(scope="module")
def oracle() -> tuple:
    """The starter in transformers: network and tokenizer."""
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(CHECKPOINT)
    return transformers.GPT2LMHeadModel.from_pretrained(CHECKPOINT, dtype=torch.float32).eval(), tokenizer
