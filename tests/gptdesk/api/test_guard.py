"""The guard alone, then with /health on the real application: every route of ours and of Gradio's is behind it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient, WebSocketDenialResponse

from gptdesk.api.guard import CLOSED, Guard
from gptdesk.desk import Desk
from gptdesk.server import web_app
from gptdesk.settings import load_settings
from gptdesk.system.single_instance import home_id
from models.native import compiled

HERE = "127.0.0.1:7860"
ROUTES = ("/", "/health", "/config", "/gradio_api/info", "/gradio_api/upload", "/gradio_api/queue/join")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, in_event_loop: Callable) -> TestClient:
    desk = Desk(load_settings({"home": str(tmp_path_factory.mktemp("home"))}))
    return TestClient(in_event_loop(lambda: web_app(desk)), base_url=f"http://{HERE}", raise_server_exceptions=False)


# The guard alone: host, origin and sec-fetch-site of a request; its status when it reads a page, reads a stream, sends
# an event, and sends one to a public desk.
TABLE = [
    ("localhost", None, None, 200, 200, 200, 200),
    ("localhost", None, "none", 200, 200, 200, 200),
    ("localhost", None, "same-origin", 200, 200, 200, 200),
    ("localhost", "http://localhost:7860", "same-origin", 200, 200, 200, 200),
    ("localhost", "http://127.0.0.1:1", "same-site", 200, 200, 200, 200),
    ("localhost", "https://desk.example.org", None, 200, 200, 200, 200),
    ("localhost", "", None, 200, 200, 200, 200),
    ("localhost", None, "cross-site", 200, 403, 403, 200),
    ("localhost", "http://localhost", "cross-site", 200, 403, 403, 200),
    ("localhost", "http://evil.com", None, 200, 200, 403, 200),
    ("localhost", "http://localhost.evil.com", "same-origin", 200, 200, 403, 200),
    ("localhost", "null", None, 200, 200, 403, 200),
    ("localhost", "http://[::", None, 200, 200, 403, 200),
    ("127.0.0.1:7860", None, None, 200, 200, 200, 200),
    ("[::1]:7860", "http://[::1]:7860", None, 200, 200, 200, 200),
    ("desk.example.org", "https://desk.example.org", "same-origin", 200, 200, 200, 200),
    ("desk.example.org", None, "cross-site", 200, 403, 403, 200),
    ("evil.com", None, None, 403, 403, 403, 200),
    ("evil.com", "http://evil.com", "same-origin", 403, 403, 403, 200),
    ("evil.com", "http://localhost", "cross-site", 403, 403, 403, 200),
    ("", None, None, 403, 403, 403, 200),
]


@pytest.mark.parametrize(("host", "origin", "site", "page", "stream", "event", "public"), TABLE)
def test_who_may_do_what(
    host: str, origin: str | None, site: str | None, page: int, stream: int, event: int, public: int
) -> None:
    app, hosts = PlainTextResponse("passed"), ["desk.example.org"]
    own, open_to_all = (TestClient(Guard(app, public=public, hosts=hosts)) for public in (False, True))
    given = {"host": host, "origin": origin, "sec-fetch-site": site}
    headers = {name: value for name, value in given.items() if value is not None}
    found = [
        own.get("/", headers=headers).status_code,
        own.get("/gradio_api/queue/data?session_hash=x", headers=headers).status_code,
        own.post("/gradio_api/queue/join", headers=headers).status_code,
        open_to_all.post("/gradio_api/queue/join", headers=headers).status_code,
    ]
    assert found == [page, stream, event, public]


@pytest.mark.parametrize("method", ["DELETE", "PUT", "PATCH", "POST"])
def test_a_route_that_is_not_listed_is_closed_with_every_method(method: str) -> None:
    guarded = TestClient(Guard(PlainTextResponse("passed"), public=False))
    for path in ("/config", "/gradio_api/info", "/health"):
        assert guarded.request(method, path, headers={"host": "localhost"}).status_code == 404


def test_a_websocket_is_refused() -> None:
    guarded = TestClient(Guard(PlainTextResponse("passed"), public=True), base_url="http://localhost")
    with pytest.raises(WebSocketDenialResponse) as refusal, guarded.websocket_connect("/"):
        pass
    assert (refusal.value.status_code, refusal.value.text) == (404, CLOSED)


# On the real application


def test_health_tells_whose_desk_it_is_and_which_step_it_uses(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(compiled.SWITCH, "torch")
    answer = client.get("/health").json()
    assert answer["app"] == "gptdesk"
    assert len(answer["home"]) == len(home_id(tmp_path))
    assert answer["home"] != home_id(tmp_path)
    assert answer["compiled_step"] == "not used (GPTDESK_KERNELS is torch)"
    asked = client.head("/health")
    assert (asked.status_code, asked.content) == (200, b"")


def test_health_tells_what_is_loaded_unless_there_is_a_key(
    tmp_path: Path, in_event_loop: Callable, client: TestClient
) -> None:
    before = client.get("/health").json()
    assert (before["status"], before["model"], before["device"], before["queue"]) == ("ok", "starter", "cpu", 0)
    client.post("/generate", json={"model": "starter:int8", "prompt": "Once", "max_new_tokens": 1})
    assert client.get("/health").json()["loaded"] == ["starter:int8"]
    keyed = Desk(load_settings({"home": str(tmp_path), "api_key": "secret"}))
    answer = TestClient(in_event_loop(lambda: web_app(keyed)), base_url=f"http://{HERE}").get("/health").json()
    assert answer.keys() == before.keys() - {"loaded"}


def test_the_address_of_the_tutorials_second_page_leads_to_the_first(client: TestClient) -> None:
    assert client.get("/redoc").url.path == "/docs"


@pytest.mark.parametrize("host", [HERE, "localhost", "localhost:1", "[::1]:7860", "127.9.9.9", "desk.localhost:80"])
def test_hosts_of_this_computer_are_answered(client: TestClient, host: str) -> None:
    assert client.get("/health", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.com", "evil.com:7860", "127.0.0.1.evil.com", "localhost.evil.com", "192.168.1.2", "0.0.0.0", "", "[::", "@"],
)
@pytest.mark.parametrize("route", ROUTES)
def test_other_hosts_are_refused_on_every_route(client: TestClient, route: str, host: str) -> None:
    for method in ("GET", "POST"):
        answer = client.request(method, route, headers={"host": host})
        assert answer.status_code == 403
        assert "localhost" in answer.text


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.com"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1.evil.com"},
        {"sec-fetch-site": "cross-site"},
        {"origin": f"http://{HERE}", "sec-fetch-site": "cross-site"},
    ],
)
@pytest.mark.parametrize("route", ROUTES)
def test_pages_of_other_sites_cannot_send(client: TestClient, route: str, headers: dict[str, str]) -> None:
    assert client.post(route, headers=headers).status_code == 403


def test_a_cross_site_upload_stores_nothing_and_ours_works(client: TestClient) -> None:
    files = {"files": ("a.txt", b"hello")}
    foreign = client.post("/gradio_api/upload", files=files, headers={"origin": "http://evil.com"})
    ours = client.post("/gradio_api/upload", files=files, headers={"origin": f"http://{HERE}"})
    assert (foreign.status_code, ours.status_code) == (403, 200)


@pytest.mark.parametrize("spelling", ["file=", "file/", "file//", "FILE="])
@pytest.mark.parametrize("address", ["http://example.org/", "https://example.org/a", "HTTP://example.org", "http:/x"])
def test_the_desk_is_no_proxy(client: TestClient, spelling: str, address: str) -> None:
    for prefix in ("/gradio_api/", "/"):
        answer = client.get(f"{prefix}{spelling}{address}")
        assert (answer.status_code, answer.text) == (404, CLOSED)


def test_behind_a_proxy_the_desk_answers_under_the_names_it_was_given(tmp_path: Path, in_event_loop: Callable) -> None:
    desk = Desk(load_settings({"home": str(tmp_path), "allow_host": "desk.example.org, Other.example"}))
    client = TestClient(in_event_loop(lambda: web_app(desk)), base_url=f"http://{HERE}", raise_server_exceptions=False)
    for host, status in {
        "desk.example.org": 200,
        "desk.example.org:8443": 200,
        "other.example": 200,
        "localhost": 200,
        "www.desk.example.org": 403,
        "desk.example.org.evil.com": 403,
        "evil.com": 403,
    }.items():
        assert client.get("/health", headers={"host": host}).status_code == status, host
    for origin, refused in {"https://desk.example.org": False, "https://evil.com": True}.items():
        headers = {"host": "desk.example.org", "origin": origin, "content-type": "application/json"}
        answer = client.post("/gradio_api/queue/join", headers=headers, content="{}")
        assert (answer.status_code == 403) is refused


@pytest.mark.parametrize("names", ["*", "http://desk.example.org", "desk.example.org:80", "a b", "-", "ü.example"])
def test_what_is_no_host_name_is_told(tmp_path: Path, names: str) -> None:
    with pytest.raises(ValueError, match=r"allow_host takes names like desk\.example\.org, without a port"):
        load_settings({"home": str(tmp_path), "allow_host": names})


def test_a_public_desk_answers_under_any_name(tmp_path: Path, in_event_loop: Callable) -> None:
    desk = Desk(load_settings({"home": str(tmp_path), "host": "0.0.0.0"}))
    answer = TestClient(in_event_loop(lambda: web_app(desk))).get("/health", headers={"host": "someone-desk.example"})
    assert answer.status_code == 200
    assert str(tmp_path) not in answer.text


@pytest.mark.parametrize(
    "route", ["/gradio_api/queue/data?session_hash=x", "/gradio_api/heartbeat/x", "/gradio_api/file=/x"]
)
def test_pages_of_other_sites_cannot_make_a_browser_read(client: TestClient, route: str) -> None:
    """Not even what is no harm to ask for: a page of another site may be opened from, and no more."""
    headers = {"sec-fetch-site": "cross-site"}
    assert client.get(route, headers=headers).status_code == 403
    assert client.get("/", headers=headers).status_code == 200
