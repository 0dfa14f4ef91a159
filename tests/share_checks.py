"""Stand-ins for what a public link needs of the internet: Gradio's share service, its share server and its client."""

import hashlib
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from server_checks import http_server

VISITOR = "93.184.216.34"  # the address that the share server sees, unless the visitor says which it pretends to have

# Takes the arguments of frpc and prints what it prints. It is the share server as well: it listens where visitors come,
# adds the address it saw to the header, and passes everything on to the desk. With --tls it wants the certificate.
CLIENT = f"""#!{sys.executable} -IS
import os, re, socket, sys, threading, time
given = dict(zip(sys.argv, sys.argv[1:]))
certificate = given.get("--tls_trusted_ca_file")
if certificate and "CERTIFICATE" not in open(certificate).read():
    sys.exit("no certificate")
mode = os.environ.get("STANDIN_CLIENT", "")
print("2027/01/01 [I] [service.go:288] try to connect to server", flush=True)
if mode == "refuses":
    print("2027/01/01 [W] [service.go:104] login to server failed: token in login does not match", flush=True)
    time.sleep(60)
if mode == "dies":
    sys.exit("panic: no memory")
if mode == "silent":
    time.sleep(60)

def pump(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass
    for end in (source, sink):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

def serve(visitor):
    head = b""
    while b"\\r\\n\\r\\n" not in head:
        data = visitor.recv(65536)
        if not data:
            return visitor.close()
        head += data
    head, _, rest = head.partition(b"\\r\\n\\r\\n")
    pretended = re.search(rb"(?i)\\r\\nx-pretended: (\\S*)", head)
    seen = pretended[1] if pretended else b"{VISITOR}"
    said = re.search(rb"(?i)\\r\\nx-forwarded-for: ([^\\r]*)", head)
    head = re.sub(rb"(?i)\\r\\n(connection|x-forwarded-for):[^\\r]*", b"", head)
    chain = (said[1] + b", " if said else b"") + seen + b", 10.0.0.7"
    head += b"\\r\\nX-Forwarded-For: " + chain + b"\\r\\nConnection: close"
    desk = socket.create_connection((given["-i"], int(given["-l"])))
    desk.sendall(head + b"\\r\\n\\r\\n" + rest)
    threading.Thread(target=pump, args=(desk, visitor), daemon=True).start()
    pump(visitor, desk)

door = socket.create_server(("127.0.0.1", 0))
name = "x y" if mode == "nonsense" else f"http://127.0.0.1:{{door.getsockname()[1]}}"
print(f"2027/01/01 [I] [control.go:172] [random] start proxy success: {{name}}", flush=True)
print("x" * 200_000, file=sys.stderr, flush=True)  # more than a pipe holds, if nobody reads it
while True:
    threading.Thread(target=serve, args=(door.accept()[0],), daemon=True).start()
"""

# Read by every Python that starts; the client process of a link gets the stand-ins instead of what is on the internet.
CUSTOMIZED = """
import os, sys
if "gptdesk.page.tunnel" in sys.orig_argv:
    from gradio import networking, tunneling
    networking.GRADIO_API_SERVER = os.environ["STANDIN_API"]
    tunneling.BINARY_URL = os.environ["STANDIN_PROGRAM"]
    tunneling.CHECKSUMS = {tunneling.BINARY_URL: os.environ["STANDIN_CHECKSUM"]}
"""


@dataclass
class ShareService:
    """What the stand-in of Gradio's service answers; may be changed between two requests."""

    named: bytes = b""  # the answer to who asks for a share server
    program: bytes = CLIENT.encode()
    status: int = 200  # of the download of the program
    url: str = ""
    asked: list[str] = field(default_factory=list)  # paths, in the order in which they were asked for

    @property
    def checksum(self) -> str:
        return hashlib.sha256(CLIENT.encode()).hexdigest()

    def variables(self, folder: Path) -> dict[str, str]:
        """Environment variables with which a desk uses the stand-ins; the client program lies below `folder`."""
        (folder / "site").mkdir(parents=True, exist_ok=True)
        (folder / "site" / "sitecustomize.py").write_text(CUSTOMIZED)
        return {
            "HF_HOME": str(folder / "huggingface"),
            "STANDIN_API": f"{self.url}/v3/tunnel-request",
            "STANDIN_PROGRAM": f"{self.url}/frpc",
            "STANDIN_CHECKSUM": self.checksum,
            "NO_PROXY": "127.0.0.1",
        }


@contextmanager
def share_service() -> Iterator[ShareService]:
    """Serve until the block ends."""
    service = ShareService(json.dumps([{"host": "127.0.0.1", "port": 7000, "root_ca": "CERTIFICATE"}]).encode())

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            service.asked.append(self.path)
            is_program = self.path.endswith("/frpc")
            body = service.program if is_program else service.named
            self.send_response(service.status if is_program else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http_server(Handler) as service.url:
        yield service
