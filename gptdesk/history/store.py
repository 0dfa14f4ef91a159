"""SQLite file of the history: saved, searched, annotated and deleted by several threads and programs at once."""

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

from gptdesk.errors import NotFound
from gptdesk.history import entry as entries
from gptdesk.history import rows, trees
from gptdesk.history.entry import Entry, HistoryFilter, Summary
from gptdesk.history.rows import Draft, folder_digest
from gptdesk.history.schema import migrate
from gptdesk.history.statistics import Statistics, read_statistics
from gptdesk.inspection.tree import BranchTree
from gptdesk.stored_values import warn_once
from models.weights_hash import weights_hash

FILE = "history.sqlite"
ALL = HistoryFilter()
LONGEST_WAIT = 5.0  # seconds for another program that writes
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
Result = TypeVar("Result")
log = logging.getLogger(__name__)


class DamagedHistory(ValueError):
    """The file of the history was damaged and has been renamed; the next use starts a new one."""


class History:
    """The history in `file`, which is made when the first entry is saved.

    Saving never raises: a text is worth more than its record. Everything else raises ValueError with a sentence if the
    file cannot be used. A damaged file is renamed, and a new one started.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._write_lock, self._read_lock = threading.Lock(), threading.Lock()
        self._connections: dict[str, sqlite3.Connection] = {}
        self.faults: dict[str, str] = {}  # sentences on what went wrong here: a damaged file, the last text not saved
        self._hashing: set[str] = set()  # digests of folders whose weights are known, or being read

    def close(self) -> None:
        """Close the file; it is opened again when it is needed."""
        with self._write_lock, self._read_lock:
            self._close()

    # Saving

    def save(self, draft: Draft, *, ended: bool) -> None:
        """Save a generation as it is now; the first time, `draft.id` is set. A fault is logged, once.

        One that has not ended is not found by its words, as indexing a long prompt each second would take too long.
        """
        for _ in range(2):
            try:
                with self._write_lock:
                    draft.id = self._write(lambda connection: rows.save_draft(connection, draft, ended=ended))
                self.faults.pop("unsaved", None)
                return
            except DamagedHistory as error:
                log.warning("%s", error)  # and once more, into a new file
            except ValueError as error:
                self.faults["unsaved"] = f"{error}; texts are generated, but not saved in the history"
                return warn_once(self.faults["unsaved"])

    def tidy(self) -> None:
        """Remove for good what was deleted a day ago, and index what a program that was killed has left.

        A fault is logged.
        """
        if not self.file.exists():
            return
        try:
            with self._write_lock:
                self._write(rows.index_interrupted)
                self._write(rows.purge)
        except ValueError as error:
            warn_once(str(error))

    def learn_weights(self, folder: Path) -> None:
        """Find out the hash of a model's weights, in a thread, unless it is known."""
        digest = folder_digest(folder)
        with self._write_lock:
            if digest in self._hashing:
                return
            self._hashing.add(digest)
        threading.Thread(target=self._hash, args=(folder, digest), name="weights hash", daemon=True).start()

    def weights_of(self, folder: Path) -> str | None:
        """Return the SHA-256 of the weights in `folder` as they are now; None if it is not known."""
        digest = folder_digest(folder)
        row = self._read(lambda c: c.execute("SELECT sha256 FROM weights WHERE files = ?", (digest,)).fetchone())
        return row[0] if row else None

    def _hash(self, folder: Path, digest: str) -> None:
        try:
            if self.weights_of(folder):
                return
            value = weights_hash(folder)
            if folder_digest(folder) != digest:  # it was replaced meanwhile
                return
            with self._write_lock:
                self._write(lambda c: c.execute("INSERT OR REPLACE INTO weights VALUES (?, ?)", (digest, value)))
        except (OSError, ValueError) as error:
            log.debug("the hash of %s is not known: %s", folder, error)

    # Reading

    def search(self, conditions: HistoryFilter = ALL, *, limit: int = 50, before: int | None = None) -> list[Summary]:
        """Return at most `limit` entries that fit, the newest first; `before`: only those with smaller ids."""
        where, values = rows.conditions_sql(conditions)
        if before is not None:
            where, values = [*where, "id < ?"], [*values, before]
        columns = ", ".join(rows.SUMMARY_COLUMNS.values())
        query = f"SELECT {columns} FROM generations WHERE {' AND '.join(where)} ORDER BY id DESC LIMIT ?"
        return [rows.summary_of(row) for row in self._read(lambda c: c.execute(query, (*values, limit)).fetchall())]

    def count(self, conditions: HistoryFilter = ALL) -> int:
        """Return how many entries fit."""
        where, values = rows.conditions_sql(conditions)
        query = f"SELECT count(*) FROM generations WHERE {' AND '.join(where)}"
        return int(self._read(lambda c: c.execute(query, values).fetchone())[0])

    def models(self) -> list[str]:
        """Return the names of all models that have entries, in alphabetical order."""
        query = "SELECT DISTINCT model FROM generations WHERE deleted IS NULL ORDER BY model"
        return [name for (name,) in self._read(lambda c: c.execute(query).fetchall())]

    def statistics(self, *, since: float = 0.0) -> Statistics:
        """Return counts and speeds of all entries since a time, in seconds since 1970."""
        return self._read(lambda connection: read_statistics(connection, since=since))

    def entry(self, number: int) -> Entry:
        """Return an entry; NotFound if there is none, or it was deleted."""
        return self._read(lambda connection: rows.read_entry(connection, number))

    def tree(self, number: int, row: int = 0) -> BranchTree:
        """Return the tree that a text belongs to, opened there; NotFound if there is no such entry."""
        return self._read(lambda connection: trees.read_tree(connection, number, row))

    def entries(self, conditions: HistoryFilter = ALL) -> Iterator[Entry]:
        """Yield all entries that fit, the newest first."""
        before = None
        while page := self.search(conditions, before=before):
            for summary in page:
                try:
                    yield self.entry(summary.id)
                except NotFound:  # deleted meanwhile
                    continue
            before = page[-1].id

    # Changes

    def annotate(
        self, number: int, *, note: str | None = None, rating: int | None = None, tags: Iterable[str] | None = None
    ) -> None:
        """Set the note, the rating (1, -1, or 0 for none) and the tags of an entry; None leaves one as it is.

        Raises NotFound if there is no such entry, ValueError for a note or tags that are too long.
        """
        changes: dict[str, object] = {}
        if note is not None:
            if len(note) > entries.LONGEST_NOTE:
                raise ValueError(f"note has at most {entries.LONGEST_NOTE:,} characters; shorten it")
            changes["note"] = note
        if rating is not None:
            if rating not in (-1, 0, 1):
                raise ValueError(f"rating is 1 (liked), -1 (disliked) or 0 (none), not {rating}")
            changes["rating"] = rating or None
        if tags is not None:
            changes["tags"] = rows.packed_tags(tags)
        if not changes:
            return
        assignments = ", ".join(f"{name} = ?" for name in changes)

        def change(connection: sqlite3.Connection) -> None:
            rows.check_there(connection, number)
            rows.unindex(connection, number)
            connection.execute(f"UPDATE generations SET {assignments} WHERE id = ?", (*changes.values(), number))
            rows.index(connection, number)

        with self._write_lock:
            self._write(change)

    def prune(self, texts: Iterable[tuple[int, int]], *, pruned: bool) -> None:
        """Remove texts, by entry and row, from their tree, or bring them back; they stay entries of the history."""
        with self._write_lock:
            self._write(lambda connection: trees.prune(connection, texts, pruned=pruned))

    def bring_back(self, number: int) -> None:
        """Bring the texts of an entry back into their tree, with those that they branch from."""
        with self._write_lock:
            self._write(lambda connection: trees.bring_back(connection, number))

    def delete(self, numbers: Sequence[int]) -> None:
        """Delete entries; `restore` brings them back within a day. Raises NotFound if one is missing."""

        def change(connection: sqlite3.Connection) -> None:
            for number in numbers:
                rows.check_there(connection, number)
                connection.execute("UPDATE generations SET deleted = ? WHERE id = ?", (time.time(), number))

        with self._write_lock:
            self._write(change)

    def restore(self, numbers: Sequence[int]) -> None:
        """Bring deleted entries back; those that are gone are left out."""
        with self._write_lock:
            self._write(
                lambda connection: connection.executemany(
                    "UPDATE generations SET deleted = NULL WHERE id = ?", [(number,) for number in numbers]
                )
            )

    # The file

    def _read(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        with self._read_lock, self._explained("read"):
            if not self.file.exists() and "reader" not in self._connections:
                with closing(_opened(None)) as empty:  # nothing has been saved yet
                    return work(empty)
            return work(self._connection("reader"))

    def _write(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """Run `work` in one transaction and return its result; the write lock is held."""
        with self._explained("written"):
            connection = self._connection("writer")
            connection.execute("BEGIN IMMEDIATE")
            try:
                result = work(connection)
                connection.execute("COMMIT")
                return result
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def _connection(self, use: str) -> sqlite3.Connection:
        if use not in self._connections and not os.access(self.file.parent, os.W_OK):
            # a writer that is open has the newest entries, which are in files that cannot be opened any more
            use = "writer" if "writer" in self._connections else "of a folder that cannot be written"
        if use not in self._connections:
            self._connections[use] = _opened(self.file)
        return self._connections[use]

    def _close(self) -> None:
        while self._connections:
            self._connections.popitem()[1].close()

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        """Raise ValueError for a fault of the file; DamagedHistory once it has been renamed."""
        try:
            yield
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in DAMAGED:
                self.faults["damaged"] = self._put_aside()
                raise DamagedHistory(self.faults["damaged"]) from error
            raise ValueError(f"the history in {self.file} cannot be {what} ({error})") from error

    def _put_aside(self) -> str:
        self._connections.clear()  # closing would write to the damaged file
        aside = self.file.with_name(f"{self.file.name}.damaged")
        try:
            for end in ("-wal", "-shm", ""):
                part = self.file.with_name(self.file.name + end)
                if part.exists():
                    part.replace(aside.with_name(aside.name + end))
        except OSError as error:
            return f"the history in {self.file} is damaged and cannot be renamed ({error.strerror}); move it away"
        return f"the history in {self.file} is damaged; it is kept as {aside.name}, and a new one is started"


def _opened(file: Path | None) -> sqlite3.Connection:
    """Return a connection to the file with the newest schema; None: to an empty history in memory.

    In a folder that cannot be written, where WAL cannot have its files, it only reads.
    """
    reads = file is not None and not os.access(file.parent, os.W_OK)
    name = f"{file.absolute().as_uri()}?immutable=1" if file and reads else str(file or ":memory:")
    connection = sqlite3.connect(name, timeout=LONGEST_WAIT, isolation_level=None, check_same_thread=False, uri=reads)
    try:
        if not reads:
            connection.execute("PRAGMA journal_mode = WAL")  # readers do not wait for writers
            connection.execute("PRAGMA synchronous = NORMAL")  # no fsync at a commit: a killed program loses none
        connection.execute("PRAGMA foreign_keys = ON")
        migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection
