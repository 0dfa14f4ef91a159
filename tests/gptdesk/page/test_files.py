"""Files through the page: only the visitor's own uploads are read, whatever a request claims."""

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from page_checks import RunningDesk

from benchmarks.visitor import Json, Visitor, file_data

SECRET = "CANARY-7f3a: a text that must stay where it is. " * 40
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module", params=["local", "public"])
def mode(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    (home / "secret.txt").write_text(SECRET)
    return home


@pytest.fixture(scope="module")
def desk(mode: str, home: Path) -> Iterator[RunningDesk]:
    host = {"GPTDESK_HOST": "0.0.0.0"} if mode == "public" else {}
    desk = RunningDesk(home, OMP_NUM_THREADS="1", **host)
    yield desk
    log = desk.close()
    assert "Traceback" not in log
    assert "CANARY" not in log


@pytest.fixture
def visitor(desk: RunningDesk) -> Iterator[Visitor]:
    visitor = Visitor(desk.url)
    yield visitor
    visitor.close()
    assert not any(b"CANARY" in answer or b"root:x:" in answer for answer in visitor.received)


def shapes(path: str) -> dict[str, object]:
    """Return all known ways to claim a file in an event."""
    plain = file_data(path)
    return {
        "path": plain,
        "path without meta": {"path": path},
        "path and url": file_data(path, url=f"/gradio_api/file={path}"),
        "url alone": {"url": f"file://{path}", "meta": {"_type": "gradio.FileData"}},
        "a url as path": file_data(f"file://{path}"),
        "http": file_data("http://127.0.0.1:1/x", url="http://127.0.0.1:1/x"),
        "stream": file_data(path, is_stream=True),
        "name": file_data(path, orig_name="../../a.txt", mime_type="text/plain", size=1),
        "list": [plain],
        "list of lists": [[plain]],
        "value": {"value": plain},
        "root": {"root": [plain]},
        "nested": {"a": [{"b": plain}]},
        "relative": file_data(os.path.relpath(path, ROOT)),
        "dots": file_data(f"{Path(path).parent}/x/../{Path(path).name}"),
        "old form": {"name": path, "data": None, "is_file": True},
        "video": {"video": plain, "subtitles": plain},
        "path that is a list": {"path": [path], "meta": {"_type": "gradio.FileData"}},
        "text": path,
    }


def with_value(event: Json, i: int, value: object, visitor: Visitor) -> list[object]:
    values = visitor.values(event)
    values[i] = value
    return values


def test_a_claimed_file_gets_nowhere_in_any_input_of_any_event(visitor: Visitor, home: Path, mode: str) -> None:
    """The text of the path itself is a text like any other, and so not among these."""
    secrets = [str(home / "secret.txt"), "/etc/passwd", str(home / "settings.json")]
    refused = 0
    for event in visitor.events:
        kinds = [visitor.components[number]["type"] for number in event["inputs"]]  # type: ignore[union-attr]
        for i, kind in enumerate(kinds):
            if kind == "state":  # what a browser says of it is not looked at
                continue
            claims = [one for name, one in shapes(secrets[i % len(secrets)]).items() if name != "text"]
            for claim in claims if kind == "file" else claims[i % 3 :: 3] if i < 3 else claims[i % 16 :][:1]:
                answer = visitor.send(event, with_value(event, i, claim, visitor))
                assert answer.status_code == 400, (event["id"], kind, claim, answer.text)
                refused += 1
    assert refused > (600 if mode == "local" else 300)


def test_a_claimed_file_gets_nowhere_beside_the_inputs(visitor: Visitor, home: Path) -> None:
    """Neither as the data of the event nor under keys that Gradio knows and the page never sends."""
    event = visitor.event("prompt", "change")
    claim = file_data(str(home / "secret.txt"))
    for extra in ({"event_data": claim}, {"event_id": claim}, {"trigger_id": claim}, {"simple_format": True}):
        body = visitor.body(event, visitor.values(event)) | extra
        assert visitor.request("POST", "/gradio_api/run/predict", json=body).status_code == 200
    for body in (claim, [claim], {"data": claim}, {"data": [], "fn_index": claim}):
        assert visitor.request("POST", "/gradio_api/run/predict", json=body).status_code == 400


def test_the_reported_hole_is_closed(visitor: Visitor, home: Path) -> None:
    """A claimed file, then a deep link of the session, then the configuration behind it."""
    event = visitor.event("prompt", "change")
    visitor.send(event, with_value(event, 0, file_data(str(home / "secret.txt")), visitor))
    link = visitor.request("GET", f"/gradio_api/deep_link?session_hash={visitor.session}")
    assert link.status_code == 404
    for query in (link.text, "0" * 64, "../x"):
        assert visitor.request("GET", f"/config?deep_link={query}").status_code == 404
        assert visitor.request("GET", f"/?deep_link={query}").status_code == 200


def spellings(path: str) -> list[str]:
    """Fifteen and more ways to ask for a file."""
    quoted = path.replace("/", "%2F")
    return [
        f"/gradio_api/file={path}",
        f"/gradio_api/file=/{path}",
        f"/gradio_api/file={quoted}",
        f"/gradio_api/file={quoted.replace('%', '%25')}",
        f"/gradio_api/file%3D{path}",
        f"/gradio_api/file/{path}",
        f"/gradio_api/FILE={path}",
        f"/gradio_api//file={path}",
        f"/gradio_api/./file={path}",
        f"/gradio_api/file=file://{path}",
        f"/gradio_api/file=http://127.0.0.1{path}",
        f"/gradio_api/file={path}/",
        f"/gradio_api/file={path}%00.txt",
        f"/gradio_api/file={path}%0a",
        f"/gradio_api/file=\\{path}",
        f"/gradio_api/file=./../../../../../../../../../..{path}",
        f"/gradio_api/file={path}?download=1",
        f"/file={path}",
        f"/file/{path}",
        f"/gradio_api/proxy=http://127.0.0.1/gradio_api/file={path}",
        f"/static/..{path}",
        f"/assets/%2e%2e{path}",
        f"/gradio_api/custom_component/x/client/{path}/x",
    ]


def test_no_file_of_the_computer_is_served(visitor: Visitor, home: Path) -> None:
    inside = home / "temporary" / "downloads" / "planted.txt"  # beside what the desk hands out
    inside.parent.mkdir(parents=True, exist_ok=True)
    inside.write_text(SECRET)
    for path in (
        str(home / "secret.txt"),
        "/etc/passwd",
        str(inside),
        str(ROOT / "pyproject.toml"),
        "/proc/self/environ",
    ):
        for spelling in spellings(path):
            for method in ("GET", "HEAD", "POST"):
                answer = visitor.request(method, visitor.url + spelling)
                assert answer.status_code == 404, (method, spelling, answer.status_code)


def test_an_upload_is_its_visitors_own(desk: RunningDesk, visitor: Visitor, mode: str) -> None:
    if mode == "public":
        answer = visitor.request("POST", "/gradio_api/upload", files={"files": ("a.txt", b"text")})
        assert answer.status_code == 404
        return
    other = Visitor(desk.url)
    path = other.upload("story.txt", b"Once upon a time there was a secret of the other visitor.\n" * 30)
    assert other.request("GET", f"/gradio_api/file={path}").content.startswith(b"Once upon")
    assert visitor.upload("mine.txt", b"mine") != path
    assert all(visitor.request("GET", visitor.url + spelling).status_code == 404 for spelling in spellings(path))
    measure = visitor.event("measure")
    answer = visitor.send(measure, visitor.values(measure, judge_text_file=file_data(path)))
    assert answer.json() == {"detail": "this file was not uploaded from here, or it is gone; choose it again"}
    found = other.run(measure, other.values(measure, judge_text_file=file_data(path), repeats=1))
    assert found[-2]["success"] is True  # and its own is read
    assert not any(b"secret of the other" in answer for answer in visitor.received)
    other.close()


def test_uploads_that_are_odd_are_refused_without_a_traceback(visitor: Visitor, home: Path, mode: str) -> None:
    if mode == "public":
        return

    def endless() -> Iterator[bytes]:
        yield b"--x\r\n"

    headers = {"content-type": "multipart/form-data; boundary=x"}
    assert visitor.request("POST", "/gradio_api/upload", content=endless(), headers=headers).status_code == 411
    for disposition in ('name="files"; filename=""', 'name="files"; filename="' + "x" * 300 + '"', 'name="files"', ""):
        body = f"--x\r\ncontent-disposition: form-data; {disposition}\r\n\r\ntext\r\n--x--\r\n".encode()
        with suppress(httpx.RemoteProtocolError, httpx.ReadError):
            answer = visitor.request("POST", "/gradio_api/upload", content=body, headers=headers)
            if answer.status_code == 200:
                assert all(Path(path).is_relative_to(home / "temporary") for path in answer.json())


@pytest.mark.parametrize("path", ["/assets/../../secret.txt", "/static/../app.py", "/gradio_api/./file=/etc/passwd"])
def test_paths_are_not_tidied_up_before_they_are_looked_at(desk: RunningDesk, path: str) -> None:
    """As raw bytes, for clients of HTTP tidy them up themselves."""
    host, _, port = desk.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        assert connection.makefile("rb").readline() == b"HTTP/1.1 404 Not Found\r\n"


def test_a_cookie_that_was_made_up_owns_nothing(desk: RunningDesk, visitor: Visitor, mode: str) -> None:
    if mode == "public":
        assert "gptdesk-visitor" not in visitor.client.cookies
        return
    path = visitor.upload("mine.txt", b"what is mine")
    for cookie in ("gptdesk-visitor=" + "a" * 32, "gptdesk-visitor=", "gptdesk-visitor=*", "x=y", ""):
        answer = httpx.get(f"{desk.url}/gradio_api/file={path}", headers={"cookie": cookie}, trust_env=False)
        assert answer.status_code == 404
    assert visitor.request("GET", f"/gradio_api/file={path}", headers={"range": "bytes=0-1-2"}).status_code == 200


def test_what_the_desk_made_is_handed_out_under_a_name_that_cannot_be_guessed(visitor: Visitor) -> None:
    event = visitor.event("compare-all")
    messages = visitor.run(event, visitor.values(event, prompts="Once upon a time", compare_max_new_tokens=8))
    paths = {found for message in messages for found in _paths(message)}
    assert {Path(path).suffix for path in paths} == {".md", ".html", ".json", ".csv"}
    for path in paths:
        assert b"Once upon a time" in visitor.request("GET", f"/gradio_api/file={path}").content
        token = Path(path).parent.name
        for other in (path.replace(token, token[::-1]), path.replace(token, token.upper()), path + "x"):
            assert visitor.request("GET", f"/gradio_api/file={other}").status_code == 404
        same = (f"/gradio_api/file={path}", f"/gradio_api/./file={path}", f"/gradio_api/file%3D{path}")
        for spelling in spellings(path):
            if spelling not in same and "?" not in spelling and "file=%2F" not in spelling:
                assert visitor.request("GET", visitor.url + spelling).status_code == 404, spelling


def _paths(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(path := value.get("path"), str) and value.get("meta"):
            yield path
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from _paths(one)
