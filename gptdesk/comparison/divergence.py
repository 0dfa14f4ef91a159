"""First token at which texts differ, and the probabilities of both candidates there under both models."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from gptdesk.comparison import Side
from gptdesk.generation import GenerationResult, prompt_tokens
from gptdesk.history.comparing import common_length
from models.cache import KVCache
from models.manager import LoadedModel, ModelManager
from models.tokenizer import Tokenizer

END = "(the end)"
EXCERPT = 12  # characters of texts whose tokens cannot be compared
CLOSE = 1.25  # ratio of a token's probabilities under two models up to which they are called nearly equal


@dataclass(frozen=True)
class Chances:
    """Probabilities of both candidates at the divergence, under both models: before any sampler, or after all."""

    reference_own: float  # the reference's probability of the token that it wrote ...
    reference_other: float  # ... and of the one that the candidate wrote
    candidate_own: float  # the candidate's probability of the token that it wrote ...
    candidate_other: float  # ... and of the one that the reference wrote
    reference_cut: str | None = None  # sampler of the reference that left out the candidate's token, if one did
    candidate_cut: str | None = None  # sampler of the candidate that left out the reference's token

    @property
    def same_model(self) -> bool:
        """True if both sides give each token exactly the same probability, as one model under both does."""
        return (self.reference_own, self.reference_other) == (self.candidate_other, self.candidate_own)

    @property
    def nearly_equal(self) -> bool:
        """True if both models give each token the same probability but for a factor of CLOSE, so that the draw decided.

        False where a sampler left a token out.
        """
        own, other = (self.reference_own, self.candidate_other), (self.candidate_own, self.reference_other)
        is_drawn = self.reference_cut is None and self.candidate_cut is None
        return is_drawn and all(max(pair) <= CLOSE * min(pair) for pair in (own, other))


@dataclass(frozen=True)
class Divergence:
    """Divergence of a candidate's text from the reference's.

    `same` tokens of the generated texts are equal, and the token that differs begins after `characters`. At the end of
    both, `reference` and `candidate` are None; else they are the texts of the tokens that differ, and one is None if
    its text had ended there.
    """

    same: int | None  # None: the models have different tokenizers
    characters: int
    reference: str | None
    candidate: str | None
    chances: Chances | None
    cut_short: bool = False  # one text was stopped early, and is a beginning of the other
    after_samplers: Chances | None = None  # what the samplers of each side left of `chances`, 0 where they cut it off

    @property
    def identical(self) -> bool:
        """True if the texts do not differ."""
        return self.reference is None and self.candidate is None


Continuations = tuple[Sequence[Side], Sequence[GenerationResult]]  # the sides, and the generation of each


@dataclass(frozen=True)
class _Candidates:
    """Two candidate tokens for the position after the `context` of generated tokens."""

    context: list[int]
    tokens: tuple[int, int]


@dataclass(frozen=True)
class _Judged:
    """Both candidates as one side sees them, in their order."""

    raw: list[float]  # probabilities before any sampler
    left: list[float]  # after all of them
    cuts: list[str | None]  # sampler that left the token out; None: it could be drawn


def diverge(
    manager: ModelManager, sides: Sequence[Side], results: Sequence[GenerationResult]
) -> tuple[Divergence, ...]:
    """Compare every side's first sequence with the first side's; loads the models for the probabilities."""
    return diverge_all(manager, [(sides, results)])[0]


def diverge_all(manager: ModelManager, prompts: Sequence[Continuations]) -> list[tuple[Divergence, ...]]:
    """Compare as `diverge`, for several prompts continued by the same models; each model is lent once at most."""
    models = prompts[0][0] if prompts else ()
    tokenizers = [manager.library.tokenizer(side.key.name) for side in models]
    comparable = [same_vocabulary(tokenizers[0], tokenizer) for tokenizer in tokenizers]
    # both by prompt and side
    divergences: dict[tuple[int, int], Divergence] = {}
    candidates: dict[tuple[int, int], _Candidates] = {}
    for row, (_, results) in enumerate(prompts):
        for i in range(1, len(models)):
            pair = results[0], results[i]
            if not comparable[i]:
                divergences[row, i] = _text_divergence(*pair)
                continue
            divergences[row, i], tokens = _token_divergence(*pair, tokenizers[0])
            candidates |= {(row, i): tokens} if tokens else {}
    found: dict[tuple[int, int, int], _Judged] = {}  # by prompt, side, and model
    for model, side in enumerate(models):
        needed = [(key, tokens) for key, tokens in candidates.items() if model in (0, key[1])]
        if needed:
            with manager.lend(side.key, fresh=True) as loaded:
                for (row, i), tokens in needed:
                    found[row, i, model] = _chances(loaded, prompts[row][0][model], tokens)
    for row, i in candidates:
        ours, theirs = found[row, i, 0], found[row, i, i]
        cuts = ours.cuts[1], theirs.cuts[0]
        before, after = (
            Chances(p[0], p[1], q[1], q[0], *cuts) for p, q in ((ours.raw, theirs.raw), (ours.left, theirs.left))
        )
        divergences[row, i] = replace(divergences[row, i], chances=before, after_samplers=after)
    return [tuple(divergences[row, i] for i in range(1, len(models))) for row in range(len(prompts))]


def same_vocabulary(ours: Tokenizer, theirs: Tokenizer) -> bool:
    """Return whether both tokenizers give the same ids, and map every id to the same bytes."""
    if ours is theirs:
        return True
    if (ours.kind, ours.vocab_size, ours.variant) != (theirs.kind, theirs.vocab_size, theirs.variant):
        return False
    return all(ours.token_bytes(i) == theirs.token_bytes(i) for i in range(ours.vocab_size))


def _text_divergence(reference: GenerationResult, candidate: GenerationResult) -> Divergence:
    """Return the divergence of two texts by characters, for models with different tokenizers."""
    texts = reference.texts[0], candidate.texts[0]
    characters = common_length(*texts)
    own, other = (text[characters : characters + EXCERPT] or None for text in texts)
    return Divergence(None, characters, own, other, None)


def _token_divergence(
    reference: GenerationResult, candidate: GenerationResult, tokenizer: Tokenizer
) -> tuple[Divergence, _Candidates | None]:
    """Return the divergence of two texts by tokens, and the candidates there, if both have a token."""
    characters = common_length(reference.texts[0], candidate.texts[0])
    ours, theirs = reference.tokens[0], candidate.tokens[0]
    same = common_length(ours, theirs)
    if same == len(ours) == len(theirs):
        return Divergence(same, characters, None, None, None), None
    if same in (len(ours), len(theirs)):
        shorter = reference if same == len(ours) else candidate
        if shorter.finish_reasons[0] in ("stopped", "deadline"):
            return Divergence(same, characters, None, None, None, cut_short=True), None
        own, other = (token_text(ids[same], tokenizer) if same < len(ids) else None for ids in (ours, theirs))
        return Divergence(same, characters, own, other, None), None
    a, b = ours[same], theirs[same]
    characters = min(characters, len(tokenizer.decode(ours[:same])))  # both tokens may begin alike
    divergence = Divergence(same, characters, token_text(a, tokenizer), token_text(b, tokenizer), None)
    return divergence, _Candidates(ours[:same], (a, b))


def token_text(token: int, tokenizer: Tokenizer) -> str:
    """Return the text of one token, END for one that ends a text."""
    return END if token in tokenizer.special_ids.eos else tokenizer.decode([token])


def _chances(loaded: LoadedModel, side: Side, candidates: _Candidates) -> _Judged:
    """Return a side's probabilities of both candidates, after the side's prompt and the generated context."""
    prompt, _ = prompt_tokens(loaded, side.request)
    ids = torch.cat([prompt, torch.tensor(candidates.context, dtype=torch.int64)])[None]  # (1, T)
    logits = _next_logits(loaded, ids)  # (1, V)
    distribution = logits.double().softmax(1)[0]  # (V,)
    links = side.request.chain.explain(logits, ids)[1:]  # after each sampler
    # another network with the same tokenizer may have more rows, and have drawn one of them
    known = [token if token < len(distribution) else None for token in candidates.tokens]
    return _Judged(
        [0.0 if token is None else float(distribution[token]) for token in known],
        [0.0 if token is None else float(links[-1].probabilities[0, token]) for token in known],
        [
            next((link.name for link in links if token is not None and link.probabilities[0, token] == 0), None)
            for token in known
        ],
    )


@torch.inference_mode()
def _next_logits(loaded: LoadedModel, ids: torch.Tensor) -> torch.Tensor:
    """Return the logits (1, V) in float32 on the CPU for the token after `ids` (1, T)."""
    cache = KVCache(loaded.config, capacity=ids.shape[1], device=loaded.model.device)
    logits = [loaded.model(part, cache, last_only=True)[:, -1] for part in ids.split(loaded.model.chunk, dim=1)][-1]
    return logits.cpu().float()
