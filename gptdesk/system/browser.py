"""Opening of the page: in the browser, or in a window without browser bars."""

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
    """Open the page in a window (Chromium's app mode) or in the browser; return whether that was started.

    Nothing is started where nobody could see it: over SSH, or on Linux without a display. Never raises.
    """
    unix = sys.platform not in ("win32", "darwin")
    has_display = any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))
    if not has_display and (unix or os.environ.get("SSH_CONNECTION")):
        return False
    if app_window and any(_starts([browser, f"--app={url}"]) for browser in _chromiums()):
        return True
    try:
        return webbrowser.open(url)
    except (OSError, ValueError, webbrowser.Error, subprocess.SubprocessError) as error:
        log.debug("no browser: %s", error)
        return False


def _starts(command: list[str]) -> bool:
    """Start an independent program; return False if it cannot be started or fails within 0.7 seconds."""
    silent = subprocess.DEVNULL
    try:
        started = subprocess.Popen(command, stdin=silent, stdout=silent, stderr=silent, start_new_session=True)
        return started.wait(0.7) == 0  # 0: a running browser has opened the page
    except subprocess.TimeoutExpired:
        threading.Thread(target=started.wait, daemon=True).start()  # so that it leaves no zombie
        return True
    except (OSError, ValueError) as error:
        log.debug("%s: %s", command[0], error)
        return False


def _chromiums() -> Iterator[str]:
    """Yield the programs on this computer that support `--app=URL`."""
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
