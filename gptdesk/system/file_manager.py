"""Folders in the file manager of this system."""

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path


def show_folder(path: Path) -> None:
    """Open a folder in the file manager; ValueError, with the path, where there is none or nobody could see it."""
    see = f"look at it yourself: {path}"
    if sys.platform == "win32":
        os.startfile(path)
        return
    name = "open" if sys.platform == "darwin" else "xdg-open"
    has_display = sys.platform == "darwin" or any(os.environ.get(one) for one in ("DISPLAY", "WAYLAND_DISPLAY"))
    program = shutil.which(name)
    if program is None or not has_display:
        raise ValueError(f"no file manager can be opened here; {see}")
    silent = subprocess.DEVNULL
    try:
        opened = subprocess.Popen(
            [program, str(path)], stdin=silent, stdout=silent, stderr=silent, start_new_session=True
        )
    except OSError as error:
        raise ValueError(f"the file manager cannot be opened ({error.strerror}); {see}") from error
    threading.Thread(target=opened.wait, daemon=True).start()  # so that it leaves no zombie
