"""The user's own prompts and presets: named, in an order and in folders, exported to a file and imported from one."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from gptdesk.errors import NotFound
from gptdesk.json_store import JsonStore
from gptdesk.stored_values import warn_once
from models.json_values import parse_json
from models.storage import json_bytes

LONGEST_NAME = 60  # characters, with its folders
MOST = 200
LARGEST_FILE = 4_000_000  # bytes of a file to import
LONGEST_PROMPT = 100_000  # characters
VERSION = 1  # of an exported file


@dataclass(frozen=True)
class Imported:
    """Result of an import."""

    added: tuple[str, ...]  # names, as they were saved
    known: int  # items that were there already


class SavedItems:
    """Named items of one `kind` ("preset" or "prompt") in a JSON store, in the order of its file.

    A "/" in a name makes a folder: "poems/sea". `check` raises ValueError for a value that is no such item;
    `has_shape` is what a stored one must have to be listed, as a preset may name a sampler that has gone since;
    `reserved` are names that are taken otherwise.
    """

    def __init__(
        self,
        store: JsonStore,
        kind: str,
        *,
        check: Callable[[object], object],
        has_shape: Callable[[object], bool],
        reserved: Iterable[str] = (),
    ) -> None:
        self._store, self._kind, self._check, self._has_shape = store, kind, check, has_shape
        self._reserved = frozenset(reserved)

    def read(self) -> dict[str, object]:
        """Return the items by name, MOST at most; damaged ones are left out, with a warning."""
        values = self._store.read()
        kept = dict(list(self._valid(values).items())[:MOST])
        if missing := len(values) - len(kept):
            warn_once(
                f"{missing:,} of the {self._kind}s in {self._store.file} are not listed: they are damaged, or beyond "
                f"{MOST}"
            )
        return kept

    def get(self, name: str) -> object:
        """Return an item, also one that is not listed as there are too many; NotFound if there is none."""
        value = self._store.read().get(name)
        if not self._has_shape(value):
            raise NotFound(f"there is no {self._kind} {name[:LONGEST_NAME]!r} of yours")
        return value

    def save(self, name: str, value: object) -> str:
        """Save an item, at its place if the name is known, and return its name without outer spaces.

        Raises ValueError for a bad name or value, and if there are MOST items.
        """
        name = self._named(name)
        self._check(value)

        def change(values: dict[str, object]) -> dict[str, object]:
            if name not in values and len(values) >= MOST:
                raise ValueError(
                    f"{MOST} {self._kind}s are as many as can be kept; delete one of yours, then save this"
                )
            return values | {name: value}

        self._store.update(change)
        return name

    def delete(self, name: str) -> None:
        """Delete an item; NotFound if there is none."""
        if name not in self._store.read():
            raise NotFound(f"{name[:LONGEST_NAME]!r} is not a {self._kind} of yours; only your own can be deleted")
        self._store.put(name, None)

    def rename(self, name: str, new: str) -> str:
        """Give an item another name, and with it another folder, at the same place; return the new name.

        Raises NotFound, or ValueError if the new name is taken or bad.
        """
        new = self._named(new)

        def change(values: dict[str, object]) -> dict[str, object]:
            if name not in values:
                raise NotFound(f"there is no {self._kind} {name[:LONGEST_NAME]!r} of yours")
            if new != name and new in values:
                raise ValueError(f"there is a {self._kind} {new!r} already; choose another name")
            return {(new if one == name else one): value for one, value in values.items()}

        self._store.update(change)
        return new

    def move(self, name: str, by: int) -> None:
        """Move an item by so many places: -1 is one up. NotFound if there is none."""

        def change(values: dict[str, object]) -> dict[str, object]:
            names = list(values)
            if name not in values:
                raise NotFound(f"there is no {self._kind} {name[:LONGEST_NAME]!r} of yours")
            place = names.index(name)
            names.insert(max(0, min(len(names) - 1, place + by)), names.pop(place))
            return {one: values[one] for one in names}

        self._store.update(change)

    def export(self) -> bytes:
        """Return all items as a file for `import_file`."""
        return json_bytes({"gptdesk": f"{self._kind}s", "version": VERSION, "items": self.read()})

    def import_file(self, data: bytes) -> Imported:
        """Add the items of an exported file; one whose name is taken by another gets a number behind its name.

        Raises ValueError, and adds nothing, if the file or one of its items cannot be used.
        """
        items = self._items_of(data)
        added: list[str] = []

        def change(values: dict[str, object]) -> dict[str, object]:
            values = dict(values)
            for name, value in items.items():
                if values.get(name) == value:
                    continue
                values[free := self._free(name, values)] = value
                added.append(free)
            if (count := len(self._valid(values))) > MOST:
                raise ValueError(
                    f"the file would make {count:,} {self._kind}s, and {MOST} are as many as can be kept; "
                    "delete some of yours, or import a smaller file"
                )
            return values

        self._store.update(change)
        return Imported(tuple(added), len(items) - len(added))

    def _items_of(self, data: bytes) -> dict[str, object]:
        what = f"a file of {self._kind}s as GPT Desk exports it"
        if len(data) > LARGEST_FILE:
            raise ValueError(f"the file has {len(data) / 1e6:.0f} MB, and at most {LARGEST_FILE // 10**6} are read")
        try:
            file = parse_json(data)
        except ValueError as error:
            raise ValueError(f"this is not {what}: {error}") from None
        if not isinstance(file, dict) or file.get("gptdesk") != f"{self._kind}s":
            raise ValueError(f"this is not {what}; choose another")
        if file.get("version") != VERSION:
            raise ValueError(f"a newer version of GPT Desk wrote this file of {self._kind}s; update yours to import it")
        items = file.get("items")
        if not isinstance(items, dict):
            raise ValueError(f"this is not {what}: it has no items")
        for name, value in items.items():
            self._named(name)
            try:
                self._check(value)
            except ValueError as error:
                raise ValueError(f"the {self._kind} {name!r} cannot be used: {error}; nothing was imported") from None
        return items

    def _free(self, name: str, values: dict[str, object]) -> str:
        number, free = 2, name
        while free in values or free in self._reserved:
            end = f" ({number})"
            number, free = number + 1, name[: LONGEST_NAME - len(end)] + end
        return free

    def _named(self, name: str) -> str:
        name = "/".join(part.strip() for part in name.strip().split("/"))
        if not name or len(name) > LONGEST_NAME:
            raise ValueError(f"a {self._kind} needs a name of 1 to {LONGEST_NAME} characters; type one in the box")
        if not all(name.split("/")) or not name.isprintable():
            raise ValueError(f"a {self._kind} has a name of one line, with folders as in poems/sea, not {name!r:.80}")
        if name in self._reserved:
            raise ValueError(f"{name!r} is a built-in {self._kind}; save yours under another name")
        return name

    def _valid(self, values: dict[str, object]) -> dict[str, object]:
        return {
            name: value
            for name, value in values.items()
            if 0 < len(name) <= LONGEST_NAME and name not in self._reserved and self._has_shape(value)
        }


def check_prompt(value: object) -> None:
    """Raise ValueError unless this is a text that may be a prompt."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError("a prompt to save has words; type them first")
    if len(value) > LONGEST_PROMPT:
        raise ValueError(f"a prompt to save has at most {LONGEST_PROMPT:,} characters, not {len(value):,}; shorten it")
