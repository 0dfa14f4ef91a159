"""The file tree of docs/architecture.md is the real one with a clause for every file, and the README is short."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def tree() -> dict[str, str]:
    """Path -> clause of every line in the tree; folders end with a slash."""
    block = re.search(
        r"## What is where\n.*?```\n(.*?)```", (ROOT / "docs" / "architecture.md").read_text("utf-8"), re.DOTALL
    )
    assert block
    found: dict[str, str] = {}
    folders: list[str] = []
    for line in block[1].splitlines():
        indented, clause = re.fullmatch(r"( *\S+)\s*(.*)", line).groups()  # type: ignore[union-attr]
        depth = (len(indented) - len(indented.lstrip())) // 2
        path = "".join(folders[:depth]) + indented.strip()
        folders[depth:] = [indented.strip()]
        assert path not in found
        found[path] = clause
    return found


def test_the_tree_is_the_real_one() -> None:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("this is no git checkout, so there is no list of files to compare with")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    files = {file for file in listed if file and (ROOT / file).exists()}
    shown = tree()
    whole = [path for path in shown if path.endswith("/") and not any(p != path and p.startswith(path) for p in shown)]
    assert {path for path in shown if not path.endswith("/")} == {f for f in files if not f.startswith(tuple(whole))}
    assert all(any(file.startswith(path) for file in files) for path in whole)


def test_every_file_has_a_clause() -> None:
    shown = tree()
    for path, clause in shown.items():
        has_children = any(other != path and other.startswith(path) for other in shown)
        assert clause or (path.endswith("/") and has_children), path
        assert len(clause) < 110


def test_the_readme_is_read_in_a_few_minutes_and_leads_to_every_document() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert text.count("\n") <= 150
    linked = set(re.findall(r"\(((?:docs/)?[A-Za-z_-]+\.(?:md|png)|LICENSE)\)", text))
    there = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("docs/*.*")}
    assert there - linked <= {"docs/upstream.md", "docs/python.ipynb"}  # linked from docs/python.md
    assert all((ROOT / link).exists() for link in linked)
