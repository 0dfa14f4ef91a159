"""Export of comparisons: the same content in every format, with all text escaped."""

import csv
import io
import json
import re
import shutil
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import pytest
from comparison_checks import asked, only, save_letters, sides_of, written

from gptdesk.comparison import Side
from gptdesk.comparison.export import FORMATS, Document, prompts_document, report_document
from gptdesk.comparison.prompts import PromptResult, compare_prompts
from gptdesk.comparison.report import Report, study, to_json
from gptdesk.comparison.table import report_table
from gptdesk.recipe import Recipe
from gptdesk.starter.stories import story
from models.library import ModelLibrary
from models.manager import ModelManager
from models.weights_hash import weights_hash

HOSTILE = (
    "a|b `c` **d** <script>alert(1)</script> ${x} $y$ [l](http://x) &amp; \\n ```\n~~~\n# not a heading\n| x |\n"
    "\"q\", 'r'"
)


@pytest.fixture(scope="module")
def folder(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    shutil.copytree(tiny_folder / "tiny", folder / "tiny")
    save_letters(folder / "letters")
    return folder


@pytest.fixture(scope="module")
def manager(folder: Path) -> ModelManager:
    return ModelManager(ModelLibrary(folder, cache_folder=folder.parent / "cache"))


@pytest.fixture(scope="module")
def report(manager: ModelManager) -> Report:
    sides = sides_of(asked("Once\n"), "tiny:float32", "tiny:int8")
    return only(study(manager, sides, text=story(9, 0), text_name="a story", repeats=2), Report)


def hostile(**changes: object) -> Document:
    fields: dict[str, object] = {
        "title": HOSTILE,
        "sentences": [HOSTILE],
        "head": ["", HOSTILE],
        "rows": [["Section"], ["label", HOSTILE], [HOSTILE, "cell"]],
        "texts": [(HOSTILE, HOSTILE)],
        "notes": [HOSTILE],
        "data": {"text": HOSTILE},
        "records": [{"text": HOSTILE, "n": 1}, {"text": "", "other": HOSTILE}],
    }
    return Document(**fields | changes)  # type: ignore[arg-type]


class Page(HTMLParser):
    """Parsed page: its elements, and the text of each kind of element."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(data.decode())

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.elements.append(tag)
        self.texts.setdefault(tag, []).append("")

    def handle_data(self, data: str) -> None:
        if self.elements:
            self.texts[self.elements[-1]][-1] += data


def records_of(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))


# Hostile texts


def test_json_is_the_data() -> None:
    assert json.loads(FORMATS["json"](hostile())) == {"text": HOSTILE}


def test_csv_keeps_every_character() -> None:
    data = FORMATS["csv"](hostile())
    assert data.startswith(b"\xef\xbb\xbftext,n,other\r\n")
    assert records_of(data) == [{"text": HOSTILE, "n": "1", "other": ""}, {"text": "", "n": "", "other": HOSTILE}]


@pytest.mark.parametrize("text", ["a\r\nb", "a\rb", "a\n\nb", ' "', "€ \U0001f98a", "x,y;z\tw"])
def test_csv_keeps_line_ends_and_quotes(text: str) -> None:
    document = hostile(records=[{"text": text, "after": "1"}])
    assert records_of(FORMATS["csv"](document)) == [{"text": text, "after": "1"}]


def test_html_shows_texts_as_they_are() -> None:
    page = Page(FORMATS["html"](hostile()))
    assert set(page.elements) <= {
        *("html", "meta", "title", "style", "h1", "h2", "p", "small", "pre"),
        *("table", "thead", "tbody", "tr", "th", "td"),
    }
    assert page.texts["title"] == page.texts["h1"] or page.texts["title"][0].strip() == HOSTILE
    for element in ("h1", "h2", "pre", "td", "small"):
        assert HOSTILE in [text.strip("\n") for text in page.texts[element]]
    assert page.texts["th"].count(HOSTILE) == 2


def test_html_keeps_a_line_end_that_a_text_begins_with() -> None:
    page = FORMATS["html"](hostile(texts=[("x", "\nfirst")])).decode()
    found = re.findall("<pre>(.*?)</pre>", page, re.DOTALL)
    assert [text.removeprefix("\n") for text in found] == ["\nfirst"]  # a browser leaves out one after the tag


def markdown_lines(document: Document) -> list[str]:
    """Split into lines as Markdown does, also at carriage returns."""
    return re.split("\r\n|\n|\r", FORMATS["md"](document).decode())


def bare(line: str) -> str:
    """Remove the escapes of a line."""
    return re.sub(r"\\[!-/:-@\[-`{-~]", "", line)


def test_markdown_shows_texts_as_they_are() -> None:
    found = markdown_lines(hostile())
    fences = [i for i, line in enumerate(found) if line.startswith("````")]
    assert len(fences) == 2
    assert "\n".join(found[fences[0] + 1 : fences[1]]) == HOSTILE
    outside = [bare(line) for line in found[: fences[0]] + found[fences[1] + 1 :]]
    rows = [line for line in outside if line.startswith("|")]
    assert [row.count("|") for row in rows] == [3] * 5
    assert rows[2] == "| **Section** |  |"
    for line in outside:
        inside = (
            line.removeprefix("# ").removeprefix("## ").removeprefix("*").removesuffix("*").replace("**Section**", "")
        )
        assert not set(inside) & set("`<>$[]&*_#"), line


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_a_line_end_does_not_break_a_table_or_a_heading(end: str) -> None:
    text = f"one{end}two"
    found = markdown_lines(
        hostile(title=text, head=["", text], rows=[["x", text]], texts=[], notes=[text], sentences=[])
    )
    assert sum(line.startswith("|") for line in found) == 3
    assert all(not line.startswith("two") for line in found)


@pytest.mark.parametrize("ticks", ["```", "````", "`" * 9])
def test_a_fence_is_longer_than_those_in_the_text(ticks: str) -> None:
    text = f"before\n{ticks}\nafter"
    found = FORMATS["md"](hostile(texts=[("x", text)])).decode()
    assert f"\n{ticks}`text\n{text}\n{ticks}`\n" in found


# What a report says


def test_every_format_has_every_figure(report: Report) -> None:
    document = report_document(report)
    labels = [line.label for line in report_table(report)]
    assert {"Weights file", "Tokens per second", "Perplexity ratio", "KL divergence, mean"} <= set(labels)
    page, text = FORMATS["html"](document).decode(), FORMATS["md"](document).decode().replace("\\", "")
    for line in report_table(report):
        assert len(line.cells) == 2
        assert f"<tr><th>{line.label}</th><td>{line.cells[0]}</td><td>{line.cells[1]}</td></tr>" in page
        assert f"| {line.label} | {line.cells[0]} | {line.cells[1]} |" in text
    for said in document.sentences:
        assert said in text
    for name, result in zip(report.names, report.measurement.results, strict=True):
        assert (name, f"Once\n{result.texts[0]}") in document.texts
        assert f"Once\n{result.texts[0]}\n```" in FORMATS["md"](document).decode()


def test_json_and_csv_hold_the_figures_themselves(report: Report, manager: ModelManager) -> None:
    document = report_document(report)
    data = json.loads(FORMATS["json"](document))
    assert data == json.loads(json.dumps(to_json(report)))
    assert (data["repeats"], data["judged_by"], data["prompt"]) == (2, "a story", "Once\n")
    records = records_of(FORMATS["csv"](document))
    assert [record["model"] for record in records] == ["tiny:float32", "tiny:int8"]
    for record, side, timing in zip(records, data["sides"], report.measurement.timings, strict=True):
        assert record["text"] == side["text"]
        assert int(record["file_bytes"]) == side["file_bytes"] == timing.file_bytes
        assert float(record["tokens_per_second.median"]) == side["tokens_per_second"]["median"]
        assert timing.latency_p95 is not None
        assert float(record["latency_p95_seconds.median"]) == timing.latency_p95.median
        recipe = Recipe(**side["recipe"])
        assert (recipe.model, recipe.precision, recipe.request.prompt) == ("tiny", record["model"][5:], "Once\n")
        assert recipe.weights == weights_hash(manager.library.checkpoint("tiny").path)
        assert recipe.texts[0].sha256 == sha256(side["text"].encode()).hexdigest()
        assert not any(name.startswith("recipe") for name in record)
        assert len(side["latencies_seconds"]) == side["tokens_generated"] - 1
        assert float(record["perplexity"]) == side["perplexity"]
    assert records[0]["kl_mean"] == ""
    assert report.quality is not None
    assert report.quality.pairs[0].closeness is not None
    assert float(records[1]["kl_mean"]) == report.quality.pairs[0].closeness.kl_mean


def test_what_cannot_be_compared_says_why(manager: ModelManager) -> None:
    sides = sides_of(asked("once", tokens=1), "tiny", "letters")
    text = "once there was a fox who met a bear and they went for a walk"
    document = report_document(only(study(manager, sides, text=text, text_name="t", repeats=1), Report))
    rows = {row[0]: row[1:] for row in document.rows}
    reason = "absent: the models have different tokenizers, so only figures per character can be compared"
    assert rows["Perplexity"][1] == reason
    assert sum(cell == reason for row in document.rows for cell in row) == 1  # rows that would repeat it are left out
    assert {"KL divergence, mean", "Perplexity ratio", "Tokens before greedy texts diverge"}.isdisjoint(rows)
    assert rows["Tokens per second"] == ["too few tokens"] * 2
    assert all(float(cell) > 0 for cell in rows["Bits per character"])


# Lists of prompts


def test_prompts_are_compared_in_one_go(manager: ModelManager) -> None:
    sides, prompts = sides_of(asked(), "tiny:float32", "tiny:int8"), ["Once", "The |fox|\n", ""]
    rows = [event for event in compare_prompts(manager, sides, prompts) if isinstance(event, PromptResult)]
    assert [row.prompt for row in rows] == prompts
    for row in rows:
        for side, result in zip(sides, row.results, strict=True):
            alone = Side(side.name, side.key, side.request.model_copy(update={"prompt": row.prompt}))
            assert result.tokens == written(manager, alone).tokens
    document = prompts_document(sides, rows, weights=[None, None])
    same = sum(row.divergences[0].identical for row in rows)
    assert document.sentences == [f"int8 wrote the same as float32 on {same} of 3 prompts."]
    records = records_of(FORMATS["csv"](document))
    assert [(one["prompt"], one["model"]) for one in records] == [
        (prompt, f"tiny:{precision}") for prompt in prompts for precision in ("float32", "int8")
    ]
    assert [one["text"] for one in records] == [result.texts[0] for row in rows for result in row.results]
    results = json.loads(FORMATS["json"](document))["results"]
    recipes = [Recipe(**result["recipe"]) for result in results]
    assert [(one.request.prompt, one.precision) for one in recipes] == [
        (prompt, precision) for prompt in prompts for precision in ("float32", "int8")
    ]
    table = [bare(line) for line in FORMATS["md"](document).decode().splitlines() if line.startswith("|")]
    assert [row.count("|") for row in table] == [3] * 5
