#!/usr/bin/env python3
"""Start GPT Desk: make its environment once, then run the app in it (`python launch.py --help`).

Standard library only. Environments lie in the user's data folder, never in the clone: `<home>/env` for the app,
`<home>/env-test` with the test tools as well. Each is built as `<name>.tmp-<pid>`, proved by importing what the app
imports, stamped and only then renamed, so a start that finds a valid stamp needs neither pip nor the network.

The file parses on Python 3.6, and section 1 runs before anything newer is evaluated: an old Python hands over to a
newer one or ends with one sentence. So no walrus, no match, no `/` in signatures, and tomllib is imported late.
"""

import signal

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) == signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until main is there to end in an orderly way: not with a traceback

import hashlib
import importlib.util
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

# Python 2 stops at the next line, and shows it.
NEEDED: tuple = (3, 11)  # GPT Desk needs Python 3.11 or newer, from https://www.python.org/downloads/
WINDOWS = os.name == "nt"


# --- 1. A Python that can run the desk --------------------------------------------------------------------------
def say(words: str) -> None:
    """Speak on stderr, for stdout belongs to the program that is started; if nobody can hear it, go on."""
    speak(f"{words}\n")


def speak(text: str) -> None:
    """Write to stderr, which may be closed, broken, or unable to show a character."""
    if sys.stderr is not None:
        with suppress(OSError, ValueError):
            sys.stderr.write(text)
            sys.stderr.flush()


def unfit(version: tuple, largest: int) -> str:
    """The sentence that refuses a Python of this `sys.version_info` and `sys.maxsize`; empty when it is fit."""
    bits = 64 if largest > 2**32 else 32
    if tuple(version[:2]) >= NEEDED and bits == 64:
        return ""
    return (
        f"GPT Desk needs 64-bit Python 3.11 or newer, this is {bits}-bit Python {version[0]}.{version[1]} and no "
        "other one was found: install it from https://www.python.org/downloads/"
    )


def find_fit_python() -> list:
    """The command of the newest fit Python on this computer, proved by running it; empty when there is none."""
    proof = f"import sys; sys.exit(not (sys.version_info >= {NEEDED} and sys.maxsize > 2**32))"
    for minor in range(NEEDED[1] + 15, NEEDED[1] - 1, -1):
        for command in ([["py", f"-3.{minor}"]] if WINDOWS else []) + [[f"python3.{minor}"]]:
            if shutil.which(command[0]) and subprocess.call([*command, "-c", proof], stderr=subprocess.DEVNULL) == 0:
                return command
    return []


def leave_unfit_python() -> None:
    """Carry on in a fit Python when this one is not; when there is none, end with one sentence and nothing made."""
    sentence = unfit(sys.version_info, sys.maxsize)
    if not sentence:
        return
    fit = find_fit_python()
    if not fit:
        say(sentence)
        sys.exit(2)
    command = [*fit, os.path.realpath(__file__), *sys.argv[1:]]
    if not WINDOWS:
        os.execvp(command[0], command)
    try:
        sys.exit(subprocess.call(command))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    leave_unfit_python()

# --- 2. What is to be made, and where ---------------------------------------------------------------------------
HELP = """GPT Desk: a workbench for small GPT models.

  python launch.py              make the environment (once), start the app, open the page
  python launch.py test         the same with the test tools, then run every check and test
  python launch.py pip ...      run pip inside the app's environment, to add sampler plugins for example
  python launch.py python ...   run that environment's Python, as in: python -m gptdesk.starter
  python launch.py shortcut     put GPT Desk in the applications menu; options after it are kept in the shortcut

  --home DIR    keep the environment, models, settings and runs in DIR (GPTDESK_HOME does the same)
  --repair      make the environment anew, whatever its state

Any other word or option goes to GPT Desk itself: --port, --host, --no-browser, --app-window, generate, models ...
"""
ROOT = Path(os.path.realpath(__file__)).parent
CONSTRAINTS = ROOT / "constraints.txt"
STAMP = "gptdesk-stamp.json"
FORMAT = 1  # raise it when environments made by an older launch.py must be made anew


