"""Shortcut to the desk in the applications menu of this system."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from platformdirs import user_data_path

ROOT = Path(__file__).parents[2]  # the clone, or the folder of an installed package, which has no launcher
ICON = Path(__file__).parents[1] / "assets" / "icon.svg"


def make_shortcut(words: Sequence[str], *, root: Path = ROOT) -> Path:
    """Write the shortcut that starts the desk with `words`; return its file.

    In a clone, `root`, it opens the file to double-click, which shows errors until they are read. Raises OSError.
    """
    path = _file()
    if sys.platform == "win32":
        return _windows_link(path, words, root=root)
    command = _command(words, root=root)
    text = f"#!/bin/sh\nexec {shlex.join(command)}\n" if sys.platform == "darwin" else _desktop_entry(command)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path


def remove_shortcut(home: Path) -> Path | None:
    """Delete the shortcut if it opens the desk of this home, and return its file; None if there is none."""
    path, usual = _file(), user_data_path("gptdesk", appauthor=False)
    try:
        opens_usual = b"--home" not in path.read_bytes()
        if opens_usual != (home == usual):  # that of another home
            return None
        path.unlink()
    except OSError:
        return None
    return path


def _file() -> Path:
    """Return the file of the shortcut on this system."""
    if sys.platform == "win32":
        return user_data_path(roaming=True) / "Microsoft/Windows/Start Menu/Programs/GPT Desk.lnk"
    if sys.platform == "darwin":
        return Path.home() / "Applications" / "GPT Desk.command"
    return user_data_path("applications") / "gptdesk.desktop"


def _command(words: Sequence[str], *, root: Path) -> list[str]:
    opener = root / "desktop" / "GPT Desk.command"
    if opener.exists():
        # the interpreter below the environment, which is made anew now and then
        return ["env", f"PYTHON={os.path.realpath(sys.executable)}", "sh", str(opener), *words]
    return [sys.executable, "-m", "gptdesk", *words]


def _desktop_entry(command: Sequence[str]) -> str:
    entry = {
        "Type": "Application",
        "Name": "GPT Desk",
        "Comment": "Generate, compare, train and serve small GPT models",
        "Exec": " ".join(map(_quoted, command)),
        "Icon": str(ICON).replace("\\", "\\\\"),
        "Terminal": "true",
        "Categories": "Education;Science;ArtificialIntelligence;",
    }
    return "\n".join(["[Desktop Entry]", *(f"{key}={value}" for key, value in entry.items()), ""])


def _quoted(word: str) -> str:
    """Return one argument of an Exec line: quoted by its rules, then escaped like every value of a .desktop file."""
    return '"' + re.sub(r'(["`$\\])', r"\\\1", word).replace("\\", "\\\\").replace("%", "%%") + '"'


def _windows_link(path: Path, words: Sequence[str], *, root: Path) -> Path:
    opener = root / "desktop" / "GPT Desk.cmd"
    if not opener.exists():
        opener, words = Path(sys.executable), ["-m", "gptdesk", *words]
    script = (
        "$link = (New-Object -ComObject WScript.Shell).CreateShortcut($env:MADE); "
        "$link.TargetPath = $env:OPENER; $link.Arguments = $env:WORDS; $link.Save()"
    )
    names = {"MADE": str(path), "OPENER": str(opener), "WORDS": subprocess.list2cmdline(words)}
    command = ["powershell", "-NoProfile", "-Command", script]
    if (code := subprocess.run(command, env=os.environ | names, check=False).returncode) != 0:
        raise OSError(f"{path} could not be written: powershell ended with code {code}")
    return path
