"""Local server that speaks the part of the Hugging Face Hub's API that an upload needs, and its faults."""

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from hub_checks import let_the_client_connect
from server_checks import http_server

TOKEN = "hf_" + "x" * 30
LARGE = (".safetensors", ".bin")


@dataclass
class Repository:
    """Repository of the server; every commit is another number."""

    files: dict[str, bytes] = field(default_factory=dict)
    created: dict[str, Any] = field(default_factory=dict)  # what the request that created it said
    commits: int = 0

    @property
    def head(self) -> str:
        return f"{self.commits:040x}"

    def mode(self, path: str) -> dict[str, object]:
        """How a file is to be sent, and its checksum if it is there."""
        entry: dict[str, object] = {"path": path, "shouldIgnore": False}
        entry["uploadMode"] = "lfs" if path.endswith(LARGE) else "regular"
        if path in self.files:
            data = self.files[path]
            git = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            entry["oid"] = hashlib.sha256(data).hexdigest() if path.endswith(LARGE) else git
        return entry

    def commit(self, lines: list[dict[str, Any]], *, stored: dict[str, bytes]) -> None:
        """Apply the lines of a commit; large files are `stored` by their checksums."""
        self.commits += 1
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                self.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                self.files[value["path"]] = stored[value["oid"]]
            elif line["key"] == "deletedFile":
                del self.files[value["path"]]


@dataclass
class UploadHub:
    """Account and repositories of a Hub; may be changed between two requests. Kinds are models and spaces."""

    account: dict[str, Any] = field(
        default_factory=lambda: {
            "type": "user",
            "name": "me",
            "isPro": False,
            "orgs": [
                {"name": "school", "isEnterprise": False, "plan": "team", "roleInOrg": "admin"},
                {"name": "guests", "isEnterprise": False, "roleInOrg": "read"},
                {"name": "club", "isEnterprise": False, "roleInOrg": "write"},
            ],
            "auth": {"type": "access_token", "accessToken": {"role": "write"}},
        }
    )
    repositories: dict[tuple[str, str], Repository] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)  # status by a part of the path
    messages: dict[int, str] = field(default_factory=dict)  # the Hub's message by status
    cut: bool = False  # the connection ends in the middle of a large file
    stored: dict[str, bytes] = field(default_factory=dict)  # large files by their checksum
    asked: list[tuple[str, str]] = field(default_factory=list)  # method and path
    url: str = ""

    def changes(self) -> list[str]:
        """Paths of the requests that may change something."""
        return [path for method, path in self.asked if method in ("POST", "PUT") and "validate-yaml" not in path]

    def page(self, kind: str, id: str) -> str:
        """Address of the page of a repository."""
        return f"{self.url}/{'spaces/' if kind == 'spaces' else ''}{id}"

    def information(self, parts: list[str], repository: Repository) -> dict[str, object]:
        """What the API says of a repository, asked for by these parts of a path."""
        siblings = [{"rfilename": name} for name in repository.files]
        sdk = {"sdk": repository.created.get("sdk")} if parts[1] == "spaces" else {}
        return {"id": "/".join(parts[2:4]), "sha": repository.head, "siblings": siblings, "tags": []} | sdk

    def action(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """What the client is to do with a large file: nothing, if it has arrived before."""
        upload = {"upload": {"href": f"{self.url}/lfs/{wanted['oid']}", "header": {}}}
        return wanted | ({} if wanted["oid"] in self.stored else {"actions": upload})


class UploadHandler(BaseHTTPRequestHandler):
    """Requests of an upload; `hub` is set in a class of its own for each server."""

    hub: UploadHub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        parts = self.begin()
        if parts is None:
            return
        if parts == ["api", "whoami-v2"]:
            self.send_json(self.hub.account)
        elif parts[0] == "api" and len(parts) in (4, 6):  # with /revision/main, or without
            repository = self.hub.repositories.get((parts[1], "/".join(parts[2:4])))
            self.send_json(self.hub.information(parts, repository)) if repository else self.send_missing()
        else:
            kind = "spaces" if parts[0] == "spaces" else "models"
            owner, name, _, _, *file = parts[1:] if kind == "spaces" else parts
            repository = self.hub.repositories[kind, f"{owner}/{name}"]
            headers = {"X-Repo-Commit": repository.head, "ETag": f'"{"e" * 40}"'}
            self.send(200, repository.files["/".join(file)], headers)

    def do_PUT(self) -> None:
        parts = self.begin()
        if parts is None:
            return
        if self.hub.cut:
            self.rfile.read(1000)
            self.close_connection = True
            self.connection.close()
            return
        data = self.body()
        assert hashlib.sha256(data).hexdigest() == parts[-1]
        self.hub.stored[parts[-1]] = data
        self.send(200, b"")

    def do_POST(self) -> None:
        parts = self.begin()
        if parts is None:
            return
        data = self.body()
        if parts == ["api", "validate-yaml"]:
            self.send_json({"errors": [], "warnings": []})
        elif parts == ["api", "repos", "create"]:
            self.create(json.loads(data))
        elif parts[-1] == "batch":
            self.send_json(
                {"transfer": "basic", "objects": [self.hub.action(one) for one in json.loads(data)["objects"]]}
            )
        elif parts[4] == "preupload":
            repository = self.hub.repositories[parts[1], "/".join(parts[2:4])]
            files = [repository.mode(entry["path"]) for entry in json.loads(data)["files"]]
            self.send_json({"files": files})
        else:
            repository = self.hub.repositories[parts[1], "/".join(parts[2:4])]
            repository.commit([json.loads(line) for line in data.splitlines()], stored=self.hub.stored)
            address = f"{self.hub.page(parts[1], '/'.join(parts[2:4]))}/commit/{repository.head}"
            self.send_json({"commitUrl": address, "commitOid": repository.head})

    def create(self, wanted: dict[str, Any]) -> None:
        key = f"{wanted['type']}s", f"{wanted['organization']}/{wanted['name']}"
        if key in self.hub.repositories:
            self.send(409, b"")
            return
        self.hub.repositories[key] = Repository({".gitattributes": b"*.bin filter=lfs"}, wanted)
        self.send_json({"url": self.hub.page(*key)})

    def begin(self) -> list[str] | None:
        """Return the parts of the path, or None after a refusal."""
        path = self.path.partition("?")[0]
        self.hub.asked.append((self.command, path))
        for part, status in self.hub.refused.items():
            if part in path:
                self.refuse(status)
                return None
        if not path.startswith("/lfs/") and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.refuse(401)
            return None
        return path.strip("/").split("/")

    def refuse(self, status: int) -> None:
        self.body()
        message = self.hub.messages.get(status)
        self.send(status, b"", {"X-Error-Message": message} if message else {})

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        data = b""
        while size := int(self.rfile.readline(), 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def send_json(self, value: object) -> None:
        self.send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def send_missing(self) -> None:
        self.send(404, b"", {"X-Error-Code": "RepoNotFound"})

    def send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving_uploads(hub: UploadHub, monkeypatch: pytest.MonkeyPatch, home: Path) -> Iterator[UploadHub]:
    """Serve until the block ends, with the client's endpoint and token set to it, and no pauses between its retries."""
    let_the_client_connect(monkeypatch)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(home / "token"))
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with http_server(type("Handler", (UploadHandler,), {"hub": hub})) as url:
        hub.url = url
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
        template = url + "/{repo_id}/resolve/{revision}/{filename}"  # which huggingface_hub makes when it is imported
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield hub
