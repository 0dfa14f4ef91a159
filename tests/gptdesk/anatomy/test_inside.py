"""Inside of a model: attention and logit lens beside transformers, faded parts beside the model without them."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import GPT2LMHeadModel

from gptdesk.anatomy import network as anatomy_network
from gptdesk.anatomy.fading import FadedText, divergences, fade_texts
from gptdesk.anatomy.network import GivenTokens, LentNetwork, given_tokens, lend_network
from gptdesk.anatomy.passes import Fade, Past, layer_outputs, logits_of
from gptdesk.anatomy.view import look_inside
from gptdesk.generation import GenerationRequest, collect, generate
from models.library import ModelLibrary
from models.manager import LoadedModel, ModelManager
from samplers import Chain, build

TEXT = "Once upon a time there was a proud girl named Tilda, who hummed."
WARM = Chain(samplers=(build("temperature", temperature=0.9), build("top_k", top_k=20)))


@pytest.fixture(scope="module")
def library(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelLibrary:
    return ModelLibrary(tiny_folder, cache_folder=tmp_path_factory.mktemp("vocabularies"))


@pytest.fixture(scope="module")
def lent(library: ModelLibrary) -> Iterator[LentNetwork]:
    with lend_network(ModelManager(library), "tiny") as lent:
        yield lent


@pytest.fixture(scope="module")
def given(lent: LentNetwork) -> GivenTokens:
    return given_tokens(lent, TEXT, most=30)


def test_attention_and_lens_equal_transformers(lent: LentNetwork, given: GivenTokens, tiny_folder: Path) -> None:
    view = look_inside(lent, given)
    reference = GPT2LMHeadModel.from_pretrained(tiny_folder / "tiny", attn_implementation="eager").eval()
    with torch.inference_mode():
        expected = reference(given.tensor, output_attentions=True, output_hidden_states=True)
        lens = [reference.lm_head(reference.transformer.ln_f(state)) for state in expected.hidden_states[:-1]]
        probabilities = torch.stack([*lens, expected.logits])[:, 0].softmax(-1)  # (L + 1, T, V)
    attention = torch.stack([one[0] for one in expected.attentions])
    assert (view.attention - attention).abs().max() < 1e-5
    assert (view.attention.sum(-1) - 1).abs().max() < 1e-5
    assert view.attention.triu(1).count_nonzero() == 0
    for row, wanted in zip(view.lens, probabilities, strict=True):
        for prediction, distribution in zip(row, wanted, strict=True):
            assert prediction.token == int(distribution.argmax())
            assert prediction.probability == pytest.approx(float(distribution.max()), abs=1e-5)


def test_tokens_read_one_by_one_give_what_they_give_at_once(lent: LentNetwork, given: GivenTokens) -> None:
    with torch.inference_mode():
        *_, whole = layer_outputs(lent.network, given.tensor)
        past = Past()
        parts = [list(layer_outputs(lent.network, one, past=past))[-1].stream for one in given.tensor.split(7, dim=1)]
        assert torch.allclose(torch.cat(parts, dim=1), whole.stream, atol=1e-4)
        assert torch.allclose(logits_of(lent.network, whole.stream), lent.network(given.tensor), atol=1e-4)


@pytest.mark.parametrize("head", [1, None])
def test_a_part_faded_to_nothing_is_the_network_without_it(
    lent: LentNetwork, given: GivenTokens, library: ModelLibrary, head: int | None
) -> None:
    first = next(fade_texts(lent, given, Fade(0, head, 0.0), chain=WARM, seed=1))
    cut = library.checkpoint("tiny").load_model()
    with torch.no_grad():
        block = cut.h[0]
        if head is None:  # what the layer adds is its two projections
            for layer in (block.attn.c_proj, block.mlp.c_proj):
                layer.weight.zero_(), layer.bias.zero_()
        else:  # the columns of the projection that read this head
            block.attn.c_proj.weight[:, 16 * head : 16 * (head + 1)] = 0
        expected = divergences(lent.network(given.tensor)[0], cut(given.tensor)[0])
    assert max(first.divergence) > 0.01
    assert torch.allclose(torch.tensor(first.divergence, dtype=torch.float64), expected, atol=1e-4)


def test_texts_are_those_of_generate_and_part_only_by_the_fade(
    lent: LentNetwork, given: GivenTokens, tiny: LoadedModel
) -> None:
    def texts(fade: Fade) -> FadedText:
        *_, last = fade_texts(lent, given, fade, chain=WARM, seed=5, new_tokens=20)
        return last

    request = GenerationRequest(prompt_ids=given.ids, chain=WARM, seed=5, max_new_tokens=20)
    plain, faded = texts(Fade(1, None, 1.0)), texts(Fade(1, None, 0.0))
    assert list(plain.plain) == collect(generate(tiny, request), n=1).tokens[0]
    assert plain.faded == plain.plain == faded.plain
    assert plain.parting is None
    assert max(plain.divergence) == 0
    assert faded.parting is not None
    assert faded.plain[: faded.parting] == faded.faded[: faded.parting]


def test_bad_input_is_one_sentence(
    lent: LentNetwork, given: GivenTokens, library: ModelLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    for fade, words in (
        (Fade(2, None, 0.5), "the layer must be from 1 to 2, not 3"),
        (Fade(0, 2, 0.5), "the head must be from 1 to 2, not 3"),
    ):
        with pytest.raises(ValueError, match=words):
            next(fade_texts(lent, given, fade, chain=WARM, seed=1))
    with pytest.raises(ValueError, match="from 0 to 1"):
        Fade(0, None, 1.5)
    with pytest.raises(ValueError, match="the text is empty"):
        given_tokens(lent, "")
    with pytest.raises(ValueError, match="characters"):
        given_tokens(lent, "a" * 20_001)
    assert given_tokens(lent, "a " * 1_000).total > len(given_tokens(lent, "a " * 1_000).ids) == 64
    broken = replace(lent, network=library.checkpoint("tiny").load_model())
    with torch.no_grad():
        broken.network.ln_f.weight[0] = torch.nan
    with pytest.raises(ValueError, match="not finite"):
        look_inside(broken, given)
    monkeypatch.setattr(anatomy_network, "LARGEST", 1_000)
    with pytest.raises(ValueError, match="choose a smaller one"), lend_network(ModelManager(library), "tiny"):
        pass
