"""A server on this machine that says something else later."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

__all__ = ["Answers"]

Say = Callable[[str, int, bool], str]


class Answers:
    """Answers requests by path, by how often it was asked for that, and by whether it is later."""

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self.url = f"http://localhost:{server.server_address[1]}"
        self.again = False

    def later(self) -> None:
        """Answer from now on as one does after the session."""
        self.again = True

    @classmethod
    @contextmanager
    def serving(cls, say: Say) -> Iterator[Answers]:
        """Serve until the block ends."""
        asked: Counter[str] = Counter()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked[self.path] += 1
                body = say(self.path, asked[self.path], answers.again).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json" if body[:1] in b"[{" else "text/csv")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        answers = cls(server)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield answers
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
