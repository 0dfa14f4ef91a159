"""Hostile files by torch.save: no code runs, and one sentence says why each is refused."""

import io
import os
import pickle
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch
from format_checks import FusedGPT, H, converted
from hostile_checks import GADGETS, Calls, touch

from models.library import ModelLibrary
from models.pickles.__main__ import check
from models.pickles.reader import MOST_INSTRUCTIONS, read_pickle


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """Return a file that appears only if code of a file ran."""
    return tmp_path / "canary"


def write_zip(path: Path, data: bytes, **options: object) -> Path:
    """Write an archive as torch writes it, with any bytes as its pickle and one array of four floats."""
    entries = {
        "archive/data.pkl": data,
        "archive/byteorder": b"little",
        "archive/data/0": bytes(16),
        "archive/version": b"3\n",
    }
    entries |= options.get("entries", {})  # type: ignore[arg-type]
    with zipfile.ZipFile(path, "w", options.get("method", zipfile.ZIP_STORED)) as archive:  # type: ignore[arg-type]
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def refusal(path: Path) -> str:
    """Return the one sentence with which a file is refused."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the caller matches the words
        converted(path, path.parent / f"{path.name}-made")
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400
    return message


@pytest.mark.parametrize("gadget", GADGETS)
def test_gadgets_run_no_code(tmp_path: Path, canary: Path, gadget: str) -> None:
    data = GADGETS[gadget](canary)
    path = write_zip(tmp_path / "model.pt", data)
    reason = refusal(path)
    assert "pickle" in reason
    with pytest.raises(ValueError, match="pickle") as caught:
        check(path)
    assert str(caught.value) == reason
    with pytest.raises(ValueError, match="pickle"):
        read_pickle(data, names=False)
    assert not canary.exists()


def test_a_tokenizer_of_characters_asks_for_no_names(tmp_path: Path, canary: Path) -> None:
    torch.save(FusedGPT().state_dict(), tmp_path / "model.pt")
    (tmp_path / "meta.pkl").write_bytes(pickle.dumps({"stoi": Calls(os.system, touch(canary))}))
    assert "meta.pkl holds no characters" in refusal(tmp_path / "model.pt")
    assert not canary.exists()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x80\x02" + b"]" * (MOST_INSTRUCTIONS + 1) + b".", "more than 300,000 instructions"),
        (b"\x80\x02)" + b"\x85" * 100_000 + b".", "no state dict"),
        (b"\x80\x02)" + b"q\x00h\x00\x86" * 1000 + b".", "no state dict"),
        (b"\x80\x02]q\x00h\x00a.", "no state dict"),
        (b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s.", "no state dict"),
    ],
    ids=["instructions", "deep tuples", "tuples of exponential size", "a list in itself", "a dictionary in itself"],
)
def test_shapes_that_take_forever_are_refused(tmp_path: Path, data: bytes, words: str) -> None:
    assert words in refusal(write_zip(tmp_path / "model.pt", data))


def tensor(shape: tuple[int, ...], stride: tuple[int, ...], offset: int = 0, count: int = 4) -> bytes:
    """Return a state dict with one tensor over the array of four floats."""
    sizes = [pickle.dumps(value, 2)[2:-1] for value in (offset, shape, stride, count)]
    storage = (
        b"((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu" + sizes[3] + b"tQ"
    )
    return (
        b"\x80\x02}X\x03\x00\x00\x00a.bctorch._utils\n_rebuild_tensor_v2\n"
        + storage
        + sizes[0]
        + sizes[1]
        + sizes[2]
        + b"\x89}tRs."
    )


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (tensor((2, 2), (2, 1)), "no known GPT-2 layout"),  # a fair one
        (tensor((4,), (1,), count=1 << 40), "does not have the size that its pickle says"),
        (tensor((5,), (1,)), "larger than its data"),
        (tensor((1 << 40,), (0,)), "larger than its data"),
        (tensor((1 << 62, 1 << 62), (0, 0)), "larger than its data"),
        (tensor((4,), (1,), offset=1), "larger than its data"),
        (tensor((4,), (-1,), offset=3), "negative"),
        (tensor((-4,), (1,)), "negative"),
        (tensor((2, 2), (1,)), "negative"),
        (tensor((1,) * 9, (1,) * 9), "no tuple of whole numbers"),
    ],
)
def test_tensors_lie_within_their_data(tmp_path: Path, data: bytes, words: str) -> None:
    assert words in refusal(write_zip(tmp_path / "model.pt", data))


def test_weights_that_are_one_array_many_times_are_refused(tmp_path: Path) -> None:
    state = FusedGPT(bias=False).state_dict()
    weight = torch.zeros(2_000, 32)
    state |= {"transformer.wte.weight": weight, "transformer.wpe.weight": weight, "lm_head.weight": weight}
    block = {name: value for name, value in state.items() if ".h.1." in name}
    shared = torch.zeros(128 * 32)
    for i in range(400):
        for name, value in block.items():
            state[name.replace(".h.1.", f".h.{i}.")] = shared[: value.numel()].view(value.shape)
    torch.save(state, tmp_path / "model.pt")
    with pytest.raises(ValueError, match="are the same numbers"):
        converted(tmp_path / "model.pt", tmp_path / "made", n_head=H, activation="gelu_tanh")


def test_archives_must_be_as_torch_writes_them(tmp_path: Path) -> None:
    fair = tensor((2, 2), (2, 1))
    bomb = {"archive/data/0": bytes(64_000_000)}
    assert "is compressed" in refusal(write_zip(tmp_path / "a.pt", fair, method=zipfile.ZIP_DEFLATED, entries=bomb))
    assert "name 'archive/../../x'" in refusal(write_zip(tmp_path / "b.pt", fair, entries={"archive/../../x": b""}))
    assert "more than one folder" in refusal(write_zip(tmp_path / "c.pt", fair, entries={"other/x": b""}))
    assert "one name" in refusal(write_zip(tmp_path / "d.pt", fair, entries={"archive/DATA/0": b""}))
    many = {f"archive/x/{i}": b"" for i in range(10_001)}
    assert "10,000 are allowed" in refusal(write_zip(tmp_path / "e.pt", fair, entries=many))
    script = {"archive/constants.pkl": b"", "archive/code/a.py": b"import os"}
    assert "TorchScript" in refusal(write_zip(tmp_path / "f.pt", fair, entries=script))
    assert "big-endian" in refusal(write_zip(tmp_path / "g.pt", fair, entries={"archive/byteorder": b"big"}))
    with zipfile.ZipFile(tmp_path / "h.pt", "w") as archive:
        archive.writestr("a/arrays.npy", b"")
    assert "not one by torch.save" in refusal(tmp_path / "h.pt")
    whole = write_zip(tmp_path / "i.pt", fair).read_bytes()
    (tmp_path / "j.pt").write_bytes(whole[:-1])
    assert "cut off" in refusal(tmp_path / "j.pt")
    (tmp_path / "k.pt").write_bytes(whole + b"x" * 100)
    assert "cut off" in refusal(tmp_path / "k.pt")
    (tmp_path / "l.pt").write_bytes(whole[:-10] + struct.pack("<I", 1 << 31) + whole[-6:])
    assert "table of contents" in refusal(tmp_path / "l.pt")


def test_other_containers_are_named(tmp_path: Path, canary: Path) -> None:
    call = pickle.dumps(Calls(os.system, touch(canary)), 2)
    (tmp_path / "a.pt").write_bytes(call)
    assert "before torch 1.6" in refusal(tmp_path / "a.pt")
    torch.save({"a.b": torch.zeros(2)}, tmp_path / "b.pt", _use_new_zipfile_serialization=False)
    assert "before torch 1.6" in refusal(tmp_path / "b.pt")
    with tarfile.open(tmp_path / "c.pt", "w") as archive:
        entry = tarfile.TarInfo("storages")
        entry.size = len(call)
        archive.addfile(entry, io.BytesIO(call))
    assert "legacy tar" in refusal(tmp_path / "c.pt")
    (tmp_path / "d.pt").write_bytes(b"7z\xbc\xaf\x27\x1c" + call)
    assert "no file by torch.save" in refusal(tmp_path / "d.pt")
    (tmp_path / "e.pt").write_bytes(b"")
    assert "no file by torch.save" in refusal(tmp_path / "e.pt")
    assert not canary.exists()


def test_damaged_numbers_are_found(tmp_path: Path) -> None:
    torch.save(FusedGPT(gelu="tanh").state_dict(), tmp_path / "model.pt")
    data = (tmp_path / "model.pt").read_bytes()
    row = FusedGPT(gelu="tanh").state_dict()["transformer.h.1.mlp.c_fc.weight"][5].numpy().tobytes()
    assert data.count(row) == 1
    (tmp_path / "model.pt").write_bytes(data.replace(row, row[:-1] + bytes([row[-1] ^ 1])))
    with pytest.raises(ValueError, match="checksum"):
        converted(tmp_path / "model.pt", tmp_path / "a", n_head=H, activation="gelu_tanh")
    state = FusedGPT(gelu="tanh").state_dict()
    state["transformer.h.1.mlp.c_fc.weight"][3, 4] = torch.nan
    torch.save(state, tmp_path / "model.pt")
    with pytest.raises(ValueError, match="not finite"):
        converted(tmp_path / "model.pt", tmp_path / "b", n_head=H, activation="gelu_tanh")


def test_a_hostile_file_is_refused_by_the_library_and_leaves_nothing(tmp_path: Path, canary: Path) -> None:
    library = ModelLibrary(tmp_path / "models", cache_folder=tmp_path / "cache")
    path = write_zip(tmp_path / "model.pt", GADGETS["os.system"](canary))
    with pytest.raises(ValueError, match=r"which could run code; save model\.state_dict") as caught:
        library.import_model(path, name="evil")
    assert str(caught.value).startswith(f"{path} cannot be imported: ")
    assert not canary.exists()
    assert list((tmp_path / "models").iterdir()) == []
