"""Quantizing a model of the library into another one: what it may replace, and what is refused."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from network_checks import ALPHABET
from network_checks import NARROW as CONFIG

from models.checkpoint import About, Checkpoint, save_checkpoint
from models.gpt import GPT
from models.library import ModelKey, ModelLibrary
from models.precision import PRECISIONS
from models.tokenizer import character_tokenizer
from models.weights import WEIGHTS

TOKENIZER = character_tokenizer(ALPHABET)
ROOT = Path(__file__).parents[2]


@pytest.fixture
def library(folder: Path) -> ModelLibrary:
    return ModelLibrary(folder, cache_folder=folder.parent)


def test_a_bare_name_runs_at_the_first_precision_it_can(library: ModelLibrary) -> None:
    library.quantize("a", "int4")
    assert library.key(" a ") == ModelKey("a", "float32")
    assert library.key("a-int4") == ModelKey("a-int4", "int4")
    assert library.key("a:int8") == ModelKey("a", "int8")
    assert library.key("unheard-of:int8") == ModelKey("unheard-of", "int8")  # whoever lends it will be told
    with pytest.raises(ValueError, match="there is no model 'unheard-of'; the models here are: a, a-int4, b"):
        library.key("unheard-of")
    with pytest.raises(ValueError, match="there is no precision 'int3'; there is: float32, bfloat16, int8"):
        library.key("a:int3")


def test_quantizing_again_replaces_the_older_one(library: ModelLibrary, folder: Path) -> None:
    library.quantize("a", "int8")
    first = (folder / "a-int8" / WEIGHTS).read_bytes()
    torch.manual_seed(5)
    save_checkpoint(folder / "a", GPT(CONFIG), tokenizer=TOKENIZER, about=About(source="newer"))
    info = library.quantize("a", "int8")
    assert info.path == folder / "a-int8"
    assert Checkpoint.open(info.path).about.source == "newer, as int8"
    assert (folder / "a-int8" / WEIGHTS).read_bytes() != first
    library.quantize("a", "int4", to="small")
    assert library.info("small").precisions == ("int4",)
    assert sorted(path.name for path in folder.iterdir()) == ["a", "a-int8", "b", "small"]


def test_no_other_model_is_overwritten(folder: Path) -> None:
    bundled = folder.parent / "app" / "starter" / "checkpoint"
    save_checkpoint(bundled, GPT(CONFIG), tokenizer=TOKENIZER, about=About())
    library = ModelLibrary(folder, cache_folder=folder.parent, bundled=[bundled], reserved=lambda: ["long"])
    before = {file: file.read_bytes() for file in folder.parent.rglob("*") if file.is_file()}
    sentences = {
        "a": "^there is a model a already; choose another name$",
        "b": "^there is a model b already; choose another name$",
        "starter": "^there is a bundled model starter already; choose another name$",
        "STARTER": "^STARTER differs from the bundled model starter only in capitals, and on some systems both ",
        "B": "^B differs from the model b only in capitals, and on some systems both would be one ",
        "Long": "^Long differs from the run long only in capitals",
        "long": "^there is a run long already; choose another name$",
        "aux.int8": "^'aux.int8' cannot be a name, for Windows keeps it for a device; choose another name$",
        "small.": r"^'small\.' cannot be a name, for Windows drops a dot at the end; leave the dot out$",
    }
    for to, sentence in sentences.items():
        with pytest.raises(ValueError, match=sentence):
            library.quantize("a", "int8", to=to)
    assert {file: file.read_bytes() for file in folder.parent.rglob("*") if file.is_file()} == before
    assert library.quantize("starter", "int8").path == folder / "starter-int8"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("a", "float32"), "^a is as precise as it gets; quantize it to one of bfloat16, int8, int8-dynamic, int4$"),
        (("a", "int3"), "^there is no precision 'int3'; there is: float32"),
        (("c", "int8"), "^there is no model 'c'; the models here are: a, a-int8, b$"),
        (("../a", "int8"), "cannot be a model"),
        (("a-int8", "int8"), "^a-int8 is quantized already, to int8; take the original$"),
        (("a-int8", "bfloat16"), "^a-int8 is quantized already, to int8; take the original$"),
    ],
)
def test_what_cannot_be_quantized_is_refused(library: ModelLibrary, arguments: tuple[str, str], sentence: str) -> None:
    library.quantize("a", "int8")
    listed = library.available()
    with pytest.raises(ValueError, match=sentence):
        library.quantize(*arguments)
    assert library.available() == listed


def test_a_model_that_happens_to_have_the_name_of_a_copy_is_kept(library: ModelLibrary) -> None:
    for name in ("b-int8", "B-BFLOAT16"):
        save_checkpoint(library.folder / name, GPT(CONFIG), tokenizer=TOKENIZER, about=About())
    sentences = {
        "int8": "^there is a model b-int8 already",
        "bfloat16": "^b-bfloat16 differs from the model B-BFLOAT16 ",
    }
    for precision, sentence in sentences.items():
        with pytest.raises(ValueError, match=sentence):
            library.quantize("b", precision)
    assert library.quantize("a", "int8") == library.quantize("a", "int8")  # over the older copy
    with pytest.raises(ValueError, match=r"^A-int8 differs from the model a-int8 only in capitals"):
        library.quantize("a", "int8", to="A-int8")


def test_a_name_that_is_none_is_refused(library: ModelLibrary) -> None:
    for to in ("../x", "x y", "."):
        with pytest.raises(ValueError, match="cannot be a model"):
            library.quantize("a", "int8", to=to)
    assert [info.name for info in library.available()] == ["a", "b"]


LIMITED = """
import resource, signal, sys
from pathlib import Path
from models.library import ModelLibrary
folder = Path(sys.argv[1])
library = ModelLibrary(folder, cache_folder=folder.parent)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for limit in (100, 5000, 40_000, 10_000_000):  # too small for a document, the tokenizer, the weights; enough
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        library.quantize("a", "int8")
    except OSError:
        assert sorted(path.name for path in folder.iterdir()) == ["a", "b"]
        print("refused")
"""


@pytest.mark.skipif(os.name == "nt", reason="there are no limits of this kind on Windows")
def test_a_full_disk_leaves_nothing_behind(folder: Path) -> None:
    command = [sys.executable, "-c", LIMITED, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.stdout.split() == ["refused"] * 3, done.stderr
    assert Checkpoint.open(folder / "a-int8").quantized == PRECISIONS["int8"]
