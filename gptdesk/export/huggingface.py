"""Hugging Face folder: the checkpoint's own files and a model card, as the Hub shows one."""

import shutil
from pathlib import Path

from gptdesk import __version__
from gptdesk.export import card
from models import storage
from models.checkpoint import FILES, HELD_OUT, Checkpoint
from models.tokenizer import Tokenizer
from models.weights import weight_files

COPIED = (*(name for name in FILES if name != HELD_OUT), "vocab.json", "merges.txt")


def write_huggingface(
    checkpoint: Checkpoint, tokenizer: Tokenizer, name: str, to: Path, *, repository: str = "FOLDER"
) -> Path:
    """Write the folder `to`, the tensors byte for byte, and return it; `transformers` opens it.

    `repository` is what the card tells `transformers` to open: an id of the Hub, if the folder goes there.
    Raises ValueError for a quantized model, which `transformers` does not know, OSError if the disk refuses.
    """
    if checkpoint.quantized:
        raise ValueError(
            f"{name} is quantized to {checkpoint.quantized.words}, which transformers does not know; "
            "export the original"
        )
    with storage.new_folder(to, replace=False) as folder:
        for file in dict.fromkeys([*COPIED, *weight_files(checkpoint.path)]):
            if (checkpoint.path / file).is_file():
                shutil.copyfile(checkpoint.path / file, folder / file)
        if not (folder / "tokenizer.json").exists() and not (folder / "vocab.json").exists():
            tokenizer.save(folder, context=checkpoint.config.block_size)
        storage.write_file(folder / card.FILE, _card(checkpoint, name, repository).encode("utf-8"))
    return to


def _card(checkpoint: Checkpoint, name: str, repository: str) -> str:
    """Return the model card: front matter for the Hub, what is known of the model, and how to use it."""
    front = {"library_name": "transformers", "pipeline_tag": "text-generation", "tags": ["gpt2", "gptdesk"]}
    return "\n".join(
        [
            *card.front_matter(front | card.licence(checkpoint)),
            *("", f"# {card.cell(name)}", "", "A GPT-2 class language model.", "", *card.table(checkpoint), ""),
            *("```python", "from transformers import AutoModelForCausalLM, AutoTokenizer", ""),
            f'model = AutoModelForCausalLM.from_pretrained("{repository}")',
            *(f'tokenizer = AutoTokenizer.from_pretrained("{repository}")', "```", ""),
            *(f"Exported by GPT Desk {__version__}.", ""),
        ]
    )
