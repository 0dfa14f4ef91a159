"""`gptdesk serve`: the API without the page, in a process of its own that never imports Gradio."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from page_checks import RunningDesk

from gptdesk.api.guard import CLOSED

# -X importtime names every module on stderr as it is imported
PROGRAM = (sys.executable, "-X", "importtime", "-m", "gptdesk")
OPTIONS = ("serve", "--port", "0")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Path:
    home = tmp_path_factory.mktemp("home")
    (home / "models").symlink_to(tiny_folder)
    return home


@pytest.fixture(scope="module")
def served(home: Path) -> Iterator[RunningDesk]:
    desk = RunningDesk(home, program=PROGRAM, options=OPTIONS, OMP_NUM_THREADS="1")
    yield desk
    log = desk.close()
    imported = set(re.findall(r"\| +([\w.]+)$", log, re.MULTILINE))
    assert {"gptdesk.server", "fastapi", "torch"} <= imported
    assert not [name for name in imported if name.startswith(("gradio", "gptdesk.page"))]
    assert f"No page is served: the API is at {desk.url}/v1, and {desk.url}/docs describes it\n" in log
    assert "Traceback" not in log
    assert desk.process.returncode == 0


def test_the_api_is_there_and_leads_to_its_description(served: RunningDesk) -> None:
    with httpx.Client(base_url=served.url, trust_env=False, timeout=30) as raw:
        body = {"model": "tiny", "prompt": "Once", "max_tokens": 5, "seed": 1}
        assert raw.post("/v1/completions", json=body).json()["usage"]["completion_tokens"] == 5
        assert raw.get("/health").json()["page"] is False
        root = raw.get("/")
        assert (root.status_code, root.headers["location"]) == (307, "/docs")
        assert "POST /v1/completions" in re.sub("<[^>]*>", "", raw.get("/docs").text)


def test_no_route_of_a_page_is_there(served: RunningDesk) -> None:
    with httpx.Client(base_url=served.url, trust_env=False) as raw:
        for path in ("/theme.css", "/gradio_api/app_id", "/gradio_api/heartbeat/abc", "/favicon.ico"):
            assert (raw.get(path).status_code, raw.get(path).text) == (404, CLOSED)
        for path in ("/gradio_api/queue/join", "/gradio_api/upload", "/"):
            assert (raw.post(path).status_code, raw.post(path).text) == (404, CLOSED)


def test_a_second_start_says_what_runs(served: RunningDesk, home: Path) -> None:
    def start(*words: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "gptdesk", *words, "--home", str(home)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stderr

    assert start("serve") == (0, f"GPT Desk is already running at {served.url}, with its API at {served.url}/v1\n")
    code, sentence = start("--no-browser")
    assert code == 2
    assert sentence.startswith(f"gptdesk: `gptdesk serve` runs for this home at {served.url}, without a page; end it")
    code, sentence = start("serve", "--no-browser")
    assert (code, sentence) == (2, "gptdesk: unrecognized arguments: --no-browser; see `gptdesk serve --help`\n")
