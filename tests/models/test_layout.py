"""Parity with `transformers`: its GPT-2 folders opened by us, and ours by it, give equal logits, losses, gradients."""

from pathlib import Path

import pytest
import torch
from network_checks import shaken
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel
from transformers.utils import logging as transformers_logging

from models.checkpoint import About, Checkpoint, save_checkpoint
from models.gpt import GPT, GPTConfig
from models.layout import config_from_json, config_to_json, parameter_shapes, stored_tensors
from models.special_ids import SpecialIds
from models.tokenizer import character_tokenizer, train_bpe

transformers_logging.disable_progress_bar()
TOKENIZER = train_bpe(["It was a dark and stormy night; the rain fell in torrents. "] * 20, 300)
IDS = torch.randint(300, (2, 33), generator=torch.Generator().manual_seed(0))


def theirs(**changes: object) -> GPT2LMHeadModel:
    """A small random model of theirs in which every weight matters."""
    torch.manual_seed(1)
    shape = {"vocab_size": 300, "n_positions": 40, "n_embd": 48, "n_layer": 3, "n_head": 4}
    dropout = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    return shaken(
        GPT2LMHeadModel(GPT2Config(**(shape | dropout | {"bos_token_id": 299, "eos_token_id": 299} | changes)))
    )


@pytest.mark.parametrize("activation", ["gelu_new", "gelu"])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("prefixed", [True, False])
def test_a_folder_of_theirs_gives_equal_logits_loss_and_gradients(
    activation: str, tied: bool, prefixed: bool, tmp_path: Path
) -> None:
    reference = theirs(activation_function=activation, tie_word_embeddings=tied)
    reference.save_pretrained(tmp_path)
    if not prefixed:
        rename_as_the_original_gpt2(tmp_path)
    checkpoint = Checkpoint.open(tmp_path)
    assert (checkpoint.parameters, checkpoint.tokenizer_kind) == (
        sum(p.numel() for p in reference.parameters()),
        "none",
    )
    model = checkpoint.load_model()
    assert not model.training
    tokens, targets = IDS[:, :-1], IDS[:, 1:]
    output = reference(tokens)
    assert (model(tokens) - output.logits).abs().max() < 1e-4
    expected = torch.nn.functional.cross_entropy(output.logits.flatten(0, 1), targets.flatten())
    loss = model.loss(tokens, targets)
    assert abs(loss - expected).item() < 1e-5
    expected.backward()
    loss.backward()
    parameters = dict(reference.named_parameters())
    assert len(parameters) == len(list(model.parameters()))
    for tensor in stored_tensors(checkpoint.config):
        gradient = parameters[tensor.stored_name].grad
        ours = model.get_parameter(tensor.name).grad
        assert gradient is not None
        assert ours is not None
        gradient = gradient.t() if tensor.transposed else gradient
        assert (ours - gradient).norm() <= 1e-4 * gradient.norm(), tensor.name