class Fault(Exception):
    """Something the user can put right, in plain words; `code` becomes the exit code."""

    def __init__(self, words: str, code: int = 1) -> None:
        super().__init__(words)
        self.code = code


class Plan(NamedTuple):
    """One environment: its folder, its requirements, the modules that must import, and the fingerprint of all that."""

    folder: Path
    packages: list[str]
    verify: list[str]
    key: str


def user_data_folder() -> Path:
    """Where programs keep a user's data; the desk's own folder there is the one that platformdirs would name."""
    if WINDOWS:
        return Path(os.environ.get("LOCALAPPDATA") or os.path.expanduser("~\\AppData\\Local"))
    if os.path.isabs(os.environ.get("XDG_DATA_HOME", "")):
        return Path(os.environ["XDG_DATA_HOME"])
    return Path(os.path.expanduser("~/Library/Application Support" if sys.platform == "darwin" else "~/.local/share"))


def check_home(home: Path) -> None:
    """Make the home folder and be sure that it can be written, and named in PYTHONPATH."""
    for folder in (ROOT, home):
        if os.pathsep in str(folder):
            raise Fault(f"Python cannot import from {folder}: choose a path without {os.pathsep!r}.", 2)
    try:
        home.mkdir(parents=True, exist_ok=True)
        probe = home / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        reason = "it is a file" if home.is_file() else error.strerror
        raise Fault(f"The home folder {home} cannot be used ({reason}): choose another, with --home DIR.", 2) from None


