"""Views of predictions: heat map, next-token table, flip points and branches, against independent computations."""

from dataclasses import replace

import pytest
import torch
from conftest import Observed, observed

from gptdesk.generation import GenerationRequest, collect, generate
from gptdesk.inspection import (
    branch,
    differences,
    find_tokens,
    first_redrawn,
    flip_points,
    key_of_draw,
    logits_after,
    table,
    text_figures,
)
from gptdesk.inspection.flip_points import FlipPoints
from gptdesk.token_logprobs import score_tokens
from models.manager import LoadedModel
from samplers import Chain, build

CHAIN = Chain(
    samplers=(
        build("repetition_penalty", repetition_penalty=1.2),
        build("temperature", temperature=0.9),
        build("top_k", top_k=40),
        build("top_p", top_p=0.9),
        build("min_p", min_p=0.02),
    )
)
TEXT = "Once upon a time there was a brave hedgehog. He went to the wood and met a fox."


@pytest.fixture
def chunked(tiny: LoadedModel) -> LoadedModel:
    """The tiny model, reading eight tokens at a time, with nothing in its prefix cache."""
    loaded = observed(tiny, lambda tokens, compute: compute())
    assert isinstance(loaded.model, Observed)
    loaded.model.chunk = 8  # type: ignore[attr-defined]
    return loaded


def test_figures_of_a_text_are_those_of_its_distributions(chunked: LoadedModel) -> None:
    tokens = chunked.tokenizer.encode(TEXT)
    figures = text_figures(chunked, tokens)
    scored = list(score_tokens(chunked, tokens))
    logprobs = chunked.model(torch.tensor(tokens)[None])[0].double().log_softmax(1)  # (T, V)
    assert [one.token for one in figures.tokens] == tokens
    assert (figures.tokens[0].logprob, figures.tokens[0].top) == (None, ())
    for i, one in enumerate(figures.tokens[1:], 1):
        row = logprobs[i - 1]
        assert one.logprob == pytest.approx(float(row[tokens[i]]), abs=1e-4)
        assert one.logprob == pytest.approx(scored[i].logprob, abs=1e-5)
        assert one.rank == 1 + row.argsort(descending=True).tolist().index(tokens[i])
        assert one.entropy == pytest.approx(float(-(row.exp() * row).sum()), abs=1e-4)
        assert [token for token, _ in one.top] == row.topk(10).indices.tolist()
    mean = -sum(one.logprob for one in scored if one.logprob is not None) / (len(tokens) - 1)
    assert figures.perplexity == pytest.approx(torch.tensor(mean).exp().item(), rel=1e-4)
    assert differences(figures, figures) == (None, *[0.0] * (len(tokens) - 1))
    with pytest.raises(ValueError, match="different tokens"):
        differences(figures, text_figures(chunked, tokens[:-1]))
    with pytest.raises(ValueError, match="do not fit the context"):
        text_figures(chunked, [0] * 66)
    assert text_figures(chunked, [0] * 65).tokens[-1].logprob is not None  # nothing follows the last, which is not read


def test_the_table_is_what_the_chain_explains(tiny: LoadedModel) -> None:
    tokens = tiny.tokenizer.encode(TEXT)
    logits = logits_after(tiny, tokens)
    assert torch.equal(logits, logits_after(tiny, tokens))
    asked = [399, 0, 7]
    shown = table(logits, tokens, CHAIN, top=10, asked=asked)
    links = CHAIN.explain(logits, torch.tensor([tokens]))
    for one in (*shown.distribution.tokens, *shown.asked):
        assert one.probabilities == tuple(float(link.probabilities[0, one.token]) for link in links)
        cuts = [i for i in range(1, len(links)) if one.probabilities[i] == 0]
        assert one.cut_by == (cuts[0] if cuts else None)
    assert [one.token for one in shown.asked] == asked
    for i in range(1, len(links)):
        cut = (links[i].probabilities == 0) & (links[i - 1].probabilities > 0)
        assert shown.removed[i] == pytest.approx(float(links[i - 1].probabilities[cut].sum()), abs=1e-6)
    assert sum(share > 0 for share in shown.removed) >= 2
    with pytest.raises(ValueError, match="ids from 0 to 399"):
        table(logits, tokens, CHAIN, top=1, asked=[400])