def rename_as_the_original_gpt2(folder: Path) -> None:
    """No prefix, and the causal masks among the tensors, as in the files of openai-community/gpt2."""
    tensors = {
        name.removeprefix("transformer."): value for name, value in load_file(folder / "model.safetensors").items()
    }
    for layer in range(3):
        tensors[f"h.{layer}.attn.bias"] = torch.ones(1, 1, 40, 40).tril()
        tensors[f"h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
    save_file(tensors, folder / "model.safetensors")


def test_half_precision_files_are_read_as_float32(tmp_path: Path) -> None:
    reference = theirs().bfloat16()
    reference.save_pretrained(tmp_path)
    model = Checkpoint.open(tmp_path).load_model()
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert (model(IDS) - reference.float()(IDS).logits).abs().max() < 1e-4


@pytest.mark.parametrize("activation", ["gelu_tanh", "gelu_erf"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("tied", [True, False])
def test_transformers_opens_a_folder_of_ours(activation: str, bias: bool, tied: bool, tmp_path: Path) -> None:
    torch.manual_seed(2)
    config = GPTConfig(
        vocab_size=320, block_size=40, n_layer=2, n_head=4, n_embd=32, activation=activation, bias=bias, tied=tied
    )
    model = shaken(GPT(config))
    save_checkpoint(tmp_path / "model", model, tokenizer=TOKENIZER, about=About())
    reference, info = AutoModelForCausalLM.from_pretrained(tmp_path / "model", output_loading_info=True)
    assert not any(info.values()), info
    assert type(reference) is GPT2LMHeadModel
    assert (reference.config.eos_token_id, reference.config.tie_word_embeddings) == (TOKENIZER.end_of_text, tied)
    with torch.no_grad():
        assert (reference(IDS).logits - model(IDS)).abs().max() < 1e-4
    text = "It was a stormy night, wasn't it? 你好 \n\n"
    assert AutoTokenizer.from_pretrained(tmp_path / "model").encode(text) == TOKENIZER.encode(text)
    greedy = reference.generate(IDS[:1, :5], do_sample=False, max_new_tokens=20, attention_mask=torch.ones(1, 5))
    ids = IDS[:1, :5]
    while ids.shape[1] < greedy.shape[1]:
        ids = torch.cat([ids, model(ids)[:, -1:].argmax(-1)], dim=1)
    assert torch.equal(ids, greedy)


def test_transformers_opens_a_folder_with_characters(tmp_path: Path) -> None:
    tokenizer = character_tokenizer("hello\n world")
    config = GPTConfig(vocab_size=tokenizer.vocab_size, block_size=16, n_layer=1, n_head=2, n_embd=8)
    save_checkpoint(tmp_path / "model", GPT(config), tokenizer=tokenizer, about=About())
    reference = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert reference.config.eos_token_id is None
    assert AutoTokenizer.from_pretrained(tmp_path / "model").encode("low or\n") == tokenizer.encode("low or\n")


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("model_type", "llama", "type 'llama', not 'gpt2'"),
        ("model_type", None, "type None"),
        ("scale_attn_weights", None, "scale_attn_weights = None, which is neither true nor false"),
        ("scale_attn_by_inverse_layer_idx", 1, "scale_attn_by_inverse_layer_idx = 1, which is neither"),
        ("reorder_and_upcast_attn", "yes", "reorder_and_upcast_attn = 'yes', which is neither"),
        ("add_cross_attention", True, "add_cross_attention = True"),
        ("n_inner", -1, "out of range: n_inner must be a whole number from 1"),
        ("n_inner", "wide", "out of range: n_inner"),
        ("activation_function", "tanh", "activation_function = 'tanh'"),
        ("activation_function", ["gelu"], "activation_function = "),
        ("n_embd", None, "does not say n_embd"),
        ("n_layer", -2, "out of range: n_layer must be a whole number"),
        ("n_head", 3, "out of range: n_embd must be a multiple"),
        ("vocab_size", 1e9, "out of range: vocab_size"),
        ("layer_norm_epsilon", "tiny", "out of range: layer_norm_epsilon"),
        ("resid_pdrop", 2, "out of range: dropout"),
        ("bias", "no", "out of range: bias"),
    ],
)
def test_a_config_that_is_no_gpt2_of_ours_is_refused_with_the_reason(field: str, value: object, sentence: str) -> None:
    config = GPTConfig(vocab_size=300, block_size=40, n_layer=2, n_head=4, n_embd=32)
    data = config_to_json(config, special_ids=SpecialIds())
    assert config_from_json(data) == config
    with pytest.raises(ValueError, match=sentence):
        config_from_json(data | {field: value})
    assert config_from_json({k: v for k, v in data.items() if k != "n_positions"}) == config


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_the_shapes_are_told_without_a_network(tied: bool, bias: bool) -> None:
    config = GPTConfig(vocab_size=70, block_size=20, n_layer=2, n_head=2, n_embd=16, tied=tied, bias=bias)
    assert parameter_shapes(config) == {name: tuple(p.shape) for name, p in GPT(config).named_parameters()}
