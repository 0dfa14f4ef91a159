"""Download of one file into huggingface_hub's cache: locked, resumable, with its checksum."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from models import storage
from models.hub.errors import http_errors, one_sentence
from models.hub.model import HubFile, HubModel

ATTEMPTS = 5  # at a file, each of which must bring something
PARTIAL_CONTENT = 206


def fetch_file(model: HubModel, file: HubFile) -> Iterator[int]:
    """Put a file into the cache unless it is there undamaged, and yield the bytes that have arrived so far."""
    placed, content, part = model.places(file)
    if placed.is_file():
        if not file.checksum or file.is_at(placed):
            yield file.size
            return
        if model.remark:
            raise ValueError(f"{placed} is damaged; connect to the internet and run this again")
        placed.unlink()
        content.unlink(missing_ok=True)
    from huggingface_hub import hf_hub_download

    with one_sentence(model):
        if not (content.is_file() and file.is_at(content)):
            content.unlink(missing_ok=True)
            with _lock(model, file):
                yield from _receive(model, file, part)
            storage.move_file(part, content)
        # finds the content by its checksum, which is the Hub's tag of it, and links it into the folder
        hf_hub_download(
            model.id,
            file.name,
            revision=model.commit,
            cache_dir=model.cache,
            endpoint=model.endpoint,
            etag_timeout=model.timeout,
        )
    if not placed.is_symlink():  # a copy, where there are no links
        content.unlink(missing_ok=True)
    yield file.size


@contextlib.contextmanager
def _lock(model: HubModel, file: HubFile) -> Iterator[None]:
    """Hold huggingface_hub's own lock on a file; ValueError if another program has it."""
    from huggingface_hub.utils import WeakFileLock

    path = model.cache / ".locks" / model.repository.name / f"{file.checksum}.lock"
    for folder in (path.parent, model.repository / "blobs"):
        folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(WeakFileLock(path, timeout=1))
        except TimeoutError as error:
            raise ValueError(
                f"another program is downloading {file.name} of {model.id} now; try again when it is done"
            ) from error
        yield


def _receive(model: HubModel, file: HubFile, part: Path) -> Iterator[int]:
    """Write what `part` lacks of a file, in several attempts if connections end early; ValueError if it is another."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    url = hf_hub_url(model.id, file.name, revision=model.commit, endpoint=model.endpoint)
    if get_hf_file_metadata(url, timeout=model.timeout, endpoint=model.endpoint).etag != file.checksum:
        raise ValueError(f"{file.name} of {model.id} has just changed on the Hub; run this again for the new one")
    for attempt in range(1, ATTEMPTS + 1):
        before = part.stat().st_size if part.exists() else 0
        try:
            yield from _receive_once(model, file, part, url)
        except http_errors():
            if attempt == ATTEMPTS or not part.exists() or part.stat().st_size <= before:
                raise
        if part.exists() and part.stat().st_size >= file.size:
            break
    if not file.is_at(part):
        part.unlink()
        raise ValueError(f"{file.name} of {model.id} arrived with another checksum than the Hub lists; run this again")


def _receive_once(model: HubModel, file: HubFile, part: Path, url: str) -> Iterator[int]:
    """Write what `part` lacks of a file as far as one connection brings it."""
    from huggingface_hub import get_session
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

    done = part.stat().st_size if part.exists() else 0
    if done > file.size:
        part.unlink()
        done = 0
    if done == file.size and part.exists():
        return
    # identity: the bytes on the disk are those that a range counts
    headers = build_hf_headers(headers={"Accept-Encoding": "identity"} | ({"Range": f"bytes={done}-"} if done else {}))
    with get_session().stream("GET", url, headers=headers, timeout=model.timeout, follow_redirects=True) as response:
        hf_raise_for_status(response)
        done = done if response.status_code == PARTIAL_CONTENT else 0
        # unbuffered and as it comes: what has arrived stays if the process ends now
        with open(part, "ab" if done else "wb", buffering=0) as opened:
            for chunk in response.iter_bytes():
                done += len(chunk)
                opened.write(chunk)
                if done > file.size:
                    break
                yield done
    if done < file.size:
        raise OSError(f"the connection ended after {done:,} of {file.size:,} bytes")
