"""Mutants of valid files of every format: each is refused in one sentence, or becomes a model of finite numbers.

GPTDESK_MUTANTS sets how many of each format; the default takes seconds.
"""

import json
import os
import pickletools
import random
import shutil
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from format_checks import C, FusedGPT, GPTModel, H, L, T, V, converted, ids, write_characters
from safetensors.torch import save_file
from torch import nn

from models.checkpoint import Checkpoint
from models.formats.converting import NAMES
from models.layout import config_to_json
from models.precision import PRECISIONS
from models.special_ids import SpecialIds

COUNT = int(os.environ.get("GPTDESK_MUTANTS", "60"))
Mutation = Callable[[random.Random, bytes], bytes]
EXTREMES = (0, 1, -1, 127, 128, 255, 65_535, 1 << 31, (1 << 31) - 1, 1 << 62, (1 << 63) - 1)


def write_nanogpt(folder: Path) -> None:
    arguments = {"n_layer": L, "n_head": H, "n_embd": C, "block_size": T, "vocab_size": V, "bias": True}
    checkpoint = {"model": FusedGPT().state_dict(), "model_args": arguments, "config": {"dataset": "x"}, "iter_num": 3}
    torch.save(checkpoint, folder / "ckpt.pt")


def write_gptmodel(folder: Path) -> None:
    torch.save(GPTModel().state_dict(), folder / "model.pt")
    (folder / "config.json").write_text(json.dumps({"n_heads": H}))


def write_quantized(folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = torch.ao.quantization.quantize_dynamic(FusedGPT(), {nn.Linear})
        torch.save(model.state_dict(), folder / "model.pt")
    (folder / "config.json").write_text(json.dumps({"n_head": H, "activation": "gelu"}))


def write_safetensors(folder: Path) -> None:
    save_file({name: value.clone() for name, value in FusedGPT().state_dict().items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"n_head": H, "activation": "gelu"}))


def write_huggingface(folder: Path) -> None:
    write_safetensors(folder)
    made, _ = converted(folder, folder / "made")
    shutil.copy(made.path / "model.safetensors", folder)
    (folder / "config.json").write_text(json.dumps(config_to_json(made.config, special_ids=SpecialIds())))
    shutil.rmtree(folder / "made")


def write_gguf(folder: Path) -> None:
    """Write a file by our own means, so that the test needs no package: F32 and one field of each kind."""
    text = lambda word: struct.pack("<Q", len(word)) + word.encode()  # noqa: E731
    fields = [
        text("general.architecture") + struct.pack("<I", 8) + text("gpt2"),
        text("gpt2.attention.head_count") + struct.pack("<II", 4, H),
        text("gpt2.attention.layer_norm_epsilon") + struct.pack("<If", 6, 1e-5),
        text("some.list") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("b"),
        text("numbers") + struct.pack("<IIQ3i", 9, 5, 3, 1, 2, 3),
    ]
    names = {
        "wte": "token_embd",
        "wpe": "position_embd",
        "ln_f": "output_norm",
        "ln_1": "attn_norm",
        "ln_2": "ffn_norm",
    }
    names |= {"attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output", "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down"}
    infos, data = [], b""
    for name, value in FusedGPT().transformer.state_dict().items():
        layer, _, part = name.rpartition(".")
        words = layer.split(".", 2)
        theirs = f"blk.{words[1]}.{names[words[2]]}" if len(words) == 3 else names[layer]
        shape = struct.pack(f"<I{value.ndim}Q", value.ndim, *reversed(value.shape))
        infos.append(text(f"{theirs}.{part}") + shape + struct.pack("<IQ", 0, len(data)))
        data += value.numpy().tobytes()
    header = b"GGUF" + struct.pack("<IQQ", 3, len(infos), len(fields)) + b"".join(fields) + b"".join(infos)
    (folder / "model.gguf").write_bytes(header + bytes(-len(header) % 32) + data)


FORMATS = {
    "nanogpt": write_nanogpt,
    "gptmodel": write_gptmodel,
    "quantized": write_quantized,
    "safetensors": write_safetensors,
    "huggingface": write_huggingface,
    "gguf": write_gguf,
}


def changed_bytes(chance: random.Random, data: bytes, *, most: int | None = None) -> bytes:
    """Return bytes with some of them changed, cut out, put in twice, or all after one cut off."""
    mutant, end = bytearray(data), min(len(data), most or len(data))
    for _ in range(chance.choice((1, 1, 2, 5))):
        place = chance.randrange(max(1, end))
        size = chance.choice((1, 2, 4, 8, 64))
        kind = chance.randrange(6)
        if kind == 0:
            del mutant[place : place + size]
        elif kind == 1:
            mutant[place:place] = mutant[place : place + size]
        elif kind == 2 and chance.random() < 0.3:
            del mutant[place:]
        elif kind == 3:
            mutant[place : place + 8] = struct.pack("<q", chance.choice(EXTREMES))
        elif place < len(mutant):
            mutant[place] = chance.choice((0, 255, mutant[place] ^ (1 << chance.randrange(8)), chance.randrange(256)))
    return bytes(mutant)


