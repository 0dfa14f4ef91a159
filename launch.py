#!/usr/bin/env python3
"""Launcher of GPT Desk: makes its environment once, then runs the app in it (`python launch.py --help`).

Standard library only. Environments lie in the user's data folder, never in the clone: `<home>/env` for the app,
`<home>/env-test` with the test tools as well. Each is built as `<name>.tmp-<pid>`, tested by importing what the app
imports, stamped and only then renamed, so a start that finds a valid stamp needs neither pip nor the network. Where
`gptdesk bundle` has put wheels beside this file, the app's environment is installed from them, without network.

The file parses on Python 3.6, and section 1 runs before anything newer is evaluated: an old Python starts a newer one
or ends with one sentence. So no walrus, no match, no `/` in signatures, and tomllib is imported late.
"""

import signal

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) == signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until main handles it: end without a traceback

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
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

# Python 2 cannot parse the next line, and prints it.
NEEDED: tuple = (3, 11)  # GPT Desk needs Python 3.11 or newer, from https://www.python.org/downloads/
WINDOWS = os.name == "nt"


# --- 1. A Python that can run the desk --------------------------------------------------------------------------
def say(words: str, end: str = "\n") -> None:
    """Write to stderr, which may be closed or broken; stdout belongs to the program that is started."""
    if sys.stderr is not None:
        with suppress(OSError, ValueError):
            sys.stderr.write(words + end)
            sys.stderr.flush()


def unfit(version: tuple, largest: int) -> str:
    """Return the sentence that refuses a Python of this `sys.version_info` and `sys.maxsize`, or an empty one."""
    bits = 64 if largest > 2**32 else 32
    if tuple(version[:2]) >= NEEDED and bits == 64:
        return ""
    return (
        f"GPT Desk needs 64-bit Python 3.11 or newer, this is {bits}-bit Python {version[0]}.{version[1]} and no "
        "other one was found: install it from https://www.python.org/downloads/"
    )


def find_fit_python() -> list:
    """Return the command of the newest suitable Python on this computer, after a trial; empty if there is none."""
    trial = f"import sys; sys.exit(not (sys.version_info >= {NEEDED} and sys.maxsize > 2**32))"
    for minor in range(NEEDED[1] + 15, NEEDED[1] - 1, -1):
        for command in ([["py", f"-3.{minor}"]] if WINDOWS else []) + [[f"python3.{minor}"]]:
            if shutil.which(command[0]) and subprocess.call([*command, "-c", trial], stderr=subprocess.DEVNULL) == 0:
                return command
    return []


def leave_unfit_python() -> None:
    """Go on in a suitable Python if this one is not; without any, end with one sentence and write nothing."""
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
    sys.exit(subprocess.call(command))  # Ctrl-C ends both


if __name__ == "__main__":
    leave_unfit_python()

# --- 2. The plan: what to install, and where --------------------------------------------------------------------
HELP = """GPT Desk: a workbench for small GPT models.

  python launch.py              make the environment (once), start the app, open the page
  python launch.py test         the same with the test tools, then run every check and test
  python launch.py pip ...      run pip inside the app's environment, to add sampler plugins for example
  python launch.py python ...   run that environment's Python, as in: python -m gptdesk.starter
  python launch.py serve        the API of the desk without its page, for programs and servers
  python launch.py shortcut     put GPT Desk in the applications menu; options after it are kept in the shortcut

  --home DIR    keep the environment, models, settings and runs in DIR (GPTDESK_HOME does the same)
  --repair      make the environment anew, whatever its state

Any other word or option goes to GPT Desk itself: --port, --lan, --no-browser, --app-window, generate, models ...
"""
ROOT = Path(os.path.realpath(__file__)).parent
CONSTRAINTS = ROOT / "constraints.txt"
BUNDLE = ROOT / "bundle"  # wheels and models that `gptdesk bundle` packed with the program, and their checksums
MANIFEST = BUNDLE / "bundle.json"
STAMP = "gptdesk-stamp.json"
LONGEST_PREPARATION = 300.0  # seconds that the first start waits for compiled code; the desk compiles what is left
FORMAT = 1  # of environments; a larger number has those of an older launch.py made anew


