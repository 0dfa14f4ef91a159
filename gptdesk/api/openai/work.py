"""Work of one request to /v1/completions: its model, prompts and samplers checked, then each prompt in turn."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from gptdesk.api.answering import SHORTEST, Call, check_time
from gptdesk.api.errors import Refused
from gptdesk.api.names import check_samplers, find_model
from gptdesk.api.openai.fields import CompletionFields
from gptdesk.desk import Desk
from gptdesk.generation import (
    GenerationEvent,
    GenerationQueued,
    GenerationRequest,
    GenerationStep,
    draw_seed,
    encode_prompt,
)
from gptdesk.token_logprobs import TokenLogprob
from models.manager import ModelKey
from models.tokenizer import Tokenizer


@dataclass(frozen=True)
class PromptRead:
    """First event of a prompt, with its log-probabilities if they are wanted."""

    scores: tuple[TokenLogprob, ...]


WorkEvent = tuple[int, GenerationQueued | PromptRead | GenerationEvent]  # index of the prompt, and its event


@dataclass(frozen=True)
class Work:
    """A request that has been checked: the texts of its prompts, their token ids, and what to do with each."""

    fields: CompletionFields
    key: ModelKey
    tokenizer: Tokenizer
    texts: tuple[str, ...]
    requests: tuple[GenerationRequest, ...]  # one for each prompt, by token ids
    seed: int  # of each prompt, given or drawn
    seconds: float  # that all of it may take

    @property
    def ids(self) -> list[tuple[int, ...]]:
        """Token ids of each prompt."""
        return [request.prompt_ids or () for request in self.requests]

    def run(self, desk: Desk, call: Call) -> Iterator[WorkEvent]:
        """Yield the events of one prompt after the other; Busy if its turn has not come by the deadline."""
        late = time.monotonic() + self.seconds
        with desk.scheduler.admitted(call.owner):
            for i, request in enumerate(self.requests):
                for event in self._one(desk, request, call, late=late):
                    if isinstance(event, GenerationQueued):
                        check_time(late, self.seconds)
                    yield i, event
                if call.stop.is_set():
                    return

    def _one(
        self, desk: Desk, request: GenerationRequest, call: Call, *, late: float
    ) -> Iterator[GenerationQueued | PromptRead | GenerationEvent]:
        """Yield the events of one prompt: its scores if they are wanted, then those of its texts."""
        scores: list[TokenLogprob] = []
        if self.fields.echo and self.fields.logprobs is not None:
            tokens = request.prompt_ids or ()
            for event in desk.score(self.key, tokens, top=self.fields.logprobs, stop=call.stop, owner=call.owner):
                if isinstance(event, GenerationQueued):
                    yield event
                else:
                    scores.append(event)
        yield PromptRead(tuple(scores))
        if not self.fields.max_tokens:
            yield from (GenerationStep(row, "", None, None, "length", 0.0) for row in range(request.n))
            return
        left = max(SHORTEST, late - time.monotonic())
        request = request.model_copy(update={"deadline": left})
        yield from desk.generate(self.key, request, stop=call.stop, owner=call.owner, origin="api")


def check_work(desk: Desk, fields: CompletionFields) -> Work:
    """Return the work of a request; raises Refused, TooLarge or ValueError, before anything is computed."""
    key = find_model(desk, fields.model, precision=fields.precision)
    seconds = desk.longest_request(prompts=len(fields.prompt), sequences=len(fields.prompt) * fields.rows)
    chain = fields.sampler_chain()
    check_samplers(desk, chain)
    tokenizer, context = desk.tokenizer(key.name), desk.model(key.name).context
    if (largest := max(map(int, fields.logit_bias), default=0)) >= tokenizer.vocab_size:
        _refuse("logit_bias", f"names the token {largest}; the model knows ids up to {tokenizer.vocab_size - 1}")
    requests, texts = [], []
    seed = draw_seed() if fields.seed is None else fields.seed
    for prompt in fields.prompt:
        given = {"prompt": prompt} if isinstance(prompt, str) else {"prompt_ids": tuple(prompt)}
        request = GenerationRequest(
            chain=chain,
            n=fields.rows,
            seed=seed,
            stop=tuple(fields.stop),
            top_logprobs=fields.logprobs or 0,
            max_new_tokens=max(1, fields.max_tokens),
            **fields.constraints(),
            **given,
        )
        try:
            ids = encode_prompt(tokenizer, request)
        except ValueError as error:
            raise Refused(400, str(error), param="prompt") from None
        if len(ids) + fields.max_tokens > context:
            raise Refused(
                400,
                f"the context of {key.name} is {context:,} tokens, and this prompt has {len(ids):,} with max_tokens "
                f"{fields.max_tokens:,}; shorten the prompt or ask for fewer",
                param="max_tokens" if len(ids) <= context else "prompt",
                code="context_length_exceeded",
            )
        requests.append(desk.bounded(request.model_copy(update={"prompt": "", "prompt_ids": tuple(ids)})))
        texts.append(prompt if isinstance(prompt, str) else tokenizer.decode(prompt))
    return Work(fields, key, tokenizer, tuple(texts), tuple(requests), seed, seconds)


def _refuse(param: str, sentence: str) -> None:
    raise Refused(400, f"{param} {sentence}", param=param)
