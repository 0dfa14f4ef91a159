"""Recipe: a generation as a small JSON file, which anybody can run and compare with what came out here."""

import base64
import binascii
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from gptdesk import __version__
from gptdesk.errors import NotFound
from gptdesk.generation import FinishReason, GenerationRequest, GenerationResult
from gptdesk.history import Entry
from gptdesk.history.entry import Sequence as EntrySequence
from gptdesk.stop_strings import StopStrings
from models.json_values import parse_json
from models.manager import ModelKey
from models.tokenizer import Tokenizer
from samplers import Options

VERSION = 1
LARGEST = 20_000_000  # bytes of a file
FRAGMENT = "#recipe="  # in a link, before the recipe
LONGEST_LINK = 100_000  # characters after it: chat programs and address bars cut longer ones
EDITED = "does not have the SHA-256 that the recipe gives for it, so nothing was compared; use the original file"
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
    def of_result(
        cls, key: ModelKey, request: GenerationRequest, result: GenerationResult, *, weights: str | None
    ) -> "Recipe":
        """Return the recipe of a generation that has begun; `weights`: SHA-256 of the model's, None if not known."""
        assert result.start is not None
        rows = zip(result.texts, result.tokens, result.finish_reasons, strict=True)
        return cls(
            model=key.name,
            precision=key.precision,
            weights=weights,
            kernels=result.start.kernels,
            request=request.model_copy(update={"seed": result.start.seed}),
            texts=tuple(
                RecipeText(sha256=_hash(text), tokens=tuple(tokens), finish_reason=reason)
                for text, tokens, reason in rows
            ),
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

    @classmethod
    def from_text(cls, text: str) -> "Recipe":
        """Return the recipe in a text: its JSON, a link that holds it, or what follows "#recipe=" in one.

        Raises ValueError as `read`, and if the link is not whole.
        """
        text = text.strip()
        if text.startswith("{"):
            return cls.read(text.encode("utf-8", errors="replace"), name="the text")
        encoded = text.rpartition(FRAGMENT)[2]
        try:
            data = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
        except (ValueError, binascii.Error):
            raise ValueError("the text is no recipe and no whole link to one; copy it once more") from None
        return cls.read(data, name="the link")

    def to_fragment(self) -> str:
        """Return the recipe as the fragment of a link; ValueError if that would be too long."""
        data = json.dumps(self.model_dump(mode="json", exclude_none=True), separators=(",", ":"), ensure_ascii=False)
        encoded = base64.urlsafe_b64encode(data.encode("utf-8", errors="replace")).decode().rstrip("=")
        if len(encoded) > LONGEST_LINK:
            raise ValueError("the recipe is too long for a link; send the file")
        return FRAGMENT + encoded

    def to_entry(self, tokenizer: Tokenizer) -> Entry:
        """Return the recipe as an entry of no history, with the texts that its tokens give.

        A text whose SHA-256 is not that of the recipe, as that of an edited one or of another tokenizer, is empty.
        """
        assert self.request.seed is not None
        prompt = self.request.prompt if self.request.prompt_ids is None else tokenizer.decode(self.request.prompt_ids)
        sequences = [
            EntrySequence(self._known_text(text, tokenizer) or "", text.tokens, (), text.finish_reason)
            for text in self.texts
        ]
        return Entry(
            id=0,
            created=time.time(),
            origin="page",
            model=self.model,
            precision=self.precision,
            weights=self.weights,
            prompt=prompt,
            seed=self.request.seed,
            n=self.request.n,
            request=self.request.model_dump(mode="json", exclude={"prompt", "seed", "n"}),
            prompt_tokens=0,
            known_tokens=0,
            dropped_tokens=0,
            context=0,
            kernels=self.kernels,
            seconds=0.0,
            seconds_to_first_token=None,
            tokens_per_second=None,
            ended=True,
            rating=None,
            note="",
            tags=(),
            sequences=tuple(sequences),
        )

    def to_json(self) -> str:
        """Return the file's text."""
        return json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n"

    def check_model(self, names: Sequence[str]) -> None:
        """Raise NotFound if the model is not among `names`, saying which one is needed."""
        if self.model not in names:
            which = f", with weights of the SHA-256 {self.weights[:16]} …" if self.weights else ""
            raise NotFound(f"the recipe needs the model {self.model!r:.80}{which}; import it, or rename yours to that")

    def verdict(self, result: GenerationResult, *, weights: str | None, tokenizer: Tokenizer) -> "Verdict":
        """Compare what came out now, with weights of this SHA-256, with what came out then.

        `tokenizer` is the model's: if the weights are the recipe's, tokens that do not
        give the text of the recipe's SHA-256 were edited.
        """
        edited = self._edited_row(tokenizer) if weights and self.weights == weights else None
        if edited is not None:
            return Verdict(row=edited, token=None, sentence=f"The recipe was edited: text {edited + 1} {EDITED}.")
        for row, text in enumerate(self.texts):
            old, new = list(text.tokens), result.tokens[row]
            if text.finish_reason in UNFINISHED:
                new = new[: len(old)]
            if old != new:
                pairs = enumerate(zip(old, new, strict=False))
                same = next((i for i, (a, b) in pairs if a != b), min(len(old), len(new)))
                return Verdict(row=row, token=same, sentence=self._difference(row, same, result, weights=weights))
        return Verdict(row=None, token=None, sentence="The same text came out, token for token.")

    def _edited_row(self, tokenizer: Tokenizer) -> int | None:
        """Return the first sequence whose tokens do not give the text of its SHA-256, or None."""
        for row, text in enumerate(self.texts):
            if text.finish_reason is None:  # saved in the middle: its last characters may have been held back
                continue
            if self._known_text(text, tokenizer) is None:
                return row
        return None

    def _known_text(self, text: RecipeText, tokenizer: Tokenizer) -> str | None:
        """Return the text that its tokens give; None if that is not the one of its SHA-256."""
        if not all(0 <= token < tokenizer.vocab_size for token in text.tokens):
            return None
        written = self._text(text, tokenizer)
        return written if _hash(written) == text.sha256 else None

    def _text(self, text: RecipeText, tokenizer: Tokenizer) -> str:
        """Return the text that a generation of these tokens gives: without the end token, up to a stop string."""
        decoder, stops = tokenizer.stream(), StopStrings(self.request.stop)
        ended = text.tokens[-1:] and text.tokens[-1] in tokenizer.special_ids.eos
        tokens = text.tokens[:-1] if ended else text.tokens
        written = "".join([stops.push(decoder.push(token)) for token in tokens])
        return written + stops.push(decoder.flush()) + stops.flush()

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
    """Result of a comparison: the first token that differs, and its sequence, from 0; None if all are the same.

    An edited recipe has the sequence that was edited, and no token.
    """

    row: int | None
    token: int | None
    sentence: str

    @property
    def same(self) -> bool:
        """True if all tokens are the same."""
        return self.row is None


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", errors="replace")).hexdigest()
