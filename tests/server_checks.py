"""Real local servers for the tests of downloads: one file that is whole, cut off, slow or resumable, and a Hub."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PIECE = 4096  # bytes sent at a time
DATE, LATER = "Mon, 01 Jan 2024 10:00:00 GMT", "Tue, 02 Jan 2024 10:00:00 GMT"


@dataclass
class Served:
    """Answer of a server; may be changed between two requests."""

    body: bytes
    length: int | None = None  # that it claims, if not the true one
    status: int = 200
    pause: float = 0.0  # seconds after each piece
    modified: str = ""  # date of the file, by which a download is resumed
    etag: str = ""  # by which the Hub's library resumes
    location: str = ""  # of the file, for a status that says that it has moved
    delay: float = 0.0  # seconds before the headers
    cut: int | None = None  # bytes after which the connection ends
    url: str = ""
    asked: list[dict[str, str]] = field(default_factory=list)  # headers of the requests so far


@contextmanager
def serving(served: Served, *, path: str = "file.txt") -> Iterator[Served]:
    """Serve until the block ends; `served.url` says where."""
    done = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.asked.append({**self.headers, "path": self.path})
            begin = 0
            same = served.modified and self.headers.get("If-Range") == served.modified
            if "Range" in self.headers and (same or "If-Range" not in self.headers):
                begin = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            body = served.body[begin:]
            if begin and not body:
                self.send_error(416)
                return
            self.send_response(206 if begin else served.status)
            self.send_header("Content-Length", str(len(body) if served.length is None else served.length))
            self.send_others()
            self.end_headers()
            for start in range(0, len(body[: served.cut]), PIECE):
                if done.is_set():
                    return
                try:
                    self.wfile.write(body[: served.cut][start : start + PIECE])
                except OSError:
                    return
                done.wait(served.pause)

        def do_HEAD(self) -> None:
            done.wait(served.delay)
            self.send_response(served.status)
            self.send_header("Content-Length", str(len(served.body)))
            self.send_others()
            self.end_headers()

        def send_others(self) -> None:
            headers = {"Last-Modified": served.modified, "ETag": served.etag, "Location": served.location}
            for name, value in headers.items():
                if value:
                    self.send_header(name, value)
            if served.etag:
                self.send_header("X-Repo-Commit", "0" * 40)

        def log_message(self, *_: object) -> None:
            pass

    with http_server(Handler) as url:
        served.url = f"{url}/{path}"
        try:
            yield served
        finally:
            done.set()


@contextmanager
def http_server(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Serve on a free port for the length of the block; yield the address, and wait for all requests at the end."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
