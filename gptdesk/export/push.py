"""Upload of an exported folder to the Hugging Face Hub: what will happen, then one commit."""

import json
import re
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptdesk import __version__
from gptdesk.export.hub_account import owner
from gptdesk.export.push_errors import during_upload, one_sentence
from models.hub import is_hub_id

MANIFEST = "gptdesk-files.json"  # in the repository: files that the last upload wrote
MANIFEST_LIMIT = 10_000_000  # bytes
KEPT = (".gitattributes",)  # the Hub needs it, whoever wrote it
SDKS = {"static": "static", "zero": "gradio", "cpu": "gradio"}  # of ours -> of the Hub
TOKEN = re.compile(r"[!-~]+")


@dataclass(frozen=True)
class PushPlan:
    """Repository that a folder goes to, and what will be done there; `sentences` are for the user."""

    id: str
    kind: str  # model or space
    sdk: str | None  # of the Space: static, zero or cpu
    visibility: str  # of a new repository: private or public
    endpoint: str
    exists: bool
    files: tuple[str, ...]  # that the repository has
    sentences: tuple[str, ...]

    @property
    def url(self) -> str:
        """Address of the repository's page."""
        return f"{self.endpoint}/{'spaces/' if self.kind == 'space' else ''}{self.id}"


@dataclass(frozen=True)
class Pushed:
    """Result of an upload: the page of the repository, its commit, and the files deleted there."""

    url: str
    commit: str
    deleted: tuple[str, ...]


def plan_push(repository: str, *, kind: str, sdk: str | None = None, public: bool = False) -> PushPlan:
    """Ask the Hub for the account and the repository OWNER/NAME, and return what a push will do; nothing is changed.

    `kind` is model or space, `sdk` static, zero or cpu. The token is that of HF_TOKEN or `hf auth login`. Raises
    ValueError without one, for a repository that this account cannot write, and for a plan that cannot host the Space.
    """
    from huggingface_hub import HfApi, constants, get_token  # takes 0.2 s

    if repository.count("/") != 1 or not is_hub_id(repository):
        raise ValueError(
            f"--push must be USER/NAME, of letters, digits, '-', '_' and '.', 96 at most, not {repository[:100]!r}"
        )
    if sdk is not None and sdk not in SDKS:
        raise ValueError(f"there is no kind of Space {sdk[:40]!r}; there is: {', '.join(SDKS)}")
    endpoint = constants.ENDPOINT.rstrip("/")
    token = get_token()
    if token is not None and not TOKEN.fullmatch(token):  # an HTTP client's error would show it
        raise ValueError("the Hugging Face token of this computer is not one; sign in again by `hf auth login`")
    api = HfApi(endpoint=endpoint)
    with one_sentence(repository, endpoint):
        account = owner(api.whoami(), repository.partition("/")[0])
        info = _existing(api, repository, kind)
    visibility = "public" if public else "private"
    sentences = [f"A new {visibility} {_title(kind, sdk)} {repository} will be created."]
    if kind == "space" and info is None:
        sentences.insert(0, account.plan_for(sdk or "static"))
    if info is not None:
        if kind == "space" and info.sdk != SDKS[sdk or "static"]:
            raise ValueError(
                f"{repository} is a Space of another kind already ({info.sdk}, not {SDKS[sdk or 'static']}); choose "
                "another name, or another --sdk"
            )
        sentences = [
            f"{repository} exists: its files will be updated in one commit; whether it is public stays as it is."
        ]
    files = tuple(entry.rfilename for entry in (info.siblings or ())) if info is not None else ()
    return PushPlan(repository, kind, sdk, visibility, endpoint, info is not None, files, tuple(sentences))


def push(folder: Path, plan: PushPlan) -> Pushed:
    """Create the repository of a plan, if need be, and bring the files of a folder there in one commit.

    Files that an earlier push wrote and this one does not are deleted in the same commit, no others. Raises ValueError;
    after a failed upload the next one sends no large file again that has arrived.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    api = HfApi(endpoint=plan.endpoint)
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    names = [path.relative_to(folder).as_posix() for path in paths]
    if not plan.exists:
        with one_sentence(plan.id, plan.endpoint):
            _create(api, plan)
    with one_sentence(plan.id, plan.endpoint), during_upload(plan.id):
        stale = _stale(api, plan, names)
        # not upload_folder: it may make several commits, so that a visitor could see half of an update
        done = api.create_commit(
            plan.id,
            repo_type=plan.kind,
            operations=[
                *(CommitOperationAdd(name, str(path)) for name, path in zip(names, paths, strict=True)),
                CommitOperationAdd(MANIFEST, _manifest(names)),
                *(CommitOperationDelete(name, is_folder=False) for name in stale),
            ],
            commit_message=f"Upload by GPT Desk {__version__}",
        )
    return Pushed(plan.url, str(done.oid), tuple(stale))


def _title(kind: str, sdk: str | None) -> str:
    return kind if kind == "model" else f"Space ({sdk or 'static'})"


def _existing(api: Any, repository: str, kind: str) -> Any:
    """Return what the Hub knows of a repository, or None if this account sees none of this name."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    try:
        return api.repo_info(repository, repo_type=kind)
    except GatedRepoError:  # a kind of RepositoryNotFoundError
        raise
    except RepositoryNotFoundError:
        return None


def _create(api: Any, plan: PushPlan) -> None:
    """Create the repository; ValueError if the name is taken by something that this account does not see."""
    from huggingface_hub.errors import HfHubHTTPError

    space = {"space_sdk": SDKS[plan.sdk or "static"]} if plan.kind == "space" else {}
    if plan.sdk == "zero":
        space["space_hardware"] = "zero-a10g"
    try:
        api.create_repo(plan.id, repo_type=plan.kind, visibility=plan.visibility, **space)
    except HfHubHTTPError as error:
        if error.response.status_code == 409:  # no exist_ok: the plan said that it is new
            raise ValueError(
                f"the name {plan.id} is taken on the Hugging Face Hub, by something that this account does not see or "
                "that was made just now; choose another name, or run this again"
            ) from error
        raise


def _stale(api: Any, plan: PushPlan, names: Iterable[str]) -> list[str]:
    """Return the files in the repository that its manifest lists and that are not among `names`."""
    if MANIFEST not in plan.files:
        return []
    with tempfile.TemporaryDirectory(prefix="gptdesk-") as cache:
        path = Path(api.hf_hub_download(plan.id, MANIFEST, repo_type=plan.kind, cache_dir=cache))
        data = path.read_bytes() if path.stat().st_size <= MANIFEST_LIMIT else b""
    try:
        content = json.loads(data)
        listed = {name for name in content["files"] if isinstance(name, str)}
    except (ValueError, KeyError, TypeError, RecursionError):  # edited on the Hub: nothing is known to be ours
        return []
    return sorted((listed & set(plan.files)) - set(names) - {MANIFEST, *KEPT})


def _manifest(names: Sequence[str]) -> bytes:
    return json.dumps({"written_by": f"GPT Desk {__version__}", "files": list(names)}, indent=1).encode("utf-8")
