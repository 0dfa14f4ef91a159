"""One dial for time and size: what to train in so many minutes, and the speed to expect on this computer."""

from dataclasses import dataclass

from gptdesk.training.context import RunContext
from gptdesk.training.run_directory import RunDirectory
from models import storage


@dataclass(frozen=True)
class TimeChoice:
    """Options that fit a time: a preset and tokenizer for a new model, and a limit on the steps beside the minutes."""

    minutes: int
    preset: str
    tokenizer: str
    steps: int


# Steps are more than an ordinary computer makes in the time, so that the minutes decide, and a fast one has a schedule.
TIME_CHOICES = {
    str(choice.minutes): choice
    for choice in (
        TimeChoice(3, "mini", "auto", 1_500),
        TimeChoice(10, "mini", "auto", 10_000),
        TimeChoice(30, "small", "auto", 20_000),
        TimeChoice(60, "small", "auto", 40_000),
    )
}


@dataclass(frozen=True)
class SpeedEstimate:
    """Expected speed of training, scaled by parameters from that of an earlier run."""

    tokens_per_second: float
    run: str


def expected_speed(context: RunContext, *, parameters: int) -> SpeedEstimate | None:
    """Return the speed of training a model of so many parameters, from the run nearest in size; None without a run.

    A step costs about the same arithmetic for each parameter and token, so the speed times the parameters is constant.
    """
    found: list[tuple[float, SpeedEstimate]] = []
    folders = storage.folders(context.settings.runs) if context.settings.runs.is_dir() else []
    for folder in folders:
        try:
            known = RunDirectory(folder).resolved()
        except ValueError:
            continue  # a damaged run says nothing
        if known is None:
            continue
        ratio = known.parameters / parameters
        estimate = SpeedEstimate(known.tokens_per_second * ratio, folder.name)
        found.append((max(ratio, 1 / ratio), estimate))
    return min(found, key=lambda one: one[0])[1] if found else None
