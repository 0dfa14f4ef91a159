"""One running desk per home folder: find it, take a port for it, announce it.

Standard library only and quick to import: the app looks for a desk that runs already before it loads anything heavy.
"""

import contextlib
import errno
import hashlib
import http.client
import json
import logging
import os
import socket
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

log = logging.getLogger(__name__)


def home_id(home: Path) -> str:
    """A name for a home folder that tells nothing about it: 16 hexadecimal digits, the same for every spelling."""
    path = os.path.normcase(Path(home).resolve())
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:16]


def find_running(home: Path, *, patience: float = 10.0) -> str | None:
    """The address of the desk that runs on this home folder, or None.

    `running.json` says where it should be and the `/health` there whether it is; a file that nobody answers for is
    removed. A desk that has its port but does not answer yet is starting or busy: it is asked for `patience` seconds.
    """
    file = _announcement(home)
    try:
        url = str(json.loads(file.read_text(encoding="utf-8"))["url"])
        end = time.monotonic() + patience
        while True:
            try:
                health = _get(f"{url.rstrip('/')}/health")
                break
            except TimeoutError:
                if time.monotonic() > end:
                    log.warning("the desk at %s does not answer", url)
                    return None
        if health["app"] == "gptdesk" and health["home"] == home_id(home):
            return url
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError, RecursionError, http.client.HTTPException) as error:
        log.debug("%s is stale: %r", file, error)
    with contextlib.suppress(OSError):
        file.unlink()
    return None


def _announcement(home: Path) -> Path:
    return Path(home) / "running.json"


def _get(url: str) -> dict[str, str]:
    """One JSON object, asked for directly: `http.client` knows no proxies, and localhost must not go through one."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=1)
    try:
        connection.request("GET", parts.path)
        response = connection.getresponse()
        if response.status != 200:
            raise ValueError(f"{url} answers {response.status}")
        return json.loads(response.read(65536))
    finally:
        connection.close()


def bind(host: str, port: int, *, attempts: int = 100) -> socket.socket:
    """A socket that listens on the port or, where that is taken or reserved, on the next free one; port 0: on any.

    It listens at once, so that the port is ours from here on. ValueError, in one sentence: no such host here, no such
    port, or none of `attempts` ports is free.
    """
    if not 0 <= port <= 65535:
        raise ValueError(f"port must be from 0 to 65535, not {port}")
    try:
        found = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        found = []
    if not found:
        raise ValueError(f"host must be a name or an address of this computer, not {host!r}")
    family, _, _, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)  # localhost is 127.0.0.1 first
    last = min(port + max(attempts, 1) - 1, 65535) if port else 0
    for candidate in range(port, last + 1):
        try:
            return _listen(family, (address[0], candidate, *address[2:]))
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                reason = error.strerror
                raise ValueError(f"host must be an address of this computer, not {host!r} ({reason})") from None
    raise ValueError(f"no port from {port} to {last} is free; choose another with --port, or 0 for any free one")


def _listen(family: int, address: tuple[str | int, ...]) -> socket.socket:
    """Bind and listen so that a port which another program uses is an error on every system.

    On Windows SO_REUSEADDR would share it, and SO_EXCLUSIVEADDRUSE is what refuses; elsewhere SO_REUSEADDR only passes
    over connections that are closing, except that macOS binds 127.0.0.1 beside another program's 0.0.0.0.
    """
    # named as TCP, or asyncio does not switch off Nagle's algorithm: each answer on an open connection waits 40 ms then
    server = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if sys.platform == "win32":
            server.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sys.platform == "darwin" and address[1]:
            with socket.socket(family, socket.SOCK_STREAM) as visitor:
                if visitor.connect_ex(address) == 0:
                    raise OSError(errno.EADDRINUSE, "Address already in use")
        server.bind(address)
        server.listen(128)
    except OSError:
        server.close()
        raise
    return server


@contextlib.contextmanager
def announce(home: Path, url: str, *, replace: bool = False) -> Iterator[None]:
    """Say in `running.json` that this process is the home's desk, as long as the block runs.

    Call it as soon as the port is bound: a second start that comes meanwhile waits for this desk instead of making
    another one. FileExistsError if another desk has announced itself first, unless it is to be replaced. At the end
    the file is removed, unless another desk has written its own in between.
    """
    ours = json.dumps({"pid": os.getpid(), "url": url, "started": datetime.now(UTC).isoformat()})
    file = _announcement(home)
    new = file.with_name(f"{file.name}.{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        new.unlink()
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as opened:
        opened.write(ours)
    try:
        if replace:
            os.replace(new, file)
        else:
            _move_if_free(new, file)
    finally:
        with contextlib.suppress(FileNotFoundError):
            new.unlink()
    try:
        yield
    finally:
        with contextlib.suppress(OSError, UnicodeError):
            if file.read_text(encoding="utf-8") == ours:
                file.unlink()


def _move_if_free(new: Path, file: Path) -> None:
    """Give `new` the name `file` in one step; FileExistsError if that is taken."""
    if sys.platform == "win32":
        os.rename(new, file)  # refuses by itself
        return
    try:
        os.link(new, file)  # the one POSIX call that names a whole file and refuses to overwrite
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: nearly as good
        if file.exists():
            raise FileExistsError(errno.EEXIST, "another desk has announced itself", str(file)) from None
        os.replace(new, file)
