"""Fetches GPT-2's vocabulary file once, with a time limit and a checksum, and keeps it in a folder of ours."""

import hashlib
import http.client
import logging
import time
import urllib.request
from pathlib import Path

from models import storage
from models.bpe import GPT2_MERGES_SHA256

log = logging.getLogger(__name__)

GPT2_VOCABULARY_URL = "https://openaipublic.blob.core.windows.net/gpt-2/encodings/main/vocab.bpe"
FILE_NAME = "vocab.bpe"
TIKTOKEN_NAME = "6d1cbeee0f20b3d9449abfede4726ed8212e3aee"  # the SHA-1 of the URL: the name in tiktoken's own cache
SIZE_LIMIT = 1_000_000  # bytes; the file has 456,318


def gpt2_merges_file(cache_folder: Path, *, timeout: float, url: str = GPT2_VOCABULARY_URL) -> str:
    """The text of vocab.bpe, from `cache_folder` or else from `url` within `timeout` seconds.

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
        reason = getattr(error, "reason", None) or error or type(error).__name__
        raise ValueError(
            f"GPT-2's vocabulary is not on this computer yet and could not be downloaded ({reason}): connect to the "
            f"internet once and try again, or copy the file {FILE_NAME} into {cache_folder}"
        ) from error
    try:
        cache_folder.mkdir(parents=True, exist_ok=True)
        storage.write_file(cache_folder / FILE_NAME, data)
    except OSError as error:
        log.warning("GPT-2's vocabulary could not be kept in %s: %s", cache_folder, error)
    return data.decode("utf-8")


def _fetch(url: str, *, timeout: float) -> bytes:
    """The genuine file at `url`; raises OSError or ValueError."""
    deadline = time.monotonic() + timeout
    data = b""
    with urllib.request.urlopen(url, timeout=timeout) as response:  # the limit of each single wait
        while chunk := response.read1(65536):
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
