"""Python API: the examples of docs/python.md, the notebook, and results that equal the desk's own."""

import html
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import gptdesk
from gptdesk.desk import Desk as Gate
from gptdesk.generation import GenerationRequest, collect
from gptdesk.notebook import Comparison, Sensitivity
from gptdesk.settings import Settings
from models.manager import ModelKey
from samplers import chain_of, default_chain

DOCS = Path(__file__).parents[3] / "docs"
EXAMPLES = re.findall(r"```python\n(.*?)```", (DOCS / "python.md").read_text("utf-8"), re.DOTALL)
CHAIN = [sampler.name for sampler in default_chain().samplers]


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> "gptdesk.Desk":
    home = tmp_path_factory.mktemp("home")
    shutil.copytree(tiny_folder / "tiny", home / "models" / "tiny")
    return gptdesk.Desk(home)


def test_the_import_loads_no_torch() -> None:
    code = "import sys, gptdesk; gptdesk.__version__; assert not {'torch', 'gradio', 'pandas'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", code + "; gptdesk.Desk; assert 'gradio' not in sys.modules"], check=True)


def test_the_examples_of_the_guide(tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPTDESK_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_folder / "tiny", tmp_path / "path" / "to" / "model")
    names: dict[str, object] = {}
    for example in EXAMPLES:
        exec(compile(example, "docs/python.md", "exec"), names)
    comparison, desk = names["comparison"], names["desk"]
    assert isinstance(comparison, Comparison)
    assert isinstance(desk, gptdesk.Desk)
    assert comparison.verdict.startswith("int8: ")
    assert comparison.to_dataframe()["model"].tolist() == ["starter:float32", "starter:int8"]
    assert html.escape(comparison.verdict) in comparison._repr_html_()
    assert names["name"] in desk.models
    bits, better = names["bits"], names["better"]
    assert isinstance(bits, Sensitivity)
    assert len(bits.matrices) == 18
    assert bits.to_dataframe()["kl"].max() == bits.worst.kl > 0
    assert "h.3.mlp.c_proj" in bits._repr_html_()
    with Gate(Settings(home=tmp_path / "home")).manager.lend(ModelKey(str(better), "int4")) as loaded:
        assert loaded.model.precision.raised == ((bits.worst.matrix, "float32"),)


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPTDESK_HOME", str(tmp_path))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    # where ipykernel is started with -m, it drops the first path; with PYTHONSAFEPATH that is the path of the desk
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(Path(gptdesk.__file__).parents[1]))
    notebook = nbformat.read(DOCS / "python.ipynb", as_version=4)
    client = NotebookClient(notebook, timeout=120)
    client.create_kernel_manager()
    client.km.kernel_spec.argv[0] = sys.executable  # not the kernels that its user has installed
    client.execute()
    shown = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output for output in shown if output.output_type == "error"]
    tables = [output.data["text/html"] for output in shown if "data" in output and "text/html" in output.data]
    assert len(tables) == 5
    assert "perplexity" in tables[3]


def test_it_writes_what_the_desk_writes(notebook: "gptdesk.Desk", tmp_path: Path, tiny_folder: Path) -> None:
    shutil.copytree(tiny_folder / "tiny", tmp_path / "models" / "tiny")
    request = GenerationRequest(
        prompt="Once", n=2, seed=7, max_new_tokens=9, chain=chain_of(CHAIN, {"temperature": 1.3, "typical_p": 0.9})
    )
    gate = Gate(Settings(home=tmp_path))
    expected = collect(gate.generate(ModelKey("tiny"), request), n=2)
    options = {"seed": 7, "max_new_tokens": 9, "temperature": 1.3, "typical_p": 0.9}
    written = notebook.generate("Once", model="tiny", n=2, **options)
    assert [one.removeprefix("Once") for one in written.texts] == expected.texts
    assert [[token.id for token in row] for row in written.tokens] == expected.tokens
    assert "".join(notebook.stream("Once", model="tiny", **options)) == expected.texts[0]
    frame = written.to_dataframe()
    assert frame["sequence"].tolist() == [0] * 9 + [1] * 9
    # the log-probabilities are those of the same tokens as they are read
    ids = [*gate.tokenizer("tiny").encode("Once"), *expected.tokens[0]]
    read = [one.logprob for one in gate.score(ModelKey("tiny"), ids)][-9:]
    assert frame["logprob"][:9].tolist() == pytest.approx(read, abs=1e-4)


def test_the_next_token_is_that_of_the_chain(notebook: "gptdesk.Desk") -> None:
    found = notebook.explain("Once", model="tiny", top=4, top_k=2, temperature=0.5)
    assert found.links == ("model", *CHAIN)
    best = [one.probabilities for one in found.tokens]
    assert found.kept[-1] == 2
    assert best[0][-1] + best[1][-1] == pytest.approx(1)
    # temperature 0.5 squares the ratio of two probabilities
    assert best[0][-1] / best[1][-1] == pytest.approx((best[0][0] / best[1][0]) ** 2, rel=1e-4)
    assert found.to_dataframe().columns.tolist() == ["id", "text", "model", *CHAIN]


def test_hostile_text_is_shown_as_text(notebook: "gptdesk.Desk") -> None:
    text = "<script>pwned=1</script> \"' <img src=x onerror=pwned=2>"
    for shown in (notebook.score(text, model="tiny"), notebook.generate(text, model="tiny", max_new_tokens=2)):
        tags = set(re.findall(r"<(/?\w+)", shown._repr_html_()))
        assert tags <= {"div", "/div", "span", "/span", "p", "/p"}


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda desk: desk.generate("a", temprature=1), "no option 'temprature'"),
        (lambda desk: desk.generate("a", preset="x"), "no preset 'x'"),
        (lambda desk: desk.generate("a", preset="Careful", top_k=1), "either preset, or chain"),
        (lambda desk: desk.generate("a", n=0), "^n must be"),
        (lambda desk: desk.generate("a", model="nobody"), "no model 'nobody'"),
        (lambda desk: next(desk.stream("a", n=2)), "one sequence"),
        (lambda desk: desk.explain("a", top=0), "^top must be"),
        (lambda desk: desk.score("a"), "too short"),
        (lambda desk: desk.compare("starter"), "2 or 3 models"),
        (lambda desk: desk.import_model("/no/such/file.pt"), "no id of the Hugging Face Hub|there is no"),
        (lambda desk: gptdesk.Desk("/tmp", no_such_setting=1), "no_such_setting"),
    ],
)
def test_a_mistake_is_one_sentence(notebook: "gptdesk.Desk", call: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as error:
        call(notebook)  # type: ignore[operator]
    assert "\n" not in str(error.value)
