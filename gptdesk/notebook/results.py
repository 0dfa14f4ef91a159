"""Results that a notebook shows by themselves, with plain lists and pandas' DataFrames behind them."""

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gptdesk import inspection
from gptdesk.comparison.divergence import token_text
from gptdesk.comparison.export import as_html, report_document
from gptdesk.comparison.report import Report, summary_sentences, to_json
from gptdesk.comparison.sensitivity import MatrixSensitivity
from gptdesk.generation import FinishReason
from gptdesk.markup import html_table
from models.tokenizer import Tokenizer

if TYPE_CHECKING:
    import pandas as pd

SHADES = 10  # nats at which a token has the full colour


@dataclass(frozen=True)
class Token:
    """A token: its id and text, its log-probability in nats under the raw model (None: of the first of a text)."""

    id: int
    text: str
    logprob: float | None
    top: tuple[tuple[str, float], ...] = ()  # the most probable tokens there and their log-probabilities

    @property
    def probability(self) -> float | None:
        """Probability under the raw model, from 0 to 1."""
        return None if self.logprob is None else math.exp(self.logprob)


@dataclass(frozen=True)
class Generation:
    """Texts that a model has written after a prompt, with their tokens."""

    model: str
    prompt: str
    seed: int
    texts: tuple[str, ...]  # with the prompt
    tokens: tuple[tuple[Token, ...], ...]  # new ones of each text
    finish_reasons: tuple[FinishReason | None, ...]
    tokens_per_second: float | None  # of all texts together, after the first token; None: too short to measure

    @property
    def text(self) -> str:
        """The first text."""
        return self.texts[0]

    def __str__(self) -> str:
        return "\n\n".join(self.texts)

    def to_dataframe(self) -> "pd.DataFrame":
        """Return a row for each new token: sequence, id, text, logprob, probability."""
        rows = [(i, *_cells(one)) for i, tokens in enumerate(self.tokens) for one in tokens]
        return _frame(rows, ["sequence", "id", "text", "logprob", "probability"])

    def _repr_html_(self) -> str:
        given = f'<span style="opacity:.6">{html.escape(self.prompt)}</span>'
        texts = (_boxed(given + _coloured(tokens)) for tokens in self.tokens)
        return "".join(texts) + _note(f"{self.model}, seed {self.seed}. {LEGEND}")


@dataclass(frozen=True)
class ScoredText:
    """A text with the log-probability of each of its tokens; nothing precedes the first, so it has none."""

    model: str
    text: str
    tokens: tuple[Token, ...]

    @property
    def nats_per_token(self) -> float:
        """Mean negative log-probability of the tokens but the first."""
        values = [one.logprob for one in self.tokens if one.logprob is not None]
        return -sum(values) / len(values)

    @property
    def perplexity(self) -> float:
        """e to the nats per token."""
        return math.exp(self.nats_per_token)

    def to_dataframe(self) -> "pd.DataFrame":
        """Return a row for each token: id, text, logprob, probability."""
        return _frame(map(_cells, self.tokens), ["id", "text", "logprob", "probability"])

    def _repr_html_(self) -> str:
        note = f"{self.model}: perplexity {self.perplexity:,.4g} on {len(self.tokens) - 1:,} tokens. {LEGEND}"
        return _boxed(_coloured(self.tokens)) + _note(note)


@dataclass(frozen=True)
class NextToken:
    """A candidate for the next token: its probability under the model, then after every sampler (0: removed)."""

    id: int
    text: str
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class NextTokens:
    """The most probable next tokens. `links` are "model" and the samplers; `entropy` (nats) and `kept` go with them."""

    model: str
    links: tuple[str, ...]
    tokens: tuple[NextToken, ...]  # the most probable under the model first
    entropy: tuple[float, ...]
    kept: tuple[int, ...]  # tokens with a probability above 0

    @classmethod
    def of(cls, found: inspection.NextTokens, tokenizer: Tokenizer, *, model: str) -> "NextTokens":
        """Return a distribution with the texts of its tokens."""
        tokens = (NextToken(one.token, token_text(one.token, tokenizer), one.probabilities) for one in found.tokens)
        return cls(model, found.links, tuple(tokens), found.entropy, found.kept)

    def to_dataframe(self) -> "pd.DataFrame":
        """Return a row for each token: id, text, then the probability after each link."""
        rows = [(one.id, one.text, *one.probabilities) for one in self.tokens]
        return _frame(rows, ["id", "text", *_columns(self.links)])

    def _repr_html_(self) -> str:
        rows = [[repr(one.text), *map(_percent, one.probabilities)] for one in self.tokens]
        rows.append(["entropy (nats)", *(f"{value:.3f}" for value in self.entropy)])
        rows.append(["tokens kept", *(f"{count:,}" for count in self.kept)])
        return html_table(["next token", *self.links], rows) + _note(self.model)


