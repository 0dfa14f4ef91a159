"""Cache of compiled code: used once it is complete, made anew when damaged, copied from a folder that is read-only."""

import importlib.metadata
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from network_checks import network

from models.engine import Engine
from models.native import code_cache, compiled
from models.native.code_cache import CodeFolder, find_folder
from models.precision import PRECISIONS

pytest.importorskip("numba")


@pytest.fixture(scope="module")
def code() -> Path:
    """Return the folder of the code for all precisions, which is compiled if need be."""
    assert compiled.compile_all() is None
    folder = find_folder()
    assert folder is not None
    return folder.path


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the empty folder beside a source, of a process that has loaded nothing and prefers no kernels."""
    monkeypatch.setenv(compiled.SWITCH, "auto")
    monkeypatch.setattr(code_cache, "BESIDE", tmp_path / "beside")
    monkeypatch.setattr(code_cache, "_user_folder", lambda: tmp_path / "user")
    begin_anew()
    yield tmp_path / "beside"
    begin_anew()


def begin_anew() -> None:
    """Forget what was decided, as a new process."""
    for remembered in (compiled._known, compiled._folder_to_load, compiled._warn):
        remembered.cache_clear()


def kernels(precision: str = "float32") -> str:
    return Engine.of(network(), PRECISIONS[precision]).kernels


def sentences(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was said of compiled code."""
    return [record.getMessage() for record in caplog.records if record.name == compiled.__name__]


def test_code_is_used_once_it_is_in_the_cache(code: Path, beside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And until the process ends, torch computes where a model was loaded before: a seed must not change its text."""
    assert compiled.status().startswith("not compiled yet")
    assert "compiled" not in kernels()
    assert compiled.is_incomplete()
    assert compiled.status().startswith("not used until the next start")
    shutil.copytree(code, beside / code.name, dirs_exist_ok=True)
    assert not compiled.is_incomplete()
    assert "compiled" not in kernels()
    assert "compiled" not in kernels("int8")
    assert compiled.status().startswith("not used until the next start")
    begin_anew()
    (beside / code.name / "ready-int4").unlink()
    assert compiled.is_incomplete()
    assert "compiled" not in kernels("int8")
    (beside / code.name / "ready-int4").touch()
    begin_anew()
    assert kernels() == "compiled float32"
    assert kernels("int4") == "compiled int4"
    assert compiled.status() == "compiled for float32, int8, bfloat16, int4"
    monkeypatch.setenv(compiled.SWITCH, "torch")
    assert "compiled" not in kernels()
    assert not compiled.is_incomplete()
    monkeypatch.setenv(compiled.SWITCH, "fast")
    with pytest.raises(ValueError, match="GPTDESK_KERNELS is 'fast'; it must be one of auto, native, torch"):
        kernels()


@pytest.mark.parametrize("way", ["a byte", "a file", "another processor"])
def test_damaged_code_is_not_used(code: Path, beside: Path, way: str, caplog: pytest.LogCaptureFixture) -> None:
    copy = Path(shutil.copytree(code, beside / code.name))
    file = next(copy.rglob("step.step-*.nbc"))
    if way == "a byte":
        file.write_bytes(file.read_bytes()[:-1] + b"\0")
    elif way == "a file":
        file.unlink()
    else:
        (copy / code_cache.PROCESSOR).write_text("i386")
    assert "compiled" not in kernels()
    assert "compiled" not in kernels()
    assert sentences(caplog) == [
        f"the compiled code in {copy} is damaged; torch's kernels compute until the next start"
    ]
    assert compiled.is_incomplete()
    assert not CodeFolder(copy).files()


def test_code_in_a_folder_that_is_read_only_is_copied(
    code: Path, beside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(code, beside / code.name)
    writable = code_cache._is_writable
    monkeypatch.setattr(code_cache, "_is_writable", lambda path: path.parent != beside and writable(path))
    assert kernels() == "compiled float32"
    assert (beside.parent / "user" / code.name / "ready-float32").exists()
    monkeypatch.setattr(code_cache, "_is_writable", lambda path: False)
    begin_anew()
    assert "compiled" not in kernels()
    assert compiled.status().startswith("not used")


def test_a_processor_without_fma_is_found_out_once(beside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "why_missing", lambda: "this processor has no fused multiply-add")
    assert compiled.compile_all() == "this processor has no fused multiply-add"
    assert not compiled.is_incomplete()
    assert compiled.status() == "not used: this processor has no fused multiply-add"


@pytest.mark.parametrize("kind", ["auto", "native"])
@pytest.mark.parametrize("way", ["numba", "fma"])
def test_a_computer_that_cannot_run_it_uses_torch(
    code: Path, beside: Path, kind: str, way: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """numba that cannot be imported, or code of a computer with more instructions; said once for all precisions."""
    copy = Path(shutil.copytree(code, beside / code.name))
    assert (copy / "ready-int8").exists()
    monkeypatch.setenv(compiled.SWITCH, kind)
    if way == "numba":
        monkeypatch.setitem(sys.modules, "numba", None)
    else:
        monkeypatch.setattr(compiled, "why_missing", lambda: "this processor has no fused multiply-add")
    assert "compiled" not in kernels()
    assert "compiled" not in kernels("int8")
    (sentence,) = sentences(caplog)
    assert sentence.startswith("the compiled step is not used: ")
    assert ("numba cannot be loaded" if way == "numba" else "fused") in sentence


def test_numba_that_is_not_installed(beside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def version(package: str) -> str:
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert "compiled" not in kernels()
    assert not compiled.is_incomplete()
    assert compiled.status().startswith("not used: numba is not installed")


@pytest.mark.parametrize("way", ["numba", "processor"])
def test_code_of_another_numba_or_processor_is_not_looked_at(
    code: Path, beside: Path, way: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It stays for the one that it was made for; the code for this one has a folder of its own."""
    copy = Path(shutil.copytree(code, beside / code.name))
    if way == "numba":
        real = importlib.metadata.version
        monkeypatch.setattr(importlib.metadata, "version", lambda package: f"{real(package)}.1")
    else:
        monkeypatch.setattr(code_cache, "_processor", lambda: "another")
    assert "compiled" not in kernels()
    assert compiled.is_incomplete()
    assert not sentences(caplog)
    assert CodeFolder(copy).has("float32")
    assert not CodeFolder(copy).is_damaged()


def test_damaged_code_is_compiled_anew(
    code: Path, beside: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where `native` is asked for, at once; a compiler that fails leaves the rest to torch."""
    copy = Path(shutil.copytree(code, beside / code.name))
    next(copy.rglob("step.step-*.nbc")).write_bytes(b"")
    monkeypatch.setenv(compiled.SWITCH, "native")
    made = compiled._specialize

    def specialize(precision: str, folder: str) -> compiled.Code:
        if precision == "int8":
            raise OSError(28, "no space left on the device")
        assert not CodeFolder(copy).files()
        return made(precision, str(code))

    monkeypatch.setattr(compiled, "_specialize", specialize)
    assert kernels() == "compiled float32"
    assert CodeFolder(copy).has("float32")
    assert "compiled" not in kernels("int8")
    assert sentences(caplog) == [
        f"the compiled code in {copy} is damaged: it is compiled anew",
        "the step cannot be compiled (OSError(28, 'no space left on the device')); torch's kernels compute instead",
    ]
