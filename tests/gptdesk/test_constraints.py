"""Constraints on a text: banned phrases by rewinding, and given choices."""

import threading
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gptdesk.generation import (
    GenerationRequest,
    GenerationResult,
    GenerationStep,
    collect,
    generate,
    read_word_bias,
    spelled_word_bias,
)
from gptdesk.generation.banned_phrases import BannedPhrases
from gptdesk.generation.word_bias import WordBias
from models.checkpoint import About, save_checkpoint
from models.gpt import GPT, GPTConfig
from models.library import ModelLibrary
from models.manager import LoadedModel, ModelKey, ModelManager
from models.tokenizer import character_tokenizer
from samplers import Chain, build

HOT = Chain(samplers=(build("temperature", temperature=1.0),))
HOTTER = Chain(samplers=(build("temperature", temperature=2.0),))


@pytest.fixture(scope="module")
def letters(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """A random model of four characters, in which every phrase spans tokens, and nothing ends a text."""
    torch.manual_seed(5)
    folder = tmp_path_factory.mktemp("letters")
    network = GPT(GPTConfig(vocab_size=4, block_size=64, n_layer=1, n_head=1, n_embd=16))
    save_checkpoint(folder / "letters", network, tokenizer=character_tokenizer("abc "), about=About(source="a test"))
    manager = ModelManager(ModelLibrary(folder, cache_folder=tmp_path_factory.mktemp("vocabularies")))
    with manager.lend(ModelKey("letters")) as loaded:
        return loaded


def request(**options: object) -> GenerationRequest:
    return GenerationRequest(**{"prompt": "a", "seed": 1, "max_new_tokens": 40, "chain": HOT} | options)


def run(loaded: LoadedModel, **options: object) -> GenerationResult:
    wanted = request(**options)
    return collect(generate(loaded, wanted), n=wanted.n)


def streamed(loaded: LoadedModel, **options: object) -> Iterator[str]:
    """Yield the text after every event."""
    text = ""
    for event in generate(loaded, request(**options)):
        text += event.text if isinstance(event, GenerationStep) else ""
        yield text


@pytest.mark.parametrize("phrases", [("ab",), ("abc", "ca", "b b"), ("aa", "bb", "ccc"), ("a b c", "ab", "  c")])
def test_a_banned_phrase_is_never_in_the_text_nor_in_a_stream_of_it(
    letters: LoadedModel, phrases: tuple[str, ...]
) -> None:
    rewritten = 0
    for seed in range(25):
        for text in streamed(letters, seed=seed, banned_phrases=phrases):
            assert not any(phrase in "a" + text for phrase in phrases)  # the prompt may begin one, too
        assert len(text) == 40
        rewritten += any(phrase in "a" + run(letters, seed=seed).texts[0] for phrase in phrases)
    assert rewritten > 10, "the bans had nothing to do"


def test_phrases_of_words_are_banned_across_tokens_of_bytes(tiny: LoadedModel) -> None:
    free = [run(tiny, prompt="Once", seed=seed).texts[0] for seed in range(12)]
    phrases = tuple({text[at : at + 3] for text in free for at in (2, 9) if "\ufffd" not in text[at : at + 3]} - {""})
    for seed in range(12):
        text = run(tiny, prompt="Once", seed=seed, banned_phrases=phrases).texts[0]
        assert not any(phrase in text for phrase in phrases)


def test_text_is_the_same_alone_in_a_batch_streamed_and_beside_other_requests(
    letters: LoadedModel, tiny: LoadedModel
) -> None:
    for loaded, phrases in ((letters, ("ab", "c c", "ba")), (tiny, ("e", "th", " w"))):
        rows = run(loaded, n=5, banned_phrases=phrases)
        alone = run(loaded, banned_phrases=phrases)
        assert alone.tokens[0] == rows.tokens[0]
        assert len({tuple(tokens) for tokens in rows.tokens}) == 5
        *_, last = streamed(loaded, banned_phrases=phrases)
        assert last == alone.texts[0] == rows.texts[0]
        together: list[GenerationResult] = []
        work = lambda: together.append(run(loaded, n=5, banned_phrases=phrases))  # noqa: E731, B023
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [one.tokens for one in together] == [rows.tokens] * 3


def test_a_ban_that_forbids_nothing_changes_no_bit_and_rows_are_those_of_a_plain_batch(letters: LoadedModel) -> None:
    plain, banned = run(letters, n=4), run(letters, n=4, banned_phrases=("zebra",))
    assert banned.tokens == plain.tokens
    assert banned.texts == plain.texts


def test_only_the_token_that_began_the_phrase_is_forbidden_and_only_there(letters: LoadedModel) -> None:
    """Text up to the phrase is that without a ban, and what follows is drawn as from that prompt."""
    changed = 0
    for seed in range(20):
        plain, banned = run(letters, seed=seed), run(letters, seed=seed, banned_phrases=("bca",))
        at = plain.texts[0].find("bca")
        if at < 0:
            assert banned.tokens == plain.tokens
            continue
        assert banned.texts[0][:at] == plain.texts[0][:at]
        assert banned.texts[0][at] != "b"
        assert "b" in banned.texts[0][at + 1 :]
        changed += 1
    assert changed > 2


def test_steps_describe_the_final_text_only(letters: LoadedModel) -> None:
    phrases = ("ab", "ca", "cb")
    steps = [event for event in generate(letters, request(banned_phrases=phrases)) if isinstance(event, GenerationStep)]
    assert len(steps) == 40
    assert steps[-1].finish_reason == "length"
    tokens = [step.token for step in steps if step.token is not None]
    assert letters.tokenizer.decode(tokens) == "".join(step.text for step in steps)
    ids = [*letters.tokenizer.encode("a"), *tokens]
    logits = letters.model(torch.tensor([ids]))[0].float().log_softmax(-1)
    for place, step in enumerate(steps):
        assert step.logprob == pytest.approx(float(logits[place, ids[place + 1]]), abs=1e-4)


def test_a_ban_of_everything_ends_with_a_sentence(letters: LoadedModel) -> None:
    with pytest.raises(ValueError, match=r"^the banned phrases leave no token that could follow 'a?'; ban fewer"):
        run(letters, banned_phrases=("a", "b", "c", " "))
    with pytest.raises(ValueError, match="leave no token that could follow"):  # after any character, every character
        run(letters, banned_phrases=tuple(one + other for one in "abc " for other in "abc "))


def test_a_stop_string_ends_the_text_unless_a_banned_phrase_was_complete_before(letters: LoadedModel) -> None:
    for seed in range(30):
        ended = run(letters, seed=seed, stop=("bc",), banned_phrases=("bca", "abc"))
        assert not any(text in ended.texts[0] for text in ("bc", "abc"))
        assert ended.stop_strings == (["bc"] if ended.finish_reasons == ["stop"] else [None])
    first = run(letters, seed=4, stop=("bc",), banned_phrases=("bca",))
    assert first.tokens == run(letters, seed=4, stop=("bc",)).tokens


def test_a_full_context_and_a_deadline_end_a_text_with_what_is_held(letters: LoadedModel) -> None:
    full = run(letters, max_new_tokens=500, banned_phrases=("ab",))
    assert full.finish_reasons == ["context"]
    assert len(full.texts[0]) == len(run(letters, max_new_tokens=500).texts[0])
    late = run(letters, deadline=1e-9, banned_phrases=("ab",))
    assert late.finish_reasons == ["deadline"]


@pytest.mark.parametrize("name", ["tiny", "letters"])
def test_a_text_is_always_one_of_the_choices(name: str, tiny: LoadedModel, letters: LoadedModel) -> None:
    loaded = {"tiny": tiny, "letters": letters}[name]
    choices = ("abc", "ab ", "cab", " b", "caa", "b" * 9)
    seen = set()
    for seed in range(200):
        result = run(loaded, seed=seed, chain=HOTTER, choices=choices, max_new_tokens=9)
        assert result.texts[0] in choices
        assert result.finish_reasons == ["stop"]
        seen.add(result.texts[0])
    assert len(seen) >= 4


def test_a_choice_that_begins_another_is_ended_by_the_model_or_refused(tiny: LoadedModel, letters: LoadedModel) -> None:
    choices = ("no", "no, but", "not", "é😀")
    seen = {run(tiny, seed=seed, chain=HOTTER, choices=choices).texts[0] for seed in range(120)}
    assert {"no", "not", "é😀"} <= seen <= set(choices)
    with pytest.raises(ValueError, match=r"^the choice 'ab' begins the choice 'abc', and the model has no token"):
        run(letters, choices=("ab", "abc"))


def test_choices_fit_the_new_tokens_or_are_refused(letters: LoadedModel, tiny: LoadedModel) -> None:
    with pytest.raises(ValueError, match=r"^the choice 'abcabc' takes at least 6 tokens, and there is room for 5"):
        run(letters, choices=("a", "abcabc"), max_new_tokens=5)
    with pytest.raises(
        ValueError, match=r"^the choice 'x' cannot be spelled by tokens of the model that may come; leave it out$"
    ):
        run(letters, choices=("a", "x"))
    choices = ("the little dragon", "a little fox")
    fewest = next(
        room for room in range(1, 40) if not _refused(tiny, prompt="Once", choices=choices, max_new_tokens=room)
    )
    for seed in range(20):  # no token may be wasted
        result = run(tiny, prompt="Once", choices=choices, max_new_tokens=fewest, seed=seed, chain=HOTTER)
        assert result.texts[0] in choices


def test_choices_and_banned_phrases_hold_together(letters: LoadedModel) -> None:
    for seed in range(40):
        assert run(letters, seed=seed, choices=("cab", "ccc"), banned_phrases=("ab",)).texts == ["ccc"]
    with pytest.raises(ValueError, match="the banned phrases and the choices together leave no token"):
        run(letters, choices=("cab", "bab"), banned_phrases=("ab",))


@pytest.mark.parametrize("option", ["banned_phrases", "choices"])
@pytest.mark.parametrize("texts", [("",), ("a\ufffdb",), ("\ud800",), ("a" * 1_001,), ("a",) * 65])
def test_texts_that_cannot_be_asked_for_are_refused(option: str, texts: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=f"^{option}"):
        request(**{option: texts})


@given(st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=4), st.text("ab", max_size=12))
def test_held_text_is_just_what_may_begin_a_phrase(phrases: list[str], text: str) -> None:
    banned = BannedPhrases(phrases)
    held = banned.held(text)
    for size in range(len(text) + 1):
        begins = any(phrase.startswith(text[len(text) - size :]) and len(phrase) > size for phrase in phrases)
        assert not begins or size <= held
    place = banned.find(text, since=0)
    ends = [text.find(phrase) + len(phrase) for phrase in phrases if phrase in text]
    assert (place.end if place else None) == min(ends, default=None)


