"""Fetching GPT-2's vocabulary from real local servers: good, slow, cut off, wrong, gone."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from models.download import gpt2_merges_file
from models.tokenizer import gpt2_tokenizer

GPT2_FILES = Path(__file__).parents[2] / "shared" / "data" / "gpt2"


@pytest.fixture(scope="module")
def genuine() -> bytes:
    if not GPT2_FILES.is_dir():
        pytest.skip(f"GPT-2's vocabulary is not in {GPT2_FILES}")
    return (GPT2_FILES / "vocab.bpe").read_bytes()


@contextmanager
def serving(body: bytes, *, length: int | None = None, status: int = 200, pause: float = 0.0) -> Iterator[str]:
    """The URL of a server that sends `body`, claims `length` bytes, and pauses after each 4096 of them."""
    done = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body) if length is None else length))
            self.end_headers()
            for start in range(0, len(body), 4096):
                if done.is_set():
                    return
                try:
                    self.wfile.write(body[start : start + 4096])
                except OSError:
                    return
                done.wait(pause)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/vocab.bpe"
    finally:
        done.set()
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def test_it_is_fetched_once_and_then_works_without_a_network(genuine: bytes, tmp_path: Path) -> None:
    cache = tmp_path / "home" / "tiktoken"
    with serving(genuine) as url:
        assert gpt2_tokenizer(cache, timeout=10, url=url).encode("Hello world") == [15496, 995]
    assert [path.name for path in cache.iterdir()] == ["vocab.bpe"]
    assert (cache / "vocab.bpe").read_bytes() == genuine
    assert gpt2_tokenizer(cache, timeout=10, url=url).encode("Hello world") == [15496, 995]  # the server is gone


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
        with serving(genuine) as url:
            gpt2_tokenizer(tmp_path, timeout=10, url=url)
        assert (tmp_path / "vocab.bpe").read_bytes() == genuine


def test_bad_answers_are_refused_and_leave_nothing_behind(tmp_path: Path) -> None:
    body = b"#version: 0.2\n" + b"a b\n" * 5000
    for answer in (
        serving(body),  # another file
        serving(b""),
        serving(body, length=10**6),  # cut off
        serving(b"x" * 3_000_000),  # endless
        serving(b"not here", status=404),
        serving(b"", status=500),
    ):
        with answer as url, pytest.raises(ValueError, match="could not be downloaded"):
            gpt2_tokenizer(tmp_path / "cache", timeout=10, url=url)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(("pause", "reason"), [(0.05, "more than 0.4 seconds"), (30.0, "timed out")])
def test_a_trickle_and_a_stall_are_given_up(tmp_path: Path, pause: float, reason: str) -> None:
    with serving(b"x" * 900_000, pause=pause) as url, pytest.raises(ValueError, match=reason):
        gpt2_tokenizer(tmp_path, timeout=0.4, url=url)


def test_a_folder_that_cannot_be_written_is_no_reason_to_fail(genuine: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with serving(genuine) as url:
        assert gpt2_tokenizer(tmp_path / "file" / "cache", timeout=10, url=url).vocab_size == 50257
