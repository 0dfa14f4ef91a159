"""Comparison of two entries: the settings that differ, and where their texts diverge."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gptdesk.formatting import plural
from gptdesk.history.entry import Entry

LONGEST_VALUE = 64  # characters of a value in a sentence
NAMES = {
    "max_new_tokens": "max new tokens",
    "n": "sequences",
    "stop": "stop strings",
    "banned_phrases": "banned phrases",
    "choices": "choices",
    "word_bias": "word bias",
    "weights": "SHA-256 of the weights",
}


@dataclass(frozen=True)
class SettingDifference:
    """Setting that is not the same in both entries, with its values in words."""

    name: str
    first: str
    second: str


@dataclass(frozen=True)
class TextComparison:
    """Texts of one row of two entries, without their prompts."""

    row: int  # from 0
    same_tokens: int | None  # equal tokens at the beginning; None: the models may have different tokenizers
    same_characters: int  # equal characters at the beginning
    identical: bool  # the texts are equal, and so are their tokens where they can be compared
    ended: tuple[bool, bool]  # which of them is a beginning of the other

    def sentence(self, first: int, second: int) -> str:
        """Return where the texts of the entries with these ids diverge."""
        shared = plural(self.same_characters, "character")
        if self.same_tokens is not None:
            shared = f"{plural(self.same_tokens, 'token')} ({shared})"
        if self.identical:
            return f"are the same, {shared}"
        if not self.same_characters:
            return "differ from their beginning on"
        if all(self.ended):
            assert self.same_tokens is not None
            return f"are the same, of other tokens from token {self.same_tokens + 1} on"
        if any(self.ended):
            shorter, longer = (first, second) if self.ended[0] else (second, first)
            return f"begin with the same {shared}; there entry {shorter} ends, and entry {longer} goes on"
        place = f"character {self.same_characters + 1}" if self.same_tokens is None else f"token {self.same_tokens + 1}"
        return f"begin with the same {shared} and differ from {place} on"


@dataclass(frozen=True)
class EntryComparison:
    """Two entries with what differs between them."""

    first: Entry
    second: Entry
    settings: tuple[SettingDifference, ...]
    texts: tuple[TextComparison, ...]  # of the rows that both entries have

    def sentences(self) -> list[str]:
        """Return what differs in the settings, then where the texts of each row diverge."""
        return [self._settings_sentence(), *(self._text_sentence(text) for text in self.texts)]

    def _settings_sentence(self) -> str:
        if not self.settings:
            return "All settings are the same."
        parts = [f"{one.name} ({one.first} and {one.second})" for one in self.settings]
        listed = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
        return f"Entries {self.first.id} and {self.second.id} differ in {listed}."

    def _text_sentence(self, text: TextComparison) -> str:
        which = f"The texts {text.row + 1}" if len(self.texts) > 1 else "The texts"
        return f"{which} {text.sentence(self.first.id, self.second.id)}."

    def to_json(self) -> dict[str, object]:
        """Return the comparison as JSON values."""
        return {
            "entries": [self.first.id, self.second.id],
            "settings": [vars(one) for one in self.settings],
            "texts": [vars(one) for one in self.texts],
            "sentences": self.sentences(),
        }


def compare_entries(first: Entry, second: Entry) -> EntryComparison:
    """Compare the settings and, row by row, the texts of two entries.

    Tokens are compared where both entries are of one model by name or by weights: others may have another tokenizer.
    """
    same_tokenizer = first.model == second.model or (first.weights is not None and first.weights == second.weights)
    pairs = enumerate(zip(first.sequences, second.sequences, strict=False))
    return EntryComparison(
        first,
        second,
        settings=tuple(_setting_differences(first, second)),
        texts=tuple(
            _compared(row, (a.text, b.text), (a.tokens, b.tokens) if same_tokenizer else None) for row, (a, b) in pairs
        ),
    )


def _compared(row: int, texts: tuple[str, str], tokens: tuple[Sequence[int], Sequence[int]] | None) -> TextComparison:
    characters = common_length(*texts)
    same = None if tokens is None else common_length(*tokens)
    return TextComparison(
        row=row,
        same_tokens=same,
        same_characters=characters,
        identical=texts[0] == texts[1] and (tokens is None or tokens[0] == tokens[1]),
        ended=(len(texts[0]) == characters, len(texts[1]) == characters),
    )


def common_length(first: Sequence[object], second: Sequence[object]) -> int:
    """Return the length of the longest common beginning."""
    pairs = zip(first, second, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)))


def _setting_differences(first: Entry, second: Entry) -> list[SettingDifference]:
    """Return the settings that differ: model, prompt and numbers first, then samplers, then all other options."""
    differences = [
        SettingDifference(NAMES.get(name, name), *(_in_words(getattr(one, name)) for one in (first, second)))
        for name in ("model", "precision", "weights", "kernels", "prompt", "seed", "n")
        if getattr(first, name) != getattr(second, name) and _is_known(name, first, second)
    ]
    differences += _sampler_differences(first.chain, second.chain)
    options = {**first.request, **second.request}  # an entry of an earlier version may lack some
    options.pop("chain", None)
    for name in options:
        values = first.request.get(name), second.request.get(name)
        if values[0] != values[1]:
            differences.append(SettingDifference(NAMES.get(name, name), *map(_in_words, values)))
    return differences


def _is_known(name: str, first: Entry, second: Entry) -> bool:
    """Return whether a difference of this setting says something: other models have other weights anyway."""
    return name != "weights" or (first.model == second.model and None not in (first.weights, second.weights))


def _sampler_differences(
    first: Sequence[Mapping[str, object]], second: Sequence[Mapping[str, object]]
) -> list[SettingDifference]:
    """Return the options that differ where the samplers are the same ones, else both chains as a whole."""
    if [link.get("name") for link in first] != [link.get("name") for link in second]:
        return [SettingDifference("samplers", chain_words(first), chain_words(second))]
    return [
        SettingDifference(
            " ".join(dict.fromkeys([str(a["name"]), name])),
            _in_words(a.get(name)),
            _in_words(b.get(name)),
        )
        for a, b in zip(first, second, strict=True)
        for name in {**a, **b}
        if a.get(name) != b.get(name)
    ]


def _in_words(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    if isinstance(value, list | tuple):
        return ", ".join(map(repr, value))[:LONGEST_VALUE] or "none"
    text = str(value)
    return text if text and text.isprintable() and len(text) <= LONGEST_VALUE else repr(text[:LONGEST_VALUE])


def chain_words(chain: Sequence[Mapping[str, object]]) -> str:
    """Return samplers with their options: "top_k 50, then temperature 0.8"."""
    return ", then ".join(map(sampler_words, chain)) or "none"


def sampler_words(link: Mapping[str, object]) -> str:
    """Return a sampler with its options: "top_k 50"."""
    options = [f"{value}" if name == link["name"] else f"{name} {value}" for name, value in link.items()]
    return " ".join([str(link["name"]), ", ".join(options[1:])]).rstrip()
