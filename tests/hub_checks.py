"""Local server that speaks the part of the Hugging Face Hub's API that a download needs, and its faults."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from server_checks import http_server

COMMIT, LATER_COMMIT = "a" * 40, "b" * 40
PIECE = 8192  # bytes sent at a time


@dataclass
class FakeHub:
    """One repository of a Hub; may be changed between two requests."""

    files: dict[str, bytes]
    id: str = "someone/tiny"
    alias: str = ""  # older id, which leads to the present one
    commit: str = COMMIT
    gated: bool = False
    status: int = 200  # of the API
    error: str = ""  # its X-Error-Code
    message: str = ""  # its X-Error-Message
    sent: dict[str, bytes] = field(default_factory=dict)  # other bytes than those listed
    tags: dict[str, str] = field(default_factory=dict)  # other tags than those listed
    cut: int | None = None  # bytes of a large file after which the connection ends
    pause: float = 0.0  # seconds after each piece of a large file
    after_piece: Callable[[], object] = lambda: None  # called after each piece of a large file
    url: str = ""
    asked: list[tuple[str, str]] = field(default_factory=list)  # method and path
    ranges: list[str] = field(default_factory=list)  # of the requests for large files
    authorized: list[str] = field(default_factory=list)  # paths to which a token was sent

    def is_large(self, name: str) -> bool:
        return name.endswith((".safetensors", ".bin", ".h5"))

    def tag(self, name: str) -> str:
        """SHA-256 of a large file, git's checksum of a small one."""
        data = self.files[name]
        if self.is_large(name):
            return hashlib.sha256(data).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()

    def info(self) -> dict[str, object]:
        siblings = []
        for name, data in self.files.items():
            entry: dict[str, object] = {"rfilename": name, "size": len(data), "blobId": self.tag(name)}
            if self.is_large(name):
                entry |= {"blobId": "c" * 40, "lfs": {"sha256": self.tag(name), "size": len(data), "pointerSize": 130}}
            siblings.append(entry)
        return {"id": self.id, "modelId": self.id, "sha": self.commit, "siblings": siblings, "tags": []}

    @property
    def fetched(self) -> list[str]:
        """Names of the files whose content was asked for, in order."""
        return [path.rpartition("/")[2] for method, path in self.asked if method == "GET" and "/resolve/" in path]


class HubHandler(BaseHTTPRequestHandler):
    """Requests of a download; both fields are set in a class of its own for each server."""

    hub: FakeHub
    done: threading.Event  # the server ends

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.hub.asked.append((self.command, path))
        if "Authorization" in self.headers:
            self.hub.authorized.append(path)
        if self.hub.alias and f"/{self.hub.alias}/re" in path:
            self.send(307, {"Location": path.replace(f"/{self.hub.alias}/", f"/{self.hub.id}/")}, b"")
        elif path.startswith("/api/models/"):
            self.answer_api(path.removeprefix("/api/models/").partition("/revision/"))
        elif path.startswith("/large/"):
            self.send_large(path.removeprefix("/large/"))
        elif path.startswith(f"/{self.hub.id}/resolve/"):
            self.answer_resolve(path.removeprefix(f"/{self.hub.id}/resolve/").partition("/")[2])
        else:
            self.send(404, {"X-Error-Code": "RepoNotFound"}, b"")

    def answer_api(self, parts: tuple[str, str, str]) -> None:
        name, _, revision = parts
        if self.hub.status != 200:
            self.send(
                self.hub.status,
                {"X-Error-Code": self.hub.error, "X-Error-Message": self.hub.message},
                b"<html>a page</html>",
            )
        elif name != self.hub.id:
            self.send(401, {"X-Error-Code": "RepoNotFound"}, b"")  # as the Hub answers for a missing one
        elif revision not in ("", "main", "v1", self.hub.commit):
            self.send(404, {"X-Error-Code": "RevisionNotFound"}, b"")
        else:
            self.send(200, {"Content-Type": "application/json"}, json.dumps(self.hub.info()).encode())

    def answer_resolve(self, name: str) -> None:
        if self.hub.gated:
            self.send(401, {"X-Error-Code": "GatedRepo"}, b"")
            return
        tag = self.hub.tags.get(name, self.hub.tag(name))
        headers = {"X-Repo-Commit": self.hub.commit, "ETag": f'"{tag}"'}
        if not self.hub.is_large(name):
            self.send(200, headers, self.hub.sent.get(name, self.hub.files[name]))
            return
        port = self.hub.url.rpartition(":")[2]
        size = str(len(self.hub.files[name]))
        headers |= {"X-Linked-ETag": f'"{tag}"', "X-Linked-Size": size, "ETag": '"another"'}
        self.send(302, headers | {"Location": f"http://localhost:{port}/large/{name}"}, b"")

    def send_large(self, name: str) -> None:
        body = self.hub.sent.get(name, self.hub.files[name])
        asked = self.headers.get("Range", "")
        self.hub.ranges.append(asked)
        begin = int(asked.removeprefix("bytes=").removesuffix("-") or 0)
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(body) - begin))
        self.end_headers()
        for start in range(begin, min(len(body), begin + (self.hub.cut or len(body))), PIECE):
            if self.done.is_set():
                return
            try:
                self.wfile.write(body[start : start + PIECE])
            except OSError:
                return
            self.hub.after_piece()
            self.done.wait(self.hub.pause)

    def send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving_hub(hub: FakeHub) -> Iterator[FakeHub]:
    """Serve until the block ends; large files come from another host name, as from the Hub's own network."""
    done = threading.Event()
    with http_server(type("Handler", (HubHandler,), {"hub": hub, "done": done})) as url:
        hub.url = url
        try:
            yield hub
        finally:
            done.set()


def repository(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder by name."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def let_the_client_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let huggingface_hub connect to a local server by HTTP: it is offline in the tests of other files."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
