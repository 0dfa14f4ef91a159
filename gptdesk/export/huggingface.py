"""Hugging Face folder: the checkpoint's own files and a model card, as the Hub shows one."""

import json
import shutil
from pathlib import Path

from gptdesk import __version__
from models import storage
from models.checkpoint import FILES, HELD_OUT, Checkpoint
from models.tokenizer import Tokenizer

CARD = "README.md"
COPIED = (*(name for name in FILES if name != HELD_OUT), "vocab.json", "merges.txt")


def write_huggingface(checkpoint: Checkpoint, tokenizer: Tokenizer, name: str, to: Path) -> Path:
    """Write the folder `to`, the tensors byte for byte, and return it; `transformers` opens it.

    Raises ValueError for a quantized model, which `transformers` does not know, OSError if the disk refuses.
    """
    if checkpoint.quantized:
        raise ValueError(
            f"{name} is quantized to {checkpoint.quantized.name}, which transformers does not know; export the original"
        )
    with storage.new_folder(to, replace=False) as folder:
        for file in COPIED:
            if (checkpoint.path / file).is_file():
                shutil.copyfile(checkpoint.path / file, folder / file)
        if not (folder / "tokenizer.json").exists() and not (folder / "vocab.json").exists():
            tokenizer.save(folder, context=checkpoint.config.block_size)
        storage.write_file(folder / CARD, _card(checkpoint, name).encode("utf-8"))
    return to


def _card(checkpoint: Checkpoint, name: str) -> str:
    """Return the model card: front matter for the Hub, what is known of the model, and how to use it."""
    about, config = checkpoint.about, checkpoint.config
    front = {"library_name": "transformers", "pipeline_tag": "text-generation", "tags": ["gpt2", "gptdesk"]}
    if about.licence:
        front["license"] = about.licence.lower()
    losses = (("Training loss", about.loss), ("Validation loss", about.validation_loss))
    facts = [
        ("Parameters", f"{checkpoint.parameters:,}"),
        ("Layers, heads, channels", f"{config.n_layer}, {config.n_head}, {config.n_embd}"),
        ("Context", f"{config.block_size:,} tokens"),
        ("Vocabulary", f"{config.vocab_size:,} tokens"),
        *((term, f"{loss:.4f} nats per token") for term, loss in losses if loss is not None),
        ("Trained on", about.data),
        ("Source", about.source),
        ("Created", about.created),
    ]
    lines = [f"| {term} | {_cell(words)} |" for term, words in facts if words]
    matter = [f"{field}: {json.dumps(value, ensure_ascii=False)}" for field, value in front.items()]  # JSON is YAML
    return "\n".join(
        [
            *("---", *matter, "---", ""),
            *(f"# {_cell(name)}", "", "A GPT-2 class language model.", "", "| | |", "|---|---|", *lines, ""),
            *("```python", "from transformers import AutoModelForCausalLM, AutoTokenizer", ""),
            *('model = AutoModelForCausalLM.from_pretrained("FOLDER")',),
            *('tokenizer = AutoTokenizer.from_pretrained("FOLDER")', "```", ""),
            *(f"Exported by GPT Desk {__version__}.", ""),
        ]
    )


def _cell(text: str) -> str:
    """Return text for a cell of a Markdown table: one line, without markup."""
    words = " ".join(text.split())
    return "".join(f"\\{character}" if character in "\\`*_{}[]<>#|" else character for character in words)
