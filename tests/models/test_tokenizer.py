"""The tokenizers: round trips of awkward text, streams, saved files, and equality with the Hugging Face libraries."""

import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as HuggingFaceTokenizer
from transformers import AutoTokenizer

from models.tokenizer import Tokenizer, character_tokenizer, gpt2_tokenizer, train_bpe

GPT2_FILES = Path(__file__).parents[3] / "shared" / "data" / "gpt2"
CORPUS = [
    "Once upon a time there was a little fox. The fox didn't sleep, it's said; it'll run 1000 miles.\n\n",
    "Der Bär läuft über die Brücke; 你好、世界。 مرحبا بالعالم 🙂👩‍👩‍👧 \t tabs\u00a0and  spaces   \r\n",
] * 20
AWKWARD = [
    "",
    " ",
    "\0",
    "a\0b",
    "<|endoftext|>",
    "it's <|endoftext|>!",
    "🙂👩‍👩‍👧🏳️‍🌈",
    "你好、世界",
    "שלום مرحبا",
    "e\u0301é",
    "\n\n \r\n\t ",
    "  trailing  ",
    "\ufeffBOM",
    "\U0010ffff\ud7ff\ue000",
    "a" * 10_000,
    "12345678901234567890",
    "'s'S'll",
    "\u3000\u2028\x85\x1c",
]


@pytest.fixture(scope="module")
def bpe() -> Tokenizer:
    return train_bpe(CORPUS, 380)


@pytest.fixture(scope="module")
def gpt2() -> Tokenizer:
    if not GPT2_FILES.is_dir():
        pytest.skip(f"GPT-2's vocabulary is not in {GPT2_FILES}")
    return gpt2_tokenizer(GPT2_FILES)


@pytest.fixture(params=["bpe", "gpt2"])
def byte_level(request: pytest.FixtureRequest) -> Tokenizer:
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("text", AWKWARD)
def test_awkward_text_comes_back_and_is_never_a_special_token(byte_level: Tokenizer, text: str) -> None:
    ids = byte_level.encode(text)
    assert byte_level.decode(ids) == text
    assert byte_level.end_of_text not in ids
    characters = character_tokenizer("".join(AWKWARD))
    assert characters.decode(characters.encode(text)) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a\ud800b", "a\ufffdb"), ("\udc00", "\ufffd"), ("\ud83d\ude42", "🙂"), ("\ude42\ud83d", "\ufffd\ufffd")],
)
def test_lone_surrogates_become_the_replacement_character(byte_level: Tokenizer, text: str, shown: str) -> None:
    assert byte_level.decode(byte_level.encode(text)) == shown


@settings(max_examples=200, deadline=None)
@given(text=st.text())
def test_any_text_comes_back(bpe: Tokenizer, text: str) -> None:
    assert bpe.decode(bpe.encode(text)) == text


@settings(max_examples=300, deadline=None)
@given(ids=st.lists(st.one_of(st.integers(0, 255), st.integers(-3, 450), st.integers(50_250, 60_000))))
def test_streamed_text_is_the_decoded_text_for_any_ids(bpe: Tokenizer, ids: list[int]) -> None:
    characters = character_tokenizer("aé你🙂")
    for tokenizer in (bpe, characters):
        stream = tokenizer.stream()
        text = "".join(stream.push(token) for token in ids) + stream.flush()
        assert text == tokenizer.decode(ids)
        assert text == b"".join(map(tokenizer.token_bytes, ids)).decode("utf-8", "replace")
        text.encode("utf-8")  # no surrogates


def test_a_stream_holds_back_half_a_character_and_nothing_else(bpe: Tokenizer) -> None:
    stream = bpe.stream()
    ids = bpe.encode("ok\U0001d11e!")  # a clef that the corpus does not have: four tokens
    assert [stream.push(token) for token in ids] == ["o", "k", "", "", "", "\U0001d11e", "!"]
    assert stream.flush() == ""
    assert stream.push(ids[2]) == ""
    assert stream.flush() == "\ufffd"


def test_ids_outside_the_vocabulary_read_as_the_replacement_character(bpe: Tokenizer) -> None:
    assert bpe.decode([-1, 380, 10**9]) == "\ufffd" * 3
    assert character_tokenizer("ab").decode([0, 2, -1, 1]) == "a\ufffd\ufffdb"


def test_gpt2_has_the_ids_everybody_knows(gpt2: Tokenizer) -> None:
    assert (gpt2.kind, gpt2.vocab_size, gpt2.end_of_text) == ("gpt2", 50257, 50256)
    assert gpt2.encode("Hello world") == [15496, 995]
    assert gpt2.decode([50256]) == "<|endoftext|>"


def test_a_trained_vocabulary_has_the_size_asked_for_and_ends_with_the_end_of_text(bpe: Tokenizer) -> None:
    assert (bpe.kind, bpe.vocab_size, bpe.end_of_text) == ("bpe", 380, 379)
    assert sorted(bpe.token_bytes(i) for i in range(256)) == [bytes([b]) for b in range(256)]
    assert len({bpe.token_bytes(i) for i in range(380)}) == 380
    text = "".join(CORPUS)
    assert len(bpe.encode(text)) < len(text) / 2


