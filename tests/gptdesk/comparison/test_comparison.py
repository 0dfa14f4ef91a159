"""Watching and measuring: texts as each side generates them alone, consistent figures, correct divergences."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import pytest
from comparison_checks import GREEDY, asked, only, save_tiny_family, sides_of, written

from gptdesk.comparison import Side, Stage, names_by_difference, side_names, with_seed
from gptdesk.comparison.divergence import diverge
from gptdesk.comparison.measuring import Measurement, measure, percentile
from gptdesk.comparison.report import study
from gptdesk.comparison.watching import Divergences, SideEvent, watch
from gptdesk.generation import GenerationResult, GenerationStart
from models.checkpoint import Checkpoint
from models.library import ModelLibrary
from models.manager import ModelKey, ModelManager
from models.precision import PRECISIONS
from models.tokenizer import Tokenizer
from models.weights import WEIGHTS
from samplers import Chain

PAIR = ("tiny:float32", "tiny:int8")


@pytest.fixture(scope="module")
def folder(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Path:
    """`tiny`, its twin, one that is damaged, and one that writes letters."""
    return save_tiny_family(tiny_folder, tmp_path_factory.mktemp("compared"), tokenizer)


def manager_of(folder: Path, *models: str, at_once: bool = True) -> ModelManager:
    """Return a manager whose budget is that of these models together, or of the largest alone; without any, none."""
    keys = [ModelKey.parse(model) for model in models]
    sizes = [
        PRECISIONS[key.precision].memory_bytes(Checkpoint.open(folder / key.name).config) for key in dict.fromkeys(keys)
    ]
    budget = (sum if at_once else max)(sizes) if models else None
    return ModelManager(ModelLibrary(folder, cache_folder=folder.parent / "cache"), memory_budget=budget)


@pytest.fixture
def manager(folder: Path) -> ModelManager:
    return manager_of(folder)


def gathered(events: list[object]) -> list[GenerationResult]:
    """Collect the events of each side."""
    sides = [event for event in events if isinstance(event, SideEvent)]
    results = [GenerationResult(1) for _ in {event.side for event in sides}]
    for event in sides:
        results[event.side].add(event.event)
    return results


def outcome(result: GenerationResult) -> tuple[object, ...]:
    return result.texts, result.tokens, result.finish_reasons


# Names and seeds


@pytest.mark.parametrize(
    ("models", "names"),
    [
        (["a:float32", "a:int8"], ["float32", "int8"]),
        (["a:int8", "b:int8", "c:int8"], ["a", "b", "c"]),
        (["a:int8", "b:float32"], ["a · int8", "b · float32"]),
        (["a:int8", "a:int8"], ["a · int8 (1)", "a · int8 (2)"]),
        (["a:int8", "b:int8", "a:int8"], ["a · int8 (1)", "b · int8", "a · int8 (3)"]),
        (["a:int8", "a:int4", "b:int8"], ["a · int8", "a · int4", "b · int8"]),
    ],
)
def test_names_tell_the_sides_apart(models: list[str], names: list[str]) -> None:
    assert side_names([ModelKey.parse(model) for model in models]) == names


def test_sides_of_one_model_are_named_by_what_differs() -> None:
    key, other = ModelKey("a"), ModelKey("a", "int8")
    base = asked(seed=1)
    cold = base.model_copy(update={"chain": Chain.from_data([{"name": "temperature", "temperature": 0.5}])})
    warm = base.model_copy(update={"chain": Chain.from_data([{"name": "top_k", "top_k": 9}])})
    assert names_by_difference([key, key], [asked(seed=1), asked(seed=2)]) == ["seed 1", "seed 2"]
    assert names_by_difference([key, key], [cold, warm]) == ["temperature 0.5, no top k", "no temperature, top k 9"]
    assert names_by_difference([key, other], [asked(seed=1), asked(seed=2)]) == ["float32, seed 1", "int8, seed 2"]
    assert names_by_difference([key, other], [base, base]) == ["float32", "int8"]
    assert names_by_difference([key, key], [base, base]) == ["a · float32 (1)", "a · float32 (2)"]
    assert names_by_difference([key] * 3, [base, base, cold])[2] == "a · float32 (3)"


def test_one_seed_is_drawn_where_there_is_none() -> None:
    assert with_seed(asked(seed=0)) == asked(seed=0)
    drawn = {with_seed(asked(seed=None)).seed for _ in range(5)}
    assert None not in drawn
    assert len(drawn) > 1
    assert with_seed(asked(seed=None, tokens=3)).max_new_tokens == 3


# Watch


def test_watched_sides_write_in_turn_what_they_write_alone(manager: ModelManager) -> None:
    sides = sides_of(asked(), "tiny:float32", "tiny:int8", "damaged:float32")
    events = list(watch(manager, sides))
    results = gathered(events)
    assert [outcome(result) for result in results] == [outcome(written(manager, side)) for side in sides]
    order = [event.side for event in events if isinstance(event, SideEvent)]
    shortest = min(len(result.tokens[0]) for result in results)
    assert order[: 3 * (shortest + 1)] == [0, 1, 2] * (shortest + 1)
    starts = [
        event.side for event in events if isinstance(event, SideEvent) and isinstance(event.event, GenerationStart)
    ]
    assert starts == [0, 1, 2]
    assert only(events, Divergences).divergences == diverge(manager, sides, results)


def test_a_side_that_ends_early_does_not_end_the_other(manager: ModelManager) -> None:
    sides = [
        replace(side, request=asked(tokens=count)) for side, count in zip(sides_of(asked(), *PAIR), (3, 9), strict=True)
    ]
    assert [len(result.tokens[0]) for result in gathered(list(watch(manager, sides)))] == [3, 9]


def test_watching_can_be_stopped(manager: ModelManager) -> None:
    sides, stop, events = sides_of(asked(tokens=40), "tiny:float32", "twin:float32"), threading.Event(), []
    whole = [written(manager, side) for side in sides]
    for event in watch(manager, sides, stop=stop):
        events.append(event)
        if len(gathered(events)) == 2 and len(gathered(events)[1].tokens[0]) == 5:
            stop.set()
    results = gathered(events)
    for result, complete in zip(results, whole, strict=True):
        assert 5 <= len(result.tokens[0]) <= 6
        assert result.tokens[0] == complete.tokens[0][: len(result.tokens[0])]
        assert result.finish_reasons == ["stopped"]
    (found,) = only(events, Divergences).divergences
    assert found.identical


@pytest.mark.usefixtures("torch_kernels")  # which take the bytes that are told before loading
def test_where_memory_is_short_the_sides_write_one_after_the_other(folder: Path) -> None:
    sides = sides_of(asked(), *PAIR)
    together, short = manager_of(folder, *PAIR), manager_of(folder, *PAIR, at_once=False)
    assert [key for key, _ in groupby(_sides(list(watch(together, sides))))] != [0, 1]
    events = list(watch(short, sides))
    assert [key for key, _ in groupby(_sides(events))] == [0, 1]
    note = only(events, Divergences).note
    assert note is not None
    assert "do not fit the memory budget of" in note
    assert "loaded in turn" in note
    assert [outcome(result) for result in gathered(events)] == [outcome(written(together, side)) for side in sides]
    assert only(events, Divergences).divergences == only(watch(together, sides), Divergences).divergences


def _sides(events: list[object]) -> Iterator[int]:
    return (event.side for event in events if isinstance(event, SideEvent))


def test_a_model_that_is_not_there_is_named(manager: ModelManager) -> None:
    for stream in (watch(manager, sides_of(asked(), "tiny", "gone:int8")), measure(manager, sides_of(asked(), "gone"))):
        with pytest.raises(ValueError, match=r"^there is no model 'gone'; the models here are: damaged, letters, tiny"):
            list(stream)


# Measure


def test_figures_are_consistent(manager: ModelManager) -> None:
    sides = sides_of(asked(tokens=20, chain=GREEDY), *PAIR)
    found = only(measure(manager, sides, repeats=3), Measurement)
    assert (found.repeats, found.note) == (3, None)
    assert 0 <= found.others <= 1
    assert [outcome(result) for result in found.results] == [outcome(written(manager, side)) for side in sides]
    for side, timing, result in zip(sides, found.timings, found.results, strict=True):
        with manager.lend(side.key) as loaded:
            assert (timing.kernels, timing.memory_bytes) == (loaded.model.kernels, loaded.memory_bytes)
            assert timing.prompt_tokens == len(loaded.tokenizer.encode("Once"))
        assert timing.file_bytes == (manager.library.copy(side.key) / WEIGHTS).stat().st_size
        assert len(timing.latencies) == len(result.tokens[0]) - 1 > 0
        p50, p95 = timing.latency_p50, timing.latency_p95
        assert timing.speed is not None
        assert p50 is not None
        assert p95 is not None
        for spread in (timing.first_token, timing.prompt_speed, timing.speed, p50, p95):
            assert 0 < spread.low <= spread.median <= spread.high
        assert min(timing.latencies) <= p50.high
        assert p50.median <= p95.median
        assert min(timing.latencies) <= 1 / timing.speed.low
        assert 0 < timing.load_seconds.low <= timing.load_seconds.median <= timing.load_seconds.high
    assert found.timings[1].file_bytes < found.timings[0].file_bytes
    assert found.timings[1].memory_bytes < found.timings[0].memory_bytes


@pytest.mark.parametrize(("repeats", "order"), [(1, "ab"), (2, "abba"), (5, "abbaabbaab")])
def test_the_order_alternates(manager: ModelManager, repeats: int, order: str) -> None:
    stages = [
        event
        for event in measure(manager, _two(), repeats=repeats)
        if isinstance(event, Stage) and event.text[:3] == "mea"
    ]
    names = {"float32": "a", "int8": "b"}
    assert "".join(names[stage.text.split()[1].rstrip(",")] for stage in stages) == order
    done = [stage.done for stage in stages]
    assert done == [i / len(order) for i in range(len(order))]


def _two() -> list[Side]:
    return sides_of(asked(tokens=2), *PAIR)


def test_every_repeat_reads_the_prompt_afresh(manager: ModelManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """Check that the prefix cache does not shorten the time to the first token."""
    with manager.lend(ModelKey("tiny")) as loaded:
        list(watch(manager, _two()))
        before = len(loaded.prefixes._prompts)
    starts = []
    add = GenerationResult.add
    monkeypatch.setattr(GenerationResult, "add", lambda self, event: starts.append(event) or add(self, event))
    only(measure(manager, _two(), repeats=3), Measurement)
    read = [event for event in starts if isinstance(event, GenerationStart)]
    assert [event.known_tokens for event in read] == [0] * 6
    with manager.lend(ModelKey("tiny")) as loaded:
        assert len(loaded.prefixes._prompts) <= before


@pytest.mark.parametrize("repeats", [0, -1, 51])
def test_repeats_out_of_range(manager: ModelManager, repeats: int) -> None:
    with pytest.raises(ValueError, match=f"^repeats must be between 1 and 50, not {repeats}$"):
        list(measure(manager, _two(), repeats=repeats))


def test_one_token_has_no_speed(manager: ModelManager) -> None:
    found = only(measure(manager, sides_of(asked(tokens=1), *PAIR), repeats=2), Measurement)
    for timing in found.timings:
        assert (timing.speed, timing.latencies, timing.latency_p50, timing.latency_p95) == (None, (), None, None)
        assert timing.first_token.median > 0


@pytest.mark.parametrize("after", [0, 1, 2, 4, 6])
def test_measuring_can_be_stopped_at_any_stage(manager: ModelManager, after: int) -> None:
    stop, events = threading.Event(), []
    for event in measure(manager, sides_of(asked(tokens=30), *PAIR), repeats=3, stop=stop):
        events.append(event)
        if len(events) > after:
            stop.set()
    assert all(isinstance(event, Stage) for event in events)
    assert len(events) <= after + 3


def test_sides_that_do_not_fit_together_are_measured_in_turn(folder: Path) -> None:
    events = list(measure(manager_of(folder, *PAIR, at_once=False), _two(), repeats=2))
    found = only(events, Measurement)
    assert found.note is not None
    assert "do not fit the memory budget" in found.note
    together = only(measure(manager_of(folder, *PAIR), _two(), repeats=2), Measurement)
    assert [outcome(result) for result in found.results] == [outcome(result) for result in together.results]


def test_a_copy_without_weights_does_not_end_a_measurement(folder: Path, tmp_path: Path) -> None:
    manager = ModelManager(ModelLibrary(folder, cache_folder=tmp_path))
    (manager.library.copy(ModelKey("tiny", "int8")) / WEIGHTS).unlink()
    found = only(measure(manager, _two(), repeats=1), Measurement)
    assert found.timings[1].file_bytes == (manager.library.copy(ModelKey("tiny", "int8")) / WEIGHTS).stat().st_size


@pytest.mark.parametrize(
    ("text", "sentence"), [("so much for €", "not among them: '€'"), ("e", "the text is too short")]
)
def test_a_text_that_a_side_cannot_be_judged_by_is_told_before_anything_is_measured(
    manager: ModelManager, text: str, sentence: str
) -> None:
    events: list[object] = []
    with pytest.raises(ValueError, match=sentence):  # noqa: PT012
        for event in study(manager, sides_of(asked("once"), "tiny", "letters"), text=text):
            events.append(event)
    assert not any(isinstance(event, Stage) and event.text.startswith("measuring") for event in events)


@pytest.mark.parametrize("share", [0.5, 0.95, 0.99])
def test_a_percentile_is_not_exceeded_by_its_share(share: float) -> None:
    for count in (1, 2, 3, 19, 20, 21, 100):
        values = [float(i) for i in range(count, 0, -1)]
        found = percentile(values, share)
        assert found in values
        assert sum(value <= found for value in values) >= share * count
        assert sum(value < found for value in values) < share * count
