"""Folder of a Hugging Face Space: the page in a browser (static), an app for GPUs (zero), or the public desk (cpu)."""

import importlib.metadata
import shutil
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import gptdesk
import models
import samplers
from gptdesk.export import card
from gptdesk.export.html import INT8, write_html
from models import storage
from models.checkpoint import FILES, HELD_OUT, Checkpoint, save_quantized
from models.names import free_name
from models.precision import PRECISIONS
from models.tokenizer import Tokenizer
from models.weights import weight_files

FLOAT32 = PRECISIONS["float32"]
PYTHON = "3.12"  # the default of Spaces, 3.10, is too old
PACKAGES = (gptdesk, models, samplers)
LEFT_OUT = ("__pycache__", "*.pyc", "checkpoint")  # the starter stays at home unless it is the model
# what the packages import, pinned to the versions that the export ran with
DEPENDENCIES = (
    *("torch", "gradio", "fastapi", "uvicorn", "huggingface_hub", "httpx[socks]", "tiktoken", "tokenizers"),
    *("safetensors", "platformdirs", "pydantic", "numpy", "numba", "charset-normalizer", "psutil", "segno"),
    "prometheus-client",
)
CPU_TORCH = "--extra-index-url https://download.pytorch.org/whl/cpu"
ZERO_TORCH = "torch>=2.10,<2.12"  # of those that ZeroGPU has, the ones that we run on


def write_space(
    checkpoint: Checkpoint,
    tokenizer: Tokenizer,
    name: str,
    to: Path,
    *,
    sdk: str = "static",
    precision: str | None = None,
) -> Path:
    """Write the folder `to` of a Space and return it; it runs as it is, here and there. Nothing is uploaded.

    Raises ValueError for a kind of Space that does not exist and a precision that it cannot have, OSError if the disk
    refuses.
    """
    kinds: dict[str, Callable[..., None]] = {"static": _write_static, "zero": _write_zero, "cpu": _write_cpu}
    if sdk not in kinds:
        raise ValueError(f"there is no kind of Space {sdk[:40]!r}; there is: {', '.join(kinds)}")
    with storage.new_folder(to, replace=False) as folder:
        kinds[sdk](checkpoint, tokenizer, name, folder, precision)
    return to


def _write_static(checkpoint: Checkpoint, tokenizer: Tokenizer, name: str, folder: Path, precision: str | None) -> None:
    """Write the page that runs the model in the visitor's browser."""
    if precision not in (None, INT8.name):
        raise ValueError(f"a static Space runs the model at {INT8.name}, not {precision[:40]!r}; leave precision out")
    page = folder / "page"
    write_html(checkpoint, tokenizer, name, page)
    for file in page.iterdir():
        file.rename(folder / file.name)
    page.rmdir()
    _write_card(checkpoint, name, folder, {"sdk": "static", "app_file": "index.html"})


def _write_cpu(checkpoint: Checkpoint, tokenizer: Tokenizer, name: str, folder: Path, precision: str | None) -> None:
    """Write the desk, whose home has the model."""
    _write_model(checkpoint, tokenizer, name, folder / "home" / "models", precision or _usual(checkpoint, INT8.name))
    _write_app(checkpoint, name, folder, "cpu", hardware="cpu-basic", requirements=[CPU_TORCH, *_pinned()])


def _write_zero(checkpoint: Checkpoint, tokenizer: Tokenizer, name: str, folder: Path, precision: str | None) -> None:
    """Write a Gradio app that generates in a function for ZeroGPU; the GPU needs a model of floats."""
    _write_model(checkpoint, tokenizer, name, folder / "model", precision or _usual(checkpoint, FLOAT32.name))
    # ZeroGPU has a torch of its own
    others = [pin for pin in _pinned() if not pin.startswith("torch==")]
    _write_app(checkpoint, name, folder, "zero", hardware="zero-a10g", requirements=[ZERO_TORCH, "spaces", *others])


def _usual(checkpoint: Checkpoint, wished: str) -> str:
    return checkpoint.quantized.name if checkpoint.quantized else wished


def _write_model(checkpoint: Checkpoint, tokenizer: Tokenizer, name: str, folder: Path, precision: str) -> None:
    """Write the checkpoint at a precision into a folder under its name; without the text held out from training."""
    if precision not in PRECISIONS:
        raise ValueError(f"there is no precision {precision[:40]!r}; there is: {', '.join(PRECISIONS)}")
    target = folder / free_name(name, ())
    stored = checkpoint.quantized or FLOAT32
    if precision != stored.name:
        save_quantized(target, checkpoint, PRECISIONS[precision], tokenizer=tokenizer)
        (target / HELD_OUT).unlink(missing_ok=True)
        return
    target.mkdir(parents=True)
    for file in dict.fromkeys([*FILES, *weight_files(checkpoint.path)]):
        if file != HELD_OUT and (checkpoint.path / file).is_file():
            shutil.copyfile(checkpoint.path / file, target / file)
    if not (target / "tokenizer.json").exists():
        tokenizer.save(target, context=checkpoint.config.block_size)


def _write_app(
    checkpoint: Checkpoint, name: str, folder: Path, kind: str, *, hardware: str, requirements: list[str]
) -> None:
    """Write app.py, requirements.txt, the card and our packages."""
    for package in PACKAGES:
        source = Path(str(package.__file__)).parent
        shutil.copytree(source, folder / source.name, ignore=shutil.ignore_patterns(*LEFT_OUT))
    app = files(__package__).joinpath(kind, "app.py.txt").read_bytes()
    storage.write_file(folder / "app.py", app)
    storage.write_file(folder / "requirements.txt", "\n".join([*requirements, ""]).encode("utf-8"))
    # what git must not keep in its history line by line
    storage.write_file(folder / ".gitattributes", b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n")
    front: dict[str, object] = {
        "sdk": "gradio",
        "sdk_version": importlib.metadata.version("gradio"),
        "python_version": PYTHON,
        "app_file": "app.py",
        "suggested_hardware": hardware,
    }
    _write_card(checkpoint, name, folder, front)


def _write_card(checkpoint: Checkpoint, name: str, folder: Path, front: dict[str, object]) -> None:
    """Write the README.md of a Space, whose front matter the Hub reads."""
    looks = {"title": name, "emoji": "✍️", "colorFrom": "blue", "colorTo": "green", "pinned": False}
    lines = [
        *card.front_matter(looks | front | card.licence(checkpoint) | {"tags": ["gpt2", "gptdesk"]}),
        *("", f"# {card.cell(name)}", "", "A GPT-2 class language model to try out.", "", *card.table(checkpoint)),
        *("", f"Made by GPT Desk {gptdesk.__version__}.", ""),
    ]
    storage.write_file(folder / card.FILE, "\n".join(lines).encode("utf-8"))


def _pinned() -> list[str]:
    """Return the dependencies, each at the version that is installed here."""
    return [f"{name}=={importlib.metadata.version(name.partition('[')[0]).partition('+')[0]}" for name in DEPENDENCIES]