def test_tokens_are_found_by_id_and_by_text(tiny: LoadedModel) -> None:
    tokenizer = tiny.tokenizer
    assert find_tokens(tokenizer, "17") == [17]
    assert find_tokens(tokenizer, "7" * 5_000) == []  # of more digits than Python reads as a number
    found = find_tokens(tokenizer, "the")
    assert tokenizer.decode([found[0]]) == " the"
    assert all("the" in tokenizer.decode([token]) for token in found)
    assert find_tokens(tokenizer, " ") == find_tokens(tokenizer, " ")[:10]
    assert find_tokens(tokenizer, "no such token") == find_tokens(tokenizer, "") == []


def with_option(option: str, value: float) -> Chain:
    data = [link | ({option: int(value) if option == "top_k" else value} if option in link else {}) for link in _data()]
    return Chain.from_data(data)


def neighbour(value: float, *, towards: float, whole: bool) -> float:
    """Return the next whole or float32 number."""
    if whole:
        return value + (1 if towards > value else -1)
    return float(torch.nextafter(torch.tensor(value), torch.tensor(towards)))


def _data() -> list[dict[str, object]]:
    return [dict(link) for link in CHAIN.to_data()]


def test_200_draws_flip_where_they_are_said_to(tiny: LoadedModel) -> None:
    """Just below and above each point, a real generation writes what was predicted; so do values between the points."""
    prompt = tuple(tiny.tokenizer.encode("Mia said"))
    logits = logits_after(tiny, prompt)

    def written(chain: Chain, seed: int) -> int:
        request = GenerationRequest(prompt_ids=prompt, chain=chain, seed=seed, max_new_tokens=1)
        return collect(generate(tiny, request), n=1).tokens[0][0]

    flips: dict[str, int] = {}
    for seed in range(200):
        drawn = written(CHAIN, seed)
        for points in flip_points(logits, prompt, CHAIN, key_of_draw(seed, step=0)):
            assert points.nearest
            for flip in (points.below, points.above):
                if flip is None:
                    continue
                flips[points.option] = flips.get(points.option, 0) + 1
                if seed % 8 == 0 or points.option == "temperature":
                    assert written(with_option(points.option, flip.value), seed) == flip.token != drawn
                    inside = neighbour(flip.value, towards=points.value, whole=points.option == "top_k")
                    assert written(with_option(points.option, inside), seed) == drawn
    assert set(flips) == {"temperature", "top_k", "top_p", "min_p"}
    assert flips["temperature"] > 100


def test_a_text_parts_at_the_first_token_whose_point_is_reached(tiny: LoadedModel) -> None:
    """Just beyond the points of 200 tokens a whole text parts there, with the token predicted; just inside not."""
    prompt, length = tuple(tiny.tokenizer.encode("The fox")), 10

    def written(temperature: float, seed: int) -> list[int]:
        chain = with_option("temperature", temperature)
        request = GenerationRequest(prompt_ids=prompt, chain=chain, seed=seed, max_new_tokens=length)
        return collect(generate(tiny, request), n=1).tokens[0]

    tokens = flips = 0
    for seed in range(20):
        text, points = written(0.9, seed), []
        for step in range(length):
            before = [*prompt, *text[:step]]
            every = flip_points(logits_after(tiny, before), before, CHAIN, key_of_draw(seed, step=step))
            points.append(next(one for one in every if one.option == "temperature"))
        for step, one in enumerate(points):
            for flip, sign in ((one.below, -1), (one.above, 1)):
                # before this token, the text must be the same there
                if flip is None or any(_passed(other, flip.value) for other in points[:step]):
                    continue
                beyond, inside = written(flip.value + sign * 1e-5, seed), written(flip.value - sign * 1e-5, seed)
                assert beyond[: step + 1] == [*text[:step], flip.token] != text[: step + 1]
                assert inside[: step + 1] == text[: step + 1]
                flips += 1
        tokens += length
    assert tokens == 200
    assert flips >= 50