def make_plan(home: Path, *, testing: bool) -> Plan:
    """Read from pyproject.toml and constraints.txt what the app's environment, or the tests', is made of."""
    import tomllib  # new in Python 3.11

    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = settings["project"]["dependencies"]
    if testing:
        packages = packages + settings["project"]["optional-dependencies"]["test"]
    verify = settings["tool"]["gptdesk"]["launch"]["verify"]
    pins = [line for line in CONSTRAINTS.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    made_of = json.dumps([FORMAT, sys.platform, platform.machine(), packages, verify, pins])
    folder = home / ("env-test" if testing else "env")
    return Plan(folder, packages, verify, key=hashlib.sha256(made_of.encode()).hexdigest())


# --- 3. An environment: is it whole? ----------------------------------------------------------------------------
def python_of(folder: Path) -> Path:
    """The interpreter inside an environment."""
    return folder / ("Scripts/python.exe" if WINDOWS else "bin/python")


def base_python(folder: Path) -> str:
    """The interpreter that an environment stands on: a link leads to it on POSIX, pyvenv.cfg names it on Windows."""
    if not WINDOWS:
        return os.path.realpath(python_of(folder))
    home = re.search(r"^home *= *(.+)$", (folder / "pyvenv.cfg").read_text(encoding="utf-8"), re.MULTILINE)
    return os.path.join(home.group(1).strip() if home else "", "python.exe")


def site_packages(folder: Path) -> Path:
    """Where an environment keeps its packages."""
    return next(folder.glob("Lib/site-packages" if WINDOWS else "lib/*/site-packages"), folder / "missing")


def is_ready(plan: Plan) -> bool:
    """Whether the environment fits the plan and is whole, told from files alone, for every start waits for this.

    Any fit Python may have made it, not only the one that runs now, as long as that one is still in its place.
    """
    try:
        stamp = json.loads((plan.folder / STAMP).read_text(encoding="utf-8"))
        needed = [python_of(plan.folder), *(plan.folder / file for file in stamp["files"])]
        fits = stamp["key"] == plan.key and stamp["python"] == base_python(plan.folder)
        return fits and os.path.exists(stamp["python"]) and all(file.exists() for file in needed)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def imported_files(folder: Path, verify: list[str]) -> list[str]:
    """Import the modules inside the environment; their files, relative to it, or a Fault that says what failed."""
    program = (
        "import importlib, json, os, sys\n"
        "files = [importlib.import_module(name).__file__ for name in sys.argv[1:]]\n"
        "print(json.dumps([os.path.relpath(file, sys.prefix) for file in files]))"
    )
    command = [str(python_of(folder)), "-P", "-c", program, *verify]
    done = subprocess.run(command, env=clean_environment(), capture_output=True, encoding="utf-8", errors="replace")
    if done.returncode:
        raise Fault(explanation(done.stderr or f"Python ended with code {done.returncode}."))
    return json.loads(done.stdout.splitlines()[-1])


# --- 4. pip -----------------------------------------------------------------------------------------------------
CPU_WHEELS = "https://download.pytorch.org/whl/cpu"
CUDA_WHEELS = "https://download.pytorch.org/whl/cu130"  # for Windows; on Linux PyPI's own build of torch is for CUDA
NO_NETWORK = "name ?resolution|getaddrinfo|new ?connection|connection ?(reset|refused|aborted|broken)|timed out"
NO_BUILD = r"No matching dist|Could not find a version|\(constraint\)|building wheel"
HINTS = (  # the first match counts: without a network, too, pip ends in "no matching distribution"
    ("No space left|Errno 28|WinError 112|quota", "The disk is full: free some space, or use another with --home DIR."),
    ("certificate|SSLError", "A certificate was refused, often a company proxy's: let PIP_CERT name its file."),
    ("SOCKS", "pip cannot use a SOCKS proxy: unset ALL_PROXY for the first start, or name an HTTP proxy."),
    ("ProxyError|Proxy Auth", "The proxy did not let pip through: check HTTPS_PROXY."),
    (NO_NETWORK, "The network did not answer: the first start downloads packages, so go online and start again."),
    ("WinError 206|name too long|path too long", "A path is too long: choose a short home, such as --home C:\\gptdesk"),
    ("Permission|WinError 5\\b|Access is denied", "A file may not be written: close GPT Desk, see who owns the home."),
    (NO_BUILD, f"No build for Python {platform.python_version()} on {platform.machine()}: try another Python."),
    ("ResolutionImpossible|conflicting dep", "These packages do not fit together: see the lines above."),
    ("DLL load failed", "Install what torch needs on Windows: https://aka.ms/vs/17/release/vc_redist.x64.exe"),
    ("Illegal instruction|code -4\\b", "This processor is too old for this build of torch."),
)


def explanation(output: str) -> str:
    """The last lines of a failed command's output, and what they mean where that is known."""
    lines = ["  " + line.rstrip() for line in output.splitlines() if line.strip()]
    meanings = [words for pattern, words in HINTS if re.search(pattern, output, re.IGNORECASE)]
    return "\n".join(lines[-15:] + meanings[:1])


def clean_environment() -> dict[str, str]:
    """Our variables without those that lead an environment's Python or pip astray."""
    astray = ("PYTHONPATH", "PYTHONHOME", "__PYVENV_LAUNCHER__", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT")
    return {**{name: value for name, value in os.environ.items() if name not in astray}, "PYTHONUTF8": "1"}


def pip_environment(temporary: Path) -> dict[str, str]:
    """Variables for pip, which unpacks gigabytes: into `temporary`, as the system's /tmp is often too small.

    No PYTHONNOUSERSITE: an environment has no user site, and the host's pip may well be in there.
    """
    temporary.mkdir(parents=True, exist_ok=True)
    folders = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(temporary))
    return {**clean_environment(), **folders, "PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0", "PYTHONUNBUFFERED": "1"}


def pip_for(folder: Path) -> list[str]:
    """The command of an environment's own pip or, where Python lacks ensurepip, of this Python's pip aimed at it."""
    if (site_packages(folder) / "pip").exists():
        return [str(python_of(folder)), "-P", "-m", "pip"]
    host = [sys.executable, "-P", "-m", "pip"]
    done = subprocess.run([*host, "--version"], env=clean_environment(), capture_output=True, encoding="utf-8")
    version = re.match(r"pip (\d+)\.(\d+)", done.stdout)
    if version and (int(version.group(1)), int(version.group(2))) >= (22, 3):
        return [*host, "--python", str(python_of(folder))]
    raise Fault(venv_missing())


def venv_missing() -> str:
    """What to do about a Python that can make no environment; Debian and Ubuntu have a package for it."""
    package = "python{}.{}-venv".format(*sys.version_info)
    cure = f"run: sudo apt install {package}" if shutil.which("apt") else "get one from https://www.python.org/"
    return f"The Python {sys.executable} has neither ensurepip nor pip 22.3 or newer: {cure}"


class Progress:
    """What pip is doing, in a few words, learned from its output and from what it has put on the disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.got: list[str] = []  # "package version", in the order of arrival
        self.queue: list[str] = []  # packages in the order of installation
        self.before = 0  # packages that were there before

    def read(self, line: str) -> None:
        """Learn from one line of pip's output."""
        file = re.match(r" *(Downloading|Using cached|Processing) (.*[/\\])?([^\s-]+)-([^\s-]+)\S*\.whl( |$)", line)
        if file:
            self.got.append(f"{file.group(3)} {file.group(4)}")
        elif line.startswith("Installing collected packages: "):
            self.before = self.installed()
            self.queue = line.split(": ", 1)[1].strip().split(", ")

    def __str__(self) -> str:
        if self.queue:
            done = min(max(self.installed() - self.before, 0), len(self.queue) - 1)
            return f"  installing {done + 1}/{len(self.queue)} {self.queue[done]}"
        size = 0
        for file in self.folder.glob("tmp/pip-*/*"):
            with suppress(OSError):  # pip removes files while we look
                size += file.stat().st_size
        return f"  got {len(self.got)}: {self.got[-1]} ({size / 1e6:.0f} MB so far)" if self.got else "  looking ..."

    def installed(self) -> int:
        return sum(1 for _ in site_packages(self.folder).glob("*.dist-info"))


def pip_install(pip: list[str], arguments: list[str], *, folder: Path, log: Path) -> None:
    """Run one `pip install`: all that it prints goes to the log, what matters to the terminal."""
    options = ["--disable-pip-version-check", "--no-input", "--progress-bar", "off", "-c", str(CONSTRAINTS)]
    command = [*pip, "install", *options, *arguments]
    environment = pip_environment(folder / "tmp")
    progress, told = Progress(folder), (0, 0)
    with open(log, "ab", buffering=0) as record, open(log, encoding="utf-8", errors="replace") as written:
        record.write(f"$ {shlex.join(command)}\n".encode())
        start = written.seek(0, os.SEEK_END)
        child = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=record, stderr=record)
        try:
            while child.poll() is None:
                time.sleep(0.2)
                for line in written:
                    progress.read(line)
                if sys.stderr is not None and sys.stderr.isatty():
                    say_for_now(str(progress))
                elif (len(progress.got), len(progress.queue)) != told:
                    told = len(progress.got), len(progress.queue)
                    say(str(progress))
        finally:
            if child.poll() is None:
                child.terminate()
                child.wait()
        if child.returncode:
            written.seek(start)
            raise Fault(f"{explanation(written.read())}\nNothing half-made is in use. The complete log: {log}")


