"""Rows of the history: SQL that saves, changes and reads them, within a transaction of the caller."""

import json
import sqlite3
import sys
import time
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any

from gptdesk.errors import NotFound
from gptdesk.formatting import ending
from gptdesk.generation import GenerationEvent, GenerationRequest, GenerationResult, GenerationStep
from gptdesk.history import entry as entries
from gptdesk.history.entry import Branch, Entry, HistoryFilter, Origin, Summary
from models.manager import ModelKey
from models.signature import signature_of
from models.tokenizer import Tokenizer

UNDO_TIME = 24 * 3600.0  # seconds after which what was deleted is gone
COLUMNS = (
    "created, origin, model, precision, files, seed, n, prompt_tokens, known_tokens, dropped_tokens, context, "
    "kernels, tokens, seconds, seconds_to_first_token, tokens_per_second, ended, request, prompt, opening, "
    "day, finishes"
)
OPENING = 200  # characters of a prompt by which equal prompts are counted
BEGINNING = 300  # characters of prompt and text in a list
SUMMARY_COLUMNS = {  # of a Summary, and their SQL
    **{name: name for name in ("id", "created", "origin", "model", "precision", "n", "tokens", "seconds", "rating")},
    **{name: name for name in ("note", "tags", "ended", "seed")},
    "prompt": f"substr(prompt, -{BEGINNING + 1})",  # one more than `ending` keeps, which tells it of a cut
    "text": f"(SELECT substr(text, 1, {BEGINNING}) FROM sequences WHERE generation = id AND row = 0)",
    # without the other options, of which the ids of a prompt may be many
    "chain": "CASE WHEN json_valid(request) THEN json_extract(request, '$.chain.samplers') END",
}


@dataclass
class Draft:
    """Generation that is being written, with its result so far."""

    origin: Origin
    key: ModelKey
    folder: Path  # of the model
    request: GenerationRequest
    tokenizer: Tokenizer
    created: float = field(default_factory=time.time)  # seconds since 1970
    id: int | None = None  # None: not saved yet
    branch: Branch | None = None  # None: of no tree

    def __post_init__(self) -> None:
        self.result = GenerationResult(self.request.n)
        self.logprobs: list[list[float]] = [[] for _ in range(self.request.n)]  # of each sequence

    @property
    def prompt(self) -> str:
        """Text of the prompt, also where the request gives it as ids."""
        ids = self.request.prompt_ids
        return self.request.prompt if ids is None else self.tokenizer.decode(ids)

    def add(self, event: GenerationEvent) -> None:
        """Add one event of the stream."""
        self.result.add(event)
        if isinstance(event, GenerationStep) and event.token is not None:
            self.logprobs[event.row].append(event.logprob or 0.0)


def save_draft(connection: sqlite3.Connection, draft: Draft, *, ended: bool) -> int:
    """Insert or update the entry of a generation and return its id."""
    result, number = draft.result, draft.id
    count = sum(map(len, result.tokens))
    if number is not None:
        unindex(connection, number)
        changes = "tokens = ?, seconds = ?, seconds_to_first_token = ?, tokens_per_second = ?, ended = ?, finishes = ?"
        speeds = (result.seconds, result.seconds_to_first_token, result.tokens_per_second)
        changed = (count, *speeds, ended, _finishes(result), number)
        if not connection.execute(f"UPDATE generations SET {changes} WHERE id = ?", changed).rowcount:
            number = None  # the file is a new one
    if number is None:
        number = _insert(connection, draft, count=count, ended=ended)
        if draft.branch:
            _save_branch(connection, number, draft.branch)
    for row in range(draft.request.n):
        values = (number, row, result.finish_reasons[row], storable(result.texts[row]))
        blobs = _blob("i", result.tokens[row]), _blob("f", draft.logprobs[row])
        connection.execute("INSERT OR REPLACE INTO sequences VALUES (?, ?, ?, ?, ?, ?)", (*values, *blobs))
    if ended:
        index(connection, number)
    return number


