"""File downloads: any file piece by piece, and GPT-2's vocabulary once, with a time limit and a checksum."""

import contextlib
import hashlib
import http.client
import logging
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from models import storage
from models.bpe import GPT2_MERGES_SHA256

log = logging.getLogger(__name__)

GPT2_VOCABULARY_URL = "https://openaipublic.blob.core.windows.net/gpt-2/encodings/main/vocab.bpe"
FILE_NAME = "vocab.bpe"
TIKTOKEN_NAME = "6d1cbeee0f20b3d9449abfede4726ed8212e3aee"  # the SHA-1 of the URL: the name in tiktoken's own cache
SIZE_LIMIT = 1_000_000  # bytes; the file has 456,318
CHUNK = 65536
AGENT = {"User-Agent": "gptdesk"}  # some servers refuse Python's own


@dataclass(frozen=True)
class Received:
    """Bytes that have arrived, and all there will be, if the server says so."""

    done: int
    total: int | None


def download(url: str, path: Path, *, timeout: float, limit: int) -> Iterator[Received]:
    """Fetch a file of at most `limit` bytes to `path`, and yield the progress after each piece.

    Each piece may take `timeout` seconds. A part that has arrived when that fails, or is abandoned, is kept beside the
    file, and the next call resumes there if the server still has the same file. Raises ValueError, saying why, and
    OSError if the disk refuses.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    begun = next(path.parent.glob(f".{path.name}.*.part"), None)
    with _opened(url, begun, timeout=timeout) as response:
        goes_on = begun is not None and response.status == 206
        if begun and not goes_on:
            begun.unlink()
        part = begun if begun and goes_on else _part(path, response.headers.get("ETag", ""))
        done = part.stat().st_size if goes_on else 0
        length = response.headers.get("Content-Length", "")
        total = done + int(length) if length.isdecimal() else None
        with open(part, "ab" if goes_on else "wb") as file:
            for chunk in _chunks(response, url):
                file.write(chunk)
                done += len(chunk)
                if done > limit:
                    break
                yield Received(done, total)
    if done > limit:
        part.unlink()
        raise ValueError(f"{url} is larger than the {limit:,} bytes it may have")
    if total is not None and done < total:
        raise ValueError(f"only {done:,} of {total:,} bytes of {url} arrived; try again, and the rest is fetched")
    storage.move_file(part, path)


def _part(path: Path, version: str) -> Path:
    """Return the file that a part is written to; its name has the version, the ETag, if that is a strong one."""
    strong = version.startswith('"') and len(version) <= 64
    return path.with_name(f".{path.name}.{version.encode('latin-1').hex() if strong else ''}.part")


def _opened(url: str, begun: Path | None, *, timeout: float) -> http.client.HTTPResponse:
    """Return the response of a server, asked for the rest only if a part with a version has arrived before."""
    headers = dict(AGENT)
    if begun and (version := bytes.fromhex(begun.name.split(".")[-2]).decode("latin-1")):
        headers |= {"Range": f"bytes={begun.stat().st_size}-", "If-Range": version}
    try:
        with _naming(url):
            opened: http.client.HTTPResponse = urllib.request.urlopen(
                urllib.request.Request(url, headers=headers), timeout=timeout
            )
            return opened
    except ValueError as error:
        if begun and isinstance(error.__cause__, urllib.error.HTTPError) and error.__cause__.code == 416:
            begun.unlink()  # the server has no bytes beyond it, so it is no part of the file
        raise


def _chunks(response: http.client.HTTPResponse, url: str) -> Iterator[bytes]:
    """Yield the body of a response piece by piece; ValueError if the connection fails."""
    while True:
        with _naming(url):
            chunk = response.read1(CHUNK)
        if not chunk:
            return
        yield chunk


@contextlib.contextmanager
def _naming(url: str) -> Iterator[None]:
    """Turn a fault of the network or the server within the block into a ValueError of one sentence."""
    try:
        yield
    except (OSError, http.client.HTTPException) as error:
        raise ValueError(f"{url} could not be fetched ({_reason(error)})") from error


def gpt2_merges_file(cache_folder: Path, *, timeout: float, url: str = GPT2_VOCABULARY_URL) -> str:
    """Return the text of vocab.bpe, from `cache_folder` or else from `url` within `timeout` seconds.

    A file there with a wrong checksum is fetched again. Raises ValueError, saying what to do, if that fails too.
    """
    for name in (FILE_NAME, TIKTOKEN_NAME):
        path = cache_folder / name
        if path.is_file():
            data = path.read_bytes()
            if _is_genuine(data):
                return data.decode("utf-8")
            log.warning("%s is damaged and will be fetched again", path)
    try:
        data = _fetch(url, timeout=timeout)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise ValueError(
            f"GPT-2's vocabulary is not on this computer yet and could not be downloaded ({_reason(error)}): connect "
            f"to the internet once and try again, or copy the file {FILE_NAME} into {cache_folder}"
        ) from error
    try:
        cache_folder.mkdir(parents=True, exist_ok=True)
        storage.write_file(cache_folder / FILE_NAME, data)
    except OSError as error:
        log.warning("GPT-2's vocabulary could not be kept in %s: %s", cache_folder, error)
    return data.decode("utf-8")


def _fetch(url: str, *, timeout: float) -> bytes:
    """Return the file at `url` after checking its digest; raises OSError or ValueError."""
    deadline = time.monotonic() + timeout
    data = b""
    request = urllib.request.Request(url, headers=AGENT)
    with urllib.request.urlopen(request, timeout=timeout) as response:  # the limit of each single wait
        while chunk := response.read1(CHUNK):
            data += chunk
            if time.monotonic() > deadline:
                raise TimeoutError(f"it took more than {timeout:g} seconds")
            if len(data) > SIZE_LIMIT:
                break
    if not _is_genuine(data):
        raise ValueError("what arrived is incomplete or is another file")
    return data


def _is_genuine(data: bytes) -> bool:
    return hashlib.sha256(data).hexdigest() == GPT2_MERGES_SHA256


def _reason(error: Exception) -> str:
    """Return what went wrong, in the words of the system or the server."""
    if isinstance(error, urllib.error.HTTPError):
        return f"the server says {error.code} {error.reason}"
    return str(getattr(error, "reason", None) or error or type(error).__name__)
