"""Visitor without a browser: sends events to a running desk as its page does, or malformed ones."""

import json
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx

Json = dict[str, object]
NO_FILE = "never-uploaded.txt"


@dataclass
class Visitor:
    """Session with its cookies and all received bytes."""

    url: str
    address: str | None = None  # of this computer, from which it comes
    session: str = field(default_factory=lambda: secrets.token_hex(6))
    received: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        # straight to the desk, past any proxy that the environment names
        transport = httpx.HTTPTransport(local_address=self.address)
        self.client = httpx.Client(base_url=self.url, trust_env=False, timeout=60, transport=transport)
        page = self.request("GET", "/").text
        found = re.search(r"window\.gradio_config = (\{.*?\});</script>", page, re.DOTALL)
        assert found, "the page holds no configuration"
        config = json.loads(found[1])
        self.components: dict[int, Json] = {one["id"]: one for one in config["components"]}
        self.events: list[Json] = [event for event in config["dependencies"] if event["backend_fn"]]

    def request(self, method: str, path: str, **options: object) -> httpx.Response:
        """Send a request and store the answer."""
        answer = self.client.request(method, path, **options)  # type: ignore[arg-type]
        self.received.append(answer.content)
        return answer

    def event(self, ident: str, trigger: str = "click") -> Json:
        """Return the event of the widget with this id."""
        number = next(n for n, one in self.components.items() if _props(one).get("elem_id") == ident)
        return next(event for event in self.events if [number, trigger] in event["targets"])  # type: ignore[operator]

    def values(self, event: Json, **given: object) -> list[object]:
        """Return what the page would send first for an event, but for values `given` by the ids of widgets."""
        found = []
        for number in event["inputs"]:  # type: ignore[union-attr]
            props = _props(self.components[number])
            ident = str(props.get("elem_id") or "").replace("-", "_")
            found.append(given.get(ident, props.get("value")))
        return found

    def body(self, event: Json, values: list[object]) -> Json:
        return {"data": values, "event_data": None, "fn_index": event["id"], "session_hash": self.session}

    def send(self, event: Json, values: list[object]) -> httpx.Response:
        """Send an event where its kind goes; a body that no JSON can hold is spelled as Python would."""
        route = "queue/join" if event["queue"] else "run/predict"
        content = json.dumps(self.body(event, values))
        return self.request(
            "POST", f"/gradio_api/{route}", content=content, headers={"content-type": "application/json"}
        )

    def messages(self) -> Iterator[Json]:
        """Yield what the queue says until all events of this session have ended."""
        with self.client.stream("GET", "/gradio_api/queue/data", params={"session_hash": self.session}) as stream:
            for line in stream.iter_lines():
                self.received.append(line.encode())
                if line.startswith("data: "):
                    yield json.loads(line.removeprefix("data: "))

    def run(self, event: Json, values: list[object]) -> list[Json]:
        """Send a queued event and wait for its end."""
        answer = self.send(event, values)
        assert answer.status_code == 200, answer.text
        return list(self.messages())

    def upload(self, name: str, data: bytes) -> str:
        """Upload a file and return its path on the desk."""
        answer = self.request("POST", "/gradio_api/upload", files={"files": (name, data)})
        assert answer.status_code == 200, answer.text
        return answer.json()[0]

    def close(self) -> None:
        self.client.close()


def file_data(path: str, **others: object) -> Json:
    """Return what a page sends of an uploaded file."""
    return {"path": path, "meta": {"_type": "gradio.FileData"}} | others


def _props(component: Json) -> Json:
    props = component["props"]
    assert isinstance(props, dict)
    return props