@dataclass(frozen=True)
class Evaluation:
    """Figures of a model on a text, by name, as `gptdesk evaluate --json` gives them."""

    model: str
    against: str | None
    text_name: str
    figures: Mapping[str, object]

    @property
    def perplexity(self) -> float:
        """Perplexity of the model on the text."""
        value = self.figures["perplexity"]
        assert isinstance(value, float)
        return value

    def to_dataframe(self) -> "pd.DataFrame":
        """Return one row with a column for each figure."""
        return _frame([tuple(self.figures.values())], list(self.figures))

    def _repr_html_(self) -> str:
        rows = [[name, _figure(value)] for name, value in self.figures.items() if value is not None]
        beside = f" against {self.against}" if self.against else ""
        return html_table([self.model + beside, self.text_name], rows)


@dataclass(frozen=True)
class Sensitivity:
    """KL divergence that each matrix of a model causes when it alone is quantized, in the order of the network."""

    model: str  # NAME:PRECISION
    text_name: str
    matrices: tuple[MatrixSensitivity, ...]

    @property
    def worst(self) -> MatrixSensitivity:
        """The matrix that causes most."""
        return max(self.matrices, key=lambda one: one.kl)

    def to_dataframe(self) -> "pd.DataFrame":
        """Return a row for each matrix: matrix, encoding, weights, kl, kl_se (nats a token)."""
        rows = [(one.matrix, one.encoding, one.weights, one.kl, one.kl_se) for one in self.matrices]
        return _frame(rows, ["matrix", "encoding", "weights", "kl", "kl_se"])

    def _repr_html_(self) -> str:
        rows = [[one.matrix, one.encoding, f"{one.kl:.2e} ± {one.kl_se:.1e}"] for one in self.matrices]
        return html_table([self.model, "alone at", "KL divergence (nats)"], rows) + _note(self.text_name)


@dataclass(frozen=True)
class Comparison:
    """Report of a comparison: sizes, times and quality, with its verdict in sentences."""

    report: Report

    @property
    def verdict(self) -> str:
        """The verdict, a sentence for each model but the first."""
        return " ".join(summary_sentences(self.report))

    def __str__(self) -> str:
        return self.verdict

    def to_json(self) -> dict[str, object]:
        """Return all figures, as `gptdesk compare --json` gives them."""
        return to_json(self.report)

    def to_dataframe(self) -> "pd.DataFrame":
        """Return a row for each model with all its figures."""
        records = report_document(self.report).records
        columns = list(dict.fromkeys(name for record in records for name in record))
        return _frame([tuple(record.get(name) for name in columns) for record in records], columns)

    def _repr_html_(self) -> str:
        document = report_document(self.report)
        sentences = "".join(f"<p>{html.escape(sentence)}</p>" for sentence in document.sentences)
        notes = "".join(map(_note, document.notes))
        return sentences + html_table(document.head, document.rows) + notes

    def to_html(self) -> str:
        """Return the report as a page of its own."""
        return as_html(report_document(self.report)).decode()


LEGEND = "The darker a token, the less probable it was for the model."


def _cells(token: Token) -> tuple[object, ...]:
    return token.id, token.text, token.logprob, token.probability


def _frame(rows: Iterable[Sequence[object]], columns: Sequence[str]) -> "pd.DataFrame":
    import pandas as pd  # takes half a second, and few want it

    return pd.DataFrame(list(rows), columns=list(columns))


def _columns(links: Sequence[str]) -> list[str]:
    """Return unique names of columns: a sampler that is twice in a chain gets a number."""
    return [f"{name} {links[:i].count(name) + 1}" if name in links[:i] else name for i, name in enumerate(links)]


def _coloured(tokens: Iterable[Token]) -> str:
    """Return tokens as HTML, each with a background by its log-probability, and it as a tooltip."""
    return "".join(
        f'<span style="background:rgba(234,120,40,{_shade(one.logprob):.2f})" title="{_percent(one.probability)}">'
        f"{html.escape(one.text)}</span>"
        for one in tokens
    )


def _shade(logprob: float | None) -> float:
    return 0.0 if logprob is None else min(0.75, -logprob / SHADES)


def _percent(share: float | None) -> str:
    if share is None:
        return ""
    return "0" if share == 0 else f"{share:.2%}" if share >= 0.0001 else f"{share:.1e}"


def _figure(value: object) -> str:
    return f"{value:,.6g}" if isinstance(value, int | float) else str(value)


def _boxed(content: str) -> str:
    return f'<div style="white-space:pre-wrap;overflow-wrap:anywhere;margin:0 0 .5em">{content}</div>'


def _note(text: str) -> str:
    return f'<p style="opacity:.7;font-size:.9em">{html.escape(text)}</p>'
