"""Texts by name: stories are generated once, classics are downloaded from a local server, stripped and stored."""

from dataclasses import replace
from pathlib import Path

import pytest
from cli_checks import QUICK, Capture, answer, complaint
from server_checks import DATE, Served, serving

from gptdesk import datasets
from gptdesk.comparison.texts import COLLECTION
from gptdesk.datasets import CLASSICS, STORIES, STORY_BYTES, Source, TextProgress, listing, obtain
from gptdesk.starter.stories import stories
from gptdesk.training.run_directory import RunDirectory
from gptdesk.training.text import TextFile, inspect
from models.tokenizer import END_OF_TEXT

WORDS = "CHAPTER I.\r\n\r\nAlice was beginning to get very tired — she said *** END OF nothing.\r\n" * 300
BOOK = (
    "\ufeffThe Project Gutenberg eBook of Alice\r\n\r\nTitle: Alice\r\n\r\n"
    f"*** START OF THE PROJECT GUTENBERG EBOOK ALICE ***\r\n\r\n\r\n{WORDS}\r\n"
    "*** END OF THE PROJECT GUTENBERG EBOOK ALICE ***\r\n\r\nThe licence, at length\r\n"
).encode()


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with serving(Served(BOOK, modified=DATE), path="pg11.txt") as server:
        monkeypatch.setitem(CLASSICS, "alice", replace(CLASSICS["alice"], url=server.url))
        yield server


def obtained(*places: str, texts: Path) -> tuple[list[TextProgress], tuple[str, ...]]:
    *progress, found = obtain(places, texts)
    assert isinstance(found, tuple)
    return progress, found  # type: ignore[return-value]


def test_stories_are_generated_once_and_are_documents(tmp_path: Path) -> None:
    progress, found = obtained("story-world:450", "my.txt", texts=tmp_path)
    path = tmp_path / "story-world-450.txt"
    assert found == (str(path), "my.txt")
    assert len(progress) == 3
    assert progress[-1].path == path
    text = path.read_text("utf-8")
    assert text.removesuffix("\n").split(f"\n{END_OF_TEXT}\n") == list(stories(datasets.COLLECTION, 450))
    *_, file = inspect(path)
    assert isinstance(file, TextFile)
    assert file.documents == 450
    assert abs(len(text) / 450 - STORY_BYTES) < 60
    before = path.stat()
    progress, _ = obtained("story-world:450", texts=tmp_path)
    assert [one.stage for one in progress] == ["reading"]
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert datasets.COLLECTION != COLLECTION


def test_a_classic_is_fetched_stripped_and_kept(tmp_path: Path, served: Served) -> None:
    progress, [found] = obtained("classic:alice", texts=tmp_path)
    assert Path(found) == tmp_path / "alice.txt"
    text = Path(found).read_text("utf-8")
    assert text == WORDS.replace("\r\n", "\n").strip() + "\n"
    assert progress[0].total == len(BOOK)
    assert progress[-1].path == Path(found)
    assert [path.name for path in tmp_path.iterdir()] == ["alice.txt"]
    obtained("classic:alice", texts=tmp_path)
    assert len(served.asked) == 1


def test_a_classic_that_was_cut_off_goes_on(tmp_path: Path, served: Served) -> None:
    served.cut = 10_000
    with pytest.raises(ValueError, match=r"^Alice's Adventures in Wonderland is not on this computer yet"):
        obtained("classic:alice", texts=tmp_path)
    assert not (tmp_path / "alice.txt").exists()
    served.cut = None
    obtained("classic:alice", texts=tmp_path)
    assert served.asked[-1]["Range"] == "bytes=10000-"
    assert "START OF" not in (tmp_path / "alice.txt").read_text("utf-8")


def test_what_is_no_book_is_refused(tmp_path: Path, served: Served) -> None:
    for body in (b"<html>a page that asks you to log in</html>", BOOK[: len(BOOK) // 2], b""):
        served.body, served.modified = body, ""
        with pytest.raises(ValueError, match="its START and END lines are missing; connect to the internet"):
            obtained("classic:alice", texts=tmp_path)
        assert not (tmp_path / "alice.txt").exists()
    served.status = 404
    with pytest.raises(ValueError, match=r"\(the server answers 404 Not Found\); connect to the internet"):
        obtained("classic:alice", texts=tmp_path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_sentence(tmp_path: Path, served: Served) -> None:
    (tmp_path / ".alice.txt.fetched.part").symlink_to("/dev/full")
    expected = rf"^Alice's Adventures in Wonderland could not be saved in {tmp_path} \(No space left on device\)"
    with pytest.raises(ValueError, match=expected):
        obtained("classic:alice", texts=tmp_path)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("classic:nobody", r"^there is no classic 'nobody'; the classics are: alice, "),
        ("classic:../alice", r"^there is no classic '\.\./alice'"),
        ("story-world:0", r"^story-world:COUNT takes 1 to 80,000 stories, not '0'$"),
        ("story-world:many", r"^story-world:COUNT takes 1 to 80,000 stories, not 'many'$"),
        ("story-world:", "not ''$"),
        ("story-world:80001", "not '80001'$"),
    ],
)
def test_names_that_are_none_cost_nothing(tmp_path: Path, name: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        obtained("story-world:3", name, texts=tmp_path)
    assert not any(tmp_path.iterdir())


def test_all_are_listed_with_what_is_there(tmp_path: Path) -> None:
    obtained("story-world:5", texts=tmp_path)
    (tmp_path / "grimm.txt").write_text("Once")
    found = {source.name: source for source in listing(tmp_path)}
    assert list(found) == ["story-world", *(f"classic:{key}" for key in CLASSICS)]
    assert (found["classic:grimm"].available, found["classic:grimm"].size) == (True, 4)
    assert found["classic:alice"] == Source(
        name="classic:alice",
        title="Lewis Carroll: Alice's Adventures in Wonderland",
        note="1865, public domain, from Project Gutenberg",
        size=170_000,
        path=tmp_path / "alice.txt",
        available=False,
    )
    assert (found["story-world"].available, found["story-world"].size) == (False, STORIES * STORY_BYTES)


def test_training_on_them_in_a_terminal(
    tmp_path: Path, served: Served, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPTDESK_HOME", str(tmp_path))
    done = answer(capsys, "train", "--data", "classic:alice", "story-world:5", "--name", "mine", *QUICK)
    assert done["state"] == "finished"
    data = RunDirectory(tmp_path / "runs" / "mine").plan().data
    assert data == (str(tmp_path / "texts" / "alice.txt"), str(tmp_path / "texts" / "story-world-5.txt"))
    monkeypatch.setitem(CLASSICS, "grimm", replace(CLASSICS["grimm"], url="http://127.0.0.1:1/pg2591.txt"))
    sentence = complaint(capsys, "train", "--data", "classic:grimm", "--name", "other", *QUICK)
    assert sentence.startswith("gptdesk: Fairy Tales is not on this computer yet and could not be downloaded: ")
    assert "connect to the internet" in sentence
    assert not (tmp_path / "runs" / "other").exists()
