"""`gptdesk models export --push`: the real client against a local Hub; plans, faults, updates, the token."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_checks import Capture, answer, complaint
from push_checks import TOKEN, Repository, UploadHub, serving_uploads

from gptdesk.__main__ import main
from gptdesk.export import push
from models.checkpoint import Checkpoint
from models.weights import WEIGHTS

DOCS = Path(__file__).parents[3] / "docs"
MODEL = ("models", "export", "tiny", "--format", "huggingface")
SPACE = ("models", "export", "tiny", "--format", "space")
# of httpx2, for how huggingface_hub 2.4 sends a large file
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
def hub(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[UploadHub]:
    shutil.copytree(tiny_folder / "tiny", tmp_path / "home" / "models" / "tiny")
    monkeypatch.setenv("GPTDESK_HOME", str(tmp_path / "home"))
    with serving_uploads(UploadHub(), monkeypatch, tmp_path) as served:
        yield served


def refusal(hub: UploadHub, capsys: Capture, *arguments: str) -> str:
    """The last line on stderr of a command that ends with code 2, which never shows the token."""
    assert main(list(arguments)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    assert TOKEN not in err
    return re.sub(r"(?s).*gptdesk: ", "", err).strip()  # a progress bar may be before it


def test_a_model_arrives_whole_in_one_commit_and_private(hub: UploadHub, tmp_path: Path, capsys: Capture) -> None:
    to = tmp_path / "folder"
    said = answer(capsys, *MODEL, "--push", "me/tiny", "--to", str(to))
    repository = hub.repositories["models", "me/tiny"]
    assert repository.created["visibility"] == "private"
    assert repository.commits == 1
    written = {path.name: path.read_bytes() for path in to.iterdir()}
    listed = json.loads(repository.files[push.MANIFEST])["files"]
    assert listed == sorted(written)
    assert repository.files.items() >= written.items()
    assert b'from_pretrained("me/tiny")' in written["README.md"]
    assert said["url"] == f"{hub.url}/me/tiny"
    assert said["commit"] == repository.head
    assert said["path"] == str(to)


def test_the_model_of_the_hub_opens_with_transformers(hub: UploadHub, tmp_path: Path, capsys: Capture) -> None:
    from transformers import AutoModelForCausalLM

    assert answer(capsys, *MODEL, "--push", "me/tiny", "--public").keys() == {
        *["name", "format", "url", "commit", "deleted"]
    }
    repository = hub.repositories["models", "me/tiny"]
    assert repository.created["visibility"] == "public"
    for name, data in repository.files.items():
        (tmp_path / name).write_bytes(data)
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert model.num_parameters() == Checkpoint.open(tmp_path / "home" / "models" / "tiny").parameters


def test_an_update_is_one_commit_that_deletes_only_what_an_earlier_push_wrote(
    hub: UploadHub, capsys: Capture, caplog: pytest.LogCaptureFixture
) -> None:
    answer(capsys, *MODEL, "--push", "me/tiny")
    repository = hub.repositories["models", "me/tiny"]
    whole = dict(repository.files)
    manifest = json.loads(whole[push.MANIFEST])
    manifest["files"] += ["old.safetensors", "gone.bin", ".gitattributes", "../outside"]
    repository.files |= {
        push.MANIFEST: json.dumps(manifest).encode(),
        "old.safetensors": b"of a former export",
        "notes.txt": b"of somebody",
        "config.json": b"{}",
    }
    hub.asked.clear()
    assert main([*MODEL, "--push", "me/tiny", "--public"]) == 0
    capsys.readouterr()
    assert any("me/tiny exists: its files will be updated in one commit" in line for line in caplog.messages)
    assert "Deleted there, from an earlier push: old.safetensors" in caplog.messages
    assert repository.files == whole | {"notes.txt": b"of somebody"}
    assert repository.commits == 2
    assert not any(path.endswith("create") or path.startswith("/lfs/") for path in hub.changes())

    assert answer(capsys, *MODEL, "--push", "me/tiny")["commit"] == repository.head  # nothing has changed
    assert repository.commits == 2
    repository.files[push.MANIFEST] = b"[" * 100_000
    assert answer(capsys, *MODEL, "--push", "me/tiny")["deleted"] == []


@pytest.mark.parametrize(
    ("sdk", "is_pro", "sdk_there", "hardware", "words"),
    [
        ("static", False, "static", None, "free on every plan"),
        ("zero", False, "gradio", "zero-a10g", "free plan, which hosts up to 2 Gradio Spaces on ZeroGPU"),
        ("zero", True, "gradio", "zero-a10g", "me has a paid plan"),
        ("cpu", True, "gradio", None, "me has a paid plan"),
    ],
)
def test_a_space_is_created_with_what_its_plan_allows(
    hub: UploadHub,
    capsys: Capture,
    caplog: pytest.LogCaptureFixture,
    sdk: str,
    is_pro: bool,
    sdk_there: str,
    hardware: str | None,
    words: str,
) -> None:
    hub.account["isPro"] = is_pro
    assert main([*SPACE, "--sdk", sdk, "--push", "me/page"]) == 0
    plan, action, *_ = caplog.messages
    assert words in plan
    assert action == f"A new private Space ({sdk}) me/page will be created."
    assert capsys.readouterr().out == f"tiny is at {hub.url}/spaces/me/page\n"
    repository = hub.repositories["spaces", "me/page"]
    assert (repository.created["sdk"], repository.created.get("hardware")) == (sdk_there, hardware)
    assert f'sdk: "{sdk_there}"'.encode() in repository.files["README.md"]
    assert repository.commits == 1


def test_a_plan_that_cannot_host_a_space_is_told_before_anything_is_made(
    hub: UploadHub, capsys: Capture, caplog: pytest.LogCaptureFixture
) -> None:
    said = complaint(capsys, *SPACE, "--sdk", "cpu", "--push", "me/page")
    assert "free plan of the Hugging Face Hub, which hosts no Gradio Space on processors; use --sdk static" in said
    assert hub.changes() == []
    assert main([*SPACE, "--sdk", "cpu", "--push", "club/page"]) == 0  # the Hub tells no plan of this one
    assert "the Hub decides whether club has one" in caplog.text
    assert main([*SPACE, "--sdk", "cpu", "--push", "School/page"]) == 0
    assert "school has a paid plan" in caplog.text
    hub.repositories["spaces", "me/page"] = Repository(created={"sdk": "gradio"})
    assert main([*SPACE, "--sdk", "cpu", "--push", "me/page"]) == 0  # the Hub hosts it already


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (402, "asks for a paid plan to host me/page; use --sdk static"),
        (403, "the token of this computer may not write me/page"),
        (409, "the name me/page is taken on the Hugging Face Hub"),
        (429, "too many requests"),
        (400, "refuses me/page (no such emoji)"),
        (503, "has a fault (the server answers 503"),
    ],
)
def test_a_refused_creation_is_one_sentence(hub: UploadHub, capsys: Capture, status: int, words: str) -> None:
    hub.refused, hub.messages = {"/repos/create": status}, {400: "no such emoji"}
    assert words in refusal(hub, capsys, *SPACE, "--push", "me/page")
    assert hub.repositories == {}


def test_an_account_that_cannot_write_is_told_so(
    hub: UploadHub, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = (*MODEL, "--push")
    assert "belongs to 'me', which cannot write for other" in complaint(capsys, *command, "other/tiny")
    assert "read the repositories of guests, not write" in complaint(capsys, *command, "guests/tiny")
    hub.account["auth"]["accessToken"]["role"] = "read"
    assert "may read from the Hugging Face Hub, not write" in complaint(capsys, *command, "me/tiny")
    hub.account = {"type": "user"}
    assert "does not answer like a Hugging Face Hub" in complaint(capsys, *command, "me/tiny")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert "refuses the token of this computer" in complaint(capsys, *command, "me/tiny")
    monkeypatch.setenv("HF_TOKEN", "hf_secret\u00e9 b")
    said = complaint(capsys, *command, "me/tiny")
    assert "is not one; sign in again" in said
    assert "secret" not in said
    monkeypatch.delenv("HF_TOKEN")
    said = complaint(capsys, *command, "me/tiny")
    assert f"this computer has none; make one that may write at {hub.url}/settings/tokens" in said
    assert hub.changes() == []


def test_an_interrupted_upload_says_how_to_resume_and_sends_no_large_file_twice(
    hub: UploadHub, tmp_path: Path, capsys: Capture
) -> None:
    command = (*MODEL, "--push", "me/tiny")
    hub.cut = True
    said = refusal(hub, capsys, *command)
    assert re.search(r"the upload to me/tiny was interrupted \(.+\); run this again: large files", said)
    assert hub.repositories["models", "me/tiny"].commits == 0

    hub.cut, hub.refused = False, {"/commit/": 500}
    to = tmp_path / "folder"
    said = refusal(hub, capsys, *command, "--to", str(to))
    assert said.endswith(f"the export itself is in {to}, so leave --to out then")
    assert len(hub.stored) == 1

    hub.refused, hub.asked = {}, []
    assert main(list(command)) == 0
    assert not any(path.startswith("/lfs/") for path in hub.changes())
    repository = hub.repositories["models", "me/tiny"]
    assert repository.commits == 1
    assert repository.files[WEIGHTS] == (to / WEIGHTS).read_bytes()

    (to / "more.txt").write_text("more")
    hub.refused = {"/commit/": 412}
    plan = push.plan_push("me/tiny", kind="model")
    with pytest.raises(ValueError, match="me/tiny was changed by somebody else in the meantime; run this again"):
        push.push(to, plan)
    hub.refused = {"/preupload/": 403}
    with pytest.raises(ValueError, match="may not write me/tiny"):
        push.push(to, plan)


def test_no_network_and_options_that_do_not_fit(
    hub: UploadHub, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("tiny", "me/tiny/more", "me/..", "https://huggingface.co/me/tiny", "me/" + "x" * 100, "me/a b", ""):
        assert "--push must be USER/NAME" in complaint(capsys, *MODEL, f"--push={name}")
    pt = ("models", "export", "tiny", "--format", "pt", "--push", "me/tiny")
    assert "--push takes the formats huggingface, space, not pt" in complaint(capsys, *pt)
    assert "--to PATH or --push USER/NAME is required" in complaint(capsys, *MODEL)
    both = ("--push", "me/tiny", "--private", "--public")
    assert "not allowed with argument --private" in complaint(capsys, *MODEL, *both)
    alone = ("--private", "--to", str(tmp_path / "x"))
    assert "are for a repository that --push creates" in complaint(capsys, *MODEL, *alone)
    assert "there is no kind of Space 'docker'" in complaint(capsys, *SPACE, "--sdk", "docker", "--push", "me/page")
    hub.repositories["spaces", "me/page"] = Repository(created={"sdk": "gradio"})
    assert "is a Space of another kind already (gradio, not static)" in complaint(capsys, *SPACE, "--push", "me/page")
    assert hub.changes() == []
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert "could not be reached for me/tiny" in complaint(capsys, *MODEL, "--push", "me/tiny")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in complaint(capsys, *MODEL, "--push", "me/tiny")


def test_the_commands_of_the_documents_push(hub: UploadHub, capsys: Capture) -> None:
    lines = [line for name in ("export.md", "deploy.md") for line in (DOCS / name).read_text("utf-8").splitlines()]
    commands = [line.split() for line in lines if line.startswith("gptdesk ") and "--push" in line]
    assert len(commands) >= 2
    for words in commands:
        assert main([{"starter": "tiny"}.get(word, word) for word in words[1:]]) == 0
    assert {key[0] for key in hub.repositories} == {"models", "spaces"}
