"""State dict as tutorials write one: model.pt, config.json and meta.json, with nanoGPT's names of tensors."""

from dataclasses import asdict
from pathlib import Path

import torch

from models import layout, storage
from models.checkpoint import Checkpoint
from models.tokenizer import Tokenizer
from models.weights import read_weight

PREFIX, HEAD, WTE = "transformer.", "lm_head.weight", "wte.weight"


def write_state_dict(checkpoint: Checkpoint, tokenizer: Tokenizer, name: str, to: Path) -> Path:
    """Write the folder `to` and return it: float32 tensors, matrices as (rows out, columns in), a tied head twice.

    meta.json has the characters of a tokenizer; any other has its tokenizer.json beside it. Raises ValueError for a
    quantized model, OSError if the disk refuses.
    """
    if checkpoint.quantized:
        raise ValueError(f"{name} is quantized to {checkpoint.quantized.name}; export the original")
    config, weights = checkpoint.config, checkpoint.open_weights()
    state = {
        name if name == HEAD else PREFIX + name: read_weight(weights, name, shape).float()
        for name, shape in layout.parameter_shapes(config).items()
    }
    state.setdefault(HEAD, state[PREFIX + WTE])  # one tensor, stored once
    meta: dict[str, object] = {"vocab_size": tokenizer.vocab_size, "tokenizer": tokenizer.kind}
    with storage.new_folder(to, replace=False) as folder:
        if tokenizer.kind == "characters":
            characters = [tokenizer.token_bytes(i).decode("utf-8") for i in range(tokenizer.vocab_size)]
            numbered = dict(enumerate(characters))
            meta |= {"chars": characters, "stoi": {c: i for i, c in numbered.items()}, "itos": numbered}
        else:
            meta |= {"end_of_text": tokenizer.end_of_text}
            tokenizer.save(folder, context=config.block_size)
        storage.write_file(folder / "config.json", storage.json_bytes(asdict(config)))
        storage.write_file(folder / "meta.json", storage.json_bytes(meta))
        with open(folder / "model.pt", "wb") as file:
            torch.save(state, file)
    return to
