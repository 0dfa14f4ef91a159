"""Downloads: files by httpx, resumable; GPT-2's vocabulary from the Hugging Face Hub, with a checksum."""

import contextlib
import hashlib
import logging
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import formatdate, parsedate_to_datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from models import storage
from models.bpe import GPT2_MERGES_SHA256

log = logging.getLogger(__name__)

GPT2_REPOSITORY, GPT2_MERGES = "openai-community/gpt2", "merges.txt"  # the bytes of OpenAI's vocab.bpe
FILE_NAME = "vocab.bpe"
TIKTOKEN_NAME = "6d1cbeee0f20b3d9449abfede4726ed8212e3aee"  # the same file in tiktoken's own cache
# identity: the bytes on the disk are those that a range counts. Some servers refuse the agent of a library.
HEADERS = {"User-Agent": "gptdesk", "Accept-Encoding": "identity"}
RANGE_NOT_SATISFIABLE = 416


@dataclass(frozen=True)
class Received:
    """Bytes on the disk, and bytes of the whole file if the server says so."""

    done: int
    total: int | None


def download(url: str, path: Path, *, timeout: float, limit: int) -> Iterator[Received]:
    """Download a file of at most `limit` bytes to `path`, waiting at most `timeout` seconds for each piece of it.

    After a failure, or when the caller stops, the received part lies beside it with the server's date of the file;
    the next call resumes if the server still has the file of that date. Raises ValueError with the reason, and OSError
    if the disk refuses.
    """
    part = path.with_name(f".{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    for old in path.parent.glob(f".{path.name}.*.part"):  # of version 0.1, which cannot be resumed
        old.unlink(missing_ok=True)
    yield from _receive(url, part, timeout=timeout, limit=limit)
    storage.move_file(part, path)


def _receive(url: str, part: Path, *, timeout: float, limit: int) -> Iterator[Received]:
    """Write what `part` lacks of the file at `url`."""
    import httpx  # takes 0.15 s, and nearly no start downloads anything

    headers, done = dict(HEADERS), 0
    if part.exists():
        done = part.stat().st_size
        headers |= {"Range": f"bytes={done}-", "If-Range": formatdate(part.stat().st_mtime, usegmt=True)}
    with (
        _one_sentence(url),
        httpx.stream("GET", url, headers=headers, timeout=timeout, follow_redirects=True) as response,
    ):
        if done and response.status_code == RANGE_NOT_SATISFIABLE:  # the file has become shorter
            part.unlink()
            yield from _receive(url, part, timeout=timeout, limit=limit)
            return
        response.raise_for_status()
        resumed = response.status_code == httpx.codes.PARTIAL_CONTENT
        done = done if resumed else 0
        length = response.headers.get("Content-Length", "")
        total = done + int(length) if length.isdecimal() else None
        with _dated(part, response.headers.get("Last-Modified", "")), open(part, "ab" if resumed else "wb") as file:
            for chunk in response.iter_bytes():
                done += len(chunk)
                if done > limit:
                    break
                file.write(chunk)
                yield Received(done, total)
    if done > limit:
        part.unlink()
        raise ValueError(f"{url} is larger than {limit:,} bytes, the most that this file may have")


@contextlib.contextmanager
def _dated(part: Path, modified: str) -> Iterator[None]:
    """Give `part` the date of the server's file when the block ends; without one, an unfinished part is removed."""
    keep = False
    try:
        yield
        keep = True
    finally:
        with contextlib.suppress(ValueError, TypeError, OSError):
            os.utime(part, (time.time(), parsedate_to_datetime(modified).timestamp()))
            keep = True
        if not keep:
            part.unlink(missing_ok=True)


@contextlib.contextmanager
def _one_sentence(url: str) -> Iterator[None]:
    """Turn an error of httpx into a ValueError of one sentence."""
    import httpx

    try:
        yield
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ValueError(f"{url} could not be downloaded ({reason_of(error)})") from error


def gpt2_merges_file(cache_folder: Path, *, timeout: float, endpoint: str | None = None) -> str:
    """Return the text of vocab.bpe from `cache_folder`, or else from the Hugging Face Hub.

    `timeout` is in seconds for the Hub's first answer, `endpoint` another address of the Hub. A file in the folder
    with a wrong checksum is downloaded again. Raises ValueError, saying what to do, if that fails too.
    """
    for name in (FILE_NAME, TIKTOKEN_NAME):
        path = cache_folder / name
        if path.is_file():
            data = path.read_bytes()
            if _is_genuine(data):
                return data.decode("utf-8")
            log.warning("%s is damaged and will be downloaded again", path)
    try:
        data = _from_hub(timeout=timeout, endpoint=endpoint)
    except Exception as error:  # the library passes on what its HTTP client raises, and that differs by version
        raise ValueError(
            f"GPT-2's vocabulary is not on this computer yet and could not be downloaded ({reason_of(error)}): connect "
            f"to the internet once and try again, or copy the file {FILE_NAME} into {cache_folder}"
        ) from error
    try:
        cache_folder.mkdir(parents=True, exist_ok=True)
        storage.write_file(cache_folder / FILE_NAME, data)
    except OSError as error:
        log.warning("GPT-2's vocabulary could not be saved in %s: %s", cache_folder, error)
    return data.decode("utf-8")


def _from_hub(*, timeout: float, endpoint: str | None) -> bytes:
    """Return the genuine file; raises ValueError for another one, and the errors of huggingface_hub."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url  # takes 0.2 s

    # asked once at first: the download asks for 20 seconds, again and again, before it says that there is no network
    url = hf_hub_url(GPT2_REPOSITORY, GPT2_MERGES, endpoint=endpoint)
    get_hf_file_metadata(url, timeout=timeout, token=False)
    with TemporaryDirectory(prefix="gptdesk-") as folder:
        path = hf_hub_download(
            GPT2_REPOSITORY, GPT2_MERGES, local_dir=folder, etag_timeout=timeout, endpoint=endpoint, token=False
        )
        data = Path(path).read_bytes()
    if not _is_genuine(data):
        raise ValueError("the received file is not GPT-2's")
    return data


def _is_genuine(data: bytes) -> bool:
    return hashlib.sha256(data).hexdigest() == GPT2_MERGES_SHA256


def reason_of(error: BaseException) -> str:
    """Return what went wrong as the system or the server says it, in one line."""
    response = getattr(error, "response", None)
    if response is not None:
        return f"the server answers {response.status_code} {response.reason_phrase}"
    if error.__cause__ is not None:  # the Hub's library says at length that there is no network
        return reason_of(error.__cause__)
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
