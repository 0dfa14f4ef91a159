"""The network as it trains: parameter counts, causality, the loss, and what it refuses."""

import dataclasses
import math

import pytest
import torch
from network_checks import CONFIG, VARIANTS, check_causality, network, tokens
from torch.nn import functional as F

from models.gpt import GPT, PRESETS, GPTConfig


@pytest.mark.parametrize(
    ("name", "count"),
    [("gpt2", 124_439_808), ("gpt2-medium", 354_823_168), ("gpt2-large", 774_030_080), ("gpt2-xl", 1_557_611_200)],
)
def test_the_published_models_have_their_published_number_of_parameters(name: str, count: int) -> None:
    assert PRESETS[name].parameters() == count


@pytest.mark.parametrize("config", [*PRESETS.values(), *VARIANTS])
def test_parameters_counts_the_weights_of_the_network(config: GPTConfig) -> None:
    with torch.device("meta"):
        model = GPT(config)
    assert config.parameters() == sum(parameter.numel() for parameter in model.parameters())


def test_later_tokens_do_not_change_a_single_bit_of_earlier_logits() -> None:
    check_causality(network())


def test_every_token_matters_to_all_later_logits() -> None:
    model = network()
    ids = tokens(1, 24)
    before = model(ids)
    for position in range(24):
        changed = ids.clone()
        changed[:, position] = (changed[:, position] + 1) % CONFIG.vocab_size
        assert (model(changed) - before)[:, position:].abs().amax(-1).min() > 0


def test_what_does_not_fit_the_context_is_refused() -> None:
    model = network()
    with pytest.raises(ValueError, match="25 tokens do not fit the model's context of 24"):
        model(tokens(1, 25))
    for shape in ((1, 0), (3,)):
        with pytest.raises(ValueError, match="at least one token"):
            model(tokens(*shape))


def test_the_loss_is_the_mean_of_minus_log_probability() -> None:
    model = network()
    ids, targets = tokens(2, 8), tokens(2, 8, seed=5)
    logp = F.log_softmax(model(ids).double(), dim=-1).gather(-1, targets[..., None])[..., 0]
    assert model.loss(ids, targets).item() == pytest.approx(-logp.mean().item(), abs=1e-5)
    targets[0, :4] = -100
    assert model.loss(ids, targets).item() == pytest.approx(-logp[targets != -100].mean().item(), abs=1e-5)


def test_a_fresh_network_guesses_evenly_and_its_residual_stream_does_not_grow_with_depth() -> None:
    config = GPTConfig(vocab_size=512, block_size=32, n_layer=12, n_head=4, n_embd=128)
    torch.manual_seed(0)
    model = GPT(config)
    loss = model.loss(torch.randint(512, (4, 32)), torch.randint(512, (4, 32))).item()
    assert loss == pytest.approx(math.log(512), abs=0.2)
    for name, parameter in model.named_parameters():
        std = 0.02 / math.sqrt(24) if name.endswith("c_proj.weight") else 0.02
        if parameter.ndim == 2:
            assert parameter.std().item() == pytest.approx(std, rel=0.05), name
        else:
            assert torch.equal(parameter, torch.full_like(parameter, name.endswith("weight"))), name


def test_dropout_acts_in_training_only() -> None:
    config = dataclasses.replace(CONFIG, dropout=0.5)
    model, plain = network(config), network()
    ids = tokens(1, 8)
    assert torch.equal(model(ids), plain(ids))
    model.train()
    assert not torch.equal(model(ids), model(ids))


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("vocab_size", 0, "vocab_size must be a whole number from 1"),
        ("block_size", -1, "block_size must be a whole number from 1"),
        ("n_layer", 2.0, "n_layer must be a whole number"),
        ("n_head", True, "n_head must be a whole number"),
        ("n_embd", 10**9, "n_embd must be a whole number from 1 to 65536, not 1000000000"),
        ("n_embd", "768", "n_embd must be a whole number from 1 to 65536, not '768'"),
        ("n_head", 5, "n_embd must be a multiple of n_head"),
        ("dropout", 1.0, "dropout must be at least 0 and less than 1"),
        ("dropout", math.nan, "dropout must be at least 0"),
        ("layer_norm_epsilon", 0, "layer_norm_epsilon must lie between 0 and 1"),
        ("activation", "tanh", "activation must be one of gelu_tanh, gelu_erf, .*, not 'tanh'"),
        ("n_inner", 0, "n_inner must be a whole number from 1 to 262144, not 0"),
        ("n_inner", 2.5, "n_inner must be a whole number"),
        ("tied", 1, "tied must be true or false"),
    ],
)
def test_impossible_shapes_are_refused(field: str, value: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        dataclasses.replace(CONFIG, **{field: value})  # type: ignore[arg-type]
