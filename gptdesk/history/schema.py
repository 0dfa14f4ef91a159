"""Schema of the history file, and the steps from each earlier one to the next."""

import sqlite3

# Texts and blobs of a row stand last, so that lists and statistics do not read them.
FIRST = """
CREATE TABLE generations (
    id INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used again after a deletion
    created REAL NOT NULL,                 -- seconds since 1970, at the start
    origin TEXT NOT NULL,                  -- page, cli or api
    model TEXT NOT NULL,
    precision TEXT NOT NULL,
    files TEXT NOT NULL,                   -- digest of the signature of the model's folder; key of `weights`
    seed INTEGER NOT NULL,
    n INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    known_tokens INTEGER NOT NULL,
    dropped_tokens INTEGER NOT NULL,
    context INTEGER NOT NULL,
    kernels TEXT NOT NULL,
    tokens INTEGER NOT NULL,               -- generated, in all sequences
    seconds REAL NOT NULL,
    seconds_to_first_token REAL,
    tokens_per_second REAL,                -- of decoding
    ended INTEGER NOT NULL,                -- 0: it was being written when this was saved
    indexed INTEGER NOT NULL DEFAULT 0,    -- 1: `search` has it as it is
    rating INTEGER,                        -- -1, 1 or NULL
    deleted REAL,                          -- when; NULL: it is not
    note TEXT NOT NULL DEFAULT '',
    tags TEXT NOT NULL DEFAULT ' ',        -- ' one two ': each between spaces
    request TEXT NOT NULL,                 -- JSON: the options but prompt, n and seed
    prompt TEXT NOT NULL
);
CREATE INDEX generations_deleted ON generations (deleted) WHERE deleted IS NOT NULL;
CREATE INDEX generations_unindexed ON generations (id) WHERE NOT indexed;
CREATE INDEX generations_model ON generations (model, deleted);
CREATE TABLE sequences (
    generation INTEGER NOT NULL REFERENCES generations (id) ON DELETE CASCADE,
    row INTEGER NOT NULL,                  -- from 0
    finish_reason TEXT,
    text TEXT NOT NULL,                    -- without the prompt
    tokens BLOB NOT NULL,                  -- ids, int32, little-endian
    logprobs BLOB NOT NULL,                -- of these tokens under the raw model, float32, nats
    PRIMARY KEY (generation, row)
);
CREATE TABLE weights (
    files TEXT PRIMARY KEY,
    sha256 TEXT NOT NULL
);
CREATE VIEW documents (id, body) AS
    SELECT id, prompt || ' ' || coalesce(
        (SELECT group_concat(text, ' ') FROM (SELECT text FROM sequences WHERE generation = id ORDER BY row)), ''
    ) || ' ' || note || ' ' || tags FROM generations;
CREATE VIRTUAL TABLE search USING fts5 (
    body, content = 'documents', content_rowid = 'id', tokenize = 'unicode61 remove_diacritics 2'
);
"""

# For statistics. The first column of each index is none that a search has a condition on: SQLite's planner would take
# the index for the search, too, and sort what it finds.
SECOND = """
ALTER TABLE generations ADD COLUMN opening TEXT NOT NULL DEFAULT '';  -- first characters of the prompt
UPDATE generations SET opening = substr(prompt, 1, 200);
CREATE INDEX generations_figures ON generations (
    n, created, deleted, model, precision, tokens, seconds_to_first_token, tokens_per_second
);
CREATE INDEX generations_openings ON generations (opening, deleted, created);
CREATE INDEX generations_rated ON generations (rating) WHERE rating IS NOT NULL;
CREATE INDEX sequences_ends ON sequences (generation, finish_reason);
"""

# Statistics group in the order of an index, without sorting. Each has all columns that one of their queries reads.
THIRD = """
ALTER TABLE generations ADD COLUMN day TEXT NOT NULL DEFAULT '';       -- 2026-11-28, local time at the start
ALTER TABLE generations ADD COLUMN finishes TEXT NOT NULL DEFAULT '';  -- reasons of all sequences, sorted: 'eos,length'
UPDATE generations SET day = date(created, 'unixepoch', 'localtime'), finishes = coalesce(
    (SELECT group_concat(reason) FROM
        (SELECT coalesce(finish_reason, '') AS reason FROM sequences WHERE generation = id ORDER BY reason)), ''
);
DROP INDEX generations_figures;
DROP INDEX sequences_ends;
CREATE INDEX generations_days ON generations (
    day, model, precision, created, deleted, tokens, seconds_to_first_token, tokens_per_second
);
CREATE INDEX generations_texts ON generations (finishes, n, tokens, created, deleted);
CREATE INDEX generations_chains ON generations (
    json_extract(request, '$.chain.samplers'), rating, created, deleted
) WHERE rating IS NOT NULL;
"""

# Trees of texts: a generation without a row in `branches` is the first of its tree.
FOURTH = """
CREATE TABLE branches (
    generation INTEGER PRIMARY KEY REFERENCES generations (id) ON DELETE CASCADE,
    parent INTEGER NOT NULL REFERENCES generations (id) ON DELETE CASCADE,
    row INTEGER,                           -- of the parent; NULL: it branches from the prompt of the tree
    kept INTEGER NOT NULL,                 -- characters of the text it branches from, prompt included, that it keeps
    kind TEXT NOT NULL,                    -- generated, branched or edited
    added TEXT NOT NULL                    -- what follows those in its prompt
);
CREATE INDEX branches_parent ON branches (parent);
CREATE TABLE pruned (                      -- texts that were removed from their tree, and are entries still
    generation INTEGER NOT NULL REFERENCES generations (id) ON DELETE CASCADE,
    row INTEGER NOT NULL,
    PRIMARY KEY (generation, row)
) WITHOUT ROWID;
"""

STEPS: tuple[str, ...] = (FIRST, SECOND, THIRD, FOURTH)  # a released step never changes; a new one is added at the end


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the file to the newest schema, in one transaction. Raises ValueError if a newer program wrote it."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(STEPS):
        raise ValueError("a newer version of GPT Desk has written the history; start that one, or move the file away")
    if version == len(STEPS):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()  # another process may have been faster
        for step in STEPS[version:]:
            for statement in _statements(step):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {max(version, len(STEPS))}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk has rolled it back already
            connection.execute("ROLLBACK")
        raise


def _statements(script: str) -> list[str]:
    """Return the statements of a script; `executescript` would commit each of them."""
    statements, current = [], ""
    for line in script.splitlines(keepends=True):
        current += line
        if sqlite3.complete_statement(current):
            statements.append(current)
            current = ""
    return statements
