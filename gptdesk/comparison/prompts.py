"""List of prompts, each continued by every side, with the divergences."""

import statistics
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gptdesk.comparison import Side, Stage, in_turn_note, prepare
from gptdesk.comparison.divergence import Divergence, diverge_all
from gptdesk.generation import GenerationResult, collect, generate
from gptdesk.stop_strings import unescape
from models.manager import ModelKey, ModelManager

MOST_PROMPTS = 500


@dataclass(frozen=True)
class PromptResult:
    """Generations of every side for one prompt, and the divergence of each candidate from the reference."""

    prompt: str
    results: tuple[GenerationResult, ...]
    divergences: tuple[Divergence, ...]


def read_prompts(text: str) -> list[str]:
    r"""Return the prompts in `text`, one a line, `unescape`d; ValueError if there are none, or too many."""
    prompts = [unescape(line) for line in text.splitlines() if line.strip()]
    if not prompts:
        raise ValueError("there are no prompts; write one in each line")
    if len(prompts) > MOST_PROMPTS:
        raise ValueError(f"there are {len(prompts):,} prompts, and at most {MOST_PROMPTS} are compared in one go")
    return prompts


def compare_prompts(
    manager: ModelManager, sides: Sequence[Side], prompts: Sequence[str], *, stop: threading.Event | None = None
) -> Iterator[Stage | PromptResult]:
    """Yield the results of every prompt, which replaces that of the sides' requests; `stop` ends with complete ones.

    Where memory is short, each model is loaded once and the results come at the end. ValueError as `watch`.
    """
    keys = [side.key for side in sides]
    _check_encodable(manager, keys, prompts)
    yield from prepare(manager, keys, stop=stop)
    sides_of = [[_with_prompt(side, prompt) for side in sides] for prompt in prompts]
    groups = [[p] for p in range(len(prompts))]  # of prompts that each model is lent for once
    if in_turn_note(manager, keys):
        groups = [list(range(len(prompts)))]
    done, total = 0, len(prompts) * len(sides)
    for group in groups:
        results: list[list[GenerationResult]] = [[] for _ in group]
        for s, side in enumerate(sides):
            for row, p in zip(results, group, strict=True):
                yield Stage(f"prompt {p + 1} of {len(prompts)}, {side.name}", done / total)
                with manager.lend(side.key, fresh=True) as loaded:
                    row.append(collect(generate(loaded, sides_of[p][s].request, stop=stop), n=1))
                if stop is not None and stop.is_set():
                    return
                done += 1
        divergences = diverge_all(manager, [(sides_of[p], row) for p, row in zip(group, results, strict=True)])
        for p, row, of_prompt in zip(group, results, divergences, strict=True):
            yield PromptResult(sides_of[p][0].request.prompt, tuple(row), of_prompt)


def _check_encodable(manager: ModelManager, keys: Sequence[ModelKey], prompts: Sequence[str]) -> None:
    """Raise ValueError naming the first prompt that one of the tokenizers cannot encode."""
    for name in dict.fromkeys(key.name for key in keys):
        tokenizer = manager.library.tokenizer(name)
        for i, prompt in enumerate(prompts, 1):
            try:
                tokenizer.encode_prompt(prompt)
            except ValueError as error:
                raise ValueError(f"prompt {i} cannot be read by {name}: {error}") from None


def typical_divergence(rows: Sequence[PromptResult], side: int) -> float | None:
    """Return the median number of tokens before candidate `side` (1, 2) diverges; None if most texts do not."""
    divergences = [row.divergences[side - 1] for row in rows]
    same = [float("inf") if one.identical or one.same is None else float(one.same) for one in divergences]
    middle = statistics.median_high(same) if same else float("inf")
    return None if middle == float("inf") else middle


def _with_prompt(side: Side, prompt: str) -> Side:
    return Side(side.name, side.key, type(side.request)(**(dict(side.request) | {"prompt": prompt})))
