"""Special ids of a model: those that begin and end its texts, and padding; as the files of a folder name them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from models import storage

CONFIG, GENERATION_CONFIG, TOKENIZER_CONFIG = "config.json", "generation_config.json", "tokenizer_config.json"
SPECIAL_TOKENS_MAP = "special_tokens_map.json"
LIMIT = 1_000_000  # bytes of each
MOST_ENDS = 1_000

Documents = Mapping[str, Mapping[str, object]]  # contents of the files above, by name


@dataclass(frozen=True)
class SpecialIds:
    """Ids with a meaning of their own, None or empty where there are none."""

    bos: int | None = None  # before a text
    eos: tuple[int, ...] = ()  # each ends a text
    pad: int | None = None

    @classmethod
    def of(cls, end_of_text: int | None) -> "SpecialIds":
        """Return the ids of a model that begins, ends and pads with one id, as GPT-2 does."""
        return cls() if end_of_text is None else cls(end_of_text, (end_of_text,), end_of_text)

    @property
    def bounds(self) -> frozenset[int]:
        """Ids that begin or end a text and are no part of it."""
        return frozenset(self.eos if self.bos is None else (self.bos, *self.eos))

    def to_json(self) -> dict[str, object]:
        """Return the fields of config.json; one id to end at is a number, several are a list."""
        eos = self.eos[0] if len(self.eos) == 1 else list(self.eos) or None
        return {"bos_token_id": self.bos, "eos_token_id": eos}


def read_special_ids(
    documents: Documents, *, rows: int, id_of: Callable[[str], int | None], end_of_text: int | None
) -> SpecialIds:
    """Return each id from the first document that has it: generation_config, config, tokenizer_config.

    `rows` is the number of ids that the model knows; others mean nothing to it and are skipped. `id_of` gives the id of
    a token by its text. Where no document says what ends a text, `end_of_text` does, and begins it if none says that.
    Raises ValueError for what is no id.
    """
    bos, eos, pad = (_first(documents, name, rows, id_of) for name in ("bos", "eos", "pad"))
    ends = eos or (() if end_of_text is None else (end_of_text,))
    if not bos and not eos:
        bos = ends
    return SpecialIds(bos[0] if bos else None, ends, pad[0] if pad else None)


def read_documents(folder: Path) -> Documents:
    """Return the documents of a folder without a tokenizer that name special ids."""
    names = (name for name in (GENERATION_CONFIG, CONFIG) if (folder / name).exists())
    return {name: storage.read_json(folder / name, limit=LIMIT) for name in names}


def _first(documents: Documents, name: str, rows: int, id_of: Callable[[str], int | None]) -> tuple[int, ...]:
    """Return the ids of "bos", "eos" or "pad" in the first document that has any."""
    for file in (GENERATION_CONFIG, CONFIG):
        if ids := [i for i in _ids(documents.get(file, {}), f"{name}_token_id", file) if i < rows]:
            return tuple(dict.fromkeys(ids))
    for file in (TOKENIZER_CONFIG, SPECIAL_TOKENS_MAP):
        text = token_text(documents.get(file, {}), f"{name}_token", file)
        if text is not None and (found := id_of(text)) is not None and found < rows:
            return (found,)
    return ()


def token_text(data: Mapping[str, object], field: str, file: str) -> str | None:
    """Return the text of a token in tokenizer_config.json, where it is a string or an object with `content`."""
    value = data.get(field)
    if isinstance(value, dict):
        value = value.get("content")
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{file} has {field} = {value!r:.60}, which is no text of a token")
    return value


def _ids(data: Mapping[str, object], field: str, file: str) -> list[int]:
    """Return one id or a list of them as a list; ValueError for anything else."""
    value = data.get(field)
    if value is None:
        return []
    ids: list[int] = value if isinstance(value, list) else [value]  # type: ignore[list-item]
    if len(ids) > MOST_ENDS or not all(type(i) is int and i >= 0 for i in ids):
        raise ValueError(f"{file} has {field} = {value!r:.60}, which is no token id")
    return ids