def say_for_now(words: str) -> None:
    """Speak on the terminal's last line, to be spoken over by what comes next."""
    width = shutil.get_terminal_size().columns - 1
    speak(f"\r{words[:width].ljust(width)}\r")


# --- 5. Building an environment ---------------------------------------------------------------------------------
def ensure(home: Path, *, testing: bool = False, repair: bool = False) -> Plan:
    """Have a whole environment: the one that is there, or a new one."""
    plan = make_plan(home, testing=testing)
    if is_ready(plan) and not repair:
        return plan
    with locked(home / "launch.lock"):
        for leftover in home.glob("env*.tmp-*"):  # a launcher that made it and still lived would hold the lock
            shutil.rmtree(leftover, ignore_errors=True)
        if repair or not is_ready(plan):
            build(plan, home)
    return plan


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock that the system lets go together with its process; wait for another launcher that has it."""
    with open(path, "a") as file:
        told = False
        while not try_lock(file.fileno()):
            if not told:
                say("Another launcher is making the environment: waiting for it ...")
            told = True
            time.sleep(0.2)
        yield


def try_lock(descriptor: int) -> bool:
    """Take the lock if nobody has it; a file system that knows no locks counts as taken."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        pass
    return True


def build(plan: Plan, home: Path) -> None:
    """Make the environment under a temporary name, prove it, stamp it, and put it in its place."""
    new = plan.folder.with_name(f"{plan.folder.name}.tmp-{os.getpid()}")
    log = home / "logs" / "install.log"
    log.parent.mkdir(exist_ok=True)
    log.write_text("", encoding="utf-8")
    wheels, gigabytes, room = torch_build()
    if shutil.disk_usage(home).free < room * 1e9:
        raise Fault(f"GPT Desk needs {room} GB free on the disk of {home}: free some, or use another with --home DIR.")
    doing = "Renewing" if plan.folder.exists() else "Making"
    say(f"{doing} the environment {plan.folder}: about {gigabytes} GB to download, once")
    try:
        make_venv(new)
        pip = pip_for(new)
        torch = [package for package in plan.packages if re.match(r"torch\b(?!-)", package)]
        if torch and wheels and not names_an_index(pip, new):  # only torch, so that nothing else can come from there
            pip_install(pip, ["--no-deps", "--index-url", wheels, *torch], folder=new, log=log)
        if plan.packages:
            pip_install(pip, plan.packages, folder=new, log=log)
        say("  checking it ...".ljust(40))
        stamp = {"key": plan.key, "python": base_python(new), "files": imported_files(new, plan.verify)}
        shutil.rmtree(new / "tmp", ignore_errors=True)
        (new / STAMP).write_text(json.dumps(stamp), encoding="utf-8")
        replace(plan.folder, new)
    except OSError as error:
        raise Fault(explanation(f"{type(error).__name__}: {error}")) from None
    finally:
        shutil.rmtree(new, ignore_errors=True)


