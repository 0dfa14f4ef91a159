"""Saved values of each browser, so that two of them at one desk do not overwrite each other's."""

import threading
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from gptdesk.json_store import JsonStore, JsonValues

MOST_BROWSERS = 20  # the ones that have not saved for the longest time are forgotten


class BrowserStores:
    """A JSON store for each browser in `folder`; `last` holds the newest values of all, where a new browser begins."""

    def __init__(self, last: JsonStore, folder: Path, *, writable: bool) -> None:
        self._last, self._folder, self._writable = last, folder, writable
        self._stores: dict[str, JsonStore] = {}
        self._lock = threading.Lock()

    def read(self, browser: str | None) -> JsonValues:
        """Return the values that this browser has saved; those that any has saved last, if it has saved none.

        `browser` is its cookie; None: not known.
        """
        store = self._store(browser)
        return store.read() if store and store.file.exists() else self._last.read()

    def put(self, browser: str | None, name: str, value: object | None) -> None:
        """Set a value of this browser, or with None remove it; raises as `JsonStore.put`."""
        store = self._store(browser)
        if store and not store.file.exists():
            self._make_room()
            store.update(lambda _: self._last.read())
        self._last.put(name, value)
        if store:
            store.put(name, value)

    def _store(self, browser: str | None) -> JsonStore | None:
        if not browser or not self._writable:
            return None
        name = sha256(browser.encode()).hexdigest()[:20]  # a cookie is a secret
        with self._lock:
            if name not in self._stores:
                self._stores[name] = JsonStore(self._folder / f"{name}.json", writable=True)
            return self._stores[name]

    def _make_room(self) -> None:
        with suppress(OSError):  # a fault is named when the file is written
            self._folder.mkdir(exist_ok=True)
            files = sorted(self._folder.glob("*.json"), key=lambda file: file.stat().st_mtime)
            for file in files[: max(0, len(files) - MOST_BROWSERS + 1)]:
                file.unlink()
                with self._lock:
                    self._stores.pop(file.stem, None)
