"""One desk per home: real sockets, real servers, real processes."""

import contextlib
import hashlib
import http.server
import json
import os
import re
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gptdesk.system.browser import open_page
from gptdesk.system.single_instance import announce, bind, find_running, home_id

POSIX = pytest.mark.skipif(os.name == "nt", reason="needs POSIX modes or shell scripts")


@contextlib.contextmanager
def answering(text: str, *, status: int = 200) -> Iterator[str]:
    """A server that answers every request so; its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/health" else 404)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def health(home: Path) -> str:
    return json.dumps({"app": "gptdesk", "home": home_id(home), "version": "1"})


def test_a_home_has_one_id_however_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert re.fullmatch("[0-9a-f]{16}", home_id(tmp_path))
    assert home_id(tmp_path) == home_id(Path(".")) == home_id(tmp_path / "x" / "..")
    assert home_id(tmp_path) != home_id(tmp_path / "x")
    if os.name != "nt":
        assert home_id(tmp_path) == hashlib.sha256(str(tmp_path.resolve()).encode()).hexdigest()[:16]
        (tmp_path / "link").symlink_to(tmp_path)
        assert home_id(tmp_path / "link") == home_id(tmp_path)


def test_answers_are_sent_at_once() -> None:
    """asyncio switches Nagle's algorithm off for sockets that are named as TCP, and for no others."""
    with bind("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        connection, _ = listener.accept()
        with connection:
            assert connection.proto == socket.IPPROTO_TCP


def test_a_running_desk_is_found_past_any_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert find_running(tmp_path) is None
    with answering(health(tmp_path)) as url, announce(tmp_path, url):
        assert find_running(tmp_path) == url
    with answering(health(tmp_path)) as url, announce(tmp_path, f"{url}/"):
        assert find_running(tmp_path) == f"{url}/"


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (lambda home: health(home / "other"), 200),
        (lambda home: '{"app": "another", "home": "' + home_id(home) + '"}', 200),
        (health, 500),
        (health, 302),
        (lambda _: "<html>", 200),
        (lambda _: "[1]", 200),
        (lambda _: "7", 200),
        (lambda _: "{}", 200),
        (lambda _: "\xff", 200),
    ],
)
def test_an_answer_of_another_program_is_not_a_desk(tmp_path: Path, text: Callable[[Path], str], status: int) -> None:
    with answering(text(tmp_path), status=status) as url, announce(tmp_path, url):
        assert find_running(tmp_path) is None
        assert not (tmp_path / "running.json").exists()


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "7", "{}", '{"url": null}', '{"url": "http://127.0.0.1:99999"}', '{"url": "nonsense"}', "\xff"],
)
def test_a_spoilt_file_is_removed(tmp_path: Path, text: str) -> None:
    (tmp_path / "running.json").write_text(text, encoding="latin-1")
    assert find_running(tmp_path) is None
    assert not (tmp_path / "running.json").exists()