def changed_pickle(chance: random.Random, data: bytes) -> bytes:
    """Return a pickle with instructions left out, doubled, exchanged or changed."""
    starts = [place for _, _, place in pickletools.genops(data)]
    pieces = [data[a:b] for a, b in zip(starts, [*starts[1:], len(data)], strict=True)]
    for _ in range(chance.choice((1, 1, 2, 4))):
        i, j = chance.randrange(len(pieces)), chance.randrange(len(pieces))
        kind = chance.randrange(5)
        if kind == 0:
            pieces[i] = b""
        elif kind == 1:
            pieces[i] += pieces[j]
        elif kind == 2:
            pieces[i], pieces[j] = pieces[j], pieces[i]
        elif kind == 3:
            pieces[i] = pickletools_number(chance)
        else:
            pieces[i] = changed_bytes(chance, pieces[i])
    return b"".join(pieces)


def pickletools_number(chance: random.Random) -> bytes:
    return b"\x8a\x08" + struct.pack("<q", chance.choice(EXTREMES))


def changed_archive(chance: random.Random, data: bytes, folder: Path) -> bytes:
    """Return an archive, its checksums right, with another pickle or other numbers."""
    old, new = folder / "old.zip", folder / "new.zip"
    old.write_bytes(data)
    with zipfile.ZipFile(old) as before, zipfile.ZipFile(new, "w") as after:
        names = before.namelist()
        arrays = [name for name in names if "/data/" in name]
        other = chance.choice(arrays) if chance.random() < 0.2 else None
        for name in names:
            content = before.read(name)
            if name.endswith("data.pkl") and other is None:
                content = changed_pickle(chance, content)
            elif name == other:
                content = changed_bytes(chance, content)
            after.writestr(name, content)
    result = new.read_bytes()
    old.unlink()
    new.unlink()
    return result


def mutant(chance: random.Random, path: Path, data: bytes) -> bytes:
    """Return other bytes for a file of this name."""
    if data.startswith(b"PK") and chance.random() < 0.7:
        return changed_archive(chance, data, path.parent.parent)
    if path.suffix == ".safetensors" and chance.random() < 0.7:
        size = struct.unpack("<Q", data[:8])[0]
        header = changed_bytes(chance, data[8 : 8 + size])
        return struct.pack("<Q", len(header)) + header + data[8 + size :]
    return changed_bytes(chance, data, most=3000 if path.suffix == ".gguf" and chance.random() < 0.8 else None)


def check(folder: Path, made: Path) -> bool:
    """Check that a folder is refused in one sentence, or becomes a model of finite numbers; return whether it does."""
    try:
        checkpoint, _ = converted(folder, made)
    except ValueError as error:
        reason = str(error)
    else:
        check_finite(checkpoint)
        return True
    assert "\n" not in reason
    return False


def check_finite(checkpoint: Checkpoint) -> None:
    if checkpoint.quantized is None:
        with torch.inference_mode():
            logits = checkpoint.load_model()(ids()[:, : checkpoint.config.block_size] % checkpoint.config.vocab_size)
        assert torch.isfinite(logits).all()
    else:
        assert checkpoint.quantized is PRECISIONS["int8-dynamic"]
        weights = checkpoint.open_weights()
        assert all(weights.read(name).float().isfinite().all() for name in weights.names())


def files_of(folder: Path) -> Iterator[Path]:
    yield from (file for file in sorted(folder.iterdir()) if file.name != "meta.json")


@pytest.mark.parametrize("form", FORMATS)
def test_mutants(tmp_path: Path, form: str) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    FORMATS[form](folder)
    write_characters(folder)
    assert check(folder, tmp_path / "fair")
    originals = {file: file.read_bytes() for file in files_of(folder)}
    weights = [file for file in originals if file.name in NAMES or file.suffix == ".gguf"]
    usable = 0
    for seed in range(COUNT):
        chance = random.Random(seed)
        file = weights[0] if chance.random() < 0.85 else chance.choice(list(originals))
        file.write_bytes(mutant(chance, file, originals[file]))
        usable += check(folder, tmp_path / "made")
        shutil.rmtree(tmp_path / "made", ignore_errors=True)
        file.write_bytes(originals[file])
    assert usable < COUNT
