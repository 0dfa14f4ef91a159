"""Where two texts part: the first token that differs, and how likely each model thought both candidates."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from gptdesk.comparison import Side
from gptdesk.generation import GenerationResult, prompt_tokens
from models.cache import KVCache
from models.manager import LoadedModel, ModelManager
from models.tokenizer import Tokenizer

END = "(the end)"
SHOWN = 12  # characters of texts whose tokens cannot be compared
CLOSE = 0.05  # difference of a probability between two models up to which their disagreement is a matter of luck


@dataclass(frozen=True)
class Chances:
    """What both models, before any sampler, thought of both candidates at the point where the texts part."""

    reference_own: float  # the reference's probability of the token that it wrote ...
    reference_other: float  # ... and of the one that the candidate wrote
    candidate_own: float  # the candidate's probability of the token that it wrote ...
    candidate_other: float  # ... and of the one that the reference wrote

    @property
    def coin_flip(self) -> bool:
        """Whether the models agree about both tokens, so that any small thing could have tipped the draw."""
        own, other = self.reference_own - self.candidate_other, self.candidate_own - self.reference_other
        return abs(own) <= CLOSE and abs(other) <= CLOSE


@dataclass(frozen=True)
class Divergence:
    """How a candidate's text relates to the reference's.

    `same` tokens of the generated texts are equal, and the token that differs begins after `characters`. At the end of
    both, `reference` and `candidate` are None; else they are the texts of the tokens that differ, and one is None if
    its text had ended there.
    """

    same: int | None  # None: the models have different tokenizers
    characters: int
    reference: str | None
    candidate: str | None
    chances: Chances | None
    cut_short: bool = False  # one text was stopped, and the other goes on the same way as far as that one got

    @property
    def identical(self) -> bool:
        """Whether no difference was found."""
        return self.reference is None and self.candidate is None


Asked = tuple[Sequence[Side], Sequence[GenerationResult]]  # the sides, and what each wrote


@dataclass(frozen=True)
class _Question:
    """How likely are these two tokens after what was written?"""

    written: list[int]
    tokens: tuple[int, int]


def diverge(
    manager: ModelManager, sides: Sequence[Side], results: Sequence[GenerationResult]
) -> tuple[Divergence, ...]:
    """Compare every side's first sequence with the first side's; loads the models for the probabilities."""
    return diverge_all(manager, [(sides, results)])[0]


def diverge_all(manager: ModelManager, asked: Sequence[Asked]) -> list[tuple[Divergence, ...]]:
    """As `diverge`, for several prompts that the same models were asked; each model is lent once at most."""
    models = asked[0][0] if asked else ()
    tokenizers = [manager.library.tokenizer(side.key.name) for side in models]
    alike = [same_vocabulary(tokenizers[0], tokenizer) for tokenizer in tokenizers]
    found: dict[tuple[int, int], Divergence] = {}
    questions: dict[tuple[int, int], _Question] = {}
    for row, (_, results) in enumerate(asked):
        for i in range(1, len(models)):
            pair = results[0], results[i]
            if not alike[i]:
                found[row, i] = _part_texts(*pair)
                continue
            found[row, i], question = _part(*pair, tokenizers[0])
            questions |= {(row, i): question} if question else {}
    answers: dict[tuple[int, int, int], list[float]] = {}  # by row, candidate, and who was asked
    for who, side in enumerate(models):
        for_it = [(place, question) for place, question in questions.items() if who in (0, place[1])]
        if for_it:
            with manager.lend(side.key, fresh=True) as loaded:
                for (row, i), question in for_it:
                    answers[row, i, who] = _probabilities(loaded, asked[row][0][who], question)
    for row, i in questions:
        p, q = answers[row, i, 0], answers[row, i, i]
        chances = Chances(reference_own=p[0], reference_other=p[1], candidate_own=q[1], candidate_other=q[0])
        found[row, i] = replace(found[row, i], chances=chances)
    return [tuple(found[row, i] for i in range(1, len(models))) for row in range(len(asked))]


def same_vocabulary(ours: Tokenizer, theirs: Tokenizer) -> bool:
    """Whether both tokenizers give every id the same meaning."""
    if ours is theirs:
        return True
    if (ours.kind, ours.vocab_size, ours.end_of_text) != (theirs.kind, theirs.vocab_size, theirs.end_of_text):
        return False
    return all(ours.token_bytes(i) == theirs.token_bytes(i) for i in range(ours.vocab_size))


def _part_texts(reference: GenerationResult, candidate: GenerationResult) -> Divergence:
    """Where two texts part whose tokens mean different things."""
    texts = reference.texts[0], candidate.texts[0]
    characters = common_length(*texts)
    own, other = (text[characters : characters + SHOWN] or None for text in texts)
    return Divergence(None, characters, own, other, None)


def _part(
    reference: GenerationResult, candidate: GenerationResult, tokenizer: Tokenizer
) -> tuple[Divergence, _Question | None]:
    """Where two texts part, and what to ask both models about it, if anything."""
    characters = common_length(reference.texts[0], candidate.texts[0])
    ours, theirs = reference.tokens[0], candidate.tokens[0]
    same = common_length(ours, theirs)
    if same == len(ours) == len(theirs):
        return Divergence(same, characters, None, None, None), None
    if same in (len(ours), len(theirs)):
        shorter = reference if same == len(ours) else candidate
        if shorter.finish_reasons[0] in ("stopped", "deadline"):
            return Divergence(same, characters, None, None, None, cut_short=True), None
        own, other = (shown(ids[same], tokenizer) if same < len(ids) else None for ids in (ours, theirs))
        return Divergence(same, characters, own, other, None), None
    a, b = ours[same], theirs[same]
    characters = min(characters, len(tokenizer.decode(ours[:same])))  # both tokens may begin alike
    return Divergence(same, characters, shown(a, tokenizer), shown(b, tokenizer), None), _Question(ours[:same], (a, b))


def common_length(ours: Sequence[object], theirs: Sequence[object]) -> int:
    """How many items at the beginning of both are equal."""
    pairs = zip(ours, theirs, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(ours), len(theirs)))


def shown(token: int, tokenizer: Tokenizer) -> str:
    """The text of one token, for a reader."""
    return END if token == tokenizer.end_of_text else tokenizer.decode([token])


def _probabilities(loaded: LoadedModel, side: Side, question: _Question) -> list[float]:
    """What the model thinks of two tokens, when it has read its prompt and what was written since."""
    distribution = _distribution(loaded, side, question.written)
    # another network with the same tokenizer may have more rows, and have drawn one of them
    return [float(distribution[token]) if token < len(distribution) else 0.0 for token in question.tokens]


@torch.inference_mode()
def _distribution(loaded: LoadedModel, side: Side, written: Sequence[int]) -> torch.Tensor:
    """The raw distribution (V,) after the prompt and the tokens `written`, in float64."""
    request = side.request
    prompt, _ = prompt_tokens(loaded, request.prompt, max_new_tokens=request.max_new_tokens)
    ids = torch.cat([prompt, torch.tensor(written, dtype=torch.int64)])[None]  # (1, T)
    cache = KVCache(loaded.config, capacity=ids.shape[1], device=loaded.model.device)
    logits = [loaded.model(part, cache, last_only=True)[0, -1] for part in ids.split(loaded.model.chunk, dim=1)][-1]
    return logits.cpu().double().softmax(0)
