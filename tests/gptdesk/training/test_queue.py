"""Queue of runs: the next starts when the one before ends, fails or is killed, with real processes."""

import time
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path

from training_checks import begin, context_in, plan, resume, text_of, write_text

from gptdesk.training import TrainingStep, control, queue
from gptdesk.training.lock import holder, holding_process
from gptdesk.training.run_directory import QueuedStart, queued_names
from gptdesk.training.text_input import TextInput

FEW, MANY = {"steps": 3}, {"steps": 100_000, "save_every": 1000, "evaluate_every": 1000}
LONG = 90.0  # seconds that a process may take on a busy machine


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_runs_start_one_after_the_other(tmp_path: Path) -> None:
    context, text = context_in(tmp_path), text_of(tmp_path)
    places = [
        queue.begin(context, plan(name, **options), text=text)
        for name, options in {"one": MANY, "two": FEW, "left": FEW, "broken": FEW, "last": FEW}.items()
    ]
    assert places == [0, 1, 2, 3, 4]
    assert control.info(context, "two").state == "queued"
    control.order(context, "left", "stop")
    assert (control.info(context, "left").state, queue.place(context, "last")) == ("new", 3)
    assert queue.start_next(context) is None
    (tmp_path / "runs" / "broken" / "plan.json").write_text("{")

    process = holding_process(tmp_path)
    assert process is not None
    process.kill()
    process.wait(20)
    assert queued_names(tmp_path / "runs") == ["two", "broken", "last"]  # as a desk finds it that starts now
    watcher = queue.QueueWatcher(context)
    watcher.start()
    wait_for(lambda: control.info(context, "two").state != "queued")
    watcher.stop()  # from here on each process that ends starts the next
    wait_for(lambda: control.info(context, "last").state == "finished")
    assert control.info(context, "two").state == "finished"
    assert not queued_names(tmp_path / "runs")
    assert (control.info(context, "one").state, control.info(context, "left").state) == ("interrupted", "new")
    wait_for(lambda: holder(tmp_path) is None)


def test_resuming_and_training_longer_wait_for_the_run_that_trains_and_outlive_a_kill(tmp_path: Path) -> None:
    context, text = context_in(tmp_path), text_of(tmp_path)
    finished = begin(tmp_path, "finished", steps=3)
    list(resume(finished))
    changing = write_text(tmp_path / "changing.txt")
    left = control.create(context, plan("left", steps=6, save_every=1), text=TextInput(paths=(changing,)))
    for _ in takewhile(lambda event: not isinstance(event, TrainingStep) or event.step < 3, resume(left)):
        pass
    changing.write_text(changing.read_text("utf-8") * 2, "utf-8")
    before = finished.plan()
    queue.begin(context, plan("trains", **MANY), text=text)
    assert queue.extend(context, "finished", steps=4) == 1
    assert queue.resume(context, "left", accept_changes=True) == 2
    assert queue.extend(context, "finished", steps=4) == 1  # it waits already
    info = control.info(context, "finished")
    assert (info.state, info.has_ended, control.model_of(context, info)) == ("queued", True, "finished")
    assert finished.plan() == before  # until it starts
    control.order(context, "finished", "stop")
    assert control.info(context, "finished").state == "finished"
    assert queue.extend(context, "finished", steps=4) == 2

    process = holding_process(tmp_path)
    assert process is not None
    process.kill()
    process.wait(20)
    assert queued_names(tmp_path / "runs") == ["left", "finished"]
    assert queue.start_next(context) == "left"  # as a desk that is opened does; its process starts the other one
    wait_for(lambda: control.info(context, "finished").last.get("step") == 7)
    wait_for(lambda: control.info(context, "finished").state == "finished")
    assert control.info(context, "left").status.step == 6
    wait_for(lambda: holder(tmp_path) is None)


def test_a_run_that_waits_is_not_replaced_by_one_of_its_name(tmp_path: Path) -> None:
    run = begin(tmp_path)
    run.write_queued()
    control.remove_unstarted(context_in(tmp_path), "run")
    assert queued_names(tmp_path / "runs") == ["run"]
    (run.path / "queued").write_text("nan\n[")
    assert (run.queued_since(), run.queued_start()) == (0.0, QueuedStart())
    (run.path / "queued").write_text('12.5\n{"more_steps": -4, "accept_changes": true}')
    assert (run.queued_since(), run.queued_start()) == (12.5, QueuedStart(accept_changes=True))
