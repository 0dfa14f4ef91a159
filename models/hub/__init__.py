"""Models of the Hugging Face Hub: listed, then downloaded into the Hub's own cache, resumable and with checksums."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from models import storage
from models.download import Received
from models.formats.converting import SUFFIXES
from models.formats.huggingface import INDEX
from models.hub.errors import SUGGESTED, UnreachableError, one_sentence
from models.hub.model import CHECKSUM, HubFile, HubModel
from models.hub.needed import SMALL, WEIGHTS, listed_files, needed_files, shards
from models.hub.receiving import fetch_file

__all__ = ["SUGGESTED", "HubFile", "HubModel", "fetch", "is_hub_id", "look_up"]

PART = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?")  # of an id: owner or name
REVISION = re.compile(r"(?!.*\.\.)[A-Za-z0-9_][A-Za-z0-9._/-]{0,99}")
TIMEOUT = 10.0  # seconds for an answer, and for each piece of a file


def is_hub_id(text: str) -> bool:
    """Return whether a text can be the id of a model, NAME or OWNER/NAME, and is no name of a file of weights."""
    parts = text.split("/")
    is_plain = len(text) <= 96 and "--" not in text and ".." not in text and not text.endswith(".git")
    return is_plain and len(parts) <= 2 and not text.endswith(SUFFIXES) and all(map(PART.fullmatch, parts))


def look_up(
    model: str,
    *,
    revision: str = "main",
    endpoint: str | None = None,
    cache: Path | None = None,
    timeout: float = TIMEOUT,
) -> HubModel:
    """Return the files of the model with this id at a branch, tag or commit; its config.json is downloaded for that.

    `endpoint` and `cache` are those of huggingface_hub by default. A Hub that cannot be reached is replaced by what is
    in the cache, with a remark. Raises ValueError, saying what to do, if there is no such model or none that can run.
    """
    from huggingface_hub import HfApi, constants  # takes 0.2 s

    if not REVISION.fullmatch(revision):
        raise ValueError(f"revision must be a branch, tag or commit, not {revision!r:.100}")

    place = Path(cache or constants.HF_HUB_CACHE)
    address = (endpoint or constants.ENDPOINT).rstrip("/")
    empty = HubModel(model, "", (), place, address, timeout, revision)
    try:
        with one_sentence(empty):
            api = HfApi(endpoint=empty.endpoint)
            info = api.model_info(model, revision=revision, files_metadata=True, timeout=timeout)
            commit, listed = str(info.sha), listed_files(info)
        if not CHECKSUM.fullmatch(commit):
            raise UnreachableError(f"{empty.endpoint} does not answer like a Hugging Face Hub")
    except UnreachableError as error:
        return _from_cache(empty, error)
    return needed_files(replace(empty, commit=commit), listed)


def fetch(model: HubModel) -> Iterator[Received]:
    """Download what the cache lacks of a model's files, with checksums, and yield the progress over all of them.

    What has arrived when the caller stops or a connection ends is kept: the next call resumes. Raises ValueError.
    """
    missing = model.remaining
    existing = next(folder for folder in (model.cache, *model.cache.absolute().parents) if folder.exists())
    if missing > (free := shutil.disk_usage(existing).free):
        raise ValueError(
            f"{model.id} needs {missing / 1e6:,.1f} MB in {model.cache}, where {free / 1e6:,.1f} MB are free; make "
            "room, or name another folder by HF_HUB_CACHE"
        )
    before = 0
    for file in model.files:
        for done in fetch_file(model, file):
            yield Received(before + done, model.size)
        before += file.size
    if not model.remark and model.revision != model.commit:  # what this name meant, for a day without network
        place = model.repository / "refs" / model.revision
        place.parent.mkdir(parents=True, exist_ok=True)
        storage.write_file(place, model.commit.encode())


def _from_cache(model: HubModel, error: ValueError) -> HubModel:
    """Return the model as the cache has it; ValueError with the reason why the Hub was not asked if it is not whole."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(model.id, "config.json", cache_dir=model.cache, revision=model.revision)
    folder = Path(found).parent if isinstance(found, str) else None
    weights = next((name for name in WEIGHTS if folder and (folder / name).is_file()), None)
    names = [name for name in SMALL if folder and (folder / name).is_file()]
    if folder and weights:
        names += [weights, *(shards(folder / weights) if weights.endswith(INDEX) else ())]
    if folder is None or weights is None or not all((folder / name).is_file() for name in names):
        raise ValueError(
            f"{error}, and {model.id} is not whole in {model.cache} yet: connect to the internet and run this again, "
            "or name an existing file or folder"
        ) from error
    files = [HubFile(name, (folder / name).stat().st_size, _known_checksum(folder / name)) for name in names]
    remark = f"{error}, so the copy that is on this computer is used"
    return replace(model, commit=folder.name, files=tuple(files), remark=remark)


def _known_checksum(path: Path) -> str:
    """Return the checksum that the name of a file in the cache says, behind its link; "" where there are no links."""
    return path.resolve().name if path.is_symlink() and CHECKSUM.fullmatch(path.resolve().name) else ""
