"""Models of one short page of text: `python -m benchmarks.short_texts [--text FILE ...]`.

On each page a new model is trained, and the starter trained further, for as many minutes, without early stopping. The
checkpoint that is best on the validation split and the last one, which is closest to the text, then write from one
prompt. Counted are words that exist (in the page or in stories of the starter's generator), and the longest copy.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.command import exit_code
from gptdesk.desk import Desk
from gptdesk.formatting import short
from gptdesk.generation import GenerationRequest, GenerationResult
from gptdesk.settings import Settings
from gptdesk.starter.stories import stories
from gptdesk.training.run_directory import RunDirectory
from models.manager import ModelKey

PAGES = Path(__file__).parent / "pages"
PROMPTS = ("The ", "I ", "It was ")
TOKENS, SEED = {"new": 200, "starter": 60}, 1  # about as many characters of each
WORD = re.compile(r"[a-z']{2,}")


@dataclass(frozen=True)
class Row:
    """Texts that one checkpoint wrote: `which` is "best" on the validation split or "last"."""

    page: str
    start: str  # "new" or "starter"
    which: str
    step: int
    steps: int
    words: float  # share of the words written that exist
    copied: int  # characters of the longest run that is in the page
    texts: tuple[str, ...]


def train(home: Path, page: Path, start: str, minutes: float) -> Iterator[Row]:
    """Train on a page and yield what the best and the last checkpoint write."""
    name = f"{page.stem}-{start}"
    command = [sys.executable, "-m", "gptdesk", "--home", str(home), "train", "--data", str(page), "--name", name]
    command += ["--max-minutes", str(minutes), "--patience", "0"]
    command += ["--start", "starter"] if start == "starter" else []
    subprocess.run(command, check=True, capture_output=True)
    desk = Desk(Settings(home=home))
    run = RunDirectory(desk.settings.runs / name)
    status, text = run.status(), page.read_text(encoding="utf-8")
    known = set(WORD.findall((text + " ".join(stories(5, 2000))).lower()))
    for which, step in (("best", status.best_step), ("last", status.saved_step)):
        key = ModelKey(f"{name}@{step}", "float32")
        texts = tuple(write(desk, key, prompt, TOKENS[start]) for prompt in PROMPTS)
        words = WORD.findall(" ".join(texts).lower())
        share = sum(word in known for word in words) / max(1, len(words))
        copied = max(longest_copy(one, text) for one in texts)
        yield Row(page.stem, start, which, step, status.steps, share, copied, texts)


def write(desk: Desk, key: ModelKey, prompt: str, count: int) -> str:
    """Return the prompt and its continuation, with the default samplers."""
    result = GenerationResult(1)
    for event in desk.generate(key, GenerationRequest(prompt=prompt, max_new_tokens=count, seed=SEED), origin="cli"):
        result.add(event)
    return prompt + result.texts[0]


def longest_copy(written: str, text: str) -> int:
    """Return the length of the longest run of characters of `written` that is in `text`."""
    longest = 0
    for start in range(len(written)):
        while written[start : start + longest + 1] in text and start + longest < len(written):
            longest += 1
    return longest


def main() -> None:
    """Measure all pages and print a line for each checkpoint, then the texts."""
    parser = argparse.ArgumentParser(prog="benchmarks.short_texts", description=__doc__)
    parser.add_argument("--text", type=Path, nargs="*", help="pages instead of those of benchmarks/pages")
    parser.add_argument("--minutes", type=float, default=0.75, help="of each run")
    parser.add_argument("--out", type=Path, help="file for all rows as JSON lines")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        for page in options.text or sorted(PAGES.glob("*.txt")):
            for start in ("new", "starter"):
                for row in train(Path(home), page, start, options.minutes):
                    print(
                        f"{row.page:12} {row.start:8} {row.which:5} step {row.step:4} of {row.steps:4}  "
                        f"words {row.words:4.0%}  copied {short(row.copied)}",
                        flush=True,
                    )
                    print("    " + " | ".join(row.texts).replace("\n", "⏎"), flush=True)
                    if options.out:
                        with options.out.open("a", encoding="utf-8") as file:
                            file.write(json.dumps(asdict(row), ensure_ascii=False) + "\n")


if __name__ == "__main__":
    sys.exit(exit_code(main))
