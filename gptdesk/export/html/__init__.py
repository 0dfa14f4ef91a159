"""Page that runs a model at int8 in a browser: one HTML file, or a folder with the weights in files beside it.

The scripts in this folder are joined into one, which stands in the page with its hash: the page's policy allows no
other script and no request.
"""

import base64
import html
import json
from collections.abc import Iterator
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path

import torch
from torch import Tensor

from gptdesk import __version__
from gptdesk.export.stored_weights import check_network, weights_at
from gptdesk.markup import csp_source
from models import storage
from models.checkpoint import Checkpoint
from models.precision import PRECISIONS
from models.tokenizer import BytePairTokenizer, CharacterTokenizer, Tokenizer

INT8 = PRECISIONS["int8"]
# in the order of their use
SCRIPTS = ("noise", "kernels", "attention", "network", "tokenizer", "samplers", "generation", "page")
MOST_IN_PAGE = 32_000_000  # bytes of weights; more are written to files beside the page
LARGEST_WIDTH = 1_024  # channels of a network whose products the page can add up, as kernels.js packs them
PART = 24_000_000  # bytes of weights in one of these files, a multiple of 3: base64 of whole groups
WORD = 4  # bytes to which every tensor is aligned
TYPES = {torch.int8: "int8", torch.float32: "float32", torch.bfloat16: "bfloat16"}
INDEX = "index.html"
WEIGHT_FOLDER = "weights"


def write_html(checkpoint: Checkpoint, tokenizer: Tokenizer, name: str, to: Path) -> Path:
    """Write a model as one file, if `to` ends in .html, or as the folder `to`; return the page.

    Raises ValueError for a model that is quantized to anything but int8, of a variant that the page does not run, too
    wide, or too large for one file; OSError if the disk refuses.
    """
    if checkpoint.quantized not in (None, INT8):
        raise ValueError(
            f"{name} is quantized to {checkpoint.quantized.words}, and a page holds int8; export the original"
        )
    if checkpoint.config.n_embd > LARGEST_WIDTH:
        raise ValueError(
            f"{name} has {checkpoint.config.n_embd:,} channels, and a page can run up to {LARGEST_WIDTH:,}; "
            "export a smaller model"
        )
    _check_variant(checkpoint, tokenizer, name)
    tensors, weights = _packed(weights_at(checkpoint, INT8))
    parts = [weights[i : i + PART] for i in range(0, len(weights), PART)]
    one_file, fits = to.suffix.lower() in (".html", ".htm"), len(weights) <= MOST_IN_PAGE
    if one_file and not fits:
        raise ValueError(
            f"{name} has {len(weights) / 1e6:,.0f} MB of weights at int8, too many for one file of "
            f"{MOST_IN_PAGE / 1e6:.0f} MB; give a folder, such as {to.with_suffix('').name}"
        )
    if fits:
        parts = [weights]
    data: dict[str, object] = {
        "config": asdict(checkpoint.config),
        "tensors": tensors,
        "weights": {"bytes": len(weights), "parts": len(parts), "folder": WEIGHT_FOLDER},
        "tokenizer": _tokenizer_data(tokenizer),
        "end_of_text": tokenizer.end_of_text,
        "about": _about(checkpoint, name, len(weights)),
    }
    if checkpoint.about.recipe is not None:
        data["recipe"] = checkpoint.about.recipe
    page = _page(name, data, None if not fits else weights, parts=len(parts))
    if one_file:
        to.parent.mkdir(parents=True, exist_ok=True)
        storage.write_file(to, page)
        return to
    with storage.new_folder(to, replace=False) as folder:
        storage.write_file(folder / INDEX, page)
        if not fits:
            (folder / WEIGHT_FOLDER).mkdir()
            for i, part in enumerate(parts, 1):
                storage.write_file(folder / WEIGHT_FOLDER / f"{i}.js", _weight_file(part))
    return to / INDEX


def _check_variant(checkpoint: Checkpoint, tokenizer: Tokenizer, name: str) -> None:
    """Raise ValueError for a network or tokenizer that differs from GPT-2's in what the scripts do not know."""
    check_network(checkpoint, name)
    ids = tokenizer.special_ids
    if type(tokenizer) not in (BytePairTokenizer, CharacterTokenizer):
        difference = "a tokenizer with added words or ids around a text"
    elif (ids.bos, ids.eos) != (tokenizer.end_of_text, ids.eos[:1]):
        difference = "several ids that end a text, or another one that begins it"
    else:
        return
    raise ValueError(f"{name} has {difference}, which a page does not run; export it as huggingface")


