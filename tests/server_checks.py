"""A real server on this computer for the tests that fetch: whole, cut off, slow, resumable, or gone."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PIECE = 4096  # bytes sent at a time


@dataclass
class Served:
    """What a server sends; may be changed between two requests."""

    body: bytes
    length: int | None = None  # that it claims, if not the true one
    status: int = 200
    pause: float = 0.0  # seconds after each piece
    etag: str = ""
    cut: int | None = None  # bytes after which the connection ends
    url: str = ""
    asked: list[dict[str, str]] = field(default_factory=list)  # headers of the requests so far


@contextmanager
def serving(served: Served, *, path: str = "file.txt") -> Iterator[Served]:
    """Serve until the block ends; `served.url` says where."""
    done = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.asked.append(dict(self.headers))
            begin = 0
            if served.etag and self.headers.get("If-Range") == served.etag:
                begin = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            body = served.body[begin:]
            if begin and not body:
                self.send_error(416)
                return
            self.send_response(206 if begin else served.status)
            self.send_header("Content-Length", str(len(body) if served.length is None else served.length))
            if served.etag:
                self.send_header("ETag", served.etag)
            self.end_headers()
            for start in range(0, len(body[: served.cut]), PIECE):
                if done.is_set():
                    return
                try:
                    self.wfile.write(body[: served.cut][start : start + PIECE])
                except OSError:
                    return
                done.wait(served.pause)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_port}/{path}"
    try:
        yield served
    finally:
        done.set()
        server.shutdown()
        server.server_close()
        thread.join()
