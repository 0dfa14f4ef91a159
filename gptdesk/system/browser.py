"""Opens the page: in the browser, or in a window of its own."""

import logging
import os
import shutil
import subprocess
import sys
import threading
import webbrowser
from collections.abc import Iterator
from pathlib import Path

log = logging.getLogger(__name__)


def open_page(url: str, *, app_window: bool = False) -> bool:
    """Show the page in a window of its own (Chromium's app mode) or in the browser; whether that could be started.

    False, and nothing is started, where nobody could see it: over SSH, or on Linux without a display. Never raises.
    """
    unix = sys.platform not in ("win32", "darwin")
    seen = any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))
    if not seen and (unix or os.environ.get("SSH_CONNECTION")):
        return False
    if app_window and any(_starts([browser, f"--app={url}"]) for browser in _chromiums()):
        return True
    try:
        return webbrowser.open(url)
    except (OSError, ValueError, webbrowser.Error, subprocess.SubprocessError) as error:
        log.debug("no browser: %s", error)
        return False


def _starts(command: list[str]) -> bool:
    """Start a program on its own; False when it cannot be started or fails within a moment."""
    silent = subprocess.DEVNULL
    try:
        started = subprocess.Popen(command, stdin=silent, stdout=silent, stderr=silent, start_new_session=True)
        return started.wait(0.7) == 0  # 0: it has handed the page to a browser that runs already
    except subprocess.TimeoutExpired:
        threading.Thread(target=started.wait, daemon=True).start()  # so that it leaves no zombie
        return True
    except (OSError, ValueError) as error:
        log.debug("%s: %s", command[0], error)
        return False


def _chromiums() -> Iterator[str]:
    """The programs on this computer that understand `--app=URL`."""
    if sys.platform == "darwin":
        names = ("Google Chrome", "Chromium", "Microsoft Edge", "Brave Browser")
        folders = (Path("/Applications"), Path.home() / "Applications")
        files = [folder / f"{name}.app/Contents/MacOS/{name}" for name in names for folder in folders]
        yield from (str(file) for file in files if file.exists())
    elif sys.platform == "win32":
        names = ("Google/Chrome", "Microsoft/Edge", "BraveSoftware/Brave-Browser", "Chromium")
        programs = dict(zip(names, ("chrome", "msedge", "brave", "chrome"), strict=True))
        folders = [
            os.environ[name] for name in ("PROGRAMFILES", "PROGRAMFILES(X86)", "LOCALAPPDATA") if name in os.environ
        ]
        files = [Path(folder, name, "Application", f"{programs[name]}.exe") for name in names for folder in folders]
        yield from (str(file) for file in files if file.exists())
    else:
        names = (
            "google-chrome",
            "google-chrome-stable",
            "chromium",
            "chromium-browser",
            "microsoft-edge",
            "brave-browser",
        )
        yield from filter(None, map(shutil.which, names))
