"""A loopback file server that can cut, refuse and redirect, and an empty cache for each test."""

import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


@dataclass
class Served:
    """What the server does with one path."""

    body: bytes = b""
    etag: str | None = '"v1"'
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    # Bytes of body to send before closing the connection, one entry a request; whole when used up.
    cuts: list[int] = field(default_factory=list)
    # Statuses to answer with, one a request, before the file is served.
    refusals: list[int] = field(default_factory=list)
    declare_length: bool = True
    # What to claim as Content-Range in answer to a range; None tells the truth.
    content_range: str | None = None
    drip: bool = False


class FileServer:
    """Serves `files` by path on 127.0.0.1 and keeps each request's method, path and headers."""

    def __init__(self):
        self.files = {}
        self.requests = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.requests.append((self.command, self.path, dict(self.headers)))
                outer.answer(self)

            do_HEAD = do_GET

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.stopped = threading.Event()
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def serve(self, path, body=b"", **options):
        self.files[path] = Served(body, **options)
        return self.url + path

    def close(self):
        self.stopped.set()
        self.server.shutdown()
        self.server.server_close()

    def answer(self, request):
        served = self.files.get(request.path.partition("?")[0])
        if served is None or served.refusals:
            request.send_error(served.refusals.pop(0) if served else 404)
            return
        start, status = 0, served.status
        asked = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
        if asked and request.headers.get("If-Range", served.etag) == served.etag:
            start, status = int(asked[1]), 206
            if start >= len(served.body):
                request.send_error(416)
                return
        request.send_response(status)
        if status == 206:
            truth = f"bytes {start}-{len(served.body) - 1}/{len(served.body)}"
            request.send_header("Content-Range", served.content_range or truth)
        if served.etag is not None:
            request.send_header("ETag", served.etag)
        if served.declare_length:
            request.send_header("Content-Length", str(len(served.body) - start))
        for name, value in served.headers.items():
            request.send_header(name, value)
        request.end_headers()
        if request.command == "HEAD":
            return
        end = start + served.cuts.pop(0) if served.cuts else len(served.body)
        if served.drip:
            while not self.stopped.wait(0.02):
                request.wfile.write(b".")
                request.wfile.flush()
        request.wfile.write(served.body[start:end])


@pytest.fixture
def server():
    running = FileServer()
    yield running
    running.close()


@pytest.fixture
def closed_url(server):
    """An address on this machine where nothing listens."""
    other = FileServer()
    other.close()
    return other.url


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty EDGEKIT_CACHE."""
    path = tmp_path / "cache"
    monkeypatch.setenv("EDGEKIT_CACHE", str(path))
    return path