def _insert(connection: sqlite3.Connection, draft: Draft, *, count: int, ended: bool) -> int:
    result, start, request = draft.result, draft.result.start, draft.request
    assert start is not None
    prompt = storable(draft.prompt)
    values = (
        *(draft.created, draft.origin, draft.key.name, draft.key.precision, folder_digest(draft.folder)),
        *(start.seed, request.n, start.prompt_tokens, start.known_tokens, start.dropped_tokens),
        *(start.context, start.kernels, count, result.seconds, result.seconds_to_first_token),
        *(result.tokens_per_second, ended, request.model_dump_json(exclude={"prompt", "n", "seed"})),
        *(prompt, prompt[:OPENING], date.fromtimestamp(draft.created).isoformat(), _finishes(result)),
    )
    marks = ", ".join("?" * len(values))
    number = connection.execute(f"INSERT INTO generations ({COLUMNS}) VALUES ({marks})", values).lastrowid
    assert number is not None
    return number


def _save_branch(connection: sqlite3.Connection, number: int, branch: Branch) -> None:
    """Save the place of a generation in a tree, unless its parent is gone for good."""
    branch.entry = number
    connection.execute(
        "INSERT INTO branches (generation, parent, row, kept, kind, added) "
        "SELECT ?, id, ?, ?, ?, ? FROM generations WHERE id = ? AND id < ?",
        (number, branch.row, branch.kept, branch.kind, storable(branch.added), branch.parent, number),
    )


def _finishes(result: GenerationResult) -> str:
    """Return the finish reasons of all sequences, by which statistics count them; an empty one is none so far."""
    return ",".join(sorted(reason or "" for reason in result.finish_reasons))


def index_interrupted(connection: sqlite3.Connection) -> None:
    for (number,) in connection.execute("SELECT id FROM generations WHERE NOT indexed").fetchall():
        index(connection, number)


def purge(connection: sqlite3.Connection) -> None:
    until = time.time() - UNDO_TIME
    for (number,) in connection.execute("SELECT id FROM generations WHERE deleted < ?", (until,)).fetchall():
        unindex(connection, number)
        connection.execute("DELETE FROM generations WHERE id = ?", (number,))  # and its sequences


def conditions_sql(conditions: HistoryFilter) -> tuple[list[str], list[object]]:
    """Return the conditions of a query, and their values."""
    where, values = ["deleted IS NULL"], list[object]()
    for name in ("model", "precision", "origin", "rating"):
        if (value := getattr(conditions, name)) not in ("", None):
            where.append(f"{name} = ?")
            values.append(value)
    if conditions.tag:
        where.append("instr(tags, ?)")
        values.append(f" {conditions.tag} ")
    if conditions.since is not None:
        where.append("created >= ?")
        values.append(conditions.since)
    if conditions.until is not None:
        where.append("created < ?")
        values.append(conditions.until)
    if words := _words_query(conditions.text):
        where.append("id IN (SELECT rowid FROM search WHERE search MATCH ?)")
        values.append(words)
    return where, values


def _words_query(text: str) -> str:
    """Return a query of all words in `text`, each as it is typed, the last as the beginning of a word; may be empty."""
    words = [word.replace('"', '""') for word in text.replace("\0", " ").split()]
    return " ".join(f'"{word}"' for word in words) + ("*" if words else "")


def index(connection: sqlite3.Connection, number: int) -> None:
    """Let searches find an entry as it is now."""
    unindex(connection, number)
    connection.execute("INSERT INTO search (rowid, body) SELECT id, body FROM documents WHERE id = ?", (number,))
    connection.execute("UPDATE generations SET indexed = 1 WHERE id = ?", (number,))


