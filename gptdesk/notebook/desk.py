"""Desk of a notebook: generate, compare, explain, evaluate and import through the gate that the page uses."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from gptdesk.comparison import MOST_SIDES, Side, side_names, with_seed
from gptdesk.comparison.divergence import token_text
from gptdesk.comparison.quality import Quality, judge
from gptdesk.comparison.report import Report, quality_json, study
from gptdesk.comparison.sensitivity import MatrixSensitivity, sensitivities
from gptdesk.comparison.texts import find_held_out_text
from gptdesk.desk import Desk as Gate
from gptdesk.generation import GenerationQueued, GenerationRequest, GenerationResult, GenerationStart, encode_prompt
from gptdesk.importing import ImportResult, ImportTarget, find_on_hub, import_from_hub, import_path
from gptdesk.inspection import MOST_LISTED
from gptdesk.inspection import NextTokens as Distribution
from gptdesk.notebook.results import Comparison, Evaluation, Generation, NextTokens, ScoredText, Sensitivity, Token
from gptdesk.settings import load_settings
from gptdesk.token_logprobs import Alternatives, TokenLogprob
from models.formats.options import ImportOptions
from models.manager import ModelKey
from models.tokenizer import Tokenizer
from samplers import Chain, chain_of, default_chain

Links = Chain | Sequence[Mapping[str, object]]
Event = TypeVar("Event")


class Desk:
    """Models and settings of a home folder.

    `home` is the folder, by default that of the app; the other keywords are settings such as `device`, `memory_gb` and
    `history`. A model is named as on the command line: "starter", "starter:int8". Methods raise ValueError with one
    sentence for what cannot be done.
    """

    def __init__(self, home: str | Path | None = None, **settings: object) -> None:
        self._gate = Gate(load_settings({"home": None if home is None else str(home), **settings}))

    @property
    def models(self) -> list[str]:
        """Names of the models there are."""
        return [info.name for info in self._gate.library.available() if not info.problem]

    @property
    def presets(self) -> list[str]:
        """Names of the sampler presets."""
        return self._gate.preset_names()

    def generate(self, prompt: str = "", *, model: str = "starter", **options: object) -> Generation:
        """Return the texts that continue `prompt`.

        `options` are those of a request (`max_new_tokens`, `n`, `seed`, `stop`, `deadline`, `parse_special`,
        `banned_phrases`, `choices`, `word_bias`), options of samplers (`temperature=0.7, top_k=40`), or `preset` or
        `chain` instead of these. One seed, one text.
        """
        key, request = self._request(prompt, model, options)
        result, logprobs = GenerationResult(request.n), [list[float]() for _ in range(request.n)]
        for event in self._gate.generate(key, request, origin="python"):
            result.add(event)
            if not isinstance(event, GenerationQueued | GenerationStart) and event.logprob is not None:
                logprobs[event.row].append(event.logprob)
        assert result.start is not None
        tokenizer = self._gate.tokenizer(key.name)
        rows = [
            tuple(_token(tokenizer, *pair) for pair in zip(*row, strict=True))
            for row in zip(result.tokens, logprobs, strict=True)
        ]
        return Generation(
            model=key.spelled,
            prompt=prompt,
            seed=result.start.seed,
            texts=tuple(prompt + text for text in result.texts),
            tokens=tuple(rows),
            finish_reasons=tuple(result.finish_reasons),
            tokens_per_second=result.tokens_per_second,
        )

    def stream(self, prompt: str = "", *, model: str = "starter", **options: object) -> Iterator[str]:
        """Yield the continuation of `prompt` piece by piece; options as `generate`, for one sequence."""
        key, request = self._request(prompt, model, options)
        if request.n > 1:
            raise ValueError(f"stream gives one sequence, not n = {request.n}; use generate for several")
        for event in self._gate.generate(key, request, origin="python"):
            if not isinstance(event, GenerationQueued | GenerationStart) and event.text:
                yield event.text

    def explain(self, prompt: str = "", *, model: str = "starter", top: int = 10, **options: object) -> NextTokens:
        """Return the `top` most probable next tokens after `prompt`, under the model and after each sampler.

        `options` are options of samplers, or `preset` or `chain`, as `generate`.
        """
        key, request = self._request(prompt, model, options)
        if not 1 <= top <= MOST_LISTED:
            raise ValueError(f"top must be a number from 1 to {MOST_LISTED}, not {top!r:.60}")
        tokenizer = self._gate.tokenizer(key.name)
        ids = encode_prompt(tokenizer, request)
        found = _last(self._gate.inspect(key, ids, request.chain, top=top), Distribution)
        return NextTokens.of(found, tokenizer, model=key.spelled)

    def score(self, text: str, *, model: str = "starter", top: int = 0) -> ScoredText:
        """Return each token of a text with its log-probability given those before it; it must fit the context."""
        key = self._gate.library.key(model)
        tokenizer = self._gate.tokenizer(key.name)
        ids = tokenizer.encode(text)
        if len(ids) < 2:
            raise ValueError(f"the text is too short (tokens: {len(ids)}, at least 2 are needed); give a longer one")
        scores = (event for event in self._gate.score(key, ids, top=top) if isinstance(event, TokenLogprob))
        tokens = tuple(_token(tokenizer, one.token, one.logprob, one.top) for one in scores)
        return ScoredText(key.spelled, text, tokens)

    def evaluate(self, model: str = "starter", *, text: str | None = None, against: str | None = None) -> Evaluation:
        """Return how well a model predicts a text and, `against` a reference model, how close it is to that one.

        Without a `text` it is the one that was held out when the model was trained.
        """
        names = [against, model] if against else [model]
        keys = [self._gate.library.key(name) for name in names]
        text, name = self._text(keys, text)
        if text is None:
            raise ValueError(f"{name} by text=")
        quality = _last(judge(self._gate.manager, keys, text), Quality)
        spelled = keys[0].spelled if against else None
        return Evaluation(keys[-1].spelled, spelled, name, quality_json(quality, len(keys) - 1))

    def compare(
        self, *models: str, prompt: str = "", text: str | None = None, repeats: int = 5, **options: object
    ) -> Comparison:
        """Measure two or three models one after the other, the first as the reference, and evaluate them on a text.

        It takes a while, and its times are right only if nothing else computes. `options` as `generate`, for one
        sequence; `text` as `evaluate`.
        """
        if not 2 <= len(models) <= MOST_SIDES:
            raise ValueError(f"compare takes 2 or {MOST_SIDES} models, not {len(models)}")
        keys = [self._gate.library.key(name) for name in models]
        request = with_seed(self._request(prompt, models[0], options)[1])
        if request.n > 1:
            raise ValueError(f"compare takes one sequence of each model, not n = {request.n}")
        sides = [Side(name, key, request) for name, key in zip(side_names(keys), keys, strict=True)]
        text, name = self._text(keys, text)
        events = study(self._gate.manager, sides, text=text, text_name=name, repeats=repeats)
        return Comparison(_last(events, Report))

    def sensitivity(self, model: str = "starter:int4", *, text: str | None = None) -> Sensitivity:
        """Return the KL divergence that each matrix causes when it alone is at int4 or int8, on 1,000 tokens of a text.

        `text` as `evaluate`.
        """
        key = ModelKey.parse(model)
        text, name = self._text([key], text)
        if text is None:
            raise ValueError(f"{name} by text=")
        events = sensitivities(self._gate.manager, key, text)
        found = tuple(event for event in events if isinstance(event, MatrixSensitivity))
        return Sensitivity(key.spelled, name, found)

    def quantize(self, model: str, *, name: str | None = None, raised: Mapping[str, str] | None = None) -> str:
        """Save a model at the precision of "NAME:PRECISION" and return its name.

        With `raised`, as in {"h.3.mlp.c_fc": "int8"}, these matrices are kept at a higher precision.
        """
        key = ModelKey.parse(model)
        return self._gate.library.quantize(key.name, key.precision, to=name, raised=raised).name

    def import_model(
        self, source: str | Path, *, name: str | None = None, n_head: int = 0, activation: str = "", tokenizer: str = ""
    ) -> str:
        """Import a file or folder, or a model of the Hugging Face Hub by its id, and return its name on the desk.

        `n_head`, `activation` and `tokenizer` are for files that do not have them.
        """
        options = ImportOptions(n_head=n_head, activation=activation, tokenizer=tokenizer)
        target, path = ImportTarget(self._gate.library, name, options), Path(source)
        if path.exists():
            return _last(import_path(target, path), ImportResult).info.name
        target, model = find_on_hub(target, str(source))
        return _last(import_from_hub(target, model), ImportResult).info.name

    def _request(self, prompt: str, model: str, options: Mapping[str, object]) -> tuple[ModelKey, GenerationRequest]:
        """Return the model and the request; ValueError for an option that neither it nor a sampler has."""
        values = dict(options)
        preset, chain = values.pop("preset", None), values.pop("chain", None)
        fields = {name: values.pop(name) for name in list(values) if name in GenerationRequest.model_fields}
        for name in ("stop", "banned_phrases", "choices"):
            if texts := fields.get(name):
                fields[name] = (texts,) if isinstance(texts, str) else tuple(texts)  # type: ignore[arg-type]
        if sum((preset is not None, chain is not None, bool(values))) > 1:
            raise ValueError("give either preset, or chain, or options of samplers")
        fields["chain"] = self._chain(preset, chain, values)
        return self._gate.library.key(model), GenerationRequest(**({"prompt": prompt} | fields))

    def _chain(self, preset: object, chain: object, options: Mapping[str, object]) -> Chain:
        if preset is not None:
            return self._gate.preset(str(preset))
        if chain is not None:
            return chain if isinstance(chain, Chain) else Chain.from_data(chain)  # type: ignore[arg-type]
        return chain_of([sampler.name for sampler in default_chain().samplers], options)

    def _text(self, keys: Sequence[ModelKey], text: str | None) -> tuple[str | None, str]:
        """Return the evaluation text and its name, or None and the reason why there is none."""
        return find_held_out_text(self._gate.manager, keys) if text is None else (text, "the text given")


def _token(tokenizer: Tokenizer, token: int, logprob: float | None, top: Alternatives = ()) -> Token:
    """Return a token with its text and those of the alternatives."""
    named = tuple((token_text(other, tokenizer), value) for other, value in top)
    return Token(token, token_text(token, tokenizer), logprob, named)


def _last(events: Iterator[object], kind: type[Event]) -> Event:
    """Run a stream to its end and return its last event of a type."""
    *_, last = [event for event in events if isinstance(event, kind)]
    return last
