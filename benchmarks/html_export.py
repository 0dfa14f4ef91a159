"""Speed of an exported page: `python -m benchmarks.html_export` generates texts in Chromium by its Generate button.

Other programs slow a page down, so the best text is printed beside the median, the tokens for each second of processor
time of the page's process, and the load of the machine. Needs Chromium and playwright.
"""

import argparse
import os
import re
import statistics
import tempfile
from contextlib import suppress
from pathlib import Path

import psutil

from gptdesk.export import export
from gptdesk.starter import CHECKPOINT
from models.checkpoint import Checkpoint

SPEED = re.compile(r"^([\d,]+) tokens? · ([\d,]+) tokens/s")
LONGEST = 600_000  # milliseconds that a text may take


def page_speeds(page: Path, browser: str, *, texts: int, tokens: int) -> tuple[list[tuple[int, int]], float]:
    """Return the tokens and the tokens per second of every text, as the page shows them, and the processor seconds."""
    from playwright.sync_api import expect, sync_playwright

    speeds = []
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-gpu"])
        tab = chromium.new_page()
        tab.goto(page.as_uri())
        tab.locator("#tokens").fill(str(tokens))
        busy = renderer_seconds()
        for seed in range(texts):
            tab.locator("#seed").fill(str(seed))
            tab.locator("#go").click()
            expect(tab.locator("#stats")).to_contain_text("ended", timeout=LONGEST)
            found = SPEED.match(tab.locator("#stats").text_content() or "")
            assert found, tab.locator("#stats").text_content()
            count, speed = (int(number.replace(",", "")) for number in found.groups())
            speeds.append((count, speed))
        busy = renderer_seconds() - busy
        chromium.close()
    return speeds, busy


def renderer_seconds() -> float:
    """Return the processor seconds of the browser's processes that run pages."""
    seconds = 0.0
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if "--type=renderer" in process.cmdline():
                times = process.cpu_times()
                seconds += times.user + times.system
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.html_export", description=__doc__)
    parser.add_argument("--model", type=Path, default=CHECKPOINT, help="checkpoint folder; default: the starter")
    parser.add_argument("--browser", default="/usr/bin/chromium", help="path of Chromium")
    parser.add_argument("--texts", type=int, default=10)
    parser.add_argument("--tokens", type=int, default=200, help="of each text")
    options = parser.parse_args()
    checkpoint = Checkpoint.open(options.model)
    with tempfile.TemporaryDirectory() as folder:
        page = export(checkpoint, checkpoint.load_tokenizer(), name="model", to=Path(folder) / "page", format="html")
        size = sum(file.stat().st_size for file in page.parent.rglob("*") if file.is_file())
        before = os.getloadavg()[0]
        speeds, busy = page_speeds(page, options.browser, texts=options.texts, tokens=options.tokens)
    rates = [speed for _, speed in speeds]
    print(f"{checkpoint.parameters:,} parameters, a page of {size / 1e6:.1f} MB")
    print(f"{len(speeds)} texts, {sum(count for count, _ in speeds):,} tokens")
    print(f"tokens/s: best {max(rates):,}, median {statistics.median(rates):,.0f}, worst {min(rates):,}")
    print(f"tokens for each second of processor time: {sum(count for count, _ in speeds) / busy:,.0f}")
    print(f"load of the machine: {before:.1f} before, {os.getloadavg()[0]:.1f} after, of {os.cpu_count()} processors")


if __name__ == "__main__":
    main()