def test_training_is_repeatable_and_stops_when_a_small_corpus_has_no_more_pairs() -> None:
    assert train_bpe(CORPUS, 300).encode("the fox") == train_bpe(iter(CORPUS), 300).encode("the fox")
    small = train_bpe(["abab"], 1000)
    assert small.vocab_size < 300
    assert small.end_of_text == small.vocab_size - 1
    assert train_bpe([], 257).encode("é") == train_bpe(CORPUS, 257).encode("é")


@pytest.mark.parametrize("size", [0, 256, 1_000_001])
def test_an_impossible_vocabulary_size_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"vocab_size must be from 257 .* not {size}"):
        train_bpe(CORPUS, size)


def test_a_character_that_is_not_in_the_alphabet_is_named() -> None:
    tokenizer = character_tokenizer("hello")
    assert [tokenizer.encode(c) for c in "ehlo"] == [[0], [1], [2], [3]]
    with pytest.raises(ValueError, match=r"knows 4 characters .* not among them: 'w', ' '$"):
        tokenizer.encode("hew oww")
    with pytest.raises(ValueError, match="and 4 more"):
        tokenizer.encode("123456789")
    with pytest.raises(ValueError, match=r"'\\ud800'"):
        tokenizer.encode("\ud800")
    with pytest.raises(ValueError, match="surrogates"):
        character_tokenizer("a\ud800")
    with pytest.raises(ValueError, match="at least one character"):
        character_tokenizer("")


@pytest.mark.parametrize("space", [" ", "\n", " \n", "\u3000\t"])
def test_long_white_space_has_the_ids_it_always_had(byte_level: Tokenizer, space: str) -> None:
    for count in (498, 499, 500, 501, 999, 1000, 1001, 2500):
        for text in (
            f"a{space * count}b",
            f"{space * count} b {space * count}'s",
            f"a{space * count}",
            f"x{space * count}1\n2",
        ):
            assert byte_level.encode(text) == byte_level._encoding.encode_ordinary(text)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "text", [" " * 10**6 + "x", "\n" * 10**6 + "x", "a \n" * 5 + " \n" * 500_000 + "x", "\t" * 10**6]
)
def test_a_million_blanks_before_a_word_are_no_problem(bpe: Tokenizer, text: str) -> None:
    assert bpe.decode(bpe.encode(text)) == text  # tiktoken by itself panics


def texts() -> list[str]:
    """Random strings from the whole of Unicode, and from the corpus."""
    source = random.Random(7)
    corpus = "".join(CORPUS)
    spans = [(0x20, 0x7F), (0x20, 0x250), (0x590, 0x700), (0x4E00, 0x4F00), (0x1F300, 0x1F700), (0, 0xD800)]
    random_texts = ["".join(chr(source.randrange(*spans[i % 6])) for _ in range(60)) for i in range(60)]
    return (
        random_texts + [corpus[i : i + 97] for i in range(0, 3000, 97)] + [text for text in AWKWARD if "<|" not in text]
    )


def test_transformers_reads_what_is_saved_with_equal_ids(byte_level: Tokenizer, tmp_path: Path) -> None:
    byte_level.save(tmp_path, context=64)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    assert (theirs.eos_token_id, theirs.model_max_length) == (byte_level.end_of_text, 64)
    loaded = Tokenizer.load(tmp_path)
    assert (loaded.kind, loaded.vocab_size, loaded.end_of_text) == (
        byte_level.kind,
        byte_level.vocab_size,
        byte_level.end_of_text,
    )
    for text in texts():
        ids = byte_level.encode(text)
        assert theirs.encode(text) == ids
        assert theirs.decode(ids) == text
        assert loaded.encode(text) == ids
    assert theirs.encode("<|endoftext|>") == [byte_level.end_of_text]
    assert loaded.encode("<|endoftext|>") == byte_level.encode("<|endoftext|>")


def test_transformers_reads_saved_characters_with_equal_ids(tmp_path: Path) -> None:
    text = "".join(texts())
    tokenizer = character_tokenizer(text)
    assert (tokenizer.kind, tokenizer.vocab_size, tokenizer.end_of_text) == ("characters", len(set(text)), None)
    tokenizer.save(tmp_path)
    theirs, loaded = AutoTokenizer.from_pretrained(tmp_path), Tokenizer.load(tmp_path)
    assert loaded.kind == "characters"
    for text in texts():
        ids = tokenizer.encode(text)
        assert theirs.encode(text) == ids == loaded.encode(text)
        assert theirs.decode(ids) == text


