"""`--format gguf`: the file as the `gguf` package and llama.cpp read it."""

import importlib
import os
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch
from network_checks import ALPHABET, network

from gptdesk.export import export, gguf
from gptdesk.starter import CHECKPOINT as STARTER
from models.checkpoint import About, Checkpoint, save_checkpoint, save_quantized
from models.gpt import GPTConfig
from models.precision import PRECISIONS
from models.tokenizer import Tokenizer, character_tokenizer

package = pytest.importorskip("gguf", reason="the extra gguf is not installed")
CONFIG = GPTConfig(vocab_size=403, block_size=24, n_layer=2, n_head=2, n_embd=32)
HALF = 2**-11  # largest error of a 16-bit float, as a part of it
# largest error of a weight, as a part of the largest of the 32 that share a scale
STEPS = {"f32": 0.0, "f16": HALF, "q8_0": 0.5 / 127 + HALF, "q4_0": 1 / 8 + HALF}


def saved(path: Path, config: GPTConfig, tokenizer: Tokenizer) -> Checkpoint:
    return save_checkpoint(path, network(config), tokenizer=tokenizer, about=About(licence="MIT"))


def written(checkpoint: Checkpoint, to: Path, precision: str) -> Path:
    return export(checkpoint, checkpoint.load_tokenizer(), name="m", to=to, format="gguf", precision=precision)


@pytest.mark.parametrize("precision", gguf.TYPES)
def test_the_tensors_are_those_of_the_model(tmp_path: Path, tokenizer: Tokenizer, precision: str) -> None:
    config = replace(CONFIG, tied=precision != "q8_0", bias=precision != "f32")
    checkpoint = saved(tmp_path / "m", config, tokenizer)
    reader = package.GGUFReader(written(checkpoint, tmp_path / "out", precision))
    tensors = {t.name: package.quants.dequantize(t.data, t.tensor_type) for t in reader.tensors}
    ours = dict(checkpoint.load_model().named_parameters())
    for name, parameter in ours.items():
        expected, got = parameter.detach().numpy(), tensors.pop(gguf._gguf_name(name))
        assert got.shape == expected.shape
        whole = name.startswith("wpe") or expected.ndim == 1
        largest = np.abs(expected.reshape(-1, 32)).max(axis=1, keepdims=True)
        error = np.abs(got.reshape(-1, 32) - expected.reshape(-1, 32))
        assert (error <= (0 if whole else STEPS[precision]) * largest).all(), name
    assert all(name.endswith(".bias") and not value.any() for name, value in tensors.items())
    assert bool(tensors) == (not config.bias)


def test_the_header_describes_the_network_and_its_tokenizer(tmp_path: Path, tokenizer: Tokenizer) -> None:
    file = written(saved(tmp_path / "m", CONFIG, tokenizer), tmp_path / "out", "q8_0")
    fields = {name: field.contents() for name, field in package.GGUFReader(file).fields.items()}
    expected = {
        "general.architecture": "gpt2", "general.name": "m", "general.license": "MIT", "general.file_type": 7,
        "gpt2.context_length": 24, "gpt2.embedding_length": 32, "gpt2.block_count": 2, "gpt2.attention.head_count": 2,
        "gpt2.feed_forward_length": 128, "gpt2.attention.layer_norm_epsilon": pytest.approx(1e-5),
        "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "gpt-2", "tokenizer.ggml.add_bos_token": False,
        "tokenizer.ggml.bos_token_id": tokenizer.end_of_text, "tokenizer.ggml.eos_token_id": tokenizer.end_of_text,
    }  # fmt: skip
    assert {name: fields[name] for name in expected} == expected
    tokens, types = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    assert len(tokens) == len(set(tokens)) == len(types) == CONFIG.vocab_size
    assert (tokens[399:], types[398:]) == (["<|endoftext|>", "[PAD400]", "[PAD401]", "[PAD402]"], [1, 3, 5, 5, 5])
    assert len(fields["tokenizer.ggml.merges"]) == 399 - 256
    recipe = (file.parent / "Modelfile").read_text()
    assert recipe.startswith("FROM ./m-q8_0.gguf\n")
    assert "PARAMETER num_ctx 24\n" in recipe


def test_what_gguf_cannot_hold_is_refused(
    tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = saved(tmp_path / "m", CONFIG, tokenizer)
    narrow = saved(tmp_path / "n", replace(CONFIG, n_embd=24), tokenizer)
    characters = saved(tmp_path / "c", CONFIG, character_tokenizer(ALPHABET))
    copy = save_quantized(tmp_path / "q", original, PRECISIONS["int8"], tokenizer=tokenizer)
    for source, to, precision, words in (
        (copy, "out", "f32", "is quantized to int8, which GGUF lacks; export the original"),
        (narrow, "out", "q4_0", "has 24 channels, and q4_0 needs a multiple of 32; choose f16 or f32"),
        (characters, "out", "f32", "has a tokenizer of characters"),
        (original, "out", "q2_k", "there is: f32, f16, q8_0, q4_0"),
        (original, "out.gguf", "f32", "go into a folder; give one, such as out"),
    ):
        with pytest.raises(ValueError, match=words):
            written(source, tmp_path / to, precision)
    monkeypatch.setattr(importlib, "import_module", lambda name: __import__("a_package_that_is_not_there"))
    with pytest.raises(ValueError, match=r"is not installed here; run: .* -m pip install gguf"):
        written(original, tmp_path / "out", "f32")
    assert not list(tmp_path.glob("out*"))


@pytest.mark.skipif("GPTDESK_TEST_LLAMA_CPP" not in os.environ, reason="GPTDESK_TEST_LLAMA_CPP is not set")
def test_llama_cpp_writes_the_same_greedy_text(tmp_path: Path) -> None:
    llama_cpp = pytest.importorskip("xllamacpp", reason="needs llama.cpp: pip install xllamacpp")
    checkpoint = Checkpoint.open(STARTER)
    tokenizer, model = checkpoint.load_tokenizer(), checkpoint.load_model()
    options = llama_cpp.CommonParams()
    options.model.path = str(written(checkpoint, tmp_path / "out", "f32"))
    options.n_ctx, options.n_parallel, options.warmup = checkpoint.config.block_size, 1, False
    server = llama_cpp.Server(options)
    for prompt in ("Once upon a time", "Zoë said: \u201cnaïve\u201d \U0001f600  12345\n\n"):
        ids = tokenizer.encode(prompt)
        assert httpx.post(f"{server.listening_address}/tokenize", json={"content": prompt}).json()["tokens"] == ids
        body = {"prompt": prompt, "max_tokens": 60, "temperature": 0.0}
        text = server.handle_completions(body)["choices"][0]["text"]
        expected: list[int] = []
        while len(expected) < 60 and tokenizer.end_of_text not in expected:
            expected.append(int(model(torch.tensor([ids + expected]))[0, -1].argmax()))
        assert text == tokenizer.decode(token for token in expected if token != tokenizer.end_of_text)