class Fault(Exception):
    """Error that the user can correct, as a sentence; `code` becomes the exit code."""

    def __init__(self, words: str, code: int = 1) -> None:
        super().__init__(words)
        self.code = code


class Plan(NamedTuple):
    """Environment to have: folder, requirements, modules that must import, and the fingerprint of all that.

    `prepare` is the module of the clone that is run once in it; empty: none.
    """

    folder: Path
    packages: list[str]
    verify: list[str]
    key: str
    prepare: str = ""


def user_data_folder() -> Path:
    """Return the folder of users' data on this system, the parent of the one that platformdirs names."""
    if WINDOWS:
        return Path(os.environ.get("LOCALAPPDATA") or os.path.expanduser("~\\AppData\\Local"))
    if os.path.isabs(os.environ.get("XDG_DATA_HOME", "")):
        return Path(os.environ["XDG_DATA_HOME"])
    return Path(os.path.expanduser("~/Library/Application Support" if sys.platform == "darwin" else "~/.local/share"))


def check_home(home: Path) -> None:
    """Make the home folder; raises Fault if it cannot be written, or not be named in PYTHONPATH."""
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


def project_settings() -> dict:
    """Return what pyproject.toml says."""
    import tomllib  # new in Python 3.11

    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def make_plan(home: Path, *, testing: bool) -> Plan:
    """Return the plan of the app's environment, or the tests', from pyproject.toml and constraints.txt."""
    settings = project_settings()
    packages = settings["project"]["dependencies"]
    if testing:
        packages = packages + settings["project"]["optional-dependencies"]["test"]
    ours = settings["tool"]["gptdesk"]["launch"]
    verify = ours["verify"]
    pins = [line for line in CONSTRAINTS.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    made_of = json.dumps([FORMAT, sys.platform, platform.machine(), packages, verify, pins])
    folder = home / ("env-test" if testing else "env")
    key = hashlib.sha256(made_of.encode()).hexdigest()
    return Plan(folder, packages, verify, key=key, prepare=ours.get("prepare", ""))


# --- 3. State of an environment ---------------------------------------------------------------------------------
def python_of(folder: Path) -> Path:
    """Return the interpreter of an environment."""
    return folder / ("Scripts/python.exe" if WINDOWS else "bin/python")


def base_python(folder: Path) -> str:
    """Return the interpreter below an environment: the target of a link on POSIX, named in pyvenv.cfg on Windows."""
    if not WINDOWS:
        return os.path.realpath(python_of(folder))
    home = re.search(r"^home *= *(.+)$", (folder / "pyvenv.cfg").read_text(encoding="utf-8"), re.MULTILINE)
    return os.path.join(home.group(1).strip() if home else "", "python.exe")


def site_packages(folder: Path) -> Path:
    """Return the folder of an environment's packages."""
    return next(folder.glob("Lib/site-packages" if WINDOWS else "lib/*/site-packages"), folder / "missing")


def is_ready(plan: Plan) -> bool:
    """Return whether the environment is the planned one and complete, from its files alone: every start waits."""
    try:
        stamp = json.loads((plan.folder / STAMP).read_text(encoding="utf-8"))
        base = base_python(plan.folder)
        needed = [base, python_of(plan.folder), *(plan.folder / file for file in stamp["files"])]
        return (stamp["key"], stamp["python"]) == (plan.key, base) and all(map(os.path.exists, needed))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def imported_files(folder: Path, verify: list[str]) -> list[str]:
    """Import the modules inside the environment and return their files, relative to it; raises Fault if that fails."""
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


# --- 4. A bundle: wheels that came with the program ---------------------------------------------------------------
def this_computer() -> list[str]:
    """Return what wheels must fit: the Python version, the system and the processor."""
    return ["{}.{}".format(*sys.version_info), sys.platform, platform.machine()]


def bundled_wheels() -> Path | None:
    """Return the folder of wheels of a bundle, all its files verified; None in a clone, which downloads them.

    Raises Fault if a file is missing or damaged, or if the wheels are for another Python or system.
    """
    if not BUNDLE.exists():
        return None
    again = "unpack the archive again, or copy it anew if that does not help."
    try:
        manifest = json.loads(MANIFEST.read_text(encoding="utf-8"))
        made_for, files = [*map(str, manifest["made_for"])], dict(manifest["files"])
    except (OSError, ValueError, KeyError, TypeError):
        raise Fault(f"The file {MANIFEST} is missing or damaged: {again}") from None
    if made_for != this_computer():
        made_for, ours = (f"Python {words[0]} on {' '.join(words[1:])}" for words in (made_for, this_computer()))
        raise Fault(f"The packages in {BUNDLE} are for {made_for}, and this is {ours}: use the one they are for.")
    for name, checksum in files.items():
        if sha256(BUNDLE / name) != checksum:
            raise Fault(f"The file {BUNDLE / name} is missing or damaged: {again}")
    return BUNDLE / "wheels"


def sha256(path: Path) -> str:
    """Return the checksum of a file; an empty text if it cannot be read."""
    digest = hashlib.sha256()
    with suppress(OSError), open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
        return digest.hexdigest()
    return ""


# --- 5. pip -----------------------------------------------------------------------------------------------------
TICK = 1.0  # seconds between two signs of progress on a terminal; ten times as many elsewhere
CPU_WHEELS = "https://download.pytorch.org/whl/cpu"
CUDA_WHEELS = "https://download.pytorch.org/whl/cu130"  # for Windows; on Linux PyPI's own build of torch is for CUDA
NO_PLACE = "No space left|Errno 28|WinError 112|quota"
NO_NETWORK = "name ?resolution|getaddrinfo|new ?connection|connection ?(reset|refused|aborted|broken)|timed out"
NO_BUILD = r"No matching dist|Could not find a version|\(constraint\)|building wheel"
HINTS = (  # the first match counts: pip also says "no matching distribution" when there is no network
    (NO_PLACE, "The disk is full: free some space, or use another with --home DIR."),
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
    """Return the last lines of a failed command's output, and a hint where there is one."""
    lines = ["  " + line.rstrip() for line in output.splitlines() if line.strip()]
    hints = [words for pattern, words in HINTS if re.search(pattern, output, re.IGNORECASE)]
    return "\n".join(lines[-15:] + hints[:1])


def clean_environment() -> dict[str, str]:
    """Return our variables without those that would redirect an environment's Python or pip."""
    redirecting = ("PYTHONPATH", "PYTHONHOME", "__PYVENV_LAUNCHER__", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT")
    return {**{name: value for name, value in os.environ.items() if name not in redirecting}, "PYTHONUTF8": "1"}


def pip_environment(temporary: Path, *, offline: bool = False) -> dict[str, str]:
    """Return the variables for pip, which unpacks gigabytes: into `temporary`, as /tmp is often too small.

    `offline` leaves out all that is configured for pip: where packages come from, and which.
    """
    temporary.mkdir(parents=True, exist_ok=True)
    folders = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(temporary))
    # no PYTHONNOUSERSITE: an environment has no user site, and the host's pip may be in there
    ours = {**folders, "PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0", "PYTHONUNBUFFERED": "1"}
    if not offline:
        return {**clean_environment(), **ours}
    theirs = {name: value for name, value in clean_environment().items() if not name.upper().startswith("PIP_")}
    return {**theirs, **ours, "PIP_CONFIG_FILE": os.devnull}


def pip_for(folder: Path, *, host_python: str = sys.executable) -> list[str]:
    """Return the command of an environment's own pip or, where Python lacks ensurepip, of the host Python's pip."""
    if (site_packages(folder) / "pip").exists():
        return [str(python_of(folder)), "-P", "-m", "pip"]
    host = [host_python, "-P", "-m", "pip"]
    done = subprocess.run([*host, "--version"], env=clean_environment(), capture_output=True, encoding="utf-8")
    version = re.match(r"pip (\d+)\.(\d+)", done.stdout)
    if version and (int(version.group(1)), int(version.group(2))) >= (22, 3):
        return [*host, "--python", str(python_of(folder))]
    raise Fault(venv_missing())


def venv_missing() -> str:
    """Return what to do about a Python that cannot make an environment; Debian and Ubuntu have a package for it."""
    package = "python{}.{}-venv".format(*sys.version_info)
    cure = f"run: sudo apt install {package}" if shutil.which("apt") else "get one from https://www.python.org/"
    return f"The Python {sys.executable} has neither ensurepip nor pip 22.3 or newer: {cure}"


PIP_OPTIONS = ["--disable-pip-version-check", "--no-input", "--progress-bar", "off", "-c", str(CONSTRAINTS)]


def pip_install(pip: list[str], arguments: list[str], *, folder: Path, log: Path, wheels: Path | None = None) -> None:
    """Run one `pip install`; its output goes to the log, the megabytes written so far to the terminal.

    With a folder of `wheels`, packages come from there only, without network.
    """
    source = ["--no-index", "--find-links", str(wheels)] if wheels else []
    command = [*pip, "install", *PIP_OPTIONS, *source, *arguments]
    free, doing = shutil.disk_usage(folder).free, "installing" if wheels else "downloading and installing"

    def progress(seconds: float) -> str:
        megabytes = max(0, free - shutil.disk_usage(folder).free) / 1e6
        return f"{doing}: {megabytes:,.0f} MB in {seconds:.0f} s"

    environment = pip_environment(folder / "tmp", offline=wheels is not None)
    code, output = run_visibly(command, environment, log=log, progress=progress)
    if code:
        raise Fault(f"{explanation(output)}\nThe incomplete environment was removed. The complete log: {log}")


def run_visibly(
    command: list[str], environment: dict[str, str], *, log: Path, progress: Callable[[float], str], limit: float = 1e9
) -> tuple[int, str]:
    """Run a child, its output into the log, and say after how many seconds it has got how far.

    Return its exit code and output. After `limit` seconds it is ended.
    """
    started = time.monotonic()
    on_terminal = sys.stderr is not None and sys.stderr.isatty()
    with open(log, "ab", buffering=0) as record:
        record.write(f"$ {shlex.join(command)}\n".encode())
        start = record.tell()
        child = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=record, stderr=record)
        try:
            while child.poll() is None and time.monotonic() - started < limit:
                with suppress(subprocess.TimeoutExpired):
                    child.wait(TICK if on_terminal else 10 * TICK)
                words = f"  {progress(time.monotonic() - started)}"
                say(words, end="\r" if on_terminal and child.poll() is None else "\n")
        finally:
            if child.poll() is None:
                child.terminate()
                child.wait()
    return child.returncode, log.read_bytes()[start:].decode("utf-8", "replace")


# --- 6. Building an environment ---------------------------------------------------------------------------------
def ensure(home: Path, *, testing: bool = False, repair: bool = False) -> Plan:
    """Return the plan of an environment that is ready: the one that is there, or a new one."""
    plan = make_plan(home, testing=testing)
    if is_ready(plan) and not repair:
        return plan
    with locked(home / "launch.lock"):
        for leftover in home.glob("env*.tmp-*"):  # its launcher has ended, or it would hold the lock
            shutil.rmtree(leftover, ignore_errors=True)
        if repair or not is_ready(plan):
            build(plan, home, None if testing else bundled_wheels())  # a bundle has no test tools
            prepare(plan, home)
    return plan


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock, which the system releases if the process dies; wait while another launcher holds it."""
    with open(path, "a") as file:
        if not try_lock(file.fileno()):
            say("Another launcher is making the environment: waiting for it ...")
            while not try_lock(file.fileno()):
                time.sleep(0.2)
        yield


def try_lock(descriptor: int) -> bool:
    """Return whether the lock is ours now; on a file system without locks it always is."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return not isinstance(error, (BlockingIOError, PermissionError))
    return True


def build(plan: Plan, home: Path, wheels: Path | None) -> None:
    """Make the environment under a temporary name, test it, stamp it, and put it in its place.

    The packages come from the folder `wheels`; None: from the network.
    """
    new = plan.folder.with_name(f"{plan.folder.name}.tmp-{os.getpid()}")
    log = home / "logs" / "install.log"
    log.parent.mkdir(exist_ok=True)
    log.write_text("", encoding="utf-8")
    index, gigabytes, room = ("", 0, 3) if wheels else torch_build()
    if shutil.disk_usage(home).free < room * 1e9:
        raise Fault(f"GPT Desk needs {room} GB free on the disk of {home}: free some, or use another with --home DIR.")
    doing = "Renewing" if plan.folder.exists() else "Making"
    work = f"from the packages in {wheels}, without network" if wheels else f"about {gigabytes} GB to download"
    say(f"{doing} the environment {plan.folder}: {work}, once")
    try:
        make_venv(new)
        pip = pip_for(new)
        for arguments in pip_rounds(pip, plan.packages, index=index, folder=new):
            pip_install(pip, arguments, folder=new, log=log, wheels=wheels)
        say("  testing it ...")
        stamp = {"key": plan.key, "python": base_python(new), "files": imported_files(new, plan.verify)}
        shutil.rmtree(new / "tmp", ignore_errors=True)
        (new / STAMP).write_text(json.dumps(stamp), encoding="utf-8")
        replace(plan.folder, new)
    except OSError as error:
        raise Fault(explanation(f"{type(error).__name__}: {error}")) from None
    finally:
        shutil.rmtree(new, ignore_errors=True)


def prepare(plan: Plan, home: Path) -> None:
    """Run the module that prepares a new environment, if the plan has one; a failure is told, and stops nothing."""
    if not plan.prepare:
        return
    command, log = [str(python_of(plan.folder)), "-m", plan.prepare], home / "logs" / "install.log"
    code, output = 1, ""
    with suppress(OSError):
        code, output = run_visibly(
            command,
            desk_environment(home),
            log=log,
            progress=lambda seconds: f"compiling for this processor: {seconds:.0f} s",
            limit=LONGEST_PREPARATION,
        )
    if code:
        reason = (output.strip().splitlines() or [f"it ended with code {code}"])[-1][:200]
        say(f"  Not compiled, so models run more slowly: {reason} (the complete log: {log})")


def torch_build() -> tuple[str, float, int]:
    """Return the index to take torch from ("": PyPI), and the gigabytes to download and to have free."""
    if sys.platform == "darwin":
        return "", 0.2, 3
    with suppress(OSError, subprocess.TimeoutExpired):
        if subprocess.run(["nvidia-smi"], capture_output=True, timeout=20).returncode == 0:
            return CUDA_WHEELS if WINDOWS else "", 3, 10
    return CPU_WHEELS, 0.4, 3


def pip_rounds(pip: list[str], packages: list[str], *, index: str, folder: Path) -> list[list[str]]:
    """Return the arguments of each call of pip: torch first, where it has an index of its own, then all packages.

    Only torch, so that nothing else can come from there; and not where the user has configured an index.
    """
    torch = [package for package in packages if re.match(r"torch\b(?!-)", package)]
    apart = bool(torch and index) and not names_an_index(pip, folder)
    return [["--no-deps", "--index-url", index, *torch]] * apart + [packages] * bool(packages)


def names_an_index(pip: list[str], folder: Path) -> bool:
    """Return whether the user has configured where pip gets packages from; then we do not choose."""
    done = subprocess.run([*pip, "config", "list"], env=pip_environment(folder / "tmp"), capture_output=True, text=True)
    return bool(re.search(r"^[^=]*\b(index-url|find-links|no-index)=(?!''$)", done.stdout, re.MULTILINE))


def make_venv(folder: Path) -> None:
    """Make an empty environment, with pip inside if this Python has ensurepip."""
    try:
        import venv
    except ImportError:
        raise Fault(venv_missing()) from None
    for with_pip in [True, False] if importlib.util.find_spec("ensurepip") else [False]:
        with suppress(subprocess.CalledProcessError):  # Debian's ensurepip may be there and refuse
            return venv.EnvBuilder(symlinks=not WINDOWS, clear=True, with_pip=with_pip).create(folder)


def replace(old: Path, new: Path) -> None:
    """Put a finished environment in the place of the old one, and name the plugins that are lost with the old one."""
    if not WINDOWS:  # scripts name their interpreter; on Windows they are programs, which we do not use
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
    """Rename a folder; on Windows again and again, as a virus scanner may still be reading the new files."""
    for pause in (0.2, 0.8, 3.2):
        with suppress(PermissionError):
            return os.rename(old, new)
        time.sleep(pause)
    os.rename(old, new)


# --- 7. Running the desk in its environment ---------------------------------------------------------------------
def desk_environment(home: Path) -> dict[str, str]:
    """Return the variables for the desk: our packages from the clone, the others from its environment."""
    ours = {"GPTDESK_HOME": str(home), "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1", "PYTHONNOUSERSITE": "1"}
    return {**clean_environment(), **ours}


def run(command: list[str], environment: dict[str, str], *, patience: float | None = None) -> int:
    """Run a child to its end and return its exit code. After Ctrl-C it has `patience` seconds, without one no limit.

    Ctrl-C twice within a second ends a child that hangs, with 130. Not an exec: the launcher explains a failure.
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
                if not terminal_signals_all():
                    child.send_signal(signal.SIGINT)
    except subprocess.TimeoutExpired:
        return 130
    finally:
        child.kill()


def forwarded() -> list[int]:
    """Return the signals to forward to the child: SIGTERM and, unless nohup ignores it, SIGHUP."""
    hangup = getattr(signal, "SIGHUP", None)  # Windows has none
    ignored = hangup is None or signal.getsignal(hangup) == signal.SIG_IGN
    return [signal.SIGTERM] if ignored else [signal.SIGTERM, hangup]


def wait(child: subprocess.Popen[bytes], patience: float | None = None) -> int:
    """Wait for the child and return its exit code; on Windows in short turns, as Ctrl-C arrives only between them."""
    while True:
        try:
            return child.wait(0.5 if WINDOWS and patience is None else patience)
        except subprocess.TimeoutExpired:
            if patience is not None:
                raise


def terminal_signals_all() -> bool:
    """Return whether Ctrl-C has reached the child too, as from a terminal whose foreground group is ours."""
    try:
        with open("/dev/tty") as terminal:
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:
        return WINDOWS


def run_desk(plan: Plan, home: Path, words: list[str]) -> int:
    """Run the app, or one of its verbs; if it fails or crashes at once, test the environment."""
    started, is_verb = time.monotonic(), bool(words) and not words[0].startswith("-") and words[0] != "serve"
    command = [str(python_of(plan.folder)), "-m", "gptdesk", *words]
    code = run(command, desk_environment(home), patience=None if is_verb else 1.5)
    if code in (1, 132, 134, 139) and time.monotonic() - started < 30:
        try:
            imported_files(plan.folder, plan.verify)
        except Fault as fault:
            raise Fault(f"{fault}\nThe environment is broken: run python launch.py --repair", code) from None
    return code


def own_options(words: list[str]) -> tuple[Path, bool, list[str]]:
    """Return the home folder, whether to repair, and the other words; all after --, pip, test and python are others."""
    home = os.environ.get("GPTDESK_HOME") or str(user_data_folder() / "gptdesk")
    repair, ahead, others = False, list(words), []
    while ahead and ahead[0] != "--" and others not in (["pip"], ["test"], ["python"]):
        word = ahead.pop(0)
        if word == "--repair":
            repair = True
        elif word.startswith("--home="):
            home = word[7:]
        elif word == "--home":
            home = ahead.pop(0) if ahead else ""
        else:
            others.append(word)
    if not home:
        raise Fault("--home needs a folder.", 2)
    return Path(os.path.abspath(os.path.expanduser(home))), repair, others + ahead


def main(words: list[str]) -> int:
    """Do what the command line says and return the exit code."""
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
        module = project_settings()["tool"]["gptdesk"]["launch"].get("prepare")
        if module:  # it forgets what was compiled whenever it sleeps
            subprocess.call([sys.executable, "-m", module], env=space)
        os.execve(sys.executable, [sys.executable, "-m", "gptdesk", *words], space)
    check_home(home)
    verb = words[0] if words else ""
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
