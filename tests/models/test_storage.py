"""Writing files: whatever call fails, and whenever the process dies, the old or the new content is there, whole."""

import contextlib
import errno
import functools
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from models import storage

FAULTS = [OSError(errno.ENOSPC, "No space left on device"), OSError(errno.EIO, "I/O error"), KeyboardInterrupt()]
CALLS = ("mkdir", "replace", "fsync", "open", "close")  # of `os`, as far as storage makes them itself


class FaultyOs:
    """The `os` module, but call number `at` of those that touch the disk fails instead of doing anything."""

    def __init__(self, at: int, fault: BaseException) -> None:
        self.at, self.fault, self.count = at, fault, 0

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        return self._failing(real) if name in CALLS else real

    def _failing(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            self.count += 1
            if self.count == self.at:
                raise self.fault
            return real(*args)

        return call


def write_folder(path: Path, text: str) -> None:
    with storage.new_folder(path) as folder:
        for name in ("a", "b"):
            storage.write_file(folder / name, text.encode())


def read_folder(path: Path) -> str | None:
    """What is in the folder at `path`, which must be whole; None if there is none."""
    storage.recover(path)
    if not path.exists():
        return None
    texts = [(path / name).read_text() for name in ("a", "b")]
    assert texts[0] == texts[1]
    return texts[0]


def fail_every_call(write: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> Iterator[bool]:
    """Call `write` with its first, second ... disk call failing until it runs through; say each time if it did."""
    for fault in FAULTS:
        for at in itertools.count(1):
            with monkeypatch.context() as patch:
                patch.setattr(storage, "os", FaultyOs(at, fault))
                done = False
                with contextlib.suppress(OSError, KeyboardInterrupt):
                    write()
                    done = True
            yield done
            if done:
                break


def test_the_old_file_survives_any_failing_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    outcomes = []
    for done in fail_every_call(functools.partial(storage.write_file, path, b"new"), monkeypatch):
        assert path.read_bytes() == b"new" if done else path.read_bytes() in (b"old", b"new")
        assert [p.name for p in tmp_path.iterdir()] == ["file"]
        path.write_bytes(b"old")
        outcomes.append(done)
    assert outcomes.count(False) == 3 * 5  # fsync, replace; open, fsync and close of the folder


@pytest.mark.parametrize(("before", "calls"), [("old", 21), (None, 20)])
def test_the_old_folder_survives_any_failing_call(
    before: str | None, calls: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "folder"

    def reset() -> None:
        shutil.rmtree(path)
        if before is not None:
            write_folder(path, before)

    write_folder(path, "any")
    reset()
    outcomes = []
    for done in fail_every_call(functools.partial(write_folder, path, "new"), monkeypatch):
        assert path.exists() or before is None  # with nothing left to recover
        assert read_folder(path) == "new" if done else read_folder(path) in (before, "new")
        assert not list(tmp_path.glob("*.partial"))
        write_folder(path, "next")  # the next save works
        assert read_folder(path) == "next"
        assert [p.name for p in tmp_path.iterdir()] == ["folder"]
        reset()
        outcomes.append(done)
    assert outcomes.count(False) == 3 * calls


def test_a_body_that_fails_leaves_the_old_folder(tmp_path: Path) -> None:
    def fail() -> None:
        with storage.new_folder(tmp_path / "folder") as folder:
            (folder / "a").write_text("new")
            raise ZeroDivisionError

    write_folder(tmp_path / "folder", "old")
    with pytest.raises(ZeroDivisionError):
        fail()
    assert read_folder(tmp_path / "folder") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_crash_between_the_two_renames_is_undone_by_the_next_reader(tmp_path: Path) -> None:
    write_folder(tmp_path / "folder", "old")
    os.rename(tmp_path / "folder", tmp_path / ".folder.previous")
    assert storage.folders(tmp_path) == [tmp_path / "folder"]
    assert read_folder(tmp_path / "folder") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_crash_after_the_renames_keeps_the_new_folder(tmp_path: Path) -> None:
    write_folder(tmp_path / ".folder.previous", "old")
    write_folder(tmp_path / "folder", "new")
    assert read_folder(tmp_path / "folder") == "new"
    assert storage.folders(tmp_path) == [tmp_path / "folder"]
    write_folder(tmp_path / "folder", "newer")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_readers_of_a_folder_that_is_saved_over_and_over_always_find_it(tmp_path: Path) -> None:
    write_folder(tmp_path / "folder", "0")
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            assert storage.folders(tmp_path) == [tmp_path / "folder"]
            storage.recover(tmp_path / "folder")

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        for number in range(60):
            write_folder(tmp_path / "folder", str(number))
        stop.set()
        for reader in readers:
            reader.result()
    assert read_folder(tmp_path / "folder") == "59"
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_leftovers_of_old_crashes_are_removed_and_young_ones_left_alone(tmp_path: Path) -> None:
    old, young, other = (tmp_path / f".{name}.partial" for name in ("folder.1", "folder.2", "other.3"))
    for leftover in (old, young, other):
        leftover.mkdir()
        (leftover / "a").touch()
    for leftover in (old, other):
        os.utime(leftover, (0, 0))
    write_folder(tmp_path / "folder", "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".folder.2.partial", ".other.3.partial", "folder"]


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
def test_a_linked_folder_is_replaced_where_it_is(tmp_path: Path) -> None:
    write_folder(tmp_path / "disk" / "folder", "old")
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "folder")
    write_folder(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert read_folder(tmp_path / "disk" / "folder") == "new"


WRITER = """
import sys
from pathlib import Path
from models import storage
path, number = Path(sys.argv[1]), 0
while True:
    number += 1
    with storage.new_folder(path) as folder:
        for name in ("a", "b"):
            storage.write_file(folder / name, str(number).encode())
    print(number, flush=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL on Windows")
def test_kill_minus_nine_at_any_instant_loses_nothing(tmp_path: Path) -> None:
    """What the child has acknowledged is there after its death, whole, or something newer is."""
    source = random.Random(5)
    path = tmp_path / "folder"
    for _ in range(30):
        command = [sys.executable, "-c", WRITER, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as child:
            assert child.stdout is not None
            acknowledged = int(child.stdout.readline())
            time.sleep(source.random() * 0.03)
            child.send_signal(signal.SIGKILL)
            acknowledged = int((child.stdout.read().split() or [acknowledged])[-1])
        text = read_folder(path)
        assert text is not None
        assert int(text) in (acknowledged, acknowledged + 1)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "file.json is not valid JSON"),
        (b"{", "file.json is not valid JSON"),
        (b"[" * 100_000, "file.json is not valid JSON"),
        (b'{"a": "\xff"}', "file.json is not valid JSON"),
        (b'{"a": ' + b"9" * 9000 + b"}", "file.json is not valid JSON"),
        (b"[1]", "file.json does not hold a JSON object"),
        (b'{"a": "' + b" " * 10_000 + b'"}', "file.json is larger than"),
    ],
)
def test_bad_json_is_one_sentence(data: bytes, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "file.json").write_bytes(data)
    with pytest.raises(ValueError, match=sentence):
        storage.read_json(tmp_path / "file.json", limit=200_000 if data[:1] == b"[" else 9_500)
    with pytest.raises(ValueError, match=r"gone\.json cannot be read \(No such file"):
        storage.read_json(tmp_path / "gone.json", limit=10)


def test_json_text_reads_back_and_nan_is_refused(tmp_path: Path) -> None:
    value = {"a": 1, "é": [None, True, "\0你"]}
    storage.write_file(tmp_path / "file.json", storage.json_bytes(value))
    assert storage.read_json(tmp_path / "file.json", limit=1000) == value
    with pytest.raises(ValueError, match="JSON"):
        storage.json_bytes({"loss": float("nan")})


def test_lines_are_added_and_the_finished_ones_read(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    assert storage.read_lines(path) == []
    for i in range(1000):
        storage.append_line(path, b"line %d" % i)
    with open(path, "ab") as file:
        file.write(b"unfinished")
    assert storage.read_lines(path) == [b"line %d" % i for i in range(1000)]
    assert storage.read_lines(path, last_bytes=40) == [b"line 997", b"line 998", b"line 999"]
    assert storage.read_lines(path, last_bytes=10**6) == storage.read_lines(path)


def test_folders_inside_a_new_folder_are_synced_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    monkeypatch.setattr(storage, "_sync_file", lambda path: synced.append(path.name))
    with storage.new_folder(tmp_path / "outer") as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "deep").write_text("x")
        (folder / "flat").write_text("x")
    assert synced == ["flat", "deep"]
    assert (tmp_path / "outer" / "inner" / "deep").read_text() == "x"


def test_a_removed_folder_is_gone_at_once_and_its_rest_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "old"
    folder.mkdir()
    (folder / "file").write_text("x")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)  # the process dies here
        storage.remove_folder(folder)
    assert storage.folders(tmp_path) == []
    (left,) = tmp_path.iterdir()
    storage.remove_leftovers(tmp_path)
    assert left.exists()
    os.utime(left, (0, 0))
    storage.remove_leftovers(tmp_path)
    assert not left.exists()


def test_what_a_library_in_rust_says_is_the_error_it_was(tmp_path: Path) -> None:
    error = storage.disk_error(RuntimeError("I/O error: No space left on device (os error 28)"), tmp_path)
    assert (error.errno, error.filename) == (errno.ENOSPC, str(tmp_path))
    assert str(storage.disk_error(RuntimeError("strange"), tmp_path)).endswith("could not be written: strange")
