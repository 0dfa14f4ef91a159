"""Shared by the tests of the page in a browser: an empty home, and the page with nothing saved."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from page_checks import RunningDesk, watched_page


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def page(browser: object, desk: RunningDesk, home: Path) -> Iterator[object]:
    (home / "page.json").unlink(missing_ok=True)
    with watched_page(browser, desk) as page:  # type: ignore[arg-type]
        yield page
