"""Statistics of the history equal those counted entry by entry, and are shown and exported safely."""

import csv
import io
import json
import sqlite3
from collections import Counter
from datetime import datetime
from pathlib import Path

import pytest

from gptdesk.generation import GenerationRequest, GenerationStart
from gptdesk.history import History
from gptdesk.history.rows import Draft
from gptdesk.history.statistics import EXPORTS, read_statistics
from gptdesk.page.tabs.history.statistics import EMPTY, statistics_html
from models.manager import ModelKey
from models.tokenizer import CharacterTokenizer

DAYS = [datetime(2026, 11, day, 12).timestamp() for day in (1, 2, 4)]
INSERT = (
    "INSERT INTO generations (created, origin, model, precision, files, seed, n, prompt_tokens, known_tokens, "
    "dropped_tokens, context, kernels, tokens, seconds, seconds_to_first_token, tokens_per_second, ended, request, "
    "prompt, opening, rating, day, finishes) "
    "VALUES (?, 'page', ?, ?, '', 1, ?, 1, 0, 0, 64, '', ?, 1.0, ?, ?, 1, ?, ?, ?, ?, ?, ?)"
)
GREEDY = json.dumps({"chain": {"samplers": [{"name": "greedy"}]}})
TOP_K = json.dumps({"chain": {"samplers": [{"name": "top_k", "top_k": 7}]}})
ROWS = [  # created, model, precision, n, tokens, first token, speed, request, prompt, rating
    (DAYS[0], "starter", "int8", 1, 10, 0.010, 100.0, GREEDY, "Once", 1),
    (DAYS[0], "starter", "int8", 2, 60, 0.030, 300.0, TOP_K, "Once", -1),
    (DAYS[1], "=cmd()", "float32", 1, 0, None, None, TOP_K, "<b>two</b>", 1),
    (DAYS[2], "starter", "int8", 1, 31, 0.020, 50.0, TOP_K, "Once", 1),
]


@pytest.fixture
def history(tmp_path: Path) -> History:
    history = History(tmp_path / "history.sqlite")
    history.tidy()

    def write(connection: sqlite3.Connection) -> None:
        for created, model, precision, n, tokens, first, speed, request, prompt, rating in ROWS:
            values = (created, model, precision, n, tokens, first, speed, request, prompt, prompt, rating)
            day, finishes = datetime.fromtimestamp(created).strftime("%Y-%m-%d"), ["length" if tokens else ""] * n
            connection.execute(INSERT, (*values, day, ",".join(finishes)))

    with history._write_lock:
        history._write(write)
    return history


def test_figures_equal_those_counted_by_hand(history: History) -> None:
    figures = history.statistics()
    assert [(day.day, day.model, day.generations, day.tokens) for day in figures.days] == [
        ("2026-11-01", "starter", 2, 70),
        ("2026-11-02", "=cmd()", 1, 0),
        ("2026-11-04", "starter", 1, 31),
    ]
    first, empty, _ = figures.days
    assert first.tokens_per_second == pytest.approx(200)
    assert first.seconds_to_first_token == pytest.approx(0.02)
    assert empty.tokens_per_second is None
    assert (figures.generations, figures.tokens) == (4, 101)
    assert [(one.low, one.high, one.texts) for one in figures.lengths] == [(0, 0, 1), (8, 15, 1), (16, 31, 3)]
    assert {one.reason: one.texts for one in figures.endings} == {"length": 4, "": 1}
    assert [(json.loads(one.chain)[0]["name"], one.liked, one.disliked) for one in figures.chains] == [
        ("top_k", 2, 1),
        ("greedy", 1, 0),
    ]
    assert [(one.opening, one.generations) for one in figures.prompts] == [("Once", 3)]


def test_what_is_saved_counts_on_its_day_and_by_the_end_of_each_text(tmp_path: Path) -> None:
    history = History(tmp_path / "history.sqlite")
    late = datetime(2026, 11, 3, 23, 59).timestamp()
    for reasons in (["length", "eos"], ["eos", "length"], ["eos", None], [None, None]):
        request = GenerationRequest(prompt="Once", n=2)
        draft = Draft("cli", ModelKey("starter", "int8"), tmp_path, request, CharacterTokenizer("ab"), created=late)
        draft.result.start = GenerationStart(1, 4, 0, 0, 64, "int8", 0.01)
        history.save(draft, ended=False)
        draft.result.finish_reasons = reasons
        draft.result.tokens = [[1, 2], [3, 4, 5]]
        history.save(draft, ended=True)
    figures = history.statistics(since=late - 1)
    assert [(day.day, day.generations, day.tokens) for day in figures.days] == [("2026-11-03", 4, 20)]
    assert [(one.reason, one.texts) for one in figures.endings] == [("", 3), ("eos", 3), ("length", 2)]
    assert history.statistics(since=late + 1).generations == 0


def test_statistics_are_grouped_in_the_order_of_an_index(history: History) -> None:
    def plans(connection: sqlite3.Connection) -> list[str]:
        queries: list[str] = []
        connection.set_trace_callback(queries.append)
        read_statistics(connection, since=0.0)
        connection.set_trace_callback(None)
        return [step for query in queries for *_, step in connection.execute(f"EXPLAIN QUERY PLAN {query}")]

    steps = history._read(plans)
    assert len([step for step in steps if "USING" in step and "INDEX generations_" in step]) == 4
    assert not [step for step in steps if "GROUP BY" in step], "a sort of all entries"


def test_a_period_and_deletions_are_left_out(history: History) -> None:
    assert history.statistics(since=DAYS[1]).generations == 2
    history.delete([1, 4])
    figures = history.statistics()
    assert Counter(day.day for day in figures.days) == {"2026-11-01": 1, "2026-11-02": 1}
    assert figures.prompts == ()
    history.restore([1])
    assert history.statistics().tokens == 70


def test_what_is_shown_and_exported_is_harmless(history: History) -> None:
    figures = history.statistics()
    shown = statistics_html(history.statistics())
    assert "<b>two</b>" not in shown
    assert "top_k 7" in shown
    rows = list(csv.reader(io.StringIO(EXPORTS["csv"](figures))))
    assert [row[1] for row in rows] == ["model", "starter", "'=cmd()", "starter"]
    assert json.loads(EXPORTS["json"](figures))["days"][0]["tokens"] == 70
    history.delete([1, 2, 3, 4])
    assert EMPTY in statistics_html(history.statistics())