def torch_build() -> tuple[str, float, int]:
    """The index to take torch from ("": PyPI), and the gigabytes to download and to have free."""
    if sys.platform == "darwin":
        return "", 0.2, 3
    with suppress(OSError, subprocess.TimeoutExpired):
        if subprocess.run(["nvidia-smi"], capture_output=True, timeout=20).returncode == 0:
            return CUDA_WHEELS if WINDOWS else "", 3, 10
    return CPU_WHEELS, 0.3, 3


def names_an_index(pip: list[str], folder: Path) -> bool:
    """Whether the user has told pip where packages come from, in a file or a variable; then it is not for us to say."""
    done = subprocess.run([*pip, "config", "list"], env=pip_environment(folder / "tmp"), capture_output=True, text=True)
    return bool(re.search(r"^[^=]*\b(index-url|find-links|no-index)=(?!''$)", done.stdout, re.MULTILINE))


def make_venv(folder: Path) -> None:
    """Make an empty environment, with pip inside if this Python can."""
    try:
        import venv
    except ImportError:
        raise Fault(venv_missing()) from None
    if importlib.util.find_spec("ensurepip"):
        with suppress(subprocess.CalledProcessError):  # Debian's can be there and refuse
            venv.EnvBuilder(symlinks=not WINDOWS, clear=True, with_pip=True).create(folder)
            return
    venv.EnvBuilder(symlinks=not WINDOWS, clear=True).create(folder)


def replace(old: Path, new: Path) -> None:
    """Put a finished environment in the place of the old one, and name the plugins that went with the old one."""
    if not WINDOWS:  # scripts name their interpreter; on Windows they are programs, and `python -m` is what we use
        for file in [new / "pyvenv.cfg", *(new / "bin").iterdir()]:
            if file.is_file() and not file.is_symlink() and b"\0" not in file.read_bytes():
                file.write_bytes(file.read_bytes().replace(new.name.encode(), old.name.encode()))
    asked = {file.parent.name for file in site_packages(old).glob("*.dist-info/REQUESTED")}
    kept = {file.name.split("-")[0] for file in site_packages(new).glob("*.dist-info")} | {"pip", "setuptools"}
    lost = {name.split("-")[0] for name in asked} - kept
    if os.path.lexists(old):
        rename(old, Path(f"{new}-old"))
    rename(new, old)
    shutil.rmtree(f"{new}-old", ignore_errors=True)
    if lost:
        say(f"Not carried over, install again if you need it: python launch.py pip install {' '.join(sorted(lost))}")


def rename(old: Path, new: Path) -> None:
    """Rename a folder; patiently, for on Windows a virus scanner may still be looking at what was just written."""
    for pause in (0.2, 0.8, 3.2):
        with suppress(PermissionError):
            return os.rename(old, new)
        time.sleep(pause)
    os.rename(old, new)