def test_a_file_of_a_desk_that_has_died_is_removed(tmp_path: Path) -> None:
    program = (
        "import os, pathlib, sys\nfrom gptdesk.system.single_instance import announce, bind\n"
        "listener = bind('127.0.0.1', 0)\n"
        "with announce(pathlib.Path(sys.argv[1]), f'http://127.0.0.1:{listener.getsockname()[1]}'):\n    os._exit(9)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    died = subprocess.run([sys.executable, "-c", program, tmp_path], env=environment, check=False)
    assert died.returncode == 9
    assert (tmp_path / "running.json").exists()
    assert find_running(tmp_path) is None
    assert not (tmp_path / "running.json").exists()


def test_a_desk_that_is_still_starting_is_waited_for(tmp_path: Path) -> None:
    with bind("127.0.0.1", 0) as listener, announce(tmp_path, f"http://127.0.0.1:{listener.getsockname()[1]}"):

        def begin_to_answer() -> None:
            time.sleep(1.3)  # the first question has been given up by then
            for _ in range(2):
                with listener.accept()[0] as visitor, contextlib.suppress(OSError):
                    visitor.recv(4096)
                    visitor.sendall(f"HTTP/1.0 200 OK\r\n\r\n{health(tmp_path)}".encode())

        server = threading.Thread(target=begin_to_answer)
        server.start()
        assert find_running(tmp_path) == f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.join()


def test_a_desk_that_never_answers_is_given_up_but_may_be_alive(tmp_path: Path) -> None:
    with bind("127.0.0.1", 0) as listener, announce(tmp_path, f"http://127.0.0.1:{listener.getsockname()[1]}"):
        assert find_running(tmp_path, patience=0) is None
        assert (tmp_path / "running.json").exists()


@POSIX
def test_the_announcement_is_private_and_complete(tmp_path: Path) -> None:
    (tmp_path / f"running.json.{os.getpid()}").write_text("left by a process of the same number")
    with announce(tmp_path, "http://127.0.0.1:7860"):
        file = tmp_path / "running.json"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        told = json.loads(file.read_text())
        assert (told["pid"], told["url"]) == (os.getpid(), "http://127.0.0.1:7860")
        assert os.listdir(tmp_path) == ["running.json"]
    assert os.listdir(tmp_path) == []


def test_the_announcement_of_a_later_desk_stays(tmp_path: Path) -> None:
    with announce(tmp_path, "http://127.0.0.1:1"):
        later = announce(tmp_path, "http://127.0.0.1:2", replace=True)
        later.__enter__()
    assert json.loads((tmp_path / "running.json").read_text())["url"] == "http://127.0.0.1:2"
    later.__exit__(None, None, None)
    with announce(tmp_path, "http://127.0.0.1:1"):  # removed by hand meanwhile: no error at the end
        (tmp_path / "running.json").unlink()


def test_only_one_of_many_that_start_at_once_announces_itself(tmp_path: Path) -> None:
    program = (
        "import pathlib, sys, time\nfrom gptdesk.system.single_instance import announce\n"
        "sys.stdin.readline()\n"
        "try:\n    with announce(pathlib.Path(sys.argv[1]), 'http://127.0.0.1:1'):\n"
        "        print('won', flush=True)\n        sys.stdin.readline()\n"
        "except FileExistsError:\n    print('lost', flush=True)\n"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, "-c", program, str(tmp_path)]
    desks = [subprocess.Popen(command, env=environment, **pipes) for _ in range(6)]
    for desk in desks:
        desk.stdin.write("go\n")
        desk.stdin.flush()
    told = [desk.stdout.readline().strip() for desk in desks]
    for desk in desks:
        desk.communicate("end\n", timeout=20)
    assert sorted(told) == ["lost"] * 5 + ["won"]
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("taken_on", ["127.0.0.1", "0.0.0.0"])
def test_a_taken_port_moves_on_to_the_next(taken_on: str) -> None:
    with socket.socket() as other:  # a plain program, without any option
        other.bind((taken_on, 0))
        other.listen()
        port = other.getsockname()[1]
        with bind("127.0.0.1", port) as first, bind("127.0.0.1", port) as second:
            assert port < first.getsockname()[1] < second.getsockname()[1] < port + 100
        with pytest.raises(ValueError, match=f"^no port from {port} to {port} is free; choose another with --port"):
            bind("127.0.0.1", port, attempts=1)


def test_a_bound_port_listens_and_is_free_again_at_once() -> None:
    with bind("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port), timeout=1) as visitor:
            accepted, _ = listener.accept()
            accepted.close()  # our side closes first and is left in TIME_WAIT
            assert visitor.recv(1) == b""
    with bind("127.0.0.1", port, attempts=1) as again:
        assert again.getsockname()[1] == port


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_ipv6_hosts(host: str) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    with bind(host, 0) as listener:
        assert listener.family == socket.AF_INET6
        port = listener.getsockname()[1]
        with bind(host, port) as second:
            assert second.getsockname()[1] > port


def test_localhost_is_the_address_that_browsers_and_checks_use() -> None:
    with bind("localhost", 0) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"


@pytest.mark.parametrize(
    ("host", "port", "sentence"),
    [
        ("127.0.0.1", 70000, "port must be from 0 to 65535, not 70000"),
        ("127.0.0.1", -1, "port must be from 0 to 65535, not -1"),
        ("", 0, "host must be a name or an address of this computer, not ''"),
        ("no such host", 0, "host must be a name or an address of this computer, not 'no such host'"),
        ("256.0.0.1", 0, "host must be"),
        ("a" * 70, 0, "host must be"),
        ("192.0.2.1", 0, "host must be an address of this computer, not '192.0.2.1'"),  # TEST-NET
    ],
)
def test_what_cannot_be_bound_is_one_sentence(host: str, port: int, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}[^\n]*$"):
        bind(host, port)


def test_the_last_ports_do_not_run_over() -> None:
    with contextlib.suppress(ValueError), bind("127.0.0.1", 65535) as listener:
        assert listener.getsockname()[1] == 65535


def program(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def written(file: Path) -> str:
    """What a program that was started has written, in a moment."""
    for _ in range(200):
        if file.exists() and file.read_text().endswith("\n"):
            return file.read_text()
        time.sleep(0.02)
    return ""


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty PATH of our own, and a display that programs think they have."""
    for name in ("BROWSER", "WAYLAND_DISPLAY", "SSH_CONNECTION", "XDG_CURRENT_DESKTOP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DISPLAY", ":9")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path / "bin"


@pytest.mark.skipif(sys.platform != "linux", reason="looks browsers up as Linux does")
def test_the_app_window_is_the_first_browser_that_starts(programs: Path, tmp_path: Path) -> None:
    program(programs / "google-chrome", "exit 1")  # does not start here
    program(programs / "chromium", f'echo "$@" > "{tmp_path}/told"; exec /bin/sleep 3')
    assert open_page("http://127.0.0.1:1/?a=b&c", app_window=True)
    assert written(tmp_path / "told") == "--app=http://127.0.0.1:1/?a=b&c\n"


@pytest.mark.skipif(sys.platform != "linux", reason="looks browsers up as Linux does")
@pytest.mark.parametrize("app_window", [False, True])
def test_the_browser_is_opened_without_an_app_window(programs: Path, tmp_path: Path, app_window: bool) -> None:
    program(programs / "xdg-open", f'echo "$@" > "{tmp_path}/told"; exec /bin/sleep 1')
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[3])!r})\n"
    code += "from gptdesk.system.browser import open_page; "
    code += f"print(open_page('http://127.0.0.1:1/', app_window={app_window}))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "True\n"
    assert written(tmp_path / "told") == "http://127.0.0.1:1/\n"


@pytest.mark.skipif(sys.platform != "linux", reason="displays are told from variables on Linux")
def test_nothing_is_opened_where_nobody_could_see_it(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(programs / "chromium", f'echo opened > "{tmp_path}/told"')
    monkeypatch.delenv("DISPLAY")
    assert not open_page("http://127.0.0.1:1", app_window=True)
    assert not (tmp_path / "told").exists()


def test_importing_it_is_light() -> None:
    code = "import sys, gptdesk.system.single_instance; print(*sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    shown = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert not {"torch", "gradio", "numpy", "pydantic", "fastapi", "platformdirs", "asyncio"} & set(
        shown.stdout.split()
    )
