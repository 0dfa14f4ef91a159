"""Work of the desk's own routes, in a thread: events of the queue and of streams, then the answer."""

import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, dataclass, field
from typing import Protocol

from gptdesk.api.answering import SHORTEST, Call, Data, check_time
from gptdesk.api.errors import Refused, error_object
from gptdesk.api.names import check_samplers, find_model, token_name
from gptdesk.api.native.fields import (
    BatchFields,
    CompareFields,
    DetokenizeFields,
    GenerateFields,
    LogitsFields,
    PromptFields,
    TokenizeFields,
)
from gptdesk.desk import Desk
from gptdesk.errors import NotFound
from gptdesk.generation import (
    GenerationQueued,
    GenerationRequest,
    GenerationResult,
    GenerationStart,
    GenerationStep,
    draw_seed,
    encode_prompt,
)
from models.manager import ModelKey
from models.tokenizer import Tokenizer
from samplers import Chain


class Work(Protocol):
    """Work of a request that has been checked."""

    def __call__(self, call: Call) -> Iterator[Data | GenerationQueued]:
        """Yield events; the last is the answer."""


@dataclass
class WorkAnswer:
    """The answer that some work gives with its last event; in a stream its other events are chunks, too."""

    work: Work
    is_stream: bool = False
    last: Data = field(default_factory=dict)

    def run(self, call: Call) -> Iterator[Data | GenerationQueued]:
        """Yield the events of the work."""
        return self.work(call)

    def begins(self, event: Data | GenerationQueued) -> bool:
        """Return whether this is the first event after those of the queue."""
        return not isinstance(event, GenerationQueued)

    def add(self, event: Data | GenerationQueued) -> None:
        """Keep an event, which may be the last."""
        if not isinstance(event, GenerationQueued):
            self.last = event

    def to_data(self) -> Data:
        """Return the last event."""
        return self.last

    def chunks(self, event: Data | GenerationQueued) -> list[Data]:
        """Return the event as a chunk; none for a position in the queue."""
        return [] if isinstance(event, GenerationQueued) else [event]

    def last_chunks(self) -> list[Data]:
        """Return nothing: the last event is the answer."""
        return []


def generate_work(desk: Desk, fields: GenerateFields) -> Work:
    """Return the work of POST /generate; ValueError, NotFound or TooLarge for what cannot be done."""
    one = _Generation.checked(desk, fields)
    seconds = desk.longest_request(prompts=1, sequences=fields.n)
    return lambda call: _admitted(desk, call, lambda: one.run(desk, call, late=time.monotonic() + seconds))


def batch_work(desk: Desk, fields: BatchFields) -> Work:
    """Return the work of POST /generate/batch: a result or an error object for each request."""
    bodies = fields.bodies()
    seconds = desk.longest_request(prompts=len(bodies), sequences=sum(one.n for one in bodies))

    def run(call: Call) -> Iterator[Data | GenerationQueued]:
        late, results = time.monotonic() + seconds, list[Data]()
        for one in bodies:
            try:
                results.append((yield from _last(_Generation.checked(desk, one).run(desk, call, late=late))))
            except Exception as error:
                results.append(error_object(error, hidden=call.hidden))
            if call.stop.is_set():
                return
        yield {"generated_texts": [one.get("generated_text") for one in results], "results": results}

    return lambda call: _admitted(desk, call, lambda: run(call))


def compare_work(desk: Desk, fields: CompareFields) -> Work:
    """Return the work of POST /compare: the same request for each model, with one seed."""
    seed = draw_seed() if fields.seed is None else fields.seed
    bodies = [fields.model_copy(update={"model": name, "seed": seed}) for name in fields.models]
    sides = [_Generation.checked(desk, body) for body in bodies]
    seconds = desk.longest_request(prompts=len(sides), sequences=sum(body.n for body in bodies))

    def run(call: Call) -> Iterator[Data | GenerationQueued]:
        late, answers = time.monotonic() + seconds, list[Data]()
        for side in sides:
            answers.append((yield from _last(side.run(desk, call, late=late))))
            if call.stop.is_set():
                return
        same = [_same_tokens(answers[0], other) for other in answers[1:]]
        yield {"seed": seed, "sides": answers, "same_tokens": [None, *same]}

    return lambda call: _admitted(desk, call, lambda: run(call))


def logits_work(desk: Desk, fields: LogitsFields) -> Work:
    """Return the work of POST /logits: the next token under the model and after every sampler."""
    key, tokenizer = _model(desk, fields.model, precision=fields.precision)
    request = GenerationRequest(**fields.options() | _preset(desk, fields))
    check_samplers(desk, request.chain)
    ids = encode_prompt(tokenizer, request)
    seconds = desk.longest_request(prompts=1, sequences=1)

    def run(call: Call) -> Iterator[Data | GenerationQueued]:
        late = time.monotonic() + seconds
        events = desk.inspect(key, ids, request.chain, top=fields.top, stop=call.stop, owner=call.owner)
        for event in events:
            if isinstance(event, GenerationQueued):
                check_time(late, seconds)
                yield event
            else:
                tokens = [asdict(one) | {"text": token_name(tokenizer, one.token)} for one in event.tokens]
                yield {"model": key.spelled, "prompt_tokens": len(ids)} | asdict(event) | {"tokens": tokens}

    return lambda call: _admitted(desk, call, lambda: run(call))