def _refused(loaded: LoadedModel, **options: object) -> bool:
    try:
        run(loaded, **options)
    except ValueError:
        return True
    return False


def test_a_boosted_word_comes_more_often_and_one_below_zero_never(tiny: LoadedModel) -> None:
    word = "fox"  # of several tokens
    assert len(tiny.tokenizer.encode(word)) > 1

    def count(bias: float) -> int:
        options = {"word_bias": {word: bias}} if bias else {}
        return sum(run(tiny, prompt="Once", n=3, seed=seed, **options).texts[0].count(word) for seed in range(10))

    assert count(0.0) == 0
    assert count(25.0) > 10
    boosted = [run(tiny, seed=seed, word_bias={word: 25.0, "dog": 25.0}).texts[0] for seed in range(5)]
    assert any("dog" in text for text in boosted)
    against = [run(tiny, seed=seed, word_bias={word: 25.0, "dog": 25.0, "fo": -100.0}).texts[0] for seed in range(5)]
    assert not any("fo" in text for text in against), "a word of one token is banned by its only token"


def test_a_bias_below_zero_touches_a_word_alone(tiny: LoadedModel) -> None:
    """The last token is made less probable after those before it, so that its beginning stays as it was."""
    ids = tiny.tokenizer.encode("fox")
    bias = WordBias({"fox": -5.0}, tiny.tokenizer)
    assert bias.added([1, 2]) == {} or len(ids) == 1
    assert bias.added([9, *ids[:-1]])[ids[-1]] == -5.0
    assert WordBias({"fox": 5.0}, tiny.tokenizer).added([])[ids[0]] == 5.0


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (["dragon"], "a word bias is a word and a number such as dragon: 3, not 'dragon'"),
        ([": 3"], "a word bias is a word and a number such as dragon: 3, not ': 3'"),
        (["fox: a"], "a word bias is a word and a number such as dragon: 3, not 'fox: a'"),
        (["fox: 1", "fox:2"], "the word 'fox' has two biases; leave one of them out"),
    ],
)
def test_lines_that_are_no_biases_are_refused(lines: list[str], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        read_word_bias(lines)


def test_biases_are_read_as_they_are_written(letters: LoadedModel) -> None:
    biases = {"dragon": 3.0, "the: end": -100.0, "é": 0.5}
    assert read_word_bias(["", *spelled_word_bias(biases), " "]) == biases
    with pytest.raises(ValueError, match=r"^the word 'fox' cannot be spelled: the model knows 4 characters"):
        run(letters, word_bias={"fox": 1.0})
    with pytest.raises(ValueError, match="word_bias has an empty word"):
        request(word_bias={" ": 1.0})
    with pytest.raises(ValueError, match="word_bias"):
        request(word_bias={"a": 101.0})
