"""Plugins: the example of docs/plugins.md, installed or as a file, and broken ones that only cause a warning."""

import importlib.util
import logging
import math
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import samplers
from samplers import Chain, build, check_sampler, default_chain, get, load_plugins, names

GUIDE = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text(encoding="utf-8")
EXAMPLE, OWN_TEST, MIROSTAT = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
(PROJECT,) = re.findall(r"```toml\n(.*?)```", GUIDE, re.DOTALL)


@pytest.fixture(autouse=True)
def _modules_as_before() -> Iterator[None]:
    modules = set(sys.modules)
    yield
    for name in set(sys.modules) - modules:
        if name.startswith(("sampler_file_", "top_a", "test_top_a")):
            del sys.modules[name]


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, source in files.items():
        (folder / name).write_text(source, encoding="utf-8")
    return folder


def pip() -> list[str]:
    """Return a pip that works on this environment: its own, or that of the Python it was made from."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    host = sys._base_executable  # type: ignore[attr-defined]
    if subprocess.run([host, "-m", "pip", "--version"], capture_output=True, check=False).returncode:
        pytest.skip("neither this environment nor the Python it was made from has pip")
    return [host, "-m", "pip", "--python", sys.executable]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the package of the guide by pip into a folder of its own."""
    source, site = tmp_path_factory.mktemp("package"), tmp_path_factory.mktemp("site")
    write(source, {"top_a.py": EXAMPLE, "test_top_a.py": OWN_TEST, "pyproject.toml": PROJECT})
    offline = ["--no-index", "--no-build-isolation", "--no-deps", "--disable-pip-version-check"]
    command = [*pip(), "install", *offline, "--target", str(site), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return site


def check_example() -> None:
    """Require that the sampler of the guide has its options, keeps the contract, and works in a chain."""
    cls = get("top_a")
    check_sampler(cls)
    assert [*cls.model_fields] == ["top_a"]
    chain = Chain.from_data([{"name": "temperature"}, {"name": "top_a", "top_a": 0.9}, {"name": "top_k"}])
    assert pickle.loads(pickle.dumps(chain)) == chain
    logits, tokens = torch.tensor([[4.0, 3.0, 0.0, 1.0]]), torch.zeros((1, 3), dtype=torch.int64)
    assert chain.start(seed=1)(logits, tokens).tolist() == [0]
    with pytest.raises(ValueError, match=r"^top_a must be less than or equal to 1, not 9$"):
        cls(top_a=9)


def test_the_example_installed_by_pip(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(package)
    assert load_plugins() == []
    check_example()
    before = {name: get(name) for name in names()}
    assert load_plugins() == []
    assert {name: get(name) for name in names()} == before


def test_the_example_dropped_into_the_folder(tmp_path: Path) -> None:
    write(tmp_path, {"top_a.py": EXAMPLE, "_helper.py": "1 / 0", "notes.txt": "1 / 0"})
    assert load_plugins(tmp_path) == []
    check_example()
    before = {name: get(name) for name in names()}
    assert load_plugins(tmp_path) == []
    assert {name: get(name) for name in names()} == before


def test_both_ways_at_once_is_a_clash_that_names_the_other(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(package)
    (warning,) = load_plugins(write(tmp_path, {"mine.py": EXAMPLE}))
    assert warning == ("the sampler file mine.py was not loaded: the name 'top_a' is already taken by top_a.TopA")
    check_example()


def test_the_test_of_the_guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(write(tmp_path, {"top_a.py": EXAMPLE, "test_top_a.py": OWN_TEST}))
    tests = importlib.import_module("test_top_a")
    tests.test_contract()
    tests.test_keeps_what_is_near_the_best()


BUILT_IN = [
    file for file in sorted(Path(samplers.__file__).parent.glob("*.py")) if "(Sampler):" in file.read_text("utf-8")
]


OPTIONS = {  # that have other bounds, or a form of their own
    **{"logit_bias": "7:2.5", "dry_base": 1.5, "dry_allowed_length": 1, "dry_sequence_breakers": "7"},
    **{"xtc_threshold": 0.01, "xtc_never_drop": "7"},
}


@pytest.mark.parametrize("file", BUILT_IN, ids=lambda file: file.stem)
def test_a_built_in_sampler_is_a_plugin_moved_in(file: Path, tmp_path: Path) -> None:
    """Its file, with other names, loads as a plugin and gives the same bits on whole rows as the built-in one."""
    built_in = [get(name) for name in names() if sys.modules[get(name).__module__].__file__ == str(file)]
    words = "|".join({cls.name for cls in built_in}.union(*(cls.model_fields for cls in built_in)))
    write(tmp_path, {file.name: re.sub(rf"\b({words})\b", r"my_\1", file.read_text(encoding="utf-8"))})
    assert load_plugins(tmp_path) == []
    logits = torch.randn(3, 500, generator=torch.Generator().manual_seed(1))
    tokens = torch.tensor([[1, 2, 2], [0, 499, 7], [5, 5, 5]])
    for cls in built_in:
        kinds = {option: field.annotation for option, field in cls.model_fields.items()}
        options = {option: {float: 0.9, str: ""}.get(kind, 7) for option, kind in kinds.items()}
        options |= {option: value for option, value in OPTIONS.items() if option in kinds}
        plugin = get(f"my_{cls.name}")(**{f"my_{option}": value for option, value in options.items()})
        theirs, ours = (Chain(samplers=(sampler,)).explain(logits, tokens)[-1] for sampler in (plugin, cls(**options)))
        assert torch.equal(theirs.probabilities, ours.probabilities)


def test_the_example_with_state(tmp_path: Path) -> None:
    """The mean surprise of the drawn tokens approaches the target of Mirostat."""
    assert load_plugins(write(tmp_path, {"mirostat.py": MIROSTAT})) == []
    check_sampler(get("mirostat"))
    step, generator = build("mirostat", mirostat_target=3.0).start(), torch.Generator().manual_seed(0)
    tokens, surprise = torch.zeros((8, 1), dtype=torch.int64), []
    for _ in range(200):
        changed = step(torch.randn(8, 500, generator=generator), tokens).log_softmax(1)
        drawn = torch.multinomial(changed.exp(), 1, generator=generator)
        tokens = torch.cat([tokens, drawn], dim=1)
        surprise.append(-changed.gather(1, drawn) / math.log(2))
    assert abs(torch.stack(surprise[50:]).mean() - 3) < 0.1  # 8.3 without it


HEAD = """
import sys, torch
from samplers import Sampler, register
class Odd(Sampler):
    '''Odd.'''
    name = "odd"
    def __call__(self, logits, tokens):
        return logits
"""


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def (", "SyntaxError: "),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("import sys; sys.exit()", "SystemExit"),
        ("class Mine(BaseException): pass\nraise Mine('no\\nway')", "Mine: no"),
        ("import nothing_like_this", "ModuleNotFoundError: No module named"),
        ("from samplers.top_k import TopK\nname = 1", "it defines no class derived from samplers.Sampler"),
        ("", "it defines no class derived from samplers.Sampler"),
        (HEAD.replace('"odd"', '"top_k"'), "the name 'top_k' is already taken by samplers.top_k.TopK"),
        (
            HEAD.replace("    def", "    top_p: float = 1.0\n    def"),
            "the option 'top_p' already belongs to the sampler",
        ),
        (HEAD.replace("return logits", "return logits[:, :2]"), r"Odd() returned shape (2, 2) for (2, 5), (B, V)"),
        (HEAD.replace("return logits", "return logits.argmax(1)"), "Odd() returned shape (2,) for (2, 5)"),
        (HEAD.replace("return logits", "return logits.sub_(1)"), "Odd() changed the logits it was given"),
        (HEAD.replace("return logits", "return logits * float('nan')"), "Odd() returned NaN"),
        (HEAD.replace("return logits", "return undefined"), "NameError: name 'undefined' is not defined"),
        (HEAD.replace("return logits", "sys.exit('bye')"), "SystemExit: bye"),
        (HEAD.replace("(self, logits, tokens)", "(self, logits)"), "TypeError: "),
        (HEAD.replace("    '''Odd.'''", ""), "Odd needs a docstring"),
        (HEAD + "register(Odd)\n1 / 0", "ZeroDivisionError"),
        (HEAD.replace("return logits", "return None") + "register(Odd)", "Odd() returned NoneType"),
    ],
)
def test_a_broken_file_is_named_and_the_others_load(tmp_path: Path, source: str, reason: str) -> None:
    built_in = names()
    write(tmp_path, {"a_broken.py": source, "top_a.py": EXAMPLE})
    for _ in range(2):  # and no more the second time
        (warning,) = load_plugins(tmp_path)
        assert warning.startswith("the sampler file a_broken.py was not loaded: " + reason)
        assert "\n" not in warning
        assert names() == [*built_in, "top_a"]
    default_chain().start(seed=1)(torch.zeros(1, 5), torch.zeros((1, 0), dtype=torch.int64))


def test_one_bad_class_does_not_take_a_good_one_along(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bad = HEAD.replace("Odd", "Bad").replace('"odd"', '"greedy"')
    private = "class _Base(Sampler):\n    '''Shared, not a sampler itself.'''\n"
    write(tmp_path, {"several.py": HEAD + bad + private + HEAD.replace("Odd", "Even").replace('"odd"', '"even"')})
    with caplog.at_level(logging.WARNING, logger="samplers"):
        (warning,) = load_plugins(tmp_path)
    assert "the name 'greedy' is already taken" in warning
    assert warning in caplog.text
    assert names()[-2:] == ["odd", "even"]


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ("broken_plugin:Missing", "AttributeError: "),
        ("broken_plugin:function", "<function function at"),
        ("no_such_module:Thing", "ModuleNotFoundError: "),
        ("broken_plugin", "<module 'broken_plugin'"),
        ("exits_plugin:Thing", "SystemExit: 1"),
    ],
)
def test_a_broken_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: str, reason: str) -> None:
    write(tmp_path, {"broken_plugin.py": "def function(): pass", "exits_plugin.py": "import sys; sys.exit(1)"})
    metadata = tmp_path / "odd_plugin-1.2.dist-info"
    metadata.mkdir()
    write(metadata, {"METADATA": "Metadata-Version: 2.1\nName: odd-plugin\nVersion: 1.2\n"})
    write(metadata, {"entry_points.txt": f"[gptdesk.samplers]\nodd = {entry}\n"})
    monkeypatch.syspath_prepend(tmp_path)
    (warning,) = load_plugins()
    assert warning.startswith(f"the sampler plugin odd of odd-plugin 1.2 was not loaded: {reason}")


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "binary.py").write_bytes(b"\xff\xfe\x00" * 20)
    (tmp_path / "folder.py").mkdir()
    warnings = load_plugins(tmp_path)
    assert [re.sub(" was not loaded: .*", "", warning) for warning in warnings] == [
        "the sampler file binary.py",
        "the sampler file folder.py",
    ]


def test_a_folder_that_is_not_there_is_no_fault(tmp_path: Path) -> None:
    assert load_plugins(tmp_path / "none") == []
    assert load_plugins() == []


def test_ctrl_c_while_a_plugin_loads_is_the_users(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        load_plugins(write(tmp_path, {"slow.py": "raise KeyboardInterrupt"}))
