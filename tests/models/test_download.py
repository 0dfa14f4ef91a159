"""Downloads of GPT-2's vocabulary and other files from real local servers: good, slow, cut off, wrong, gone."""

from pathlib import Path

import pytest
from server_checks import DATE, LATER, Served, serving

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
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)  # as other tests' files want it


def hub(served: Served) -> str:
    """Return the address of the server as that of a Hub."""
    return served.url.rpartition("/")[0]


def test_the_vocabulary_is_downloaded_once_and_then_needs_no_network(genuine: bytes, tmp_path: Path) -> None:
    cache = tmp_path / "home" / "tiktoken"
    with serving(Served(genuine, etag='"a"')) as served:
        assert gpt2_tokenizer(cache, endpoint=hub(served)).encode("Hello world") == [15496, 995]
        assert [one["path"] for one in served.asked] == ["/openai-community/gpt2/resolve/main/merges.txt"]
        assert "authorization" not in map(str.lower, served.asked[0])  # no token of the user's is sent
    assert [path.name for path in cache.iterdir()] == ["vocab.bpe"]
    assert (cache / "vocab.bpe").read_bytes() == genuine
    assert gpt2_tokenizer(cache, endpoint=hub(served)).encode("Hello world") == [15496, 995]  # the server is gone


def test_tiktokens_own_cache_is_good_enough(genuine: bytes, tmp_path: Path) -> None:
    (tmp_path / "6d1cbeee0f20b3d9449abfede4726ed8212e3aee").write_bytes(genuine)
    assert gpt2_merges_file(tmp_path, timeout=1, endpoint="http://127.0.0.1:1").encode() == genuine


def test_offline_with_an_empty_cache_one_sentence_says_what_to_do(tmp_path: Path) -> None:
    cache = tmp_path / "tiktoken"
    expected = r"\(.*Connection refused\): connect to the internet once .* or copy the file vocab\.bpe into"
    with pytest.raises(ValueError, match=expected) as caught:
        gpt2_tokenizer(cache, timeout=1, endpoint="http://127.0.0.1:1")
    assert str(cache) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not cache.exists()


def test_a_damaged_file_is_downloaded_again(genuine: bytes, tmp_path: Path) -> None:
    for damaged in (b"", genuine[:-1], genuine.replace(b"t h", b"t i", 1)):
        (tmp_path / "vocab.bpe").write_bytes(damaged)
        with serving(Served(genuine, etag='"a"')) as served:
            gpt2_tokenizer(tmp_path, endpoint=hub(served))
        assert (tmp_path / "vocab.bpe").read_bytes() == genuine


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Served(b"#version: 0.2\n" + b"a b\n" * 5000, etag='"a"'), "the received file is not GPT-2's"),
        (Served(b"", etag='"a"'), "the received file is not GPT-2's"),
        (Served(b"a page that asks you to log in"), "does not seem to be served by a Hugging Face Hub"),
        (Served(b"not here", status=404), "the server answers 404 Not Found"),
        (Served(b"", status=500), "the server answers 500 Internal Server Error"),
    ],
)
def test_wrong_answers_are_refused_and_leave_nothing_behind(tmp_path: Path, answer: Served, reason: str) -> None:
    expected = rf"could not be downloaded \([^\n]*{reason}[^\n]*\): connect to the internet[^\n]*$"
    with serving(answer) as served, pytest.raises(ValueError, match=expected):
        gpt2_tokenizer(tmp_path / "cache", endpoint=hub(served))
    assert not (tmp_path / "cache").exists()


def test_a_hub_that_does_not_answer_is_given_up(tmp_path: Path) -> None:
    with serving(Served(b"", etag='"a"', delay=30)) as served, pytest.raises(ValueError, match=r"\(.*timed out\)"):
        gpt2_tokenizer(tmp_path, timeout=0.3, endpoint=hub(served))