# --- 6. Running the desk in its environment ---------------------------------------------------------------------
def desk_environment(home: Path) -> dict[str, str]:
    """Variables for the desk: our packages from the clone, the others from its environment, nothing from the cwd."""
    ours = {"GPTDESK_HOME": str(home), "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1", "PYTHONNOUSERSITE": "1"}
    return {**clean_environment(), **ours}


def run(command: list[str], environment: dict[str, str], *, patience: float | None = None) -> int:
    """Run a child to its end; its exit code. After Ctrl-C it may take `patience` seconds, or as long as it likes.

    Ctrl-C twice within a second ends a child that hangs, with 130. A child on every system, not an exec: a launcher
    that had gone could neither end a child that hangs nor explain one that fails, and Windows has no exec.
    """
    child = subprocess.Popen(command, env=environment)
    for number in forwarded():
        signal.signal(number, lambda number, _: child.send_signal(number))
    interrupted = float("-inf")
    try:
        while True:
            try:
                code = wait(child, None if interrupted < 0 else patience)
                return code if code >= 0 else 128 - code
            except KeyboardInterrupt:
                if time.monotonic() - interrupted < 1:
                    return 130
                interrupted = time.monotonic()
                if not terminal_tells_everyone():
                    child.send_signal(signal.SIGINT)
    except subprocess.TimeoutExpired:
        return 130
    finally:
        child.kill()


def forwarded() -> list[int]:
    """The signals that are for the child: SIGTERM and, unless nohup has it ignored, SIGHUP."""
    hangup = getattr(signal, "SIGHUP", None)  # Windows has none
    ignored = hangup is None or signal.getsignal(hangup) == signal.SIG_IGN
    return [signal.SIGTERM] if ignored else [signal.SIGTERM, hangup]


def wait(child: subprocess.Popen[bytes], patience: float | None = None) -> int:
    """Wait for the child, on Windows in short turns, for only between them does Ctrl-C come through."""
    while True:
        try:
            return child.wait(0.5 if WINDOWS and patience is None else patience)
        except subprocess.TimeoutExpired:
            if patience is not None:
                raise


def terminal_tells_everyone() -> bool:
    """Whether Ctrl-C has reached the child too, as it does from a terminal that has our group in front."""
    try:
        with open("/dev/tty") as terminal:
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:
        return WINDOWS


def run_desk(plan: Plan, home: Path, words: list[str]) -> int:
    """Run the app, or one of its verbs; when it fails or crashes at once, see whether the environment is to blame."""
    is_app = not words or words[0].startswith("-")
    started = time.monotonic()
    command = [str(python_of(plan.folder)), "-m", "gptdesk", *words]
    code = run(command, desk_environment(home), patience=1.5 if is_app else None)
    if code in (1, 132, 134, 139) and time.monotonic() - started < 30:
        try:
            imported_files(plan.folder, plan.verify)
        except Fault as fault:
            raise Fault(f"{fault}\nThe environment is broken: run python launch.py --repair", code) from None
    return code


def make_shortcut(home: Path, words: list[str]) -> Path:
    """Put a shortcut to the double-click file of this system into its menu; the words go with every start."""
    opener = str(ROOT / "desktop" / ("GPT Desk.cmd" if WINDOWS else "GPT Desk.command"))
    if home != user_data_folder() / "gptdesk":
        words = ["--home", str(home), *words]
    if WINDOWS:
        made = Path(os.environ["APPDATA"], "Microsoft/Windows/Start Menu/Programs/GPT Desk.lnk")
        script = (
            "$link = (New-Object -ComObject WScript.Shell).CreateShortcut($env:MADE); "
            "$link.TargetPath = $env:OPENER; $link.Arguments = $env:WORDS; $link.Save()"
        )
        names = {**os.environ, "MADE": str(made), "OPENER": opener, "WORDS": subprocess.list2cmdline(words)}
        subprocess.run(["powershell", "-NoProfile", "-Command", script], env=names, check=True)
        return made
    command = ["env", f"PYTHON={sys.executable}", "sh", opener, *words]
    if sys.platform == "darwin":
        made = Path.home() / "Applications" / "GPT Desk.command"
        text = f"#!/bin/sh\nexec {shlex.join(command)}\n"
    else:
        made = user_data_folder() / "applications" / "gptdesk.desktop"
        icon = ROOT / "gptdesk" / "assets" / "icon.svg"
        entry = {
            "Type": "Application",
            "Name": "GPT Desk",
            "Comment": "Generate, compare, train and serve small GPT models",
            "Exec": " ".join(desktop_quoted(word) for word in command),
            "Icon": str(icon).replace("\\", "\\\\") if icon.exists() else "utilities-terminal",
            "Terminal": "true",
            "Categories": "Education;Science;ArtificialIntelligence;",
        }
        text = "\n".join(["[Desktop Entry]", *(f"{key}={value}" for key, value in entry.items()), ""])
    made.parent.mkdir(parents=True, exist_ok=True)
    made.write_text(text, encoding="utf-8")
    made.chmod(0o755)
    return made