def test_the_two_older_files_are_enough(gpt2: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_bytes((GPT2_FILES / "encoder.json").read_bytes())
    (tmp_path / "merges.txt").write_bytes((GPT2_FILES / "vocab.bpe").read_bytes())
    loaded = Tokenizer.load(tmp_path)
    assert (loaded.kind, loaded.vocab_size, loaded.end_of_text) == ("gpt2", 50257, 50256)
    assert all(loaded.encode(text) == gpt2.encode(text) for text in texts())


def test_a_tokenizer_with_its_specials_first_works(bpe: Tokenizer, tmp_path: Path) -> None:
    bpe.save(tmp_path)
    data = json.loads((tmp_path / "tokenizer.json").read_text("utf-8"))
    vocabulary = {text: i + 1 for text, i in data["model"]["vocab"].items() if text != "<|endoftext|>"}
    data["model"]["vocab"] = {"<|endoftext|>": 0} | vocabulary
    data["model"]["merges"] = [" ".join(merge) for merge in data["model"]["merges"]]  # the older spelling
    data["added_tokens"][0]["id"] = 0
    (tmp_path / "tokenizer.json").write_text(json.dumps(data), "utf-8")
    (tmp_path / "generation_config.json").unlink()  # which has the former id
    loaded, theirs = Tokenizer.load(tmp_path), HuggingFaceTokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert (loaded.end_of_text, loaded.vocab_size) == (0, 380)
    for text in texts():
        assert loaded.encode(text) == theirs.encode(text).ids == [i + 1 for i in bpe.encode(text)]


def broken(data: dict) -> dict[str, tuple[object, str]]:
    """Ways to spoil a tokenizer.json, and what the refusal says."""
    model = data["model"]
    without_a = {text: i for text, i in model["vocab"].items() if text != "a"}
    return {
        "no model": ({}, "has no model"),
        "another type": (data | {"model": {"type": "Unigram", "vocab": []}}, "type 'Unigram'"),
        "normalizer": (data | {"normalizer": {"type": "Lowercase"}}, "changes the text"),
        "whitespace": (data | {"pre_tokenizer": {"type": "Whitespace"}}, "the way GPT-2 does"),
        "bytes": (data | {"model": model | {"vocab": without_a}}, "refuses it .*`a` out of vocabulary"),
        "duplicate": (data | {"model": model | {"vocab": model["vocab"] | {"zz": 3}}}, "have the same id"),
        "ids": (data | {"model": model | {"vocab": model["vocab"] | {"a": "x"}}}, "does not map tokens to ids"),
        "huge id": (data | {"model": model | {"vocab": model["vocab"] | {"zz": 10**12}}}, "does not map tokens to ids"),
        "merge": (data | {"model": model | {"merges": [["a"]]}}, "not a merge"),
        "spelling": (data | {"model": model | {"merges": ["a 你"]}}, "not the spelling"),
        "added": (data | {"added_tokens": 5}, "not a list of objects"),
        "words": (data | {"model": {"type": "WordLevel", "vocab": {"hello": 0}}}, "single characters"),
        "words out of line": (data | {"model": {"type": "WordLevel", "vocab": {"h": 0, "e": 5}}}, "single characters"),
        "a list": ([], "does not hold a JSON object"),
    }


def test_every_broken_tokenizer_is_refused_in_one_sentence(bpe: Tokenizer, tmp_path: Path) -> None:
    bpe.save(tmp_path)
    path = tmp_path / "tokenizer.json"
    original = path.read_bytes()
    for data, sentence in broken(json.loads(original)).values():
        path.write_text(json.dumps(data), "utf-8")
        with pytest.raises(ValueError, match=sentence) as caught:
            Tokenizer.load(tmp_path)
        assert "\n" not in str(caught.value)
        assert str(tmp_path) in str(caught.value)
    for spoilt in (original[:-9], b"", b"\xff\xfe", b"[" * 100_000):
        path.write_bytes(spoilt)
        with pytest.raises(ValueError, match="cannot be used"):
            Tokenizer.load(tmp_path)
    path.unlink()
    with pytest.raises(ValueError, match="has no tokenizer"):
        Tokenizer.load(tmp_path)


def test_a_token_that_merges_in_two_ways_is_made_as_its_file_lists(bpe: Tokenizer, tmp_path: Path) -> None:
    """tiktoken would take the way by the smaller ids, the library the listed one."""
    bpe.save(tmp_path)
    path = tmp_path / "tokenizer.json"
    data = json.loads(path.read_text("utf-8"))
    base = {text: i for text, i in data["model"]["vocab"].items() if i < 256}
    data["model"]["vocab"] = base | {"bc": 256, "ab": 257, "abc": 258}
    data["model"]["merges"] = [["b", "c"], ["a", "b"], ["ab", "c"]]
    data["added_tokens"] = []
    path.write_text(json.dumps(data), "utf-8")
    loaded, theirs = Tokenizer.load(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    for text in ("abc", "xabc abcabc", "bca"):
        assert loaded.encode(text) == theirs.encode(text)
        assert loaded.decode(loaded.encode(text)) == text
