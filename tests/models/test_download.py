"""Fetching GPT-2's vocabulary and other files from real local servers: good, slow, cut off, wrong, gone."""

from pathlib import Path

import pytest
from server_checks import Served, serving

from models.download import Received, download, gpt2_merges_file
from models.tokenizer import gpt2_tokenizer

GPT2_FILES = Path(__file__).parents[3] / "shared" / "data" / "gpt2"


@pytest.fixture(scope="module")
def genuine() -> bytes:
    if not GPT2_FILES.is_dir():
        pytest.skip(f"GPT-2's vocabulary is not in {GPT2_FILES}")
    return (GPT2_FILES / "vocab.bpe").read_bytes()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def test_it_is_fetched_once_and_then_works_without_a_network(genuine: bytes, tmp_path: Path) -> None:
    cache = tmp_path / "home" / "tiktoken"
    with serving(Served(genuine)) as served:
        assert gpt2_tokenizer(cache, timeout=10, url=served.url).encode("Hello world") == [15496, 995]
    assert [path.name for path in cache.iterdir()] == ["vocab.bpe"]
    assert (cache / "vocab.bpe").read_bytes() == genuine
    assert gpt2_tokenizer(cache, timeout=10, url=served.url).encode("Hello world") == [15496, 995]  # the server is gone


def test_tiktokens_own_cache_is_good_enough(genuine: bytes, tmp_path: Path) -> None:
    (tmp_path / "6d1cbeee0f20b3d9449abfede4726ed8212e3aee").write_bytes(genuine)
    assert gpt2_merges_file(tmp_path, timeout=1, url="http://127.0.0.1:1/").encode() == genuine


def test_offline_with_an_empty_cache_one_sentence_says_what_to_do(tmp_path: Path) -> None:
    cache = tmp_path / "tiktoken"
    with pytest.raises(ValueError, match=r"connect to the internet once .* or copy the file vocab\.bpe into") as caught:
        gpt2_tokenizer(cache, timeout=1, url="http://127.0.0.1:1/vocab.bpe")
    assert str(cache) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not cache.exists()


def test_a_damaged_file_is_fetched_again(genuine: bytes, tmp_path: Path) -> None:
    for damaged in (b"", genuine[:-1], genuine.replace(b"t h", b"t i", 1)):
        (tmp_path / "vocab.bpe").write_bytes(damaged)
        with serving(Served(genuine)) as served:
            gpt2_tokenizer(tmp_path, timeout=10, url=served.url)
        assert (tmp_path / "vocab.bpe").read_bytes() == genuine


def test_bad_answers_are_refused_and_leave_nothing_behind(tmp_path: Path) -> None:
    body = b"#version: 0.2\n" + b"a b\n" * 5000
    for answer in (
        Served(body),  # another file
        Served(b""),
        Served(body, length=10**6),  # cut off
        Served(b"x" * 3_000_000),  # endless
        Served(b"not here", status=404),
        Served(b"", status=500),
    ):
        with serving(answer) as served, pytest.raises(ValueError, match="could not be downloaded"):
            gpt2_tokenizer(tmp_path / "cache", timeout=10, url=served.url)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(("pause", "reason"), [(0.05, "more than 0.4 seconds"), (30.0, "timed out")])
def test_a_trickle_and_a_stall_are_given_up(tmp_path: Path, pause: float, reason: str) -> None:
    with serving(Served(b"x" * 900_000, pause=pause)) as served, pytest.raises(ValueError, match=reason):
        gpt2_tokenizer(tmp_path, timeout=0.4, url=served.url)


def test_a_folder_that_cannot_be_written_is_no_reason_to_fail(genuine: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with serving(Served(genuine)) as served:
        assert gpt2_tokenizer(tmp_path / "file" / "cache", timeout=10, url=served.url).vocab_size == 50257


BODY = bytes(range(256)) * 1000


def fetched(served: Served, path: Path, *, timeout: float = 10, limit: int = 10**6) -> list[Received]:
    return list(download(served.url, path, timeout=timeout, limit=limit))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_comes_whole_with_its_progress(tmp_path: Path) -> None:
    with serving(Served(BODY)) as served:
        received = fetched(served, tmp_path / "new" / "book.txt")
    assert (tmp_path / "new" / "book.txt").read_bytes() == BODY
    assert received[-1] == Received(len(BODY), len(BODY))
    assert [one.done for one in received] == sorted({one.done for one in received})
    assert names(tmp_path / "new") == ["book.txt"]


@pytest.mark.parametrize("etag", ['"a-1"', 'W/"a-1"', ""])
def test_what_was_cut_off_goes_on_if_the_server_says_it_is_the_same_file(tmp_path: Path, etag: str) -> None:
    path = tmp_path / "book.txt"
    with serving(Served(BODY, cut=100_000, etag=etag)) as served:
        with pytest.raises(ValueError, match=r"^only 100,000 of 256,000 bytes of http.* arrived; try again"):
            fetched(served, path)
        assert not path.exists()
        served.cut = None
        received = fetched(served, path)
        asked = served.asked[-1].get("Range")
    assert path.read_bytes() == BODY
    assert received[-1] == Received(len(BODY), len(BODY))
    assert asked == ("bytes=100000-" if etag.startswith('"') else None)
    assert received[0].done > 100_000 or not asked
    assert names(tmp_path) == ["book.txt"]


def test_a_file_that_has_changed_meanwhile_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    with serving(Served(BODY, cut=100_000, etag='"old"')) as served:
        with pytest.raises(ValueError, match="only 100,000"):
            fetched(served, path)
        served.body, served.etag, served.cut = BODY[::-1], '"new"', None
        fetched(served, path)
    assert path.read_bytes() == BODY[::-1]
    assert names(tmp_path) == ["book.txt"]


def test_one_that_was_abandoned_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    with serving(Served(BODY, etag='"a"')) as served:
        stream = download(served.url, path, timeout=10, limit=10**6)
        begun = next(stream).done
        stream.close()
        assert not path.exists()
        assert fetched(served, path)[0].done > begun
    assert path.read_bytes() == BODY


def test_a_part_with_nothing_left_to_come_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    with serving(Served(BODY, length=300_000, etag='"a"')) as served:
        with pytest.raises(ValueError, match="only 256,000 of 300,000"):
            fetched(served, path)
        served.length = None
        with pytest.raises(ValueError, match="the server says 416"):
            fetched(served, path)
        fetched(served, path)
    assert path.read_bytes() == BODY


def test_what_cannot_be_fetched_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    with serving(Served(b"none", status=404)) as served:
        with pytest.raises(ValueError, match=r"could not be fetched \(the server says 404 Not Found\)$"):
            fetched(served, path)
        served.status, served.body = 200, BODY
        with pytest.raises(ValueError, match="is larger than the 10,000 bytes it may have"):
            fetched(served, path, limit=10_000)
        served.pause = 30
        with pytest.raises(ValueError, match=r"could not be fetched \(timed out\)$"):
            fetched(served, path, timeout=0.2)
    with pytest.raises(ValueError, match=r"could not be fetched \(.*refused\)$"):
        fetched(served, path)
    assert not path.exists()