def _packed(tensors: Iterator[tuple[str, Tensor]]) -> tuple[list[dict[str, object]], bytes]:
    """Return the list of tensors, each with its place in bytes, and the bytes of all."""
    listed: list[dict[str, object]] = []
    packed = bytearray()
    for name, value in tensors:
        listed.append({"name": name, "type": TYPES[value.dtype], "shape": list(value.shape), "place": len(packed)})
        packed += value.contiguous().view(torch.uint8).numpy().tobytes()
        packed += bytes(-len(packed) % WORD)
    return listed, bytes(packed)


def _tokenizer_data(tokenizer: Tokenizer) -> dict[str, object]:
    """Return the characters of a tokenizer, or the bytes of its tokens as text of U+0000 to U+00FF, by id."""
    if isinstance(tokenizer, BytePairTokenizer):
        vocabulary = tokenizer.vocabulary
        known = {i: token for token, i in vocabulary.tokens.items()}
        known |= {i: text.encode("utf-8") for text, i in vocabulary.specials.items()}
        tokens = [known[i].decode("latin-1") if i in known else None for i in range(vocabulary.size)]
        return {"tokens": tokens, "specials": sorted(vocabulary.specials.values())}
    assert tokenizer.kind == "characters", tokenizer.kind
    return {"characters": [tokenizer.token_bytes(i).decode("utf-8") for i in range(tokenizer.vocab_size)]}


def _about(checkpoint: Checkpoint, name: str, size: int) -> list[tuple[str, str]]:
    """Return what the page says about the model, as terms and descriptions."""
    about = checkpoint.about
    tokenizer = {"gpt2": "GPT-2's BPE", "bpe": "BPE", "characters": "characters"}.get(checkpoint.tokenizer_kind, "")
    lines = [
        ("Name", name),
        ("Parameters", f"{checkpoint.parameters:,}"),
        ("Size", f"{size / 1e6:,.1f} MB of weights, 8-bit whole numbers (int8)"),
        ("Context", f"{checkpoint.config.block_size:,} tokens"),
        ("Tokenizer", f"{tokenizer}, {checkpoint.config.vocab_size:,} tokens"),
        ("Licence", about.licence or "not stated"),
        ("Source", about.source),
        ("Data", about.data),
        ("Created", about.created),
        ("Page made by", f"GPT Desk {__version__}"),
    ]
    return [(term, words) for term, words in lines if words]


def _page(name: str, data: dict[str, object], weights: bytes | None, *, parts: int) -> bytes:
    """Return the page, with `weights` in it or else with the files of that many parts."""
    script = "\n".join(_asset(f"{script}.js") for script in SCRIPTS)
    style = _asset("page.css")
    if weights is not None:
        stored = f'<script type="text/plain" id="weights">{base64.b64encode(weights).decode("ascii")}</script>'
    else:
        stored = "\n".join(f'<script src="{WEIGHT_FOLDER}/{i}.js"></script>' for i in range(1, parts + 1))
    fields = {
        "policy": _policy(script, style, own_files=weights is None),
        "title": html.escape(name),
        "style": style,
        # no "</script>" and no "<!--" can come out of it
        "data": json.dumps(data, ensure_ascii=False).replace("<", "\\u003c"),
        "weights": stored,
        "script": script,
    }
    page = _asset("page.html")
    before, *rest = page.split("{")
    pieces = [before]
    for piece in rest:  # each field stands once, and what is put in is never searched
        field, after = piece.split("}", 1)
        pieces += [fields[field], after]
    return "".join(pieces).encode("utf-8")


def _policy(script: str, style: str, *, own_files: bool) -> str:
    """Return a Content-Security-Policy that allows this script and style, and no request but to `own_files`."""
    own = " 'self' file:" if own_files else ""
    return (
        f"default-src 'none'; script-src {csp_source(script)}{own}; style-src {csp_source(style)}; base-uri 'none'; "
        "form-action 'none'"
    )


def _weight_file(part: bytes) -> bytes:
    """Return a script that adds one part of the weights."""
    return b'(globalThis.weightParts ??= []).push("' + base64.b64encode(part) + b'");\n'


def _asset(name: str) -> str:
    """Return the text of a file in this folder."""
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
