"""Client process of a public link: Gradio's tunnel to a port of this computer, held until the standard input ends.

`python -m gptdesk.page.tunnel PORT FOLDER` writes JSON lines: `{"url": ...}` once there is a link, `{"fault": ...}`, a
sentence, when there is none (any more). It is a process of its own because Gradio writes into the working directory,
prints, and waits for a client program that has ended without an end; and so that the client ends with the desk.
"""

import contextlib
import hashlib
import json
import os
import platform
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, NoReturn, TextIO
from urllib.parse import urlsplit

import httpx
from gradio import networking, tunneling
from gradio.exceptions import ChecksumMismatchError, ShareCertificateWriteError
from gradio.tunneling import Tunnel

LOOK = 0.1  # seconds between two looks at the client program while it starts
SILENCE = float(tunneling.TUNNEL_TIMEOUT_SECONDS)  # seconds in which the share server must have given an address
LAST_WORDS = 1.0  # seconds to read what a client program that has ended wrote
SHOWN = 200  # characters of what another program says
OWN = "GRADIO_SHARE_SERVER_ADDRESS"
AGAIN = "switch Share on again"


class NoLink(Exception):
    """Failure to open a link; the message is the sentence for the user."""


def main(arguments: list[str]) -> NoReturn:
    """Hold a link to the port until the standard input ends, or the link does."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what Gradio prints is no answer
    signal.signal(signal.SIGTERM, lambda *_: end())
    os.chdir(arguments[1])  # where Gradio writes the certificate of its server
    threading.Thread(target=hold_link, args=(int(arguments[0]), answers), daemon=True).start()
    over = threading.Event()

    def read() -> None:
        sys.stdin.buffer.read()
        over.set()

    threading.Thread(target=read, daemon=True).start()
    while not over.wait(LOOK):  # not one long read, which a signal may come just too early to interrupt
        pass
    end()


def hold_link(port: int, answers: TextIO) -> NoReturn:
    """Open a link, write its address, and end when it ends."""
    try:
        url = open_link(port)
        _say(answers, url=url)
        words = _wait_for_exit(tunneling.CURRENT_TUNNELS[-1])
        _say(answers, fault=f"the link {url} has ended, for its client program has ({words}); {AGAIN} for a new one")
    except NoLink as reason:
        _say(answers, fault=f"the link could not be made: {reason}")
    except Exception as error:
        _say(answers, fault=f"the link could not be made: {type(error).__name__}: {_line(str(error))}; try again later")
    end()


def end() -> NoReturn:
    """End this process and the client program."""
    if sys.platform != "win32" and os.getpgrp() == os.getpid():  # both at once, also one that has just been started
        os.killpg(0, signal.SIGKILL)
    for tunnel in tunneling.CURRENT_TUNNELS:
        if program := _program(tunnel):
            program.kill()
    os._exit(0)


def open_link(port: int) -> str:
    """Return the address of a new link to this port; NoLink if there can be none."""
    server = os.environ.get(OWN)
    if server is not None and not re.fullmatch(r"[^\s:/]+:[0-9]{1,5}", server):
        raise NoLink(f"{OWN} must be a name and a port, as in share.example.org:7000, not {_line(server)!r}")
    get_program()
    with ThreadPoolExecutor(1) as pool:
        made = pool.submit(networking.setup_tunnel, "127.0.0.1", port, secrets.token_urlsafe(32), None, None)
        is_silent = _wait_for_link(made)
        try:
            address = made.result()
        except ValueError as error:
            raise NoLink(_refusal(error, is_silent=is_silent)) from None
        except ShareCertificateWriteError as error:
            raise NoLink(f"the certificate of the share server cannot be saved ({_line(str(error))})") from None
        except RuntimeError as error:
            raise NoLink(_no_server(error.__cause__)) from None
        except OSError as error:
            raise NoLink(_blocked(error)) from None
    parts = urlsplit(address.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise NoLink(f"the share server gave an address that is none, {_line(address)!r}; try again later")
    # Gradio's server serves by HTTPS what its client calls http; a server of one's own says what it does
    return (parts if server is not None else parts._replace(scheme="https")).geturl()


# The client program


def get_program() -> None:
    """Download the client program unless it is there, and verify its checksum; NoLink if that fails.

    Gradio looks only at what it has just downloaded, and leaves there what is wrong.
    """
    path, server = Path(tunneling.BINARY_PATH), urlsplit(tunneling.BINARY_URL).netloc
    wanted = tunneling.CHECKSUMS.get(tunneling.BINARY_URL)
    try:
        if path.exists() and wanted not in (None, hashlib.sha256(path.read_bytes()).hexdigest()):
            path.unlink()
        Tunnel.download_binary()
    except ChecksumMismatchError:
        path.unlink(missing_ok=True)
        raise NoLink(
            f"the client program that came from {server} is not the one that Gradio names (wrong checksum), and was "
            "deleted; try again, from another network if it comes again"
        ) from None
    except httpx.HTTPStatusError as error:
        if error.response.status_code == 404:
            raise NoLink(_no_program()) from None
        raise NoLink(f"{server} did not give the client program ({_line(str(error))}); try again later") from None
    except httpx.HTTPError as error:
        raise NoLink(
            f"the client program cannot be downloaded from {server} ({_why(error)}); connect to the internet, or allow "
            f"it in the firewall, and {AGAIN}"
        ) from None
    except OSError as error:
        if error.errno is None:  # Gradio's own, for HTTP 403
            raise NoLink(_no_program()) from None
        raise NoLink(
            f"the client program cannot be saved as {path} ({error.strerror}); make room there, or name another "
            "folder by HF_HOME"
        ) from None


def _no_program() -> str:
    system = f"{platform.system()} on {platform.machine()}"
    return f"Gradio has no client program for this computer ({system}); use a proxy of your own, see docs/public.md"


def _program(tunnel: Tunnel) -> "subprocess.Popen[bytes] | None":
    """Return the process that Gradio has started for a tunnel, if it has."""
    program: subprocess.Popen[bytes] | None = tunnel.proc
    return program


def _wait_for_link(made: "Future[str]") -> bool:
    """Wait for the link; a client program that has ended, or says nothing, ends it. Return whether it said nothing.

    Gradio looks at its time limit only between two lines of the program, and at its end not at all.
    """
    began = None
    while not made.done():
        program = _program(tunneling.CURRENT_TUNNELS[-1]) if tunneling.CURRENT_TUNNELS else None
        if program is not None:
            began = began or time.monotonic()
            is_silent = time.monotonic() > began + SILENCE
            if is_silent or program.poll() is not None:
                program.kill()
                tunneling.TUNNEL_TIMEOUT_SECONDS = 0  # so that Gradio goes on, and tells what it has read
                return is_silent
        time.sleep(LOOK)
    return False


def _wait_for_exit(tunnel: Tunnel) -> str:
    """Wait for the end of a client program, and read what it writes, or it would stop; return its last words."""
    program, words = _program(tunnel), [""]
    assert program is not None

    def read(stream: IO[bytes]) -> None:
        for line in stream:
            words[0] = _line(line.decode("utf-8", "replace")) or words[0]

    readers = [threading.Thread(target=read, args=(one,), daemon=True) for one in (program.stdout, program.stderr)]
    for reader in readers:
        reader.start()
    code = program.wait()
    for reader in readers:
        reader.join(LAST_WORDS)
    return words[0] or f"exit code {code}"


# Sentences


def _refusal(error: ValueError, *, is_silent: bool) -> str:
    """Say why a client program that was started gave no address."""
    last = _line(str(error).strip().rpartition("\n")[2]) if "\n" in str(error).strip() else ""
    server = os.environ.get(OWN) or "the share server"
    if "login to server failed" in last:
        reason = last.partition("login to server failed")[2].strip(" :.") or "no reason given"
        return f"{server} refused it ({reason}); try again later, or name a server of your own by {OWN}"
    if is_silent:
        return f"{server} did not answer in {SILENCE:.0f} seconds; check the connection, or try again later"
    tunnel = tunneling.CURRENT_TUNNELS[-1]
    words = _rest(tunnel) or last or "it said nothing"
    return f"its client program ended by itself ({words}); try again, or allow it in the antivirus program"


def _rest(tunnel: Tunnel) -> str:
    """Return the last line that a client program which has ended wrote as an error."""
    program = _program(tunnel)
    stream = program.stderr if program else None
    lines: list[str] = stream.read(10_000).decode("utf-8", "replace").strip().splitlines() if stream else []
    return _line(lines[-1]) if lines else ""


def _no_server(cause: BaseException | None) -> str:
    server = urlsplit(networking.GRADIO_API_SERVER).netloc
    if isinstance(cause, httpx.TransportError):
        return (
            f"Gradio's share service {server} cannot be reached ({_why(cause)}); connect to the internet, or allow it "
            f"in the firewall, and {AGAIN}"
        )
    return f"Gradio's share service {server} named no server; try again later, see https://status.gradio.app"


def _blocked(error: OSError) -> str:
    return (
        f"the client program {tunneling.BINARY_PATH} cannot be run ({error.strerror or error}); allow it in the "
        "antivirus program, or name another folder by HF_HOME"
    )


def _why(error: Exception) -> str:
    return _line(str(error)) or type(error).__name__


def _line(text: str) -> str:
    """Return the first line of what another program said, shortened, without what a terminal would obey."""
    first = next(iter(text.strip().splitlines()), "")
    return "".join(character for character in first if character.isprintable())[:SHOWN]


def _say(answers: TextIO, **said: str) -> None:
    with contextlib.suppress(OSError):  # the desk has ended, and so shall we
        print(json.dumps(said), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
