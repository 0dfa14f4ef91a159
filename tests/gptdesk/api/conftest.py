"""What the tests of the API share: a desk with the tiny model behind a real server, and the official client."""

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import openai
import pytest
from api_checks import served

from gptdesk.desk import Desk
from gptdesk.settings import load_settings


@pytest.fixture(scope="module")
def api_desk(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Desk:
    home = tmp_path_factory.mktemp("home")
    (home / "models").symlink_to(tiny_folder)
    return Desk(load_settings({"home": str(home)}))


@pytest.fixture(scope="module")
def url(api_desk: Desk, in_event_loop: Callable) -> Iterator[str]:
    with served(api_desk, in_event_loop) as url:
        yield url


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="local", max_retries=0, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def raw(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=30, trust_env=False) as raw:
        yield raw
