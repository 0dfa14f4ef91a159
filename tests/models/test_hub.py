"""Models of the Hub, downloaded by the real client from a local server: whole, sharded, broken, refused, offline."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from hub_checks import COMMIT, LATER_COMMIT, FakeHub, let_the_client_connect, repository, serving_hub
from huggingface_hub import hf_hub_download
from huggingface_hub.utils import WeakFileLock

from models.download import Received
from models.hub import HubModel, fetch, is_hub_id, look_up
from models.hub.receiving import ATTEMPTS

CONFIG = {"model_type": "gpt2", "vocab_size": 400, "n_positions": 24, "n_embd": 32, "n_layer": 2, "n_head": 4}
BODY = bytes(range(256)) * 400
FILES = {
    "config.json": json.dumps(CONFIG).encode(),
    "tokenizer.json": b'{"a": 1}',
    "merges.txt": b"#version: 0.2\n",
    "model.safetensors": BODY,
}
OTHERS = {"README.md": b"#", "pytorch_model.bin": BODY, "tf_model.h5": BODY, "run.py": b"1/0", "about.json": b"{}"}


@pytest.fixture(autouse=True)
def _client(monkeypatch: pytest.MonkeyPatch) -> None:
    let_the_client_connect(monkeypatch)


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with serving_hub(FakeHub(FILES | OTHERS)) as served:
        yield served


def found(hub: FakeHub, cache: Path, *, revision: str = "main", timeout: float = 10) -> HubModel:
    return look_up(hub.id, revision=revision, endpoint=hub.url, cache=cache, timeout=timeout)


def fetched(model: HubModel) -> list[Received]:
    return list(fetch(model))


def test_what_an_import_needs_is_downloaded_once_into_the_hubs_own_cache(hub: FakeHub, tmp_path: Path) -> None:
    model = found(hub, tmp_path)
    assert {file.name: file.size for file in model.files} == {name: len(data) for name, data in FILES.items()}
    assert model.size == sum(map(len, FILES.values()))
    assert model.remaining == model.size - len(FILES["config.json"])  # which was needed to know that it is a GPT-2
    steps = fetched(model)
    assert steps[-1] == Received(model.size, model.size)
    assert [step.done for step in steps] == sorted(step.done for step in steps)
    assert repository(model.folder) == FILES
    assert sorted(hub.fetched) == sorted(FILES)
    assert model.remaining == 0
    theirs = hf_hub_download(hub.id, "model.safetensors", cache_dir=tmp_path, local_files_only=True)
    assert Path(theirs).read_bytes() == BODY
    stored = [path for path in tmp_path.rglob("*") if path.is_file() and not path.is_symlink()]
    assert sum(path.stat().st_size for path in stored) < 1.1 * model.size
    before = len(hub.asked)
    assert fetched(found(hub, tmp_path))[-1].done == model.size
    assert [path for _, path in hub.asked[before:]] == [f"/api/models/{hub.id}/revision/main"]


def test_shards_are_those_that_the_index_names(hub: FakeHub, tmp_path: Path) -> None:
    shards = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    index = {"weight_map": {"wte.weight": shards[0], "wpe.weight": shards[1]}}
    del hub.files["model.safetensors"]
    hub.files |= {name: BODY[i:] for i, name in enumerate(shards)} | {"model-00003-of-00003.safetensors": BODY}
    hub.files["model.safetensors.index.json"] = json.dumps(index).encode()
    model = found(hub, tmp_path)
    assert [file.name for file in model.files[-3:]] == ["model.safetensors.index.json", *shards]
    fetched(model)
    assert (model.folder / shards[1]).read_bytes() == BODY[1:]
    index["weight_map"]["wpe.weight"] = "../../outside.safetensors"
    hub.files["model.safetensors.index.json"] = json.dumps(index).encode()
    hub.commit = LATER_COMMIT
    with pytest.raises(ValueError, match=r"model\.safetensors\.index\.json does not name the files"):
        found(hub, tmp_path)


def test_bin_is_taken_where_there_is_no_safetensors_and_nothing_else(hub: FakeHub, tmp_path: Path) -> None:
    del hub.files["model.safetensors"]
    assert found(hub, tmp_path).files[-1].name == "pytorch_model.bin"
    del hub.files["pytorch_model.bin"]
    with pytest.raises(ValueError, match=r"has no model\.safetensors or pytorch_model\.bin.*known to work: gpt2, "):
        found(hub, tmp_path)


def test_another_architecture_is_refused_before_its_weights_are_downloaded(hub: FakeHub, tmp_path: Path) -> None:
    hub.files["config.json"] = b'{"model_type": "llama"}'
    with pytest.raises(ValueError, match=r"someone/tiny on the Hugging Face Hub cannot be imported: .*'llama'"):
        found(hub, tmp_path)
    assert hub.fetched == ["config.json"]


def test_a_connection_that_ends_early_is_taken_up_where_it_ended(hub: FakeHub, tmp_path: Path) -> None:
    hub.cut = 40_000
    model = found(hub, tmp_path)
    fetched(model)
    assert (model.folder / "model.safetensors").read_bytes() == BODY
    assert hub.ranges == ["", "bytes=40960-", "bytes=81920-"]  # whole pieces were sent


def test_a_download_that_keeps_ending_is_given_up_and_the_next_one_resumes(hub: FakeHub, tmp_path: Path) -> None:
    hub.cut = 8192
    model = found(hub, tmp_path)
    with pytest.raises(ValueError, match=r"someone/tiny could not be downloaded from http://127.*; run this again"):
        fetched(model)
    assert len(hub.ranges) == ATTEMPTS
    assert not (model.folder / "model.safetensors").exists()
    assert found(hub, tmp_path).remaining == len(BODY) - 8192 * ATTEMPTS
    hub.cut = None
    fetched(model)
    assert hub.ranges[-1] == f"bytes={8192 * ATTEMPTS}-"
    assert repository(model.folder) == FILES


def test_a_stall_ends_in_one_sentence_and_a_stopped_download_resumes(hub: FakeHub, tmp_path: Path) -> None:
    model = found(hub, tmp_path, timeout=0.3)
    hub.pause = 30
    with pytest.raises(ValueError, match=r"could not be downloaded from .*timed out\); run this again") as caught:
        fetched(model)
    assert "\n" not in str(caught.value)
    hub.pause = 0.01
    running = fetch(model)
    while next(running).done < model.size - len(BODY) + 1:
        pass
    running.close()  # as Ctrl-C does
    left = found(hub, tmp_path).remaining
    assert not (model.folder / "model.safetensors").exists()
    hub.pause = 0
    fetched(model)
    assert hub.ranges[-1] == f"bytes={len(BODY) - left}-"
    assert repository(model.folder) == FILES


def test_a_file_that_changes_in_mid_download_is_never_put_together_from_two(hub: FakeHub, tmp_path: Path) -> None:
    model = found(hub, tmp_path)
    hub.cut = 8192
    with pytest.raises(ValueError, match="run this again"):
        fetched(model)
    hub.cut, hub.sent = None, {"model.safetensors": BODY[::-1]}  # the same address, other bytes
    with pytest.raises(ValueError, match=r"model\.safetensors of someone/tiny arrived with another checksum"):
        fetched(model)
    assert not list(tmp_path.rglob("*.incomplete"))
    hub.tags = {"model.safetensors": "d" * 64}
    with pytest.raises(ValueError, match=r"model\.safetensors of someone/tiny has just changed on the Hub"):
        fetched(model)
    hub.files["model.safetensors"], hub.commit, hub.tags, hub.sent = BODY[::-1], LATER_COMMIT, {}, {}
    new = found(hub, tmp_path)
    fetched(new)
    assert (new.folder / "model.safetensors").read_bytes() == BODY[::-1]
    assert new.folder != model.folder


def test_a_longer_file_than_listed_is_not_received_to_its_end(hub: FakeHub, tmp_path: Path) -> None:
    hub.sent = {"model.safetensors": BODY * 100}
    with pytest.raises(ValueError, match="another checksum"):
        fetched(found(hub, tmp_path))
    assert not list(tmp_path.rglob("*.incomplete"))


def test_an_older_id_leads_to_the_present_one(hub: FakeHub, tmp_path: Path) -> None:
    """As gpt2 does to openai-community/gpt2."""
    hub.alias = "older"
    model = look_up("older", endpoint=hub.url, cache=tmp_path)
    fetched(model)
    assert repository(model.folder) == FILES
    assert look_up("older", endpoint="http://127.0.0.1:1", cache=tmp_path).folder == model.folder


def test_files_are_stored_once_where_there_are_no_links(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.file_download.are_symlinks_supported", lambda *_: False)
    model = found(hub, tmp_path)
    fetched(model)
    assert repository(model.folder) == FILES
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.read_bytes() == BODY] == [
        model.folder / "model.safetensors"
    ]
    assert found(hub, tmp_path).remaining == 0
    offline = look_up(hub.id, endpoint="http://127.0.0.1:1", cache=tmp_path)
    assert fetched(offline)[-1].done == model.size


def test_a_full_disk_is_told_before_the_download(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = found(hub, tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(ValueError, match=r"needs 0\.1 MB in .*, where 0\.0 MB are free; make room, or name another"):
        fetched(model)
    assert hub.fetched == ["config.json"]


def test_two_programs_do_not_write_one_file(hub: FakeHub, tmp_path: Path) -> None:
    model = found(hub, tmp_path)
    locks = tmp_path / ".locks" / "models--someone--tiny"
    with (
        WeakFileLock(locks / f"{hub.tag('model.safetensors')}.lock"),  # as huggingface_hub takes it
        pytest.raises(ValueError, match=r"another program is downloading model\.safetensors of someone/tiny now"),
    ):
        fetched(model)
    fetched(model)


def test_a_damaged_file_in_the_cache_is_downloaded_again(hub: FakeHub, tmp_path: Path) -> None:
    model = found(hub, tmp_path)
    fetched(model)
    (model.folder / "model.safetensors").resolve().write_bytes(BODY[::-1])
    fetched(model)
    assert repository(model.folder) == FILES


def test_gated_missing_and_refused_are_told_apart(hub: FakeHub, tmp_path: Path) -> None:
    hub.gated = True
    with pytest.raises(ValueError, match=r"gated: accept its conditions at http://.*/someone/tiny, sign in by `hf"):
        found(hub, tmp_path)
    hub.gated = False
    with pytest.raises(ValueError, match=r"there is no model someone/tini on .*and no file or folder.*: gpt2, distil"):
        look_up("someone/tini", endpoint=hub.url, cache=tmp_path)
    with pytest.raises(ValueError, match=r"someone/tiny on the Hugging Face Hub has no revision 'v2'"):
        found(hub, tmp_path, revision="v2")
    with pytest.raises(ValueError, match="revision must be a branch, tag or commit"):
        found(hub, tmp_path, revision="../../x")
    hub.status = 403
    with pytest.raises(ValueError, match=r"the server answers 403 Forbidden"):
        found(hub, tmp_path)
    hub.status, hub.error = 401, "GatedRepo"
    with pytest.raises(ValueError, match="is gated"):
        found(hub, tmp_path)
    hub.error, hub.message = "", "Invalid credentials in Authorization header"
    with pytest.raises(ValueError, match="refuses the token of this computer; sign in by `hf auth login` or"):
        found(hub, tmp_path)


def test_the_token_goes_to_the_hub_and_not_to_where_the_weights_are(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    fetched(found(hub, tmp_path))
    assert f"/api/models/{hub.id}/revision/main" in hub.authorized
    assert f"/{hub.id}/resolve/{COMMIT}/model.safetensors" in hub.authorized
    assert "/large/model.safetensors" in [path for _, path in hub.asked]
    assert "/large/model.safetensors" not in hub.authorized


def test_without_the_hub_the_cache_is_used_and_said(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = found(hub, tmp_path)
    with pytest.raises(ValueError, match=r"someone/tiny is not whole in .*: connect to the internet and run this"):
        look_up(hub.id, endpoint="http://127.0.0.1:1", cache=tmp_path)  # only config.json is there
    fetched(model)
    faults = [(503, "answers 503"), (200, "Connection refused"), (0, "HF_HUB_OFFLINE is set")]
    for status, reason in faults:
        hub.status = status
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", status == 0)
        url = "http://127.0.0.1:1" if status == 200 else hub.url
        again = look_up(hub.id, endpoint=url, cache=tmp_path)
        assert again.folder == model.folder
        assert reason in again.remark
        assert again.remark.endswith("so the copy that is on this computer is used")
        assert fetched(again)[-1].done == model.size
    (model.folder / "model.safetensors").resolve().write_bytes(BODY[::-1])
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged; connect to the internet"):
        fetched(again)


def test_a_page_in_place_of_the_hub_is_no_hub(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeHub, "info", lambda _: ["log in"])
    with pytest.raises(ValueError, match=r"does not answer like a Hugging Face Hub, and someone/tiny is not whole"):
        found(hub, tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *((text, True) for text in ("gpt2", "gpt2-xl", "owner/name", "o_w.n/na.me-1")),
        *((text, False) for text in ("", "a/b/c", "./gpt2", "../gpt2", "~/x", "/x", "model.pt", "a/b.safetensors")),
        *((text, False) for text in ("a--b", "a b", "-x", "a/", "/a", "x.git", "é", "a" * 97, "C:\\x", "a\n")),
    ],
)
def test_an_id_is_told_from_a_path(text: str, expected: bool) -> None:
    assert is_hub_id(text) == expected
