"""Saved values of each browser: kept apart, begun with the last ones, bounded in number."""

import json
import os
from pathlib import Path

from gptdesk.browser_stores import MOST_BROWSERS, BrowserStores
from gptdesk.json_store import JsonStore


def stores(home: Path, *, writable: bool = True) -> BrowserStores:
    return BrowserStores(JsonStore(home / "page.json", writable=writable), home / "browsers", writable=writable)


def test_browsers_have_values_of_their_own_and_begin_with_the_last_ones(tmp_path: Path) -> None:
    (tmp_path / "page.json").write_text('{"Generate": {"n": 1}, "Train": {"steps": 5}}')  # of an earlier version
    saved = stores(tmp_path)
    assert saved.read("a")["Generate"] == {"n": 1}
    saved.put("a", "Generate", {"n": 2})
    saved.put("b", "Generate", {"n": 3})
    again = stores(tmp_path)
    assert [again.read(browser)["Generate"] for browser in ("a", "b", "new", None)] == [{"n": n} for n in (2, 3, 3, 3)]
    assert again.read("a")["Train"] == {"steps": 5}
    again.put(None, "Generate", None)
    assert "Generate" not in again.read("new")
    assert again.read("a")["Generate"] == {"n": 2}


def test_the_oldest_browsers_are_forgotten_and_no_cookie_is_a_file_name(tmp_path: Path) -> None:
    saved = stores(tmp_path)
    for i in range(MOST_BROWSERS + 3):
        saved.put(f"secret-{i}", "n", i)
        for file in (tmp_path / "browsers").iterdir():  # as if each had come a second after the one before
            stat = file.stat()
            os.utime(file, (stat.st_atime - 1, stat.st_mtime - 1))
    files = list((tmp_path / "browsers").iterdir())
    assert len(files) == MOST_BROWSERS
    assert not any("secret" in file.name + file.read_text() for file in files)
    assert saved.read(f"secret-{MOST_BROWSERS + 2}") == {"n": MOST_BROWSERS + 2}
    assert saved.read("secret-0") == json.loads((tmp_path / "page.json").read_text())


def test_a_public_desk_saves_none(tmp_path: Path) -> None:
    saved = stores(tmp_path, writable=False)
    saved.put("a", "n", 1)
    assert saved.read("a") == {}
    assert list(tmp_path.iterdir()) == []
