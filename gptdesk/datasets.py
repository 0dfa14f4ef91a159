"""Training texts by name: generated stories, and classics to download."""

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gptdesk.starter.stories import stories
from models import storage
from models.download import download
from models.tokenizer import END_OF_TEXT

STORY_WORLD, CLASSIC = "story-world", "classic:"
STORIES, MOST_STORIES = 5_500, 80_000  # 5 MB, and 74 MB
STORY_BYTES = 922  # of a story, on average
COLLECTION = 3  # seed of the stories: neither the starter's training stories nor those of evaluations
AT_ONCE = 200  # stories between progress reports
WAIT = 30.0  # seconds for each piece of a download
LARGEST = 4  # times the expected size that a download may have
START, END = (re.compile(rf"^\*\*\* ?{word} OF TH(E|IS) PROJECT GUTENBERG EBOOK.*$", re.M) for word in ("START", "END"))


@dataclass(frozen=True)
class Classic:
    """Book in the public domain in the USA and in countries with a term of 70 years after the author's death."""

    title: str
    author: str
    year: int
    url: str
    size: int  # bytes, approximately


def _gutenberg(number: int) -> str:
    return f"https://www.gutenberg.org/cache/epub/{number}/pg{number}.txt"


CLASSICS = {
    "alice": Classic("Alice's Adventures in Wonderland", "Lewis Carroll", 1865, _gutenberg(11), 170_000),
    "frankenstein": Classic("Frankenstein", "Mary Shelley", 1818, _gutenberg(84), 440_000),
    "grimm": Classic("Fairy Tales", "Jacob and Wilhelm Grimm", 1823, _gutenberg(2591), 540_000),
    "sherlock": Classic("The Adventures of Sherlock Holmes", "Arthur Conan Doyle", 1892, _gutenberg(1661), 600_000),
    "pride": Classic("Pride and Prejudice", "Jane Austen", 1813, _gutenberg(1342), 750_000),
    "dracula": Classic("Dracula", "Bram Stoker", 1897, _gutenberg(345), 870_000),
    "moby-dick": Classic("Moby-Dick", "Herman Melville", 1851, _gutenberg(2701), 1_260_000),
    "shakespeare": Classic("The Complete Works", "William Shakespeare", 1623, _gutenberg(100), 5_500_000),
}


@dataclass(frozen=True)
class Source:
    """Entry of the list of texts."""

    name: str  # given instead of a file
    title: str
    note: str  # origin and licence
    size: int  # bytes, approximately if the file does not exist
    path: Path  # of its file
    available: bool  # the file exists


@dataclass(frozen=True)
class TextProgress:
    """Progress of generating or downloading a text; the last one has the path of the file."""

    stage: str
    done: int  # bytes, approximately
    total: int
    path: Path | None = None


def listing(texts: Path) -> list[Source]:
    """Return the texts that are available by name; `texts` is the folder for their files."""
    origin = "generated like the training text of the starter model; MIT"
    entries = [(STORY_WORLD, "Stories of a small world", origin, STORIES * STORY_BYTES)]
    for key, book in CLASSICS.items():
        note = f"{book.year}, public domain, from Project Gutenberg"
        entries.append((f"{CLASSIC}{key}", f"{book.author}: {book.title}", note, book.size))
    return [_source(*line, path=_path(line[0], texts)) for line in entries]


def is_named(place: str) -> bool:
    """Return whether a place is the name of a text, not a file or folder."""
    return place.partition(":")[0] == STORY_WORLD or place.startswith(CLASSIC)


def obtain(places: Sequence[str], texts: Path) -> Iterator[TextProgress | tuple[str, ...]]:
    """Generate or download named texts that the folder `texts` lacks; yield progress, then all places as paths.

    Raises ValueError for unknown names, and if a classic cannot be downloaded.
    """
    paths = {place: str(_path(place, texts)) if is_named(place) else place for place in places}
    for place in filter(is_named, paths):
        yield from _obtain(place, texts)
    yield tuple(paths.values())


def fetch(classic: Classic, path: Path) -> Iterator[TextProgress]:
    """Download a classic and write its words to `path`, without what Project Gutenberg puts around them.

    Raises ValueError if there is no network, if what arrives is not the book, or if the disk refuses.
    """
    raw = path.with_name(f"{path.name}.fetched")
    try:
        for received in download(classic.url, raw, timeout=WAIT, limit=LARGEST * classic.size):
            yield TextProgress(f"downloading {classic.title}", received.done, received.total or classic.size)
        text = words_of(raw.read_text("utf-8-sig", errors="replace"))
        storage.write_file(path, text.encode("utf-8"))
    except ValueError as error:
        raise ValueError(
            f"{classic.title} is not on this computer yet and could not be downloaded: {error}; connect to the "
            "internet and try again, or choose another text"
        ) from error
    except OSError as error:
        reason = error.strerror or error
        raise ValueError(f"{classic.title} could not be saved in {path.parent} ({reason}); free some space") from error
    finally:
        with contextlib.suppress(OSError):
            raw.unlink()
    yield TextProgress(f"downloading {classic.title}", classic.size, classic.size, path)


def words_of(text: str) -> str:
    """Return the book within a file of Project Gutenberg. Raises ValueError if its START and END lines are missing."""
    start, end = START.search(text), END.search(text)
    if start is None or end is None or end.start() <= start.end():
        raise ValueError("the downloaded file is no book of Project Gutenberg: its START and END lines are missing")
    return text[start.end() : end.start()].strip() + "\n"


def _obtain(name: str, texts: Path) -> Iterator[TextProgress]:
    path = _path(name, texts)
    texts.mkdir(parents=True, exist_ok=True)
    if path.is_file():
        size = path.stat().st_size
        yield TextProgress("reading", size, size, path)
    elif name.startswith(CLASSIC):
        yield from fetch(CLASSICS[name.removeprefix(CLASSIC)], path)
    else:
        yield from _write_stories(_count(name), path)


def _write_stories(count: int, path: Path) -> Iterator[TextProgress]:
    """Write stories with lines of END_OF_TEXT between them."""
    texts: list[str] = []
    for story in stories(COLLECTION, count):
        texts.append(story)
        if len(texts) % AT_ONCE == 0:
            yield TextProgress("generating stories", len(texts) * STORY_BYTES, count * STORY_BYTES)
    text = f"\n{END_OF_TEXT}\n".join(texts) + "\n"
    storage.write_file(path, text.encode("utf-8"))
    yield TextProgress("generating stories", len(text), len(text), path)


def _path(name: str, texts: Path) -> Path:
    """Return the path of a text. Raises ValueError if there is none of this name."""
    if not name.startswith(CLASSIC):
        return texts / f"{STORY_WORLD}-{_count(name)}.txt"
    key = name.removeprefix(CLASSIC)
    if key not in CLASSICS:
        raise ValueError(f"there is no classic {key[:40]!r}; the classics are: {', '.join(CLASSICS)}")
    return texts / f"{key}.txt"


def _count(name: str) -> int:
    _, colon, count = name.partition(":")
    if not colon:
        return STORIES
    if not count.isdecimal() or not 1 <= int(count[:9]) <= MOST_STORIES:
        raise ValueError(f"{STORY_WORLD}:COUNT takes 1 to {MOST_STORIES:,} stories, not {count[:40]!r}")
    return int(count)


def _source(name: str, title: str, note: str, size: int, *, path: Path) -> Source:
    available = path.is_file()
    return Source(name, title, note, path.stat().st_size if available else size, path, available)
