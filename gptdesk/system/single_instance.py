"""Single desk per home folder: lookup, port, announcement.

Standard library only: the app looks for a running desk before it imports anything large.
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
    """Return an identifier of a home folder that does not reveal its path: 16 hexadecimal digits."""
    path = os.path.normcase(Path(home).resolve())
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:16]


def find_running(home: Path, *, patience: float = 10.0) -> str | None:
    """Return the address of the desk that runs on this home folder, or None.

    `running.json` names the address and GET /health there confirms it; a stale file is removed. A desk that has its
    port but does not answer yet is starting or busy: it is asked again for `patience` seconds.
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


def has_page(url: str) -> bool:
    """Return whether the desk that runs at `url` has a page; True if it does not say, or no longer answers."""
    try:
        return _get(f"{url.rstrip('/')}/health").get("page") is not False
    except (OSError, ValueError, http.client.HTTPException):
        return True


def _announcement(home: Path) -> Path:
    return Path(home) / "running.json"


def _get(url: str) -> dict[str, object]:
    """Return the JSON object at `url`; `http.client` ignores proxies, which localhost must not go through."""
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
    """Return a socket that listens on the port or, if that is taken or reserved, on the next free one; port 0: on any.

    It listens at once, so that no other program can take the port. Raises ValueError for a host that is not here, an
    invalid port, or if none of `attempts` ports is free.
    """
    if not 0 <= port <= 65535:
        raise ValueError(f"port must be from 0 to 65535, not {port}")
    try:
        addresses = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        addresses = []
    if not addresses:
        raise ValueError(f"host must be a name or an address of this computer, not {host!r}")
    family, _, _, _, address = min(addresses, key=lambda one: one[0] != socket.AF_INET)  # localhost is 127.0.0.1 first
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
    """Bind and listen, with an error on every system for a port that another program uses.

    On Windows SO_REUSEADDR would share the port, and SO_EXCLUSIVEADDRUSE refuses that; elsewhere SO_REUSEADDR ignores
    closing connections only, except that macOS binds 127.0.0.1 beside another program's 0.0.0.0.
    """
    # with the protocol, or asyncio leaves Nagle's algorithm on: each answer on an open connection takes 40 ms more
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
    """Announce this process in `running.json` as the home's desk while the block runs.

    Call it as soon as the port is bound: a second start then waits for this desk instead of starting another. Raises
    FileExistsError if another desk has announced itself first, unless `replace` is set. At the end the file is
    removed, unless another desk has written its own meanwhile.
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
    """Rename `new` to `file` in one step; raises FileExistsError if that exists."""
    if sys.platform == "win32":
        os.rename(new, file)  # which refuses to replace
        return
    try:
        os.link(new, file)  # the POSIX call that names a file and refuses to overwrite
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: not in one step
        if file.exists():
            raise FileExistsError(errno.EEXIST, "another desk has announced itself", str(file)) from None
        os.replace(new, file)
