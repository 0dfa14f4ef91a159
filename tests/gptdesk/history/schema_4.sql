-- A history as schema 4 has it, with one entry that is not indexed yet.
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
    prompt TEXT NOT NULL,
    opening TEXT NOT NULL DEFAULT '',      -- first characters of the prompt
    day TEXT NOT NULL DEFAULT '',          -- 2026-11-28, local time at the start
    finishes TEXT NOT NULL DEFAULT ''      -- reasons of all sequences, sorted: 'eos,length'
);
CREATE INDEX generations_deleted ON generations (deleted) WHERE deleted IS NOT NULL;
CREATE INDEX generations_unindexed ON generations (id) WHERE NOT indexed;
CREATE INDEX generations_model ON generations (model, deleted);
CREATE INDEX generations_openings ON generations (opening, deleted, created);
CREATE INDEX generations_rated ON generations (rating) WHERE rating IS NOT NULL;
CREATE INDEX generations_days ON generations (
    day, model, precision, created, deleted, tokens, seconds_to_first_token, tokens_per_second
);
CREATE INDEX generations_texts ON generations (finishes, n, tokens, created, deleted);
CREATE INDEX generations_chains ON generations (
    json_extract(request, '$.chain.samplers'), rating, created, deleted
) WHERE rating IS NOT NULL;
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
INSERT INTO generations VALUES (1, 1790000000.5, 'page', 'starter', 'int8', 'abc', 42, 1, 1, 0, 0, 256, 'int8 (AMX)',
    3, 0.02, 0.01, 200.0, 1, 0, 1, NULL, 'a note', ' first ', '{"chain": {"samplers": [{"name": "greedy"}]}, "max_new_tokens": 3,
    "stop": [], "deadline": null, "parse_special": false}', 'Once', 'Once', '2026-09-21', 'length');
INSERT INTO sequences VALUES (1, 0, 'length', ' upon a time', x'070000000800000009000000', x'000080bf000000c0000000bf');
INSERT INTO weights VALUES ('abc', '0123');
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
PRAGMA user_version = 4;
