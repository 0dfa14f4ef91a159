"""What the tests of the launcher and of bundles share: a small stand-in project with the real launch.py."""

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parent.parent

# The stand-in for the app: tells what it was started with, then ends, waits or hangs as its words say.
APP = """
import json, os, signal, sys, time
if not os.environ.get("SPACE_ID"):
    import tinydep
end = float("inf")
def interrupted(*_):
    global end
    os.write(1, b"interrupted\\n")
    end = time.monotonic() + {"--wait": 0, "--save": 0.5}.get(sys.argv[-1], end)
signal.signal(signal.SIGINT, interrupted)
if "--save" in sys.argv:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, lambda *_: sys.exit(6))
shown = {"words": sys.argv[1:], "prefix": sys.prefix, "cwd": os.getcwd(), "env": dict(os.environ)}
os.write(1, json.dumps(shown).encode() + b"\\n")
while sys.argv[-1] in ("--hang", "--wait", "--save") and time.monotonic() < end:
    time.sleep(0.05)
if sys.argv[1:2] == ["exit"]:
    sys.exit(int(sys.argv[2]))
"""


def make_wheel(folder: Path, name: str, *, version: str = "1.0", code: str = "") -> None:
    """A wheel of one module, with a console script that prints the prefix it runs in."""
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", f"import sys\n{code}\ndef main():\n    print(sys.prefix)\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/entry_points.txt", f"[console_scripts]\n{name}-hello = {name}:main\n")
        wheel.writestr(f"{info}/RECORD", "")


class Clone:
    """A small project with the real launch.py, and how to run it."""

    def __init__(self, folder: Path, *, dependencies: list[str], verify: list[str]) -> None:
        self.folder, self.home, self.wheels = folder / "the $clone", folder / "home", folder / "wheels"
        for made in (self.folder / "gptdesk", self.folder / "scripts", self.wheels, folder / "user"):
            made.mkdir(parents=True)
        shutil.copy(ROOT / "launch.py", self.folder)
        shutil.copytree(ROOT / "desktop", self.folder / "desktop")
        (self.folder / "gptdesk" / "__init__.py").touch()
        (self.folder / "gptdesk" / "__main__.py").write_text(APP)
        (self.folder / "scripts" / "check").write_text(APP)
        (self.folder / "constraints.txt").write_text("# pins\ntinydep==1.0\n")
        self.write_project(dependencies, verify)
        make_wheel(self.wheels, "tinydep")
        make_wheel(self.wheels, "tinytest")
        self.variables = {
            **{name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "COMSPEC") if name in os.environ},
            "HOME": str(folder / "user"),
            "GPTDESK_HOME": str(self.home),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.wheels),
        }

    def write_project(self, dependencies: list[str], verify: list[str], *, prepare: str = "") -> None:
        text = f"[project]\ndependencies = {dependencies}\n[project.optional-dependencies]\ntest = ['tinytest']\n"
        text += f"[tool.gptdesk.launch]\nverify = {verify}\n" + f"prepare = '{prepare}'\n" * bool(prepare)
        (self.folder / "pyproject.toml").write_text(text)

    def without_ensurepip(self) -> None:
        """From now on the launcher's Python has no ensurepip, like Debian's, and environments are quick to make."""
        (self.folder / "no-ensurepip").mkdir()
        (self.folder / "no-ensurepip" / "sitecustomize.py").write_text("import sys\nsys.modules['ensurepip'] = None\n")
        self.variables["PYTHONPATH"] = str(self.folder / "no-ensurepip")

    def start(
        self, *words: str, python: str = sys.executable, cwd: Path | None = None, alone: bool = False
    ) -> subprocess.Popen[str]:
        """Start the launcher; alone: with no terminal that would send its Ctrl-C to the app as well."""
        return subprocess.Popen(
            [python, str(self.folder / "launch.py"), *words],
            env=self.variables,
            cwd=cwd,
            start_new_session=alone,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(
        self, *words: str, python: str = sys.executable, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        with self.start(*words, python=python, cwd=cwd) as process:
            output, errors = process.communicate(timeout=60)
        return subprocess.CompletedProcess(words, process.returncode, output, errors)

    def module(self) -> ModuleType:
        """The clone's launch.py as a module."""
        spec = importlib.util.spec_from_file_location("launch", self.folder / "launch.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    def made(self) -> list[str]:
        """What lies in the home folder, apart from the log and the lock."""
        return sorted({file.name for file in self.home.iterdir()} - {"logs", "launch.lock"})
