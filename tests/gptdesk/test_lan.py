"""`--lan`: a real desk on all addresses, reached by this computer's own address in its network, with its key."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from page_checks import BROWSER, MODULE, NEEDS_BROWSER, RunningDesk
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from gptdesk.api.page_key import COOKIE, NEEDED, WRONG, PageKey, keyed_link
from gptdesk.settings import load_settings
from gptdesk.system.lan import lan_addresses

ADDRESSES = lan_addresses()
IN_NETWORK = pytest.mark.skipif(not ADDRESSES, reason="this machine has no address but 127.0.0.1")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Path:
    home = tmp_path_factory.mktemp("home")
    (home / "models").symlink_to(tiny_folder)
    return home


class LanDesk(RunningDesk):
    """A desk with --lan: its address in the network, its key and its link."""

    def __init__(self, home: Path, *options: str) -> None:
        super().__init__(home, options=("--lan", "--port", "0", *options), OMP_NUM_THREADS="1")
        assert self.process.stderr is not None
        while "Key: " not in self.log:
            self.log += self.process.stderr.readline()
        (self.key,) = re.findall(r"Key: (\S+)", self.log)
        self.link = re.findall(r"In this network: (\S+)", self.log)[0]
        self.local, self.url = self.url, f"http://{ADDRESSES[0]}:{self.url.rpartition(':')[2]}"


@pytest.fixture(scope="module")
def desk(home: Path) -> Iterator[LanDesk]:
    desk = LanDesk(home, "--no-browser")
    yield desk
    assert "Traceback" not in desk.close()


@IN_NETWORK
def test_the_page_needs_the_key_of_its_link(desk: LanDesk) -> None:
    assert desk.link == f"{desk.url}/?key={desk.key}"
    assert len(desk.key) == 12
    with httpx.Client(base_url=desk.url, trust_env=False) as pupil:
        for path in ("/theme.css", "/gradio_api/app_id", "/gradio_api/heartbeat/abc", "/gradio_api/file=/etc/passwd"):
            assert (pupil.get(path).status_code, pupil.get(path).text) == (401, NEEDED)
        assert pupil.post("/gradio_api/queue/join", json={}).status_code == 401
        for path, sentence in (("/", NEEDED), ("/?key=wrong", WRONG), ("/?key=", NEEDED)):
            refused = pupil.get(path)
            assert (refused.status_code, sentence in refused.text) == (401, True)
            assert "gradio" not in refused.text
        opened = pupil.get(desk.link)
        assert (opened.status_code, opened.headers["location"]) == (303, "/")
        assert {"httponly", "samesite=lax"} <= set(opened.headers["set-cookie"].lower().split("; "))
        assert (opened.headers["referrer-policy"], opened.headers["cache-control"]) == ("no-referrer", "no-store")
        page = pupil.get("/")
        assert (page.status_code, "gradio" in page.text) == (200, True)
        assert desk.key not in page.text
        assert pupil.get("/theme.css").status_code == 200
        assert pupil.get("/gradio_api/upload_progress").status_code == 404  # public mode: no uploads


@IN_NETWORK
def test_programs_send_the_key_and_the_cookie_is_not_enough(desk: LanDesk) -> None:
    body = {"model": "tiny", "prompt": "Once", "max_tokens": 3, "seed": 1}
    with httpx.Client(base_url=desk.url, trust_env=False, timeout=30) as client:
        client.get(desk.link)
        assert client.post("/v1/completions", json=body).status_code == 401
        client.headers["authorization"] = f"Bearer {desk.key}"
        assert client.post("/v1/completions", json=body).json()["usage"]["completion_tokens"] == 3
        assert client.get("/health").status_code == 200
        assert "Authorization: Bearer $GPTDESK_API_KEY" in client.get("/docs").text.replace("&quot;", '"')
    # a page of another site that reaches the desk under a name of its own has no cookie there
    with httpx.Client(base_url=desk.local, trust_env=False, headers={"host": "evil.example"}) as rebound:
        assert rebound.get("/").status_code == 401
        assert rebound.get("/v1/models").status_code == 401


@IN_NETWORK
@NEEDS_BROWSER
def test_a_pupil_opens_the_page_by_its_link_or_by_typing_the_key(desk: LanDesk, browser: object) -> None:
    assert BROWSER
    for typed in (False, True):
        context = browser.new_context()  # type: ignore[attr-defined]
        page = context.new_page()
        page.goto(desk.url if typed else desk.link)
        if typed:
            page.get_by_label("Key").fill(f" {desk.key} ")
            page.get_by_role("button", name="Open").click()
        page.locator("#generate").wait_for()
        assert page.url == f"{desk.url}/"
        context.close()


@IN_NETWORK
def test_a_key_of_ones_own_without_a_page(home: Path, tmp_path: Path) -> None:
    (tmp_path / "models").symlink_to(home / "models")
    desk = RunningDesk(
        tmp_path,
        program=(*MODULE, "serve"),
        options=("--lan", "--port", "0", "--api-key", "a+b/c="),
        OMP_NUM_THREADS="1",
    )
    url = f"http://{ADDRESSES[0]}:{desk.url.rpartition(':')[2]}"
    with httpx.Client(base_url=url, trust_env=False) as client:
        assert client.get("/").headers["location"] == "/docs"
        assert client.get("/v1/models").status_code == 401
        models = client.get("/v1/models", headers={"authorization": "Bearer a+b/c="}).json()["data"]
        assert "tiny" in [model["id"] for model in models]
    log = desk.close()
    assert f"In this network: {url}/docs\n" in log
    assert "Key: a+b/c=  (Programs send it as Authorization: Bearer a+b/c=)\n" in log


def test_any_key_comes_through_a_link() -> None:
    key = "a+b/c=d~._-"
    pupil = TestClient(PageKey(PlainTextResponse("passed"), key=key), base_url="http://desk")
    assert pupil.get("/", headers={"cookie": f"{COOKIE}={key}x"}).status_code == 401
    assert pupil.get(keyed_link("http://desk", key)).text == "passed"


def test_lan_is_public_makes_a_key_for_each_start_and_excludes_host(tmp_path: Path) -> None:
    settings = load_settings({"home": str(tmp_path), "lan": True})
    assert (settings.bind_host, settings.public, settings.url(port=1)) == ("0.0.0.0", True, "http://127.0.0.1:1")
    keys = {settings.with_key().api_key for _ in range(5)}
    assert (len(keys), settings.api_key, settings.source("api_key")) == (5, "", "default")
    assert settings.with_key().source("api_key") == "made at the start"
    assert load_settings({"home": str(tmp_path), "lan": True, "api_key": "own"}).with_key().api_key == "own"
    assert load_settings({"home": str(tmp_path)}).with_key().api_key == ""
    with pytest.raises(
        ValueError, match=r"lan listens on all addresses .* host is not allowed; .*\(in the command line\)"
    ):
        load_settings({"home": str(tmp_path), "lan": True, "host": "127.0.0.1"})


def test_addresses_of_the_network_come_before_those_of_containers(monkeypatch: pytest.MonkeyPatch) -> None:
    family = next(one.family for one in psutil.net_if_addrs()["lo"] if one.address == "127.0.0.1")
    ups = {
        "lo": "127.0.0.1",
        "docker0": "172.17.0.1",
        "tun0": "10.8.0.2",
        "eth0": "169.254.3.4",
        "wlan0": "192.168.7.5",
    }
    kind = type(psutil.net_if_addrs()["lo"][0])
    given = {
        name: [kind(family, address, None, None, None)] for name, address in (ups | {"eth1": "192.168.9.9"}).items()
    }
    state = next(iter(psutil.net_if_stats().values()))
    states = {name: state._replace(isup=name != "eth1") for name in given}
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: given)
    monkeypatch.setattr(psutil, "net_if_stats", lambda: states)
    assert lan_addresses() == ["192.168.7.5", "172.17.0.1", "10.8.0.2", "169.254.3.4"]