def unindex(connection: sqlite3.Connection, number: int) -> None:
    """Take an entry out of the index before it is changed."""
    connection.execute(
        "INSERT INTO search (search, rowid, body) SELECT 'delete', id, body FROM documents "
        "WHERE id = (SELECT id FROM generations WHERE id = ? AND indexed)",
        (number,),
    )
    connection.execute("UPDATE generations SET indexed = 0 WHERE id = ?", (number,))


def check_there(connection: sqlite3.Connection, number: int) -> None:
    known = 0 < number < 2**63  # SQLite's integers
    if (
        not known
        or not connection.execute("SELECT 1 FROM generations WHERE id = ? AND deleted IS NULL", (number,)).fetchone()
    ):
        raise NotFound(f"there is no entry {number!s:.20} in the history; `gptdesk history list` shows those there are")


def summary_of(row: tuple[Any, ...]) -> Summary:
    """Return a row of SUMMARY_COLUMNS as the line of a list."""
    values = dict(zip(SUMMARY_COLUMNS, row, strict=True))
    tags, text, ended = _unpacked(values["tags"]), values["text"] or "", bool(values["ended"])
    links = json.loads(values["chain"] or "[]")
    chain = [link for link in links if isinstance(link, dict)] if isinstance(links, list) else []
    more = {"prompt": ending(values["prompt"], BEGINNING), "tags": tags, "text": text, "ended": ended, "chain": chain}
    return Summary(**values | more)


def read_entry(connection: sqlite3.Connection, number: int) -> Entry:
    check_there(connection, number)
    columns = (
        "id, created, origin, model, precision, sha256, prompt, seed, n, request, prompt_tokens, known_tokens, "
        "dropped_tokens, context, kernels, seconds, seconds_to_first_token, tokens_per_second, ended, rating, "
        "note, tags"
    )
    query = f"SELECT {columns} FROM generations LEFT JOIN weights USING (files) WHERE id = ?"
    row = connection.execute(query, (number,)).fetchone()
    values = dict(zip(columns.split(", "), row, strict=True))
    rows = connection.execute(
        "SELECT text, tokens, logprobs, finish_reason FROM sequences WHERE generation = ? ORDER BY row", (number,)
    ).fetchall()
    sequences = [entries.Sequence(text, unblob("i", ids), unblob("f", lps), why) for text, ids, lps, why in rows]
    return Entry(
        **{name: value for name, value in values.items() if name not in ("sha256", "request", "ended", "tags")},
        weights=values["sha256"],
        request=json.loads(values["request"]),
        ended=bool(values["ended"]),
        tags=_unpacked(values["tags"]),
        sequences=tuple(sequences),
    )


def packed_tags(tags: Iterable[str]) -> str:
    """Return tags as they are stored; ValueError if one is empty, too long or has a space in it."""
    unique = list(dict.fromkeys(tag.strip() for tag in tags))
    if len(unique) > entries.MOST_TAGS:
        raise ValueError(f"an entry has at most {entries.MOST_TAGS} tags; leave some out")
    for tag in unique:
        if not 0 < len(tag) <= entries.LONGEST_TAG or len(tag.split()) != 1:
            raise ValueError(f"a tag is a word of 1 to {entries.LONGEST_TAG} characters, not {tag[:60]!r}")
    return f" {' '.join(unique)} " if unique else " "


def _unpacked(tags: object) -> tuple[str, ...]:
    return tuple(str(tags).split())


def folder_digest(folder: Path) -> str:
    """Return a short name of the files in a folder as they are now."""
    return sha256(repr((str(folder.absolute()), signature_of(folder))).encode()).hexdigest()[:16]


def storable(text: str) -> str:
    """Return text that SQLite's functions read to its end: without NUL."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def _blob(kind: str, values: Sequence[int] | Sequence[float]) -> bytes:
    packed = array(kind, values)
    if sys.byteorder != "little":
        packed.byteswap()
    return packed.tobytes()


def unblob(kind: str, data: bytes) -> tuple[int, ...]:
    values = array(kind)
    values.frombytes(data)
    if sys.byteorder != "little":
        values.byteswap()
    return tuple(values)