@pytest.mark.parametrize("kept", ["repetition_penalty", "none"])
def test_a_text_is_left_where_its_generation_by_other_samplers_leaves_it(tiny: LoadedModel, kept: str) -> None:
    samplers = [one for one in CHAIN.samplers if kept == "repetition_penalty" or one.name != "repetition_penalty"]
    prompt, n, length = tuple(tiny.tokenizer.encode("The fox")), 3, 40
    stayed = left = 0
    for seed in range(5):

        def written(chain: Chain, seed: int = seed) -> list[list[int]]:
            request = GenerationRequest(prompt_ids=prompt, chain=chain, seed=seed, n=n, max_new_tokens=length)
            return collect(generate(tiny, request), n=n).tokens

        texts = written(Chain(samplers=tuple(samplers)))
        for temperature in (0.9, 0.85, 0.3):
            chain = Chain(
                samplers=tuple(
                    build("temperature", temperature=temperature) if one.name == "temperature" else one
                    for one in samplers
                )
            )
            for row, (text, other) in enumerate(zip(texts, written(chain), strict=True)):
                found = first_redrawn(tiny, prompt, text, chain, seed=seed, row=row)
                step = next((i for i, (a, b) in enumerate(zip(text, other, strict=True)) if a != b), None)
                assert (None if found is None else (found.step, found.token)) == (
                    None if step is None else (step, other[step])
                )
                stayed, left = stayed + (found is None), left + (found is not None)
    assert stayed >= 15
    assert left >= 5


def test_what_is_redrawn_must_fit_the_context(tiny: LoadedModel) -> None:
    with pytest.raises(ValueError, match="do not fit the context"):
        first_redrawn(tiny, [1], [1] * (tiny.config.block_size + 1), CHAIN, seed=0)


def _passed(points: FlipPoints, value: float) -> bool:
    """Return whether a value lies beyond one of the points, or beside it."""
    below, above = points.below, points.above
    return bool((below and value <= below.value + 2e-5) or (above and value >= above.value - 2e-5))


def test_flip_points_of_later_tokens_and_rows(tiny: LoadedModel) -> None:
    """The keys are those of the step and the sequence, so that the chain's own value draws what was written."""
    request = GenerationRequest(prompt="The fox", chain=CHAIN, seed=5, n=3, max_new_tokens=12)
    result = collect(generate(tiny, request), n=3)
    prompt = tiny.tokenizer.encode("The fox")
    for row in range(3):
        for step in (1, 7, 11):
            before = prompt + result.tokens[row][:step]
            key = key_of_draw(5, step=step, row=row)
            for points in flip_points(logits_after(tiny, before), before, CHAIN, key)[:1]:
                beyond = points.above or points.below
                assert beyond is None or beyond.token != result.tokens[row][step]


def test_a_search_among_samplers_of_other_kinds_says_so(tiny: LoadedModel) -> None:
    chain = Chain(samplers=(build("temperature"), build("typical", typical_p=0.8)))
    logits = logits_after(tiny, [1, 2, 3])
    [points] = flip_points(logits, [1, 2, 3], chain, key_of_draw(3, step=0))
    assert not points.nearest
    greedy = Chain(samplers=(build("greedy"),))
    assert flip_points(logits, [1, 2, 3], greedy, key_of_draw(3, step=0)) == []


def test_a_branch_is_a_generation_from_the_edited_prompt(chunked: LoadedModel, tiny: LoadedModel) -> None:
    tokens = chunked.tokenizer.encode(TEXT)
    place, other = 21, 55
    text_figures(chunked, tokens)  # enters the prefix cache
    ids = branch(tokens, place, other, vocabulary=400)
    assert ids == (*tokens[:place], other)
    request = GenerationRequest(prompt_ids=ids, chain=CHAIN, seed=9, max_new_tokens=15)

    fresh = replace(chunked, prefixes=type(chunked.prefixes)())
    reread = collect(generate(fresh, request), n=1)
    reused = collect(generate(chunked, request), n=1)
    assert reused.tokens == reread.tokens
    assert reused.start is not None
    assert (reused.start.known_tokens, reused.start.prompt_tokens) == (16, 22)
    assert torch.equal(logits_after(chunked, ids), logits_after(replace(fresh, prefixes=type(fresh.prefixes)()), ids))


def test_a_branch_that_cannot_be_is_one_sentence() -> None:
    tokens = [5, 6, 7, 8]
    assert branch(tokens, 2, 1, vocabulary=10, dropped=2) == (1,)
    for place, token, sentence in ((5, 1, "tokens 1 to 4"), (1, 1, "no longer fit"), (2, 10, "ids from 0 to 9")):
        with pytest.raises(ValueError, match=sentence):
            branch(tokens, place, token, vocabulary=10, dropped=2)
