"""Performance goals for a network of GPT-2's size and for the starter, compared with a run."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.peers import PEERS
from gptdesk.bench import Measured, Row

LONG = 700  # tokens of a prompt
DECODE = (  # precision, peer, times as fast
    ("float32", "ov_f32", 1.0),
    ("float32", "transformers", 2.0),
    ("bfloat16", "gguf_F16", 1.2),
    ("int8", "gguf_Q8_0", 1.6),
    ("int8", "ct2_int8", 2.5),
    ("int4", "gguf_Q4_0", 1.15),
)
DECODE_BUSY = (("int8", "gguf_Q8_0", 3.0),)  # beside a program that keeps one CPU busy
DECODE_LONG = (("int8", "gguf_Q8_0", 1.5),)  # after LONG tokens
PREFILL = (("int8", "gguf_Q8_0", 1.4),)
MEMORY = 1.15  # above the imports, times the file and the cache of keys and values, at most
FILES = (("int8", 128.0), ("int4", 91.0))  # MB, at most
SAMPLERS = 0.05  # of a step, at most
BATCH, BATCH_GAIN = 5, 2.5  # sequences, and what they bring together over one
STARTER_GREEDY, STARTER_DEFAULT, STARTER_BATCH = 3000.0, 2300.0, 6000.0  # tokens per second at float32

Key = tuple[str, int, int]  # precision or peer, prompt, n


@dataclass(frozen=True)
class Goal:
    """Goal, `at_most` or else at least, with the measurement."""

    words: str
    wanted: float
    measured: float
    unit: str  # " x" for times, " MB", "share", or "" for tokens per second
    at_most: bool = False

    @property
    def missed_by(self) -> float:
        """Share of the goal by which it is missed; 0 or less if it is met."""
        over = self.measured / self.wanted - 1
        return over if self.at_most else -over

    def line(self) -> str:
        """Return the goal as a line of a Markdown table."""
        wanted = f"{'≤' if self.at_most else '≥'} {self._formatted(self.wanted)}"
        met = "yes" if self.missed_by <= 0 else f"no, by {self.missed_by:.{self.missed_by < 0.01:d}%}"
        return f"| {self.words} | {wanted} | {self._formatted(self.measured)} | {met} |"

    def _formatted(self, value: float) -> str:
        if self.unit == "share":
            return f"{value:.1%}"
        return f"{value:,.0f}{self.unit}" if value >= 50 else f"{value:.2f}{self.unit}"


def goals(ours: Sequence[Measured], theirs: Sequence[Row], *, busy: bool = False) -> Iterator[Goal]:
    """Yield every goal for the network of GPT-2's size of which both sides were measured.

    `busy`: another program kept one CPU busy meanwhile, which has a goal of its own.
    """
    found = {_key(one.row): one.row for one in ours}
    peers = {_key(row): row for row in theirs}
    if busy:
        for factor, mine, other, words in _pairs(DECODE_BUSY, found, peers):
            yield Goal(f"decode, one CPU busy, {words}", factor, mine.tokens_per_second / other.tokens_per_second, " x")
        return
    for table, is_long in ((DECODE, False), (DECODE_LONG, True)):
        for factor, mine, other, words in _pairs(table, found, peers):
            if (mine.prompt == LONG) is is_long:
                yield Goal(f"decode, {words}", factor, mine.tokens_per_second / other.tokens_per_second, " x")
    for factor, mine, other, words in _pairs(PREFILL, found, peers):
        if mine.prompt == LONG:
            yield Goal(f"prefill, {words}", factor, other.seconds_to_first_token / mine.seconds_to_first_token, " x")
    for (precision, prompt, n), row in found.items():
        if precision == "int4" and ("int8", prompt, n) in found:
            ratio = row.tokens_per_second / found["int8", prompt, n].tokens_per_second
            yield Goal(f"decode, int4 : int8, context {prompt}, n = {n}", 1.0, ratio, " x")
    for (precision, prompt, n), row in found.items():
        if (precision, n) == ("int8", BATCH) and ("int8", prompt, 1) in found:
            ratio = row.tokens_per_second / found["int8", prompt, 1].tokens_per_second
            yield Goal(f"int8, n = {BATCH} : n = 1, context {prompt}", BATCH_GAIN, ratio, " x")
    for one in ours:
        if one.row.n == 1:
            words = f"memory above the imports : file and cache, {one.row.precision}, context {one.row.context}"
            needed = one.row.file_mb + one.cache_bytes / 1e6
            yield Goal(words, MEMORY, (one.row.peak_mb - one.empty_mb) / needed, " x", at_most=True)
    for precision, most in FILES:
        for row in [row for row in found.values() if row.precision == precision][:1]:
            yield Goal(f"file, {precision}", most, row.file_mb, " MB", at_most=True)
    if ours:
        worst = max(one.sampler_share for one in ours)
        yield Goal("the default chain's share of a step, at worst", SAMPLERS, worst, "share", at_most=True)


def starter_goals(ours: Sequence[Measured]) -> Iterator[Goal]:
    """Yield the goals for the starter at float32."""
    for one in ours:
        row, case = one.row, f"decode, starter, float32, n = {one.row.n}, context {one.row.context}"
        if (row.precision, row.n) == ("float32", 1):
            yield Goal(f"{case}, greedy", STARTER_GREEDY, row.tokens_per_second, "")
            yield Goal(f"{case}, default chain", STARTER_DEFAULT, one.default_tokens_per_second, "")
        elif (row.precision, row.n) == ("float32", BATCH):
            yield Goal(f"{case}, default chain", STARTER_BATCH, one.default_tokens_per_second, "")


def _key(row: Row) -> Key:
    return row.precision, row.prompt, row.n


def _pairs(
    table: Sequence[tuple[str, str, float]], found: Mapping[Key, Row], peers: Mapping[Key, Row]
) -> Iterator[tuple[float, Row, Row, str]]:
    """Yield the factor, our row, the peer's and a description, for every prompt that both were measured with."""
    for precision, peer, factor in table:
        for (name, prompt, n), row in found.items():
            if (name, n) == (precision, 1) and (peer, prompt, 1) in peers:
                words = f"{precision} : {PEERS[peer][0]}, context {prompt}"
                yield factor, row, peers[peer, prompt, 1], words
