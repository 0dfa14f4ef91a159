"""The public link of a running desk: what comes by it is public, and the desk and its owner's page go on beside it."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest
from conftest import WHISPER
from gradio_client.utils import apply_diff
from page_checks import NEEDS_BROWSER, RunningDesk, running_browser, sync_api
from share_checks import VISITOR, share_service

from benchmarks.visitor import Json, Visitor
from gptdesk.desk import Desk
from gptdesk.server import web_app
from gptdesk.settings import load_settings
from gptdesk.starter.stories import stories
from gptdesk.training.lock import holding_process

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the stand-in of the client program is a script")
ROOT = Path(__file__).parents[2]
TEXT = "\n".join(stories(5, 40))
LONG = 60_000  # milliseconds that a browser may take on a busy machine


@dataclass
class Shared:
    """A desk that was started with --share, and its owner's page."""

    desk: RunningDesk
    owner: Visitor
    home: Path

    def look(self) -> list[object]:
        """What the owner's page shows of the link when it is opened: see ShareSwitch."""
        return _answer(self.owner.send(self._event("load"), []))

    def switch(self, on: bool) -> list[object]:
        """Press the switch and, to make a link, the button that it shows."""
        told = _answer(self.owner.send(self._event("input"), [on]))
        return _answer(self.owner.send(self._event("click"), [])) if on else told

    def link(self) -> str:
        """Wait for the link; its address, as the stand-in of the share server answers to it."""
        end = time.monotonic() + 60
        while not (url := self.look()[3]["value"]):  # type: ignore[index]
            assert time.monotonic() < end, self.look()
            time.sleep(0.2)
        return str(url).replace("https", "http")

    def programs(self) -> list[psutil.Process]:
        """The process of the link, and the client program."""
        return [one for one in psutil.Process(self.desk.process.pid).children(recursive=True) if _is_of_link(one)]

    def _event(self, trigger: str) -> Json:
        link = next(n for n, one in self.owner.components.items() if _ident(one) == "share-link")
        return next(
            event
            for event in self.owner.events
            if link in event["outputs"] and event["targets"][0][1] == trigger  # type: ignore[operator, index]
        )


def _is_of_link(process: psutil.Process) -> bool:
    try:
        return bool({"gptdesk.page.tunnel", "--server_addr"} & set(process.cmdline()))
    except psutil.NoSuchProcess:  # it has ended
        return False


def _ident(component: Json) -> object:
    return component["props"].get("elem_id")  # type: ignore[attr-defined]


def _answer(answer: httpx.Response) -> list[object]:
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    home, folder = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("elsewhere")
    (home / "samplers").mkdir()
    (home / "samplers" / "whisper.py").write_text(WHISPER)
    (home / "presets.json").write_text('{"Secret preset": [{"name": "temperature", "temperature": 0.5}]}')
    (home / "page.json").write_text('{"Generate: texts": ["A secret text"], "Generate": {"prompt": "A secret prompt"}}')
    (home / "models" / "starter").mkdir(parents=True)  # listed with a problem that names its path
    with share_service() as service:
        variables = service.variables(folder) | {"GPTDESK_SHARE": "1", "OMP_NUM_THREADS": "1"}
        variables["PYTHONPATH"] = os.pathsep.join((str(ROOT), str(folder / "site")))
        desk = RunningDesk(home, **variables)
        owner = Visitor(desk.url)
        shared = Shared(desk, owner, home)
        yield shared
        owner.close()
        programs = shared.programs()
        desk.process.send_signal(signal.SIGTERM)
        _, rest = desk.process.communicate(timeout=20)
    assert desk.process.returncode == 143
    assert len(programs) == 2
    assert psutil.wait_procs(programs, timeout=5)[1] == []
    assert not Path(".gradio").exists()
    assert not (home / "temporary").exists()
    assert "Anyone can use this desk at https://127.0.0.1:" in rest
    assert "the link https://127.0.0.1" in rest  # of the one that died
    assert "Traceback" not in rest, rest
    assert not any(line.startswith(("█", "2027", "Killing")) for line in rest.splitlines())


@pytest.fixture
def visitor(shared: Shared) -> Iterator[Visitor]:
    visitor = Visitor(shared.link())
    yield visitor
    visitor.close()


def asked(visitor: Visitor, **given: object) -> tuple[Json, list[object]]:
    event = visitor.event("generate")
    chosen = {"prompt": "Once upon a time", "max_new_tokens": 12, "new_seed": False, "seed": "3"} | given
    return event, visitor.values(event, **chosen)


def said(messages: list[Json]) -> str:
    return str([message.get("output") for message in messages])


