"""Client of a public link: Gradio's own tunnel with stand-ins for what it needs, and each way in which it fails."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
from gradio import networking, tunneling
from share_checks import CLIENT, ShareService, share_service

from gptdesk.page import tunnel
from gptdesk.page.tunnel import NoLink, open_link

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the stand-in of the client program is a script")
AGAIN = "connect to the internet, or allow it in the firewall, and switch Share on again"
NOWHERE = "http://127.0.0.1:1"


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ShareService]:
    """Stand-ins for all of them, with the client program still to be downloaded."""
    with share_service() as service:
        program = f"{service.url}/frpc"
        monkeypatch.setattr(networking, "GRADIO_API_SERVER", f"{service.url}/v3/tunnel-request")
        monkeypatch.setattr(tunneling, "BINARY_URL", program)
        monkeypatch.setattr(tunneling, "CHECKSUMS", {program: service.checksum})
        monkeypatch.setattr(tunneling, "BINARY_FOLDER", tmp_path / "cache")
        monkeypatch.setattr(tunneling, "BINARY_PATH", str(tmp_path / "cache" / "frpc"))
        monkeypatch.setattr(tunneling, "CURRENT_TUNNELS", [])
        monkeypatch.setattr(tunneling, "TUNNEL_TIMEOUT_SECONDS", 30)  # which is changed in the process of a link
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.chdir(tmp_path)
        yield service
        for one in tunneling.CURRENT_TUNNELS:
            program, one.proc = one.proc, None  # or Gradio ends it again when the tests end
            if program is not None:
                program.kill()
                program.communicate()


def fault() -> str:
    with pytest.raises(NoLink) as refused:
        open_link(9)
    return str(refused.value)


def test_a_link_is_made_by_the_program_that_was_checked(service: ShareService, tmp_path: Path) -> None:
    url = open_link(9)
    assert url.startswith("https://127.0.0.1:")  # as Gradio's server serves it
    assert service.asked == ["/frpc", "/v3/tunnel-request"]
    assert (tmp_path / ".gradio" / "certificate.pem").read_text() == "CERTIFICATE"
    given = tunneling.CURRENT_TUNNELS[0].proc.args
    assert given[given.index("-l") + 1] == "9"
    assert given[given.index("--server_addr") + 1] == "127.0.0.1:7000"


def test_a_server_of_ones_own_is_asked_for_nothing_but_the_link(
    service: ShareService, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(networking, "GRADIO_SHARE_SERVER_ADDRESS", "127.0.0.1:7001")  # read when it is imported
    monkeypatch.setenv("GRADIO_SHARE_SERVER_ADDRESS", "127.0.0.1:7001")
    assert open_link(9).startswith("http://127.0.0.1:")
    assert service.asked == ["/frpc"]
    assert not (tmp_path / ".gradio").exists()
    for wrong in ("share.example.org", "a:b", "http://share.example.org:7000", ""):
        monkeypatch.setenv("GRADIO_SHARE_SERVER_ADDRESS", wrong)
        assert "must be a name and a port" in fault()


def test_no_internet(service: ShareService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tunneling, "BINARY_URL", f"{NOWHERE}/frpc")
    refused = "[Errno 111] Connection refused"
    if sys.platform == "linux":
        assert fault() == f"the client program cannot be downloaded from 127.0.0.1:1 ({refused}); {AGAIN}"
    monkeypatch.setattr(tunneling, "BINARY_URL", f"{service.url}/frpc")
    monkeypatch.setattr(networking, "GRADIO_API_SERVER", NOWHERE)
    if sys.platform == "linux":
        assert fault() == f"Gradio's share service 127.0.0.1:1 cannot be reached ({refused}); {AGAIN}"


@pytest.mark.parametrize("answer", [b"", b"[]", b"<html>", b'[{"host": "a", "port": "b", "root_ca": ""}]', b'{"a": 1}'])
def test_a_service_that_answers_something_else(service: ShareService, answer: bytes) -> None:
    service.named = answer
    where = service.url.removeprefix("http://")
    assert fault() == (
        f"Gradio's share service {where} named no server; try again later, see https://status.gradio.app"
    )


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (403, "has no client program for this"),
        (404, "has no client program for this"),
        (503, "did not give the client"),
    ],
)
def test_a_program_that_is_not_there(service: ShareService, status: int, words: str) -> None:
    service.status = status
    assert words in fault()


def test_a_program_with_a_wrong_checksum_is_never_run(service: ShareService, tmp_path: Path) -> None:
    """Gradio would run it the second time; what was put there by others, or half of it, is fetched anew."""
    ran, file = tmp_path / "ran", tmp_path / "cache" / "frpc"
    service.program = f"#!/bin/sh\ntouch {ran}\n".encode()
    for _ in range(2):
        assert "wrong checksum" in fault()
        assert not file.exists()
    file.write_bytes(service.program)
    file.chmod(0o755)
    assert "wrong checksum" in fault()
    assert not ran.exists()
    file.write_text(CLIENT[:100])
    service.program = CLIENT.encode()
    assert open_link(9)


def test_a_program_that_cannot_be_saved(service: ShareService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(tunneling, "BINARY_FOLDER", tmp_path / "file" / "cache")
    monkeypatch.setattr(tunneling, "BINARY_PATH", str(tmp_path / "file" / "cache" / "frpc"))
    assert "cannot be saved as" in fault()


def test_a_blocked_program(service: ShareService, tmp_path: Path) -> None:
    tunnel.get_program()
    file = tmp_path / "cache" / "frpc"
    file.chmod(stat.S_IRUSR | stat.S_IWUSR)
    assert f"{file} cannot be run (Permission denied); allow it in the antivirus program" in fault()


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("refuses", "the share server refused it (token in login does not match); try again later"),
        ("dies", "its client program ended by itself (panic: no memory); try again"),
        ("silent", "the share server did not answer in 1 seconds; check the connection"),
        ("nonsense", "the share server gave an address that is none, 'x y'"),
    ],
)
def test_a_share_server_that_gives_no_link(
    service: ShareService, monkeypatch: pytest.MonkeyPatch, mode: str, words: str
) -> None:
    monkeypatch.setenv("STANDIN_CLIENT", mode)
    monkeypatch.setattr(tunnel, "SILENCE", 1.0)
    assert fault().startswith(words)


@pytest.mark.parametrize("end", [lambda process: process.stdin.close(), lambda process: process.terminate()])
def test_the_program_ends_with_the_process_of_the_link(
    service: ShareService, tmp_path: Path, end: Callable[[subprocess.Popen], None]
) -> None:
    """Whose standard input ends when the desk does, be it killed; and it says nothing but its answers."""
    command = [sys.executable, "-m", "gptdesk.page.tunnel", "9", str(tmp_path)]
    root = str(Path(__file__).parents[3])
    variables = os.environ | service.variables(tmp_path)
    variables["PYTHONPATH"] = os.pathsep.join((root, str(tmp_path / "site")))
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, start_new_session=True, env=variables) as process:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"].replace("https", "http")
        end(process)
        assert process.wait(30) == -9
        assert process.stdout.read() == b""
    with pytest.raises(OSError, match="refused"):
        urlopen(url, timeout=10)
