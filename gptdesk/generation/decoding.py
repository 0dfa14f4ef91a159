"""Decode loop from a prompt to a stream of text, used by the page, the API, the command line and Compare."""

import threading
from collections.abc import Generator
from contextlib import closing
from itertools import chain

import torch
from torch import Tensor

from gptdesk.context_window import dropped_tokens
from gptdesk.draws import Draws, start_draws
from gptdesk.generation.constraints import Constraints, is_constrained
from gptdesk.generation.events import FinishReason, GenerationEvent, GenerationStart
from gptdesk.generation.guided import Beginning, write_guided
from gptdesk.generation.request import GenerationRequest, draw_seed
from gptdesk.generation.row import Clock, Row
from models.cache import KVCache
from models.manager import LoadedModel
from models.prefix import Prefix
from models.tokenizer import Tokenizer


@torch.inference_mode()
def generate(
    loaded: LoadedModel, request: GenerationRequest, *, stop: threading.Event | None = None
) -> Generator[GenerationEvent, None, None]:
    """Yield one GenerationStart, then a GenerationStep for every token of every unfinished row, row by row.

    `stop` is checked before every token and every chunk of the prompt; text generated so far has been yielded.
    Where phrases are banned, tokens are yielded once it is certain that they stay. Raises ValueError for a prompt that
    cannot be encoded, a choice that cannot be written, or when the model, a sampler or the bans leave no token to draw.
    """
    clock = Clock(request.deadline, stop)
    seed = draw_seed() if request.seed is None else request.seed
    prompt, dropped = prompt_tokens(loaded, request)
    context = loaded.config.block_size
    capacity = min(context, len(prompt) + request.max_new_tokens)
    engine = loaded.model
    constraints = Constraints.of(request, loaded, prompt.tolist()) if is_constrained(request) else None
    known = loaded.prefixes.find(prompt, chunk=engine.chunk, capacity=capacity)
    known = known or Prefix(KVCache(loaded.config, capacity=capacity, device=engine.device), None)
    cache, known_tokens = known.cache, known.cache.length
    logits = _read(loaded, prompt, known, clock=clock)
    yield GenerationStart(
        seed, len(prompt), known_tokens, dropped, context, kernels=engine.kernels, seconds=clock.seconds()
    )

    rows = [Row(i, loaded, request.stop) for i in range(request.n)]
    if logits is None:  # ended during the prefill
        yield from (row.end(clock.finish_reason(), clock.seconds()) for row in rows)
        return
    if constraints is not None:
        beginning = Beginning(prompt, cache, logits)
        yield from write_guided(loaded, request, constraints, beginning, seed=seed, clock=clock)
        return
    if request.n > 1:
        cache, logits = cache.copy(rows=request.n), logits.expand(request.n, -1)
    choose = _draws(loaded, request, prompt, cache, seed=seed)
    first = choose(logits)
    with closing(loaded.batcher.steps(first[0][:, None], cache, choose)) as following:
        for count, (drawn, logprobs) in enumerate(chain([first], following), 1):
            if count > 1 and clock.finish_reason():
                break
            reason: FinishReason | None = clock.finish_reason()
            if count >= request.max_new_tokens:
                reason = reason or "length"
            if len(prompt) + count > context:
                reason = reason or "context"
            seconds = clock.seconds()
            for row, token, found in zip(rows, drawn.tolist(), logprobs, strict=True):
                if not row.finished:
                    yield row.add_token(token, *found, reason, seconds)
            # before the next token is asked for, which might have to be computed
            if all(row.finished for row in rows) or clock.finish_reason():
                break
    yield from (row.end(clock.finish_reason(), clock.seconds()) for row in rows if not row.finished)


def _draws(loaded: LoadedModel, request: GenerationRequest, prompt: Tensor, cache: KVCache, *, seed: int) -> Draws:
    """Return the draws of a request after its prompt (T,), which each row of the cache holds."""
    tokens = torch.empty(request.n, cache.capacity + 1, dtype=torch.int64)  # (B, T): prompt and what was drawn
    tokens[:, : len(prompt)] = prompt
    return Draws(
        loaded.model,
        start_draws(request.chain, loaded.model, seed=seed, rows=request.n),
        tokens,
        cache,
        top=request.top_logprobs,
        most=min(loaded.config.block_size + 1, len(prompt) + request.max_new_tokens),
        ends=loaded.tokenizer.special_ids.eos,
    )


def prompt_tokens(loaded: LoadedModel, request: GenerationRequest) -> tuple[Tensor, int]:
    """Return the token ids (T,) the model reads for a prompt, and how many `dropped_tokens` cuts from its front."""
    ids = encode_prompt(loaded.tokenizer, request)
    dropped = dropped_tokens(len(ids), wanted=request.max_new_tokens, context=loaded.config.block_size)
    return torch.tensor(ids[dropped:], dtype=torch.int64), dropped


def encode_prompt(tokenizer: Tokenizer, request: GenerationRequest) -> list[int]:
    """Return the token ids of a prompt; ValueError if it cannot be spelled, or for an id outside the vocabulary.

    An empty prompt becomes the token that precedes every text in training.
    """
    if request.prompt_ids is None:
        return tokenizer.encode_prompt(request.prompt, parse_special=request.parse_special) or [tokenizer.start]
    for token in (min(request.prompt_ids), max(request.prompt_ids)):
        if not 0 <= token < tokenizer.vocab_size:
            raise ValueError(
                f"the prompt has the token {token}; the model knows ids from 0 to {tokenizer.vocab_size - 1}"
            )
    return list(request.prompt_ids)


def _read(loaded: LoadedModel, prompt: Tensor, known: Prefix, *, clock: Clock) -> Tensor | None:
    """Read the prompt (T,) after its prefix `known`, in chunks; return the logits (1, V), or None if it must end."""
    if known.logits is not None:
        return None if clock.finish_reason() else known.logits
    engine, logits = loaded.model, None
    for tokens in prompt[None, known.cache.length :].split(engine.chunk, dim=1):
        if clock.finish_reason():
            return None
        logits = engine(tokens, known.cache, last_only=True)[:, -1]  # (1, t) -> (1, V)
    assert logits is not None
    loaded.prefixes.keep(prompt, known.cache, logits)
    return logits