def desktop_quoted(word: str) -> str:
    """One argument of an Exec line: quoted as its rules say, then escaped as every value of a .desktop file is."""
    return '"' + re.sub(r'(["`$\\])', r"\\\1", word).replace("\\", "\\\\").replace("%", "%%") + '"'


def own_options(words: list[str]) -> tuple[Path, bool, list[str]]:
    """Take --home DIR and --repair out of the words: the home folder, whether to repair, and the words that are left.

    They may stand anywhere, except behind `--`, `pip`, `test` and `python`, where words are for others.
    """
    home = os.environ.get("GPTDESK_HOME") or str(user_data_folder() / "gptdesk")
    repair, ahead = False, list(words)
    left: list[str] = []
    while ahead and ahead[0] != "--" and left not in (["pip"], ["test"], ["python"]):
        word = ahead.pop(0)
        if word == "--repair":
            repair = True
        elif word.startswith("--home="):
            home = word[7:]
        elif word == "--home":
            home = ahead.pop(0) if ahead else ""
        else:
            left.append(word)
    if not home:
        raise Fault("--home needs a folder.", 2)
    return Path(os.path.abspath(os.path.expanduser(home))), repair, left + ahead


def main(words: list[str]) -> int:
    """Do what the command line says; the exit code."""
    try:
        os.getcwd()
    except OSError:
        raise Fault("The current folder was removed: go to another one and try again.", 2) from None
    home, repair, words = own_options(words)
    if words[:1] in (["-h"], ["--help"]):
        print(HELP, end="")
        return 0
    if os.environ.get("SPACE_ID"):  # a Hugging Face Space has installed everything where this Python finds it
        space = {**os.environ, "GPTDESK_HOME": str(home), "PYTHONPATH": str(ROOT)}
        os.execve(sys.executable, [sys.executable, "-m", "gptdesk", *words], space)
    check_home(home)
    verb = words[0] if words else ""
    if verb == "shortcut":
        say(f"Made {make_shortcut(home, words[1:])}")
        return 0
    plan = ensure(home, testing=verb == "test", repair=repair)
    if verb == "test":
        return run([str(python_of(plan.folder)), str(ROOT / "scripts" / "check"), *words[1:]], desk_environment(home))
    if verb == "pip":
        pins = ["-c", str(CONSTRAINTS)] if words[1:2] == ["install"] else []  # a plugin may not exchange torch
        return run([*pip_for(plan.folder), *words[1:2], *pins, *words[2:]], pip_environment(home / "tmp"))
    if verb == "python":
        return run([str(python_of(plan.folder)), *words[1:]], desk_environment(home))
    return run_desk(plan, home, words)


if __name__ == "__main__":
    if signal.getsignal(signal.SIGINT) == signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for ending in forwarded():
        signal.signal(ending, lambda number, _: sys.exit(128 + number))
    try:
        sys.exit(main(sys.argv[1:]))
    except Fault as fault:
        say(str(fault))
        sys.exit(fault.code)
    except KeyboardInterrupt:
        sys.exit(130)
    except (OSError, subprocess.CalledProcessError) as error:
        say(f"GPT Desk cannot start: {error}")
        sys.exit(1)