def events(components: dict[int, Json], found: list[Json]) -> set[tuple[str, str, int]]:
    """The events of a page, whatever numbers its widgets have: widget, trigger, number of inputs."""
    return {
        (str(components.get(number, {"props": {}})["props"].get("elem_id")), trigger, len(event["inputs"]))  # type: ignore[attr-defined, arg-type]
        for event in found
        if event["backend_fn"]  # others are of the page's script alone
        for number, trigger in event["targets"]  # type: ignore[attr-defined]
    }


def test_the_page_behind_the_link_has_the_events_of_a_public_desk(
    shared: Shared, visitor: Visitor, tmp_path: Path, in_event_loop: Callable
) -> None:
    desk = Desk(load_settings({"home": str(tmp_path), "host": "0.0.0.0"}))
    config = in_event_loop(lambda: web_app(desk)).routes[-1].app.get_blocks().config
    public = events({one["id"]: one for one in config["components"]}, config["dependencies"])
    assert events(visitor.components, visitor.events) == public
    owners = {found[:2] for found in events(shared.owner.components, shared.owner.events)}
    assert {found[:2] for found in public} < owners
    idents = {_ident(one) for one in visitor.components.values()}
    assert not {"share", "share-link", "train-start", "preset-save", "judge-text-file"} & idents


def test_an_event_of_the_owner_does_nothing_there(shared: Shared, visitor: Visitor) -> None:
    """Even with the numbers of the owner's page: they are other events there, or none."""
    before = shared.look()
    for event in shared.owner.events:
        body = shared.owner.body(event, shared.owner.values(event))
        assert visitor.request("POST", "/gradio_api/run/predict", json=body).status_code in (200, 400)
    assert shared.look() == before
    assert not (shared.home / "runs").exists()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/gradio_api/upload"),
        ("GET", "/gradio_api/upload_progress?upload_id=a"),
        ("GET", "/config"),
        ("GET", "/gradio_api/info"),
        ("GET", "/gradio_api/deep_link?session_hash=a"),
        ("POST", "/gradio_api/component_server"),
        ("GET", "/gradio_api/proxy=http://127.0.0.1/"),
    ],
)
def test_the_owners_routes_are_closed(visitor: Visitor, method: str, path: str) -> None:
    assert visitor.request(method, path).status_code == 404
    assert visitor.request("GET", "/health").json()["app"] == "gptdesk"  # and the link leads somewhere
    assert visitor.request("GET", "/", headers={"host": "abc.gradio.live"}).status_code == 200


def test_the_owners_files_are_out_of_reach(shared: Shared, visitor: Visitor) -> None:
    path = shared.owner.upload("diary.txt", b"Dear diary, nobody must read this.")
    visitor.client.cookies = shared.owner.client.cookies
    assert shared.owner.request("GET", f"/gradio_api/file={path}").content.startswith(b"Dear diary")
    for there in (path, str(shared.home / "page.json"), str(ROOT / "README.md"), "/etc/passwd"):
        assert visitor.request("GET", f"/gradio_api/file={there}").status_code == 404


def test_the_same_request_gives_the_same_text_on_both_pages(shared: Shared, visitor: Visitor) -> None:
    texts = []
    for one in (shared.owner, visitor):
        event, values = asked(one)
        box = next(number for number, found in one.components.items() if _ident(found) == "text-1")
        place = event["outputs"].index(box)  # type: ignore[attr-defined]
        texts.append(_streamed(one.run(event, values), place))
    assert texts[0] == texts[1]
    assert len(texts[0]) > len("Once upon a time") + 12


def _streamed(messages: list[Json], place: int) -> str:
    """Return the text of an output once all messages have been obeyed; after the first they hold what changes."""
    update: Json = {}
    text = ""
    for message in messages:
        if message["msg"] == "process_generating":
            data = message["output"]["data"][place]  # type: ignore[index]
            update = apply_diff(update, data) if isinstance(data, list) else data
            text = str(update.get("value", text))
    return text


def test_a_visitor_learns_nothing_of_the_owner(shared: Shared, visitor: Visitor) -> None:
    """Neither texts, presets, samplers and paths, nor how to use them."""
    for event in [event for event in visitor.events if event["targets"][0][1] == "load"]:  # type: ignore[index]
        assert visitor.send(event, visitor.values(event)).status_code == 200
    whispered = said(visitor.run(*asked(visitor, chain=["whisper"])))
    assert "there is no sampler 'whisper'; the samplers are: " in whispered.replace("\\", "")
    restored = visitor.event("preset-restore")
    assert "there is no preset" in str(visitor.run(restored, visitor.values(restored, preset="Secret preset")))
    hidden = said(visitor.run(*asked(visitor, model="models/starter"))).replace("\\", "")
    assert "has the name of a bundled model" in hidden
    many = said(visitor.run(*asked(visitor, max_new_tokens=1001)))
    assert "a public desk writes at most" in many
    received = b"".join(visitor.received).replace(b"\\", b"")
    for secret in (str(shared.home), "secret text", "secret prompt", "softness"):
        assert secret.encode() not in received, secret
    owners = b"".join(shared.owner.received) + str(shared.owner.request("GET", "/").text).encode()
    assert b"softness" in owners


