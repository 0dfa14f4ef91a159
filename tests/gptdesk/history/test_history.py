"""History: what is saved, found, changed and deleted; damaged files, killed programs, many writers."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path

import pytest

from gptdesk.desk import Desk
from gptdesk.errors import NotFound
from gptdesk.generation import GenerationRequest, GenerationResult, GenerationStep
from gptdesk.history import Entry, History, HistoryFilter
from gptdesk.history.schema import STEPS
from gptdesk.recipe import Recipe
from gptdesk.settings import LinkSettings, Settings
from models.manager import ModelKey
from models.weights_hash import weights_hash
from samplers import Chain, build

KILLS = int(os.environ.get("GPTDESK_KILLS", "5"))
TINY = ModelKey("tiny")


def write(desk: Desk, prompt: str, **options: object) -> GenerationResult:
    """Generate, and return the result with log-probabilities of the first sequence as `logprobs`."""
    request = GenerationRequest(prompt=prompt, **({"max_new_tokens": 5, "seed": 1} | options))
    result, logprobs = GenerationResult(request.n), []
    for event in desk.generate(TINY, request, origin="cli"):
        result.add(event)
        if isinstance(event, GenerationStep) and event.row == 0 and event.logprob is not None:
            logprobs.append(event.logprob)
    result.logprobs = logprobs  # type: ignore[attr-defined]
    return result


def newest(history: History) -> Entry:
    return history.entry(history.search(limit=1)[0].id)


def of(desk: Desk) -> History:
    assert desk.history is not None
    return desk.history


def test_an_entry_has_all_that_repeats_the_text(desk: Desk) -> None:
    chain = Chain(samplers=(build("temperature", temperature=0.7), build("top_k", top_k=9)))
    before = time.time()
    result = write(desk, "the cat", chain=chain, n=2, seed=None, stop=("zz",), max_new_tokens=12)
    entry = newest(of(desk))
    assert (entry.model, entry.precision, entry.origin, entry.prompt, entry.n) == (
        "tiny",
        "float32",
        "cli",
        "the cat",
        2,
    )
    assert [sequence.text for sequence in entry.sequences] == result.texts
    assert [list(sequence.tokens) for sequence in entry.sequences] == result.tokens
    assert entry.sequences[0].logprobs == pytest.approx(result.logprobs, abs=1e-6)  # type: ignore[attr-defined]
    assert [sequence.finish_reason for sequence in entry.sequences] == result.finish_reasons
    assert (entry.seconds, entry.tokens_per_second) == (result.seconds, result.tokens_per_second)
    assert before <= entry.created <= time.time()
    assert entry.ended
    repeated = GenerationRequest(**(entry.request | {"prompt": entry.prompt, "seed": entry.seed, "n": entry.n}))
    assert repeated.chain == chain
    again = GenerationResult(2)
    for event in desk.generate(ModelKey(entry.model, entry.precision), repeated):
        again.add(event)
    assert again.texts == result.texts


def test_a_prompt_of_ids_is_saved_as_text_and_repeated_as_ids(desk: Desk) -> None:
    ids = (*desk.tokenizer("tiny").encode("the cat"), 0)
    request = GenerationRequest(prompt_ids=ids, seed=4, max_new_tokens=3)
    list(desk.generate(TINY, request, origin="api"))
    entry = newest(of(desk))
    assert entry.prompt == desk.tokenizer("tiny").decode(ids)
    assert Recipe.of(entry).request == request
    with pytest.raises(ValueError, match="id"):
        list(desk.generate(TINY, GenerationRequest(prompt_ids=(10**6,))))
    assert of(desk).count() == 1


def test_the_weights_are_named_by_their_hash(desk: Desk, home: Path) -> None:
    write(desk, "a")
    for thread in threading.enumerate():
        if thread.name == "weights hash":
            thread.join()
    assert newest(of(desk)).weights == weights_hash(home / "models" / "tiny")


def test_a_reader_who_leaves_keeps_the_text_so_far(desk: Desk) -> None:
    stream = desk.generate(TINY, GenerationRequest(prompt="b", max_new_tokens=40, seed=3))
    seen = [next(stream) for _ in range(8)]
    stream.close()  # type: ignore[attr-defined]
    entry = newest(of(desk))
    assert entry.sequences[0].text == "".join(event.text for event in seen if isinstance(event, GenerationStep))
    assert entry.sequences[0].finish_reason is None


def test_a_refused_prompt_is_no_entry(desk: Desk) -> None:
    with pytest.raises(ValueError, match="nosuch"):
        list(desk.generate(ModelKey("nosuch"), GenerationRequest()))
    assert of(desk).count() == 0
    assert not of(desk).file.exists()


def test_public_desks_and_the_switch_save_nothing(home: Path) -> None:
    for settings in (LinkSettings(home=home), Settings(home=home, history=False)):
        desk = Desk(settings)
        write(desk, "a")
        assert desk.history is None
    assert not (home / "history.sqlite").exists()


def test_the_end_of_a_long_prompt_is_listed_from_a_word_on(desk: Desk) -> None:
    prompts = [" fox" * 75, "x" + " fox" * 75, "over the hills " * 40, "x" * 301, "y" * 20 + "\n\n" + "z" * 300]
    listed = [" fox" * 75, "…" + " fox" * 75, "… " + "over the hills " * 20, "… " + "x" * 300, "… " + "z" * 300]
    for prompt in prompts:
        write(desk, prompt)
    assert [summary.prompt for summary in of(desk).search()] == listed[::-1]


def test_search_finds_words_in_every_text(desk: Desk) -> None:
    history = of(desk)
    for prompt in ("The quick brown fox", "A naïve Café", "quick AND dirty", 'say "hello" NEAR(you)'):
        write(desk, prompt)
    history.annotate(1, note="a remarkable beginning", tags=["keep", "fox-story"])

    def found(text: str, **others: object) -> list[int]:
        ids = [summary.id for summary in history.search(HistoryFilter(text=text, **others))]
        assert history.count(HistoryFilter(text=text, **others)) == len(ids)
        return ids

    assert found("quick") == [3, 1]
    assert found("qui") == [3, 1]  # the last word may be begun
    assert found("quick fox") == [1]
    assert found("cafe naive") == [2]
    assert found("remarkable") == found("keep") == [1]
    assert found("quick AND") == [3]  # a word, no operator
    assert found('"hello" NEAR(you') == [4]
    for odd in ('"', "*", "(", "^", "--", "\0", "😀"):
        assert found(odd) in ([], [4, 3, 2, 1])  # no word at all, or none of them
    assert found("a\0remark") == [1]
    assert found("", tag="keep") == [1]
    assert found("", tag="kee") == []
    assert found("", model="other") == found("", rating=1) == found("", since=time.time() + 9) == []
    assert len(found("", model="tiny", precision="float32", origin="cli", until=time.time() + 9)) == 4
    history.annotate(1, note="plain", rating=1)
    assert found("remarkable") == []
    assert found("plain", rating=1) == [1]


def test_pages_of_a_list_follow_each_other(desk: Desk) -> None:
    for i in range(7):
        write(desk, str(i))
    history = of(desk)
    first = history.search(limit=3)
    second = history.search(limit=3, before=first[-1].id)
    assert [one.id for one in (*first, *second)] == [7, 6, 5, 4, 3, 2]
    assert [entry.id for entry in history.entries()] == list(range(7, 0, -1))


def test_deleting_can_be_undone_until_it_is_for_good(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    history = of(desk)
    for prompt in ("one", "two", "three"):
        write(desk, prompt)
    history.delete([1, 3])
    assert [one.prompt for one in history.search()] == ["two"]
    with pytest.raises(NotFound, match="no entry 3"):
        history.entry(3)
    with pytest.raises(NotFound):
        history.delete([2, 3])
    assert history.count() == 1  # all or nothing
    history.restore([3])
    assert history.entry(3).prompt == "three"
    history.tidy()
    history.restore([1])  # not a day old
    history.delete([1, 3])
    monkeypatch.setattr("gptdesk.history.rows.UNDO_TIME", -1.0)
    history.tidy()
    history.restore([1, 3])
    assert [one.prompt for one in history.search()] == ["two"]
    write(desk, "four")
    assert newest(history).id == 4  # a number is not used twice
    assert history.search(HistoryFilter(text="three")) == []
    with sqlite3.connect(history.file) as connection:
        assert connection.execute("SELECT count(*) FROM sequences").fetchone() == (2,)
        connection.execute("INSERT INTO search (search) VALUES ('integrity-check')")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"note": "x" * 10_001}, "note has at most"),
        ({"rating": 5}, "rating is 1"),
        ({"tags": ["two words"]}, "a tag is a word"),
        ({"tags": [""]}, "a tag is a word"),
        ({"tags": [str(i) for i in range(21)]}, "at most 20 tags"),
    ],
)
def test_notes_that_are_refused(desk: Desk, changes: dict[str, object], words: str) -> None:
    write(desk, "a")
    with pytest.raises(ValueError, match=words):
        of(desk).annotate(1, **changes)  # type: ignore[arg-type]


def test_hostile_texts_come_back_as_they_were(desk: Desk) -> None:
    prompts = ["<script>alert(1)</script>", "${7*7}", "\u202eabc", "'; DROP TABLE generations; --", "x" * 100_000]
    for prompt in prompts:
        write(desk, prompt)
    assert [entry.prompt for entry in of(desk).entries()] == prompts[::-1]


# The file

SLOW_WRITER = """
import sys, time
from pathlib import Path
from gptdesk.desk import Desk
from gptdesk.settings import Settings
from gptdesk.generation import GenerationRequest
from gptdesk.history import recording
from models.manager import ModelKey
recording.EVERY = 0.0
desk = Desk(Settings(home=Path(sys.argv[1])))
for event in desk.generate(ModelKey("tiny"), GenerationRequest(prompt="mid text", max_new_tokens=60, seed=2)):
    print(getattr(event, "text", ""), end="", flush=True)
    time.sleep(0.05)
