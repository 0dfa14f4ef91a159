"""The page as it is sent: files that are loaded at once, compression, caches, one page per language and address."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import gradio
import httpx
import pytest
from page_checks import NEEDS_BROWSER, RunningDesk

from gptdesk.page.assets import FOREVER, first_files
from gptdesk.page.front_page import CONFIGURATION, UNWATCHED

FRONTEND = Path(gradio.__file__).parent / "templates" / "frontend"
LINKS = re.compile(r'<link rel="(?:modulepreload|preload" as="style)"[^>]* href="\./([^"]+)">')


@pytest.fixture(scope="module")
def client(desk: RunningDesk) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=desk.url, trust_env=False) as client:
        yield client


@NEEDS_BROWSER
def test_the_page_links_just_the_files_that_it_loads(browser: object, desk: RunningDesk, client: httpx.Client) -> None:
    sent = client.get("/").text
    linked = LINKS.findall(sent)
    assert len(linked) > 50
    assert UNWATCHED in sent
    page = browser.new_page()  # type: ignore[attr-defined]
    loaded: set[str] = set()
    page.on("request", lambda request: loaded.add(request.url.removeprefix(f"{desk.url}/")))
    plain = LINKS.sub("", sent).replace(UNWATCHED, "")
    page.route(f"{desk.url}/", lambda route: route.fulfill(body=plain, content_type="text/html"))
    page.goto(desk.url)
    page.locator("#generate").wait_for()
    page.wait_for_load_state()
    page.close()
    assert {name for name in loaded if name.startswith(("assets/", "theme.css"))} == set(linked)


def test_without_the_known_scripts_nothing_is_linked(tmp_path: Path) -> None:
    page = (FRONTEND / "index.html").read_text("utf-8")
    assert first_files(page, FRONTEND / "assets", ["button"])
    assert first_files(page, tmp_path, ["button"]) == ()
    assert first_files("<script src='another.js'>", FRONTEND / "assets", ["button"]) == ()


def test_only_what_has_a_hash_of_its_content_is_cached_for_ever(client: httpx.Client) -> None:
    name = next(one for one in LINKS.findall(client.get("/").text) if one.endswith(".js"))
    theme = next(one for one in LINKS.findall(client.get("/").text) if one.startswith("theme.css"))
    content = (FRONTEND / name).read_bytes()
    plain = client.get(name, headers={"accept-encoding": "identity"})
    packed = client.get(name, headers={"accept-encoding": "br, gzip"})
    assert plain.content == packed.content == content
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    for answer in (plain, packed, client.get(theme)):
        assert answer.headers["cache-control"] == FOREVER
        assert answer.headers["vary"] == "Accept-Encoding"
    for path in ("/", "/theme.css", "/theme.css?v=0", "/favicon.ico", "/static/img/logo.svg", "/assets/index-abc.js"):
        assert "immutable" not in client.get(path).headers.get("cache-control", ""), path


def test_each_language_and_address_has_its_own_page(client: httpx.Client) -> None:
    client.cookies.clear()
    english = client.get("/", headers={"accept-language": "en"})
    client.cookies.clear()
    german = client.get("/", headers={"accept-language": "de"})
    assert english.headers["set-cookie"] != german.headers["set-cookie"]  # another visitor
    assert ">Vergleichen<" not in english.text
    assert '"Vergleichen"' in german.text
    assert client.get("/", headers={"accept-language": "en"}).text == english.text
    proxied = client.get("/", headers={"accept-language": "en", "x-forwarded-host": "desk.example:81"})
    assert '"root":"http://desk.example:81"' in proxied.text
    assert "desk.example" not in client.get("/", headers={"accept-language": "en"}).text
    packed = client.get("/", headers={"accept-language": "en", "accept-encoding": "gzip"})
    assert (packed.headers["content-encoding"], packed.text) == ("gzip", english.text)
    assert {"Accept-Language", "Cookie", "Accept-Encoding"} <= set(packed.headers["vary"].split(", "))
    (configuration,) = CONFIGURATION.findall(english.text)
    components = json.loads(configuration.partition("= ")[2].removesuffix(";</script>"))["components"]
    assert len(configuration) < 800 * len(components)  # bytes
    assert "api_info" not in configuration
