"""Cells that read from a server: recorded in a real kernel, replayed against the same data and against other data."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from workbench import Bench

from reprokit.views.status import status_text


class Prices(ThreadingHTTPServer):
    """A server of one table, which may be changed."""

    body = b"day,price\n1,10\n2,20\n"

    @property
    def url(self) -> str:
        """Where the table is."""
        return f"http://127.0.0.1:{self.server_address[1]}/prices.csv"


class Handler(BaseHTTPRequestHandler):
    """Serves the table."""

    def do_GET(self) -> None:
        """Send it, with its tag."""
        assert isinstance(self.server, Prices)
        self.send_response(200)
        self.send_header("ETag", f'"{hash(self.server.body)}"')
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def prices() -> Iterator[Prices]:
    server = Prices(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def cells(prices: Prices) -> list[str]:
    return [
        "%load_ext reprokit",
        "%repro start",
        f"import pandas as pd\ntable = pd.read_csv('{prices.url}')",
        f"import requests\nlength = len(requests.get('{prices.url}?again').content)",
        "print(len(table))",
        "%repro stop",
    ]


def test_a_session_that_read_from_a_server_is_repeated_while_the_server_has_the_same(
    bench: Bench, prices: Prices
) -> None:
    assert bench.run_cells(cells(prices)) == [""] * 6
    run = bench.latest()
    by_source = {cell.source.partition("\n")[0]: cell for cell in run.cells}
    (read,) = by_source["import pandas as pd"].remote
    (again,) = by_source["import requests"].remote
    assert (read.url, again.url) == (prices.url, f"{prices.url}?again")
    assert read.digest == again.digest
    assert read.size == len(prices.body)
    assert (read.version or "").startswith("ETag")
    assert all(cell.remote == () for cell in run.cells if cell.remote not in ((read,), (again,)))
    assert [gap.blocks for gap in run.gaps if gap.aspect == "remote"] == [False, False]
    assert "2 reads from 1 host" in status_text(run)
    assert prices.url in bench.reprokit("show", "latest")
    shown = json.loads(bench.reprokit("show", "latest", "--json"))
    assert [use["url"] for cell in shown["cells"] for use in cell["remote"]] == [prices.url, f"{prices.url}?again"]
    assert bench.verdict("latest")["verdict"] == "identical"

    prices.body = b"day,price\n1,11\n2,20\n"
    verdict = bench.verdict("latest", code=1)
    assert verdict["verdict"] == "diverged"
    first = verdict["first_divergence"]
    assert (first["cell"], first["cause"], first["difference"]) == (
        by_source["import pandas as pd"].seq,
        "network",
        f"{prices.url} changed",
    )
