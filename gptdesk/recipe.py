"""Recipe: a generation as a small JSON file, which anybody can run and compare with what came out here."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from gptdesk import __version__
from gptdesk.errors import NotFound
from gptdesk.generation import FinishReason, GenerationRequest, GenerationResult
from gptdesk.history import Entry
from models.storage import parse_json
from samplers import Options

VERSION = 1
LARGEST = 20_000_000  # bytes of a file
UNFINISHED = (None, "stopped", "deadline")  # finish reasons of a text that another run may continue


class RecipeText(Options):
    """One text that came out, by its hash and its tokens."""

    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="SHA-256 of the text without the prompt, in UTF-8")
    tokens: tuple[int, ...] = Field(description="ids of its tokens")
    finish_reason: FinishReason | None = Field(None, description="why it ended; none: it was left")


class Recipe(Options):
    """Model, request and outcome of a generation."""

    format: Literal["gptdesk recipe"] = Field("gptdesk recipe", description="marks the file as a recipe")
    version: int = Field(VERSION, description="version of the format")
    written_by: str = Field(__version__, description="version of GPT Desk")
    model: str = Field(description="name of the model")
    precision: str = Field(description="its precision")
    weights: str | None = Field(None, description="SHA-256 of its weights; none: not known")
    kernels: str = Field("", description="kernels that computed it")
    request: GenerationRequest = Field(description="prompt, samplers, seed and all other options")
    texts: tuple[RecipeText, ...] = Field(description="what came out, one for each sequence")

    @classmethod
    def of(cls, entry: Entry) -> "Recipe":
        """Return the recipe of an entry; ValueError if one of its options is no longer known."""
        prompt = entry.prompt if entry.request.get("prompt_ids") is None else ""
        texts = [
            RecipeText(sha256=_hash(one.text), tokens=one.tokens, finish_reason=one.finish_reason)
            for one in entry.sequences
        ]
        return cls(
            model=entry.model,
            precision=entry.precision,
            weights=entry.weights,
            kernels=entry.kernels,
            request=GenerationRequest(**(entry.request | {"prompt": prompt, "n": entry.n, "seed": entry.seed})),
            texts=tuple(texts),
        )

    @classmethod
    def read(cls, data: bytes, *, name: str) -> "Recipe":
        """Return the recipe in a file's bytes; ValueError, with `name`, if it is none or a newer version wrote it."""
        try:
            values = parse_json(data)
        except ValueError:
            values = None
        if not isinstance(values, dict) or values.get("format") != "gptdesk recipe":
            raise ValueError(f"{name} is no recipe; `gptdesk history recipe` and the History tab write them")
        version = values.get("version")
        if isinstance(version, int) and version > VERSION:
            by = values.get("written_by")
            raise ValueError(f"{name} is a recipe of a newer version of GPT Desk ({by!r:.30}); update this one")
        try:
            recipe = cls(**values)
            if recipe.request.seed is None or len(recipe.texts) != recipe.request.n:
                raise ValueError("seed must be given, and as many texts as sequences (n)")
        except ValueError as error:
            raise ValueError(f"{name} is a recipe that cannot be read: {error}") from None
        return recipe

    def to_json(self) -> str:
        """Return the file's text."""
        return json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n"

    def check_model(self, names: Sequence[str]) -> None:
        """Raise NotFound if the model is not among `names`, saying which one is needed."""
        if self.model not in names:
            which = f", with weights of the SHA-256 {self.weights[:16]} …" if self.weights else ""
            raise NotFound(f"the recipe needs the model {self.model!r:.80}{which}; import it, or rename yours to that")

    def verdict(self, result: GenerationResult, *, weights: str | None) -> "Verdict":
        """Compare what came out now, with weights of this SHA-256, with what came out then."""
        for row, text in enumerate(self.texts):
            old, new = list(text.tokens), result.tokens[row]
            if text.finish_reason in UNFINISHED:
                new = new[: len(old)]
            if old != new:
                pairs = enumerate(zip(old, new, strict=False))
                same = next((i for i, (a, b) in pairs if a != b), min(len(old), len(new)))
                return Verdict(row=row, token=same, sentence=self._difference(row, same, result, weights=weights))
        return Verdict(row=None, token=None, sentence="The same text came out, token for token.")

    def _difference(self, row: int, token: int, result: GenerationResult, *, weights: str | None) -> str:
        assert result.start is not None
        reasons = []
        if self.weights and weights and self.weights != weights:
            reasons.append("the model of this name has other weights")
        if self.kernels != result.start.kernels:
            reasons.append(f"it was computed by {self.kernels}, now by {result.start.kernels}")
        if self.written_by != __version__:
            reasons.append(f"GPT Desk {self.written_by} wrote the recipe, and this is {__version__}")
        why = "; ".join(reasons) or "no reason is known"
        which = f" of text {row + 1}" if len(self.texts) > 1 else ""
        return f"The text differs from token {token + 1}{which} on: {why}."


@dataclass(frozen=True)
class Verdict:
    """Result of a comparison: the first token that differs, and its sequence, from 0; None if all are the same."""

    row: int | None
    token: int | None
    sentence: str

    @property
    def same(self) -> bool:
        """True if all tokens are the same."""
        return self.row is None


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", errors="replace")).hexdigest()