def test_a_folder_that_cannot_be_written_is_no_reason_to_fail(genuine: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with serving(Served(genuine, etag='"a"')) as served:
        assert gpt2_tokenizer(tmp_path / "file" / "cache", endpoint=hub(served)).vocab_size == 50257


BODY = bytes(range(256)) * 1000


def received(served: Served, path: Path, *, timeout: float = 10, limit: int = 10**6) -> list[Received]:
    return list(download(served.url, path, timeout=timeout, limit=limit))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_downloaded_with_its_progress(tmp_path: Path) -> None:
    with serving(Served(BODY)) as served:
        steps = received(served, tmp_path / "new" / "book.txt")
    assert (tmp_path / "new" / "book.txt").read_bytes() == BODY
    assert steps[-1] == Received(len(BODY), len(BODY))
    assert [one.done for one in steps] == sorted({one.done for one in steps})
    assert names(tmp_path / "new") == ["book.txt"]


@pytest.mark.parametrize("modified", [DATE, ""])
def test_an_interrupted_download_resumes_if_the_server_has_the_same_file(tmp_path: Path, modified: str) -> None:
    path = tmp_path / "book.txt"
    with serving(Served(BODY, cut=100_000, modified=modified)) as served:
        with pytest.raises(ValueError, match=r"could not be downloaded \(.*received 100000 bytes, expected 256000"):
            received(served, path)
        assert not path.exists()
        served.cut = None
        steps = received(served, path)
        wanted = served.asked[-1].get("Range")
    assert path.read_bytes() == BODY
    assert steps[-1] == Received(len(BODY), len(BODY))
    assert wanted == ("bytes=100000-" if modified else None)
    assert steps[0].done > 100_000 or not wanted
    assert names(tmp_path) == ["book.txt"]


def test_a_changed_file_is_downloaded_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    with serving(Served(BODY, cut=100_000, modified=DATE)) as served:
        with pytest.raises(ValueError, match="received 100000 bytes"):
            received(served, path)
        served.body, served.modified, served.cut = BODY[::-1], LATER, None
        received(served, path)
    assert path.read_bytes() == BODY[::-1]
    assert names(tmp_path) == ["book.txt"]


def test_a_stopped_download_resumes(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    with serving(Served(BODY, modified=DATE)) as served:
        stream = download(served.url, path, timeout=10, limit=10**6)
        begun = next(stream).done
        stream.close()
        assert not path.exists()
        assert names(tmp_path) == [".book.txt.part"]
        assert received(served, path)[0].done > begun
    assert path.read_bytes() == BODY


def test_a_part_that_a_crash_left_is_not_resumed(tmp_path: Path) -> None:
    """Its date is that of the crash: nobody knows which version of the file it is of."""
    (tmp_path / ".book.txt.part").write_bytes(b"old")
    with serving(Served(BODY, modified=DATE)) as served:
        received(served, tmp_path / "book.txt")
    assert (tmp_path / "book.txt").read_bytes() == BODY


def test_parts_of_the_version_before_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".book.txt.22612d3122.part").write_bytes(b"old")
    with serving(Served(BODY)) as served:
        received(served, tmp_path / "book.txt")
    assert names(tmp_path) == ["book.txt"]


def test_a_part_longer_than_the_file_is_downloaded_again(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    with serving(Served(BODY, length=300_000, modified=DATE)) as served:
        with pytest.raises(ValueError, match="received 256000 bytes, expected 300000"):
            received(served, path)
        served.length = None
        received(served, path)
    assert path.read_bytes() == BODY


def test_a_failure_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    with serving(Served(b"none", status=404)) as served:
        with pytest.raises(ValueError, match=r"could not be downloaded \(the server answers 404 Not Found\)$"):
            received(served, path)
        served.status, served.body = 200, BODY
        with pytest.raises(ValueError, match="is larger than 10,000 bytes, the most that this file may have"):
            received(served, path, limit=10_000)
        served.pause = 30
        with pytest.raises(ValueError, match=r"could not be downloaded \(.*timed out\)$"):
            received(served, path, timeout=0.2)
    with pytest.raises(ValueError, match=r"could not be downloaded \(.*refused\)$"):
        received(served, path)
    assert names(tmp_path) == []


def test_a_moved_file_is_followed(tmp_path: Path) -> None:
    with serving(Served(BODY)) as served, serving(Served(b"", status=302, location=served.url)) as moved:
        received(moved, tmp_path / "book.txt")
    assert (tmp_path / "book.txt").read_bytes() == BODY
