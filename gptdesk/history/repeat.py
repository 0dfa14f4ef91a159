"""Repetition of an entry: the request it came from, and where a new text departs from the saved one."""

from dataclasses import dataclass

from gptdesk.generation import GenerationRequest, GenerationResult
from gptdesk.history.entry import Entry


@dataclass(frozen=True)
class Difference:
    """First place where a repeated text differs from the saved one."""

    row: int  # of the sequence, from 0
    token: int  # in that sequence, from 0


def request_of(entry: Entry) -> GenerationRequest:
    """Return the request of an entry, with the seed that was used; ValueError if an option is no longer known."""
    return GenerationRequest(**(entry.request | {"prompt": entry.prompt, "n": entry.n, "seed": entry.seed}))


def first_difference(saved: Entry, repeated: GenerationResult) -> Difference | None:
    """Return where the tokens differ first; None if all that was saved came out again.

    Of a text that was stopped, only what was saved is compared.
    """
    for row, sequence in enumerate(saved.sequences):
        old, new = list(sequence.tokens), repeated.tokens[row]
        if sequence.finish_reason in (None, "stopped", "deadline"):
            new = new[: len(old)]
        if old != new:
            same = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
            return Difference(row, same)
    return None


def changes(saved: Entry, *, weights: str | None, kernels: str) -> list[str]:
    """Return what is not as it was when the entry was written: other weights (SHA-256), other kernels."""
    sentences = []
    if saved.weights and weights and saved.weights != weights:
        sentences.append("the model of this name has other weights now")
    if saved.kernels != kernels:
        sentences.append(f"it was computed by {saved.kernels}, now by {kernels}")
    return sentences