def test_each_visitor_of_the_link_has_two_places(shared: Shared, visitor: Visitor) -> None:
    def answers(address: Callable[[int], str]) -> list[str]:
        found: list[str] = []

        def ask(i: int, one: Visitor) -> None:
            one.client.headers.update({"x-pretended": address(i), "x-forwarded-for": f"8.8.4.{i}"})
            found.append(said(one.run(*asked(one, max_new_tokens=1000))))
            one.close()

        visitors = [Visitor(visitor.url) for _ in range(5)]
        threads = [threading.Thread(target=ask, args=one) for one in enumerate(visitors)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return found

    assert any("another waits" in answer for answer in answers(lambda i: VISITOR))
    assert not any("another waits" in answer for answer in answers(lambda i: f"8.8.8.{i}"))


def test_the_owner_uploads_and_trains_meanwhile(shared: Shared, visitor: Visitor) -> None:
    owner = shared.owner
    path = owner.upload("stories.txt", TEXT.encode())
    event = owner.event("train-start")
    options = {"size": "tiny", "tokenizer": "chars", "steps": 4, "block_size": 16, "batch_size": 4, "name": "tale"}
    given = {f"train_{name}": value for name, value in options.items()} | {"train_source": "Choose files"}
    files = [{"path": path, "meta": {"_type": "gradio.FileData"}}]
    assert "tale has started" in said(owner.run(event, owner.values(event, **given, train_files=files)))
    end = time.monotonic() + 60
    while holding_process(shared.home) or not (shared.home / "models" / "tale").exists():
        assert time.monotonic() < end
        time.sleep(0.2)
    assert visitor.request("GET", "/health").status_code == 200


def test_the_switch_ends_the_link_and_makes_another(shared: Shared, visitor: Visitor) -> None:
    programs = shared.programs()
    port = next(int(one.cmdline()[-2]) for one in programs if "gptdesk.page.tunnel" in one.cmdline())
    assert len(programs) == 2
    told = shared.switch(False)
    assert told[0] is False
    assert psutil.wait_procs(programs, timeout=2)[1] == []
    for gone in (port, int(visitor.url.rpartition(":")[2])):
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", gone), timeout=5)
    assert shared.look()[0] is False
    shared.switch(True)
    shared.switch(False)  # while it starts
    shared.switch(True)
    assert shared.switch(True)[0] is True
    assert Visitor(shared.link()).request("GET", "/health").status_code == 200
    assert len(shared.programs()) == 2


def test_a_client_that_dies_is_one_sentence_and_the_desk_goes_on(shared: Shared, visitor: Visitor) -> None:
    client = next(one for one in shared.programs() if "-IS" in one.cmdline())
    client.kill()
    end = time.monotonic() + 20
    while "⚠" not in (note := str(shared.look()[4])):
        assert time.monotonic() < end
        time.sleep(0.1)
    assert "has ended, for its client program has" in note.replace("\\", "")
    assert shared.look()[0] is False
    assert shared.programs() == []
    assert shared.owner.request("GET", "/health").status_code == 200
    shared.switch(True)
    shared.link()  # for the end of the module


@NEEDS_BROWSER
@pytest.mark.parametrize("width", [1440, 390])
def test_the_switch_is_reached_by_keyboard_and_fits_the_page(shared: Shared, width: int) -> None:
    address = shared.link()
    with running_browser() as browser:
        page = browser.new_page(viewport={"width": width, "height": 844})
        page.goto(shared.desk.url)
        box = page.locator("#share-link input, #share-link textarea")
        sync_api.expect(box).to_have_value(address.replace("http", "https"), timeout=LONG)  # at once
        assert page.locator("#share-code svg").bounding_box()["width"] > 100  # type: ignore[index]
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        switch = page.locator("#share input")
        sync_api.expect(switch).to_be_checked(timeout=LONG)
        switch.focus()
        page.keyboard.press("Space")
        sync_api.expect(page.locator("#share-panel")).to_be_hidden(timeout=LONG)
        assert shared.look()[0] is False
        page.keyboard.press("Space")
        sync_api.expect(page.locator("#share-note")).to_contain_text("Create a public link", timeout=LONG)
        assert shared.look()[0] is False  # nothing begins before the answer
        page.locator("#share-create").click()
        sync_api.expect(page.locator("#share-note")).to_contain_text("Anyone with this link", timeout=LONG)


def test_a_second_start_says_where_to_switch_it_on(shared: Shared) -> None:
    command = [sys.executable, "-m", "gptdesk", "--share", "--no-browser", "--home", str(shared.home)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    assert done.stderr == (
        f"GPT Desk is already running at {shared.desk.url}; switch Share on there for a public link\n"
    )
