"""Cells whose remote data is recorded: the real probe in this process, and servers for it to talk to."""

from __future__ import annotations

import gzip
import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from reprokit.capture.probe import Context, Patch
from reprokit.capture.remote.remote import Remote
from reprokit.capture.worker import Worker
from reprokit.records import Gap, RemoteUse
from reprokit.settings import Settings
from reprokit.store.objects import Objects


def sha256(data: bytes) -> str:
    """Return a digest, computed without reprokit."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Remoted:
    """The remote probe at work."""

    def __init__(self, project: Path) -> None:
        self.gaps: list[Gap] = []
        self.errors: list[Exception] = []
        self.uses: dict[int, list[RemoteUse]] = {}
        self.seq = 0
        self.worker = Worker(self.errors.append)
        self.probe = Remote(
            Context(
                run_id="run",
                project=project,
                objects=Objects(project / "objects"),
                settings=Settings(),
                namespace=dict,
                emit=self.take,
                later=self.worker.submit,
                gap=self.gaps.append,
            )
        )
        self.probe.start()

    @contextmanager
    def cell(self) -> Iterator[list[RemoteUse]]:
        """Run the body as one cell; what it used is in the list afterwards."""
        self.seq += 1
        self.probe.before_cell(self.seq)
        told = self.uses.setdefault(self.seq, [])
        yield told
        self.take(self.seq, self.probe.after_cell(self.seq))
        assert self.worker.wait(60)
        assert self.probe._hooks.error is None, repr(self.probe._hooks.error)

    def stop(self) -> None:
        """Stop the probe."""
        self.probe.stop()
        self.worker.stop()
        assert self.errors == []

    def take(self, seq: int | None, patch: Patch | None) -> None:
        """Write a patch, as the session does to its journal."""
        assert seq is not None or not patch
        if patch is None:
            return
        for use in patch.set.get("remote", []):
            RemoteUse.from_dict(use)
        told = self.uses.setdefault(seq or 0, [])
        if "remote" in patch.set:
            told[:] = [RemoteUse.from_dict(use) for use in patch.set["remote"]]
        told += [RemoteUse.from_dict(use) for use in patch.add.get("remote", [])]


BODY = b"x,y\n1,2\n3,4\n" * 5000
STAMP = "Sat, 03 May 2025 14:02:11 GMT"


class Handler(BaseHTTPRequestHandler):
    """Serves the same bytes in every way that HTTP knows."""

    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # an answer leaves in one piece

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        """Answer without a body."""
        self._answer(BODY, {"ETag": '"one"', "Accept-Ranges": "bytes"}, head=True)

    def do_GET(self) -> None:
        """Answer by the path."""
        getattr(self, "_" + self.path.partition("?")[0].strip("/").replace(".", "_"), self._missing)()

    def do_POST(self) -> None:
        """Answer with what was sent."""
        sent = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(sent if "echo" in self.path else b"", {})

    do_PUT = do_POST  # noqa: N815

    def do_DELETE(self) -> None:
        """Answer that it is done."""
        self._answer(b"done", {})

    def _answer(self, body: bytes, headers: dict[str, str], status: int = 200, *, head: bool = False) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if not head:
            self.wfile.write(body)

    def _tagged(self) -> None:
        self._answer(BODY, {"ETag": '"one"'})

    def _dated(self) -> None:
        self._answer(BODY, {"Last-Modified": STAMP})

    def _bare(self) -> None:
        self._answer(BODY, {})

    def _gzip(self) -> None:
        self._answer(gzip.compress(BODY, mtime=0), {"Content-Encoding": "gzip"})

    def _missing(self) -> None:
        self._answer(b"no", {}, 404)

    def _unchanged(self) -> None:
        self._answer(b"", {"ETag": '"one"'}, 304)

    def _moved(self) -> None:
        self._answer(b"see there", {"Location": "/tagged"}, 302)

    def _range(self) -> None:
        span = self.headers.get("Range")
        if not span:
            return self._answer(BODY, {"ETag": '"one"', "Accept-Ranges": "bytes"})
        first, last = span.removeprefix("bytes=").split("-")
        begin, end = int(first), min(int(last or len(BODY) - 1), len(BODY) - 1)
        part = {"Content-Range": f"bytes {begin}-{end}/{len(BODY)}", "ETag": '"one"'}
        return self._answer(BODY[begin : end + 1], part, 206)

    def _chunked(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for place in range(0, len(BODY), 7001):
            piece = BODY[place : place + 7001]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def _closing(self) -> None:
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(BODY)
        self.close_connection = True

    def _torn(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY) + 10))
        self.end_headers()
        self.wfile.write(BODY)
        self.close_connection = True


@contextmanager
def served(handler: type[BaseHTTPRequestHandler] = Handler) -> Iterator[str]:
    """Serve on a port of this machine; the address is given."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
