"""Desk: saved state, presets, models, and damaged files, which are kept aside."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from gptdesk.desk import Desk
from gptdesk.errors import Busy
from gptdesk.generation import GenerationQueued, GenerationRequest, GenerationResult, GenerationStart, collect
from gptdesk.json_store import JsonStore
from gptdesk.presets import built_in_presets
from gptdesk.scheduler import Scheduler
from gptdesk.settings import Settings, load_settings
from models.checkpoint import About, save_checkpoint
from models.gpt import GPT, GPTConfig
from models.manager import ModelKey
from models.tokenizer import character_tokenizer
from samplers import Chain, build


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings({"home": str(tmp_path)})


def test_the_starter_is_there_and_generates(settings: Settings) -> None:
    desk = Desk(settings)
    request = GenerationRequest(prompt="Once", seed=1, max_new_tokens=30)
    result = collect(desk.generate(ModelKey("starter"), request), n=1)
    assert len(result.texts[0].split()) > 8
    assert desk.tokenizer("starter").encode("Once") == desk.tokenizer("starter").encode("Once")
    assert desk.model("starter").context >= 256


def test_an_unknown_model_names_those_there_are(settings: Settings) -> None:
    desk = Desk(settings)
    for use in (desk.model, desk.tokenizer, lambda name: list(desk.generate(ModelKey(name), GenerationRequest()))):
        with pytest.raises(ValueError, match=r"nosuch.*starter"):
            use("nosuch")


def test_presets_survive_a_restart(settings: Settings) -> None:
    mine = Chain(samplers=(build("typical", typical_p=0.5), build("temperature", temperature=1.5)))
    assert Desk(settings).save_preset("  mine ", mine) == "mine"
    desk = Desk(settings)
    assert desk.preset("mine") == mine
    assert desk.preset_names() == [*built_in_presets(), "mine"]
    desk.presets.delete("mine")
    assert Desk(settings).preset_names() == list(built_in_presets())


def test_what_presets_refuse(settings: Settings) -> None:
    desk = Desk(settings)
    chain = desk.preset("Balanced")
    for name, words in (("", "needs a name"), ("x" * 61, "needs a name"), ("Balanced", "built-in")):
        with pytest.raises(ValueError, match=words):
            desk.save_preset(name, chain)
    with pytest.raises(ValueError, match="only your own"):
        desk.presets.delete("Balanced")
    with pytest.raises(ValueError, match=r"no preset 'nosuch'.*Balanced"):
        desk.preset("nosuch")


def test_a_preset_whose_sampler_has_gone_says_so(settings: Settings) -> None:
    (settings.home / "presets.json").write_text(json.dumps({"old": [{"name": "gone", "strength": 1}]}))
    with pytest.raises(ValueError, match="gone"):
        Desk(settings).preset("old")


@pytest.mark.parametrize("content", ["{", "[1, 2]", "\x00", ""])
def test_a_damaged_file_is_set_aside_not_overwritten(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "presets.json"
    file.write_text(content)
    remembered = JsonStore(file, writable=True)
    assert remembered.read() == {}
    remembered.put("a", 1)
    assert json.loads(file.read_text()) == {"a": 1}
    assert (tmp_path / "presets.json.damaged").read_text() == content
    assert "presets.json" in caplog.text


def test_a_public_desk_writes_nothing_and_reads_no_plugins(tmp_path: Path) -> None:
    (tmp_path / "samplers").mkdir()
    (tmp_path / "samplers" / "broken.py").write_text("raise RuntimeError('loaded')")
    desk = Desk(load_settings({"home": str(tmp_path), "host": "0.0.0.0"}))
    assert desk.warnings == []
    desk.page.put("prompt", "a stranger's")
    assert desk.page.read() == {}
    with pytest.raises(ValueError, match="public desk"):
        desk.save_preset("theirs", desk.preset("Balanced"))
    assert not (tmp_path / "page.json").exists()
    assert not (tmp_path / "presets.json").exists()


def test_a_broken_plugin_is_named_and_the_desk_still_works(tmp_path: Path) -> None:
    (tmp_path / "samplers").mkdir()
    (tmp_path / "samplers" / "broken.py").write_text("raise RuntimeError('no luck')")
    (warning,) = Desk(load_settings({"home": str(tmp_path)})).warnings
    assert "broken.py" in warning
    assert "no luck" in warning


def test_a_disk_that_refuses_costs_neither_the_old_file_nor_a_text(tmp_path: Path) -> None:
    remembered = JsonStore(tmp_path / "gone" / "page.json", writable=True)
    with pytest.raises(ValueError, match=r"cannot write .*page.json"):
        remembered.put("a", 1)
    assert remembered.read() == {}


def test_many_writers_lose_nothing(tmp_path: Path) -> None:
    remembered = JsonStore(tmp_path / "presets.json", writable=True)

    def save(i: int) -> None:
        for j in range(5):
            remembered.put(f"{i}-{j}", i)

    threads = [threading.Thread(target=save, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(remembered.read()) == 20
    remembered.put("0-0", None)
    assert len(remembered.read()) == 19


def test_what_is_too_large_is_refused_and_costs_nothing(tmp_path: Path) -> None:
    remembered = JsonStore(tmp_path / "page.json", writable=True)
    remembered.put("small", 1)
    with pytest.raises(ValueError, match="too much to save"):
        remembered.put("large", "\x01" * 3_000_000)
    assert remembered.read() == {"small": 1}


def test_models_take_half_the_memory_unless_told(tmp_path: Path) -> None:
    half = psutil.virtual_memory().total // 2
    assert Desk(load_settings({"home": str(tmp_path)})).manager.memory_budget == half
    assert Desk(load_settings({"home": str(tmp_path), "memory_gb": 0.5})).manager.memory_budget == 500_000_000


def test_the_tokenizer_is_the_one_on_disk_now(tmp_path: Path) -> None:
    desk = Desk(load_settings({"home": str(tmp_path)}))
    for alphabet in ("abc", "wxyz"):
        model = GPT(GPTConfig(vocab_size=len(alphabet), block_size=8, n_layer=1, n_head=1, n_embd=8))
        save_checkpoint(tmp_path / "models" / "m", model, tokenizer=character_tokenizer(alphabet), about=About())
        assert desk.tokenizer("m").encode(alphabet) == list(range(len(alphabet)))


def test_a_public_desk_does_not_tell_what_was_asked_before(tmp_path: Path) -> None:
    desk = Desk(Settings(home=tmp_path, host="0.0.0.0"))
    request = GenerationRequest(prompt="My secret is a red kite", max_new_tokens=1)
    starts = [collect(desk.generate(ModelKey("starter"), request), n=1).start for _ in range(2)]
    assert [start.known_tokens for start in starts if start] == [0, 0]


def test_a_text_that_is_interrupted_by_another_is_the_same_text(settings: Settings) -> None:
    """With one place and no time to keep it, two generations take turns, a few tokens at a time."""
    request = GenerationRequest(prompt="Once", seed=5, n=2, max_new_tokens=200)
    alone = collect(Desk(settings).generate(ModelKey("starter"), request), n=2)
    desk = Desk(settings)
    desk.scheduler = Scheduler(1)
    order: list[int] = []

    def write(number: int) -> GenerationResult:
        result = GenerationResult(2)
        for event in desk.generate(ModelKey("starter"), request):
            result.add(event)
            order.append(number)
        return result

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(2) as pool:
        patch.setattr("gptdesk.desk.SLICE", 0.0)
        results = list(pool.map(write, range(2)))
    assert [result.texts for result in results] == [alone.texts] * 2
    assert sum(a != b for a, b in pairwise(order)) > 10


def test_who_waits_sees_his_place_in_the_queue(settings: Settings) -> None:
    desk, stop = Desk(settings), threading.Event()
    request = GenerationRequest(prompt="Once", seed=5, max_new_tokens=2)
    with desk.scheduler.queue(alone=True) as measurement:
        assert measurement.wait()
        waiting = desk.generate(ModelKey("starter"), request, stop=stop)
        assert next(waiting) == GenerationQueued(1)
        late = desk.generate(ModelKey("starter"), request)
        assert next(late) == GenerationQueued(2)
        stop.set()
        with pytest.raises(Busy):
            next(waiting)
    events = list(late)
    assert isinstance(next(event for event in events if event != GenerationQueued(1)), GenerationStart)
    assert collect(iter(events), n=1).finish_reasons == ["length"]


def test_who_stands_back_in_the_middle_of_a_text_sees_his_place(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A measurement that has waited long enough goes first; the text that has begun is told so, and goes on after."""
    monkeypatch.setattr("gptdesk.desk.SLICE", 0.0)
    monkeypatch.setattr("gptdesk.scheduler.OVERTAKEN", 0.0)
    monkeypatch.setattr("gptdesk.scheduler.AGAIN", 0.0)
    desk = Desk(settings)
    request = GenerationRequest(prompt="Once", seed=5, max_new_tokens=8)
    alone = collect(desk.generate(ModelKey("starter"), request), n=1)
    writing = desk.generate(ModelKey("starter"), request)
    begun = [next(writing)]
    with desk.scheduler.queue(alone=True) as measurement:
        assert not measurement.wait()
        while not isinstance(begun[-1], GenerationQueued):
            begun.append(next(writing))
        assert begun[-1] == GenerationQueued(2)
        assert measurement.wait()
        assert next(writing) == GenerationQueued(1)
    assert collect(iter([*begun, *writing]), n=1).texts == alone.texts
