"""Docstrings: noun phrases for modules, classes and properties, imperative verbs for functions."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("gptdesk", "samplers", "models", "benchmarks")
OPEN: tuple[str, ...] = ()
QUESTIONS = frozenset(["What", "How", "Whether", "Why", "Who", "Where", "Which"])
NO_VERBS = QUESTIONS | frozenset(["The", "A", "An", "All", "One", "Every", "Each", "Under", "As", "That"])
PROPERTIES = frozenset(("property", "cached_property"))

Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def is_property(node: Documented) -> bool:
    """Return whether a definition is a property or a setter of one."""
    if isinstance(node, ast.Module | ast.ClassDef):
        return False
    names = (ast.unparse(decorator).rpartition(".") for decorator in node.decorator_list)
    return any(last in PROPERTIES or last == "setter" for _, _, last in names)


def wrong_openings(source: str) -> Iterator[str]:
    """Yield "line: first word" for every docstring that opens with a wrong word."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, Documented) or not (words := (ast.get_docstring(node) or "").split()):
            continue
        is_noun = isinstance(node, ast.Module | ast.ClassDef) or is_property(node)
        word = words[0].rstrip(",:;.")
        if word in (QUESTIONS if is_noun else NO_VERBS):
            yield f"{getattr(node, 'lineno', 1)}: {word}"


def sources() -> list[str]:
    """Return the paths of all source files that are not in OPEN."""
    files = [*(file for package in PACKAGES for file in (ROOT / package).rglob("*.py")), ROOT / "launch.py"]
    paths = sorted(file.relative_to(ROOT).as_posix() for file in files)
    return [path for path in paths if not any(path == part or path.startswith(f"{part}/") for part in OPEN)]


@pytest.mark.parametrize("path", sources())
def test_docstrings_open_with_a_noun_or_a_verb(path: str) -> None:
    assert list(wrong_openings((ROOT / path).read_text("utf-8"))) == []


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        ('"""What it is."""', ["1: What"]),
        ('"""The desk."""', []),
        ('class A:\n    """How: a riddle."""', ["1: How"]),
        ('def f():\n    """The result."""', ["1: The"]),
        ('async def f():\n    """As g."""', ["1: As"]),
        ('def f():\n    """Return the result."""', []),
        ('class A:\n    @property\n    def f(self):\n        """The result."""', []),
        ('class A:\n    @functools.cached_property\n    def f(self):\n        """Where it is."""', ["3: Where"]),
        ('class A:\n    @classmethod\n    def f(cls):\n        """Every one."""', ["3: Every"]),
    ],
)
def test_wrong_openings_are_found(source: str, wrong: list[str]) -> None:
    assert list(wrong_openings(source)) == wrong