def tokenize(desk: Desk, fields: TokenizeFields) -> Data:
    """Return the answer of POST /tokenize."""
    _, tokenizer = _model(desk, fields.model)
    ids = tokenizer.encode_prompt(fields.text, parse_special=fields.parse_special)
    return {"ids": ids, "tokens": [token_name(tokenizer, one) for one in ids], "count": len(ids)}


def detokenize(desk: Desk, fields: DetokenizeFields) -> Data:
    """Return the answer of POST /detokenize; ValueError for an id outside the vocabulary."""
    _, tokenizer = _model(desk, fields.model)
    if fields.ids:
        encode_prompt(tokenizer, GenerationRequest(prompt_ids=tuple(fields.ids)))  # which checks the ids
    return {"text": tokenizer.decode(fields.ids)}


@dataclass(frozen=True)
class _Generation:
    """One generation that has been checked."""

    key: ModelKey
    tokenizer: Tokenizer
    request: GenerationRequest
    stream: bool

    @classmethod
    def checked(cls, desk: Desk, fields: GenerateFields) -> "_Generation":
        key, tokenizer = _model(desk, fields.model, precision=fields.precision)
        request = fields.request(_preset(desk, fields).get("chain"))
        check_samplers(desk, request.chain)
        most = fields.new_tokens(len(encode_prompt(tokenizer, request)))
        return cls(key, tokenizer, desk.bounded(request.model_copy(update={"max_new_tokens": most})), fields.stream)

    def run(self, desk: Desk, call: Call, *, late: float) -> Iterator[Data | GenerationQueued]:
        """Yield positions in the queue, of a stream each token, and the answer."""
        seconds = max(SHORTEST, late - time.monotonic())
        request = self.request.model_copy(update={"deadline": min(self.request.deadline or seconds, seconds)})
        result, details = GenerationResult(request.n), [list[Data]() for _ in range(request.n)]
        for event in desk.generate(self.key, request, stop=call.stop, owner=call.owner, origin="api"):
            if isinstance(event, GenerationQueued):
                check_time(late, seconds)
                yield event
                continue
            result.add(event)
            if isinstance(event, GenerationStep):
                step = self._step(event)
                details[event.row].append(step)
                if self.stream:
                    yield step | {"row": event.row, "text": event.text, "finish_reason": event.finish_reason}
            elif isinstance(event, GenerationStart) and self.stream:
                yield {"seed": event.seed, "prompt_tokens": event.prompt_tokens}
        yield self._answer(result, details)

    def _step(self, step: GenerationStep) -> Data:
        data: Data = {"token": step.token, "logprob": step.logprob}
        if step.top_logprobs:
            data["top"] = [{"token": one, "logprob": value} for one, value in step.top_logprobs]
        return data

    def _answer(self, result: GenerationResult, details: list[list[Data]]) -> Data:
        assert result.start is not None
        texts = [
            {
                "text": result.texts[row],
                "finish_reason": result.finish_reasons[row],
                "stop_string": result.stop_strings[row],
                "tokens": [step for step in steps if step["token"] is not None],
            }
            for row, steps in enumerate(details)
        ]
        ids, prompt = self.request.prompt_ids, self.request.prompt
        prompt = prompt if ids is None else self.tokenizer.decode(ids)
        whole = [prompt + text for text in result.texts]
        return {
            "generated_text": whole[0],  # as in the tutorials' clients, the first text with its prompt
            **({"generated_texts": whole} if len(whole) > 1 else {}),
            "prompt": prompt,
            "text": result.texts[0],
            "tokens": sum(map(len, result.tokens)),
            "finish_reason": result.finish_reasons[0],
            "model": self.key.spelled,
            "kernels": result.start.kernels,
            "seed": result.start.seed,
            "prompt_tokens": result.start.prompt_tokens,
            "dropped_tokens": result.start.dropped_tokens,
            "texts": texts,
            "seconds": result.seconds,
            "seconds_to_first_token": result.seconds_to_first_token,
            "tokens_per_second": result.tokens_per_second,
        }


def _last(events: Iterator[Data | GenerationQueued]) -> Generator[GenerationQueued, None, Data]:
    """Yield the positions in the queue, and return the last of all other events, the answer."""
    answer: Data = {}
    for event in events:
        if isinstance(event, GenerationQueued):
            yield event
        else:
            answer = event
    return answer


def _admitted(
    desk: Desk, call: Call, run: Callable[[], Iterator[Data | GenerationQueued]]
) -> Iterator[Data | GenerationQueued]:
    with desk.scheduler.admitted(call.owner):
        yield from run()


def _model(desk: Desk, spelled: str, *, precision: str | None = None) -> tuple[ModelKey, Tokenizer]:
    key = find_model(desk, spelled, precision=precision)
    return key, desk.tokenizer(key.name)


def _preset(desk: Desk, fields: PromptFields) -> dict[str, Chain]:
    """Return the chain of the preset, if one is named; Refused with 404 if there is none of that name."""
    if fields.preset is None:
        return {}
    try:
        return {"chain": desk.preset(fields.preset)}
    except NotFound as error:
        raise Refused(404, str(error), param="preset") from None


def _same_tokens(reference: Data, other: Data) -> int:
    """Return how many tokens the first texts of two answers have in common at their beginnings."""
    pairs = zip(*(_ids(one) for one in (reference, other)), strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(_ids(reference)), len(_ids(other))))


def _ids(answer: Data) -> list[object]:
    return [step["token"] for step in answer["texts"][0]["tokens"]]  # type: ignore[index]