"""


def test_a_killed_program_leaves_the_text_so_far(home: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", SLOW_WRITER, str(home)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        seen = process.stdout.read(12).decode(errors="ignore")
        process.send_signal(signal.SIGKILL)
    history = of(Desk(Settings(home=home)))  # indexes what was left
    [summary] = history.search(HistoryFilter(text="mid text"))
    entry = history.entry(summary.id)
    assert not entry.ended
    assert entry.sequences[0].finish_reason is None
    assert entry.sequences[0].text.startswith(seen[:6])


WRITER = """
import sys
from pathlib import Path
from gptdesk.desk import Desk
from gptdesk.settings import Settings
from gptdesk.generation import GenerationRequest
from models.manager import ModelKey
desk = Desk(Settings(home=Path(sys.argv[1])))
for i in range(int(sys.argv[2])):
    list(desk.generate(ModelKey("tiny"), GenerationRequest(prompt=f"writer {i}", max_new_tokens=2, seed=i)))
    print(i, flush=True)
"""


def test_no_saved_entry_is_lost_when_the_program_is_killed(home: Path) -> None:
    history, saved = of(Desk(Settings(home=home))), 0
    for kill in range(KILLS):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(home), "100000"], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            for _ in range(1 + kill * 7 % 11):
                process.stdout.readline()
                saved += 1
            time.sleep(kill % 5 * 0.003)
            process.send_signal(signal.SIGKILL)
            saved += len(process.stdout.read().splitlines())
        assert history.count() >= saved
        saved = history.count()
    history.close()
    with sqlite3.connect(history.file) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_several_programs_and_threads_write_at_once(home: Path, desk: Desk) -> None:
    others = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(home), "25"], stdout=subprocess.DEVNULL) for _ in range(2)
    ]
    threads = [threading.Thread(target=lambda: [write(desk, "thread") for _ in range(25)]) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [process.wait() for process in others] == [0, 0]
    ids = [entry.id for entry in of(desk).entries()]
    assert len(ids) == 100
    assert all(later > earlier for later, earlier in pairwise(ids))
    assert of(desk).count(HistoryFilter(text="writer")) == of(desk).count(HistoryFilter(text="thread")) == 50


@pytest.mark.parametrize("damage", [b"no database at all", b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_file_is_kept_aside_and_texts_go_on(
    home: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (home / "history.sqlite").write_bytes(damage)
    desk = Desk(Settings(home=home))
    first = write(desk, "after the damage")
    assert newest(of(desk)).sequences[0].text == first.texts[0]
    assert (home / "history.sqlite.damaged").read_bytes() == damage
    assert "is damaged; it is kept as history.sqlite.damaged" in caplog.text


def test_damage_while_it_is_open(desk: Desk, home: Path) -> None:
    write(desk, "before")
    of(desk).close()
    data = bytearray((home / "history.sqlite").read_bytes())
    data[4096:] = b"\xaa" * (len(data) - 4096)
    (home / "history.sqlite").write_bytes(data)
    write(desk, "after")
    assert [one.prompt for one in of(desk).search()] == ["after"]


def test_a_file_of_a_newer_version_is_left_alone(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    with sqlite3.connect(home / "history.sqlite") as connection:
        connection.execute(f"PRAGMA user_version = {len(STEPS) + 1}")
    desk = Desk(Settings(home=home))
    assert write(desk, "text").tokens[0]
    assert "newer version" in caplog.text
    with pytest.raises(ValueError, match="newer version"):
        of(desk).search()


def test_a_file_that_cannot_be_written_never_ends_a_text(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    (home / "history.sqlite").mkdir()
    desk = Desk(Settings(home=home))
    assert write(desk, "text").tokens[0]
    assert caplog.text.count("not saved in the history") == 1


def test_each_released_schema_is_read(home: Path) -> None:
    for version in range(1, len(STEPS) + 1):
        file = home / "history.sqlite"
        file.unlink(missing_ok=True)
        with sqlite3.connect(file) as connection:
            connection.executescript((Path(__file__).parent / f"schema_{version}.sql").read_text())
        history = of(Desk(Settings(home=home)))
        entry = history.entry(1)
        assert (entry.prompt, entry.sequences[0].text, entry.sequences[0].tokens) == ("Once", " upon a time", (7, 8, 9))
        assert history.search(HistoryFilter(text="upon"))[0].id == 1
        assert history.statistics().days[0].tokens == 3
        assert [(one.reason, one.texts) for one in history.statistics().endings] == [("length", 1)]
        tree = history.tree(1)
        assert (len(tree), tree.text(tree.current)) == (2, "Once upon a time")
        history.close()
