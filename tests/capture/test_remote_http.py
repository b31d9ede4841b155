"""Each request of each library is recorded once, with its version and the digest of what the server sent."""

from __future__ import annotations

import asyncio
import gzip
import http.client
import io
import pickle
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp
import pandas as pd
import pytest
import requests
import urllib3
from remoted import BODY, Remoted, served, sha256

SENT = {"gzip": gzip.compress(BODY, mtime=0)}
VERSIONS = {"tagged": 'ETag "one"', "dated": "Last-Modified Sat, 03 May 2025 14:02:11 GMT", "range": 'ETag "one"'}
PAGES = ("tagged", "dated", "bare", "gzip", "range", "chunked", "closing")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with served() as address:
        yield address


@pytest.fixture
def remoted(tmp_path: Path) -> Iterator[Remoted]:
    probe = Remoted(tmp_path)
    yield probe
    probe.stop()


def by_urllib(url: str) -> bytes:
    with urllib.request.urlopen(url) as answer:
        return bytes(answer.read())


def by_urllib_in_pieces(url: str) -> bytes:
    with urllib.request.urlopen(url) as answer:
        return b"".join(iter(lambda: answer.read(1000), b""))


def by_lines(url: str) -> bytes:
    with urllib.request.urlopen(url) as answer:
        return b"".join(answer)


def by_buffer(url: str) -> bytes:
    with urllib.request.urlopen(url) as answer:
        return io.BufferedReader(answer).read()


def by_read1(url: str) -> bytes:
    with urllib.request.urlopen(url) as answer:
        return b"".join(iter(lambda: answer.read1(500), b""))


def by_http_client(url: str) -> bytes:
    host, _, path = url.removeprefix("http://").partition("/")
    with closing(http.client.HTTPConnection(host)) as connection:
        connection.request("GET", f"/{path}")
        with connection.getresponse() as answer:
            return answer.read()


def by_requests(url: str) -> bytes:
    with requests.Session() as session:
        return session.get(url, headers={"Accept-Encoding": "identity"}).content


def by_requests_streaming(url: str) -> bytes:
    with requests.get(url, stream=True) as answer:
        return b"".join(answer.iter_content(999))


def by_requests_raw(url: str) -> bytes:
    with requests.get(url, stream=True) as answer:
        return b"".join(iter(lambda: answer.raw.read(4096), b""))


def by_urllib3(url: str) -> bytes:
    with urllib3.PoolManager() as pool:
        return pool.request("GET", url, decode_content=False).data


async def _aiohttp(url: str, read: Callable[[Any], Any]) -> bytes:
    async with aiohttp.ClientSession(auto_decompress=False) as session, session.get(url) as answer:
        return bytes(await read(answer))


def by_aiohttp(url: str) -> bytes:
    return asyncio.run(_aiohttp(url, lambda answer: answer.read()))


async def _pieces(answer: Any) -> bytes:
    return b"".join([piece async for piece in answer.content.iter_chunked(777)])


def by_aiohttp_in_pieces(url: str) -> bytes:
    return asyncio.run(_aiohttp(url, _pieces))


WAYS = (
    by_urllib, by_urllib_in_pieces, by_lines, by_buffer, by_read1, by_http_client, by_requests, by_requests_streaming,
    by_requests_raw, by_urllib3, by_aiohttp, by_aiohttp_in_pieces,
)  # fmt: skip


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("way", WAYS)
def test_what_was_sent_is_recorded(remoted: Remoted, server: str, way: Callable[[str], bytes], page: str) -> None:
    with remoted.cell() as told:
        got = way(f"{server}/{page}")
    sent = SENT.get(page, BODY)
    assert got in (sent, BODY)
    (use,) = told
    assert (use.kind, use.access, use.url) == ("http", "read", f"{server}/{page}")
    assert (use.size, use.digest, use.version) == (len(sent), sha256(sent), VERSIONS.get(page))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("page", [*PAGES, "missing", "torn"])
def test_results_and_errors_are_as_without_it(
    tmp_path: Path, server: str, way: Callable[[str], bytes], page: str
) -> None:
    def outcome() -> object:
        try:
            return way(f"{server}/{page}")
        except Exception as error:
            return type(error), str(error).partition("(")[0].partition(",")[0]

    without = outcome()
    probe = Remoted(tmp_path)
    with probe.cell():
        recorded = outcome()
    probe.stop()
    assert recorded == without == outcome()


def test_a_redirection_and_where_it_leads(remoted: Remoted, server: str) -> None:
    with remoted.cell() as told:
        requests.get(f"{server}/moved")
    assert [(use.url, use.size, use.version) for use in told] == [
        (f"{server}/moved", 0, "redirect to /tagged"),
        (f"{server}/tagged", len(BODY), 'ETag "one"'),
    ]
    assert not any(gap.blocks for gap in remoted.gaps)


def test_a_part_says_which_part(remoted: Remoted, server: str) -> None:
    with remoted.cell() as told:
        requests.get(f"{server}/range", headers={"Range": "bytes=10-29"})
        with urllib.request.urlopen(f"{server}/bare") as answer:
            answer.read(100)
    assert [use.url for use in told] == [f"{server}/range#bytes=10-29", f"{server}/bare#bytes=0-99"]
    assert [use.digest for use in told] == [sha256(BODY[10:30]), sha256(BODY[:100])]


def test_a_head_is_no_data_and_goes_without_saying_before_a_get(remoted: Remoted, server: str) -> None:
    with remoted.cell() as told:
        requests.head(f"{server}/tagged")
    assert [(use.size, use.version) for use in told] == [(0, 'ETag "one"')]
    with remoted.cell() as told:
        requests.head(f"{server}/tagged")
        requests.get(f"{server}/tagged")
    assert [use.size for use in told] == [len(BODY)]


def test_what_is_sent_is_a_write_and_an_answer_to_a_post_is_read(remoted: Remoted, server: str) -> None:
    with remoted.cell() as told:
        requests.put(f"{server}/put", data=b"abc")
        requests.post(f"{server}/post", data=b"abc")
        requests.post(f"{server}/echo", data=b"abc")
        requests.delete(f"{server}/gone")
    assert [(use.access, use.url.rpartition("/")[2]) for use in told] == [
        ("write", "put"), ("write", "post"), ("read", "echo"), ("write", "gone"),
    ]  # fmt: skip
    assert told[2].digest == sha256(b"abc")
    assert {use.digest for use in told if use.access == "write"} == {None}


def test_secrets_stay_out(remoted: Remoted, server: str) -> None:
    with remoted.cell() as told:
        url = server.replace("//", "//me:hidden1@") + "/tagged?token=hidden2&X-Amz-Signature=hidden3&page=2"
        requests.get(url)
        requests.get(f"{server}/bare", headers={"Authorization": "Bearer hidden4"}, auth=("me", "hidden5"))
    assert told[0].url == f"{server}/tagged?token=[redacted]&page=2"
    assert "hidden" not in repr(told) + repr(remoted.gaps)


def test_pandas_and_threads(remoted: Remoted, server: str) -> None:
    with remoted.cell() as told:
        assert len(pd.read_csv(f"{server}/dated")) == 14999
        threads = [threading.Thread(target=by_urllib, args=(f"{server}/bare?{n}",)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert {use.url.rpartition("/")[2] for use in told} == {"dated", *(f"bare?{n}" for n in range(8))}
    assert {use.digest for use in told} == {sha256(BODY)}


def test_many_at_once_in_one_loop(remoted: Remoted, server: str) -> None:
    async def fetch() -> list[bytes]:
        async with aiohttp.ClientSession() as session:

            async def one(number: int) -> bytes:
                async with session.get(f"{server}/tagged?{number}") as answer:
                    return await answer.read()

            return await asyncio.gather(*map(one, range(20)))

    with remoted.cell() as told:
        assert asyncio.run(fetch()) == [BODY] * 20
    assert sorted(use.url for use in told) == sorted(f"{server}/tagged?{number}" for number in range(20))
    assert {use.digest for use in told} == {sha256(BODY)}


def test_httpx(remoted: Remoted, server: str) -> None:
    httpx = pytest.importorskip("httpx")

    async def fetch(url: str) -> bytes:
        async with httpx.AsyncClient() as client, client.stream("GET", url) as answer:
            return b"".join([piece async for piece in answer.aiter_bytes()])

    for page in PAGES:
        sent = SENT.get(page, BODY)
        with remoted.cell() as told:
            assert httpx.get(f"{server}/{page}").content == BODY
            assert asyncio.run(fetch(f"{server}/{page}?again")) == BODY
        assert [use.digest for use in told] == [sha256(sent)] * 2
        assert {use.version for use in told} == {VERSIONS.get(page)}
        assert [use.url for use in told] == [f"{server}/{page}", f"{server}/{page}?again"]


def test_what_comes_after_the_cell_is_told_of_the_cell_that_asked(remoted: Remoted, server: str) -> None:
    with remoted.cell() as told:
        answer = urllib.request.urlopen(f"{server}/bare")
    assert [use.digest for use in told] == [None]
    assert remoted.gaps == []
    with remoted.cell() as later:
        answer.read()
    with remoted.cell():
        pass
    answer.close()
    assert later == []
    assert [use.digest for use in told] == [sha256(BODY)]
    assert [gap.cell for gap in remoted.gaps] == [1]


def test_a_refusal_is_no_data(remoted: Remoted, server: str) -> None:
    with remoted.cell() as told, pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{server}/missing")
    refused.value.close()
    assert [(use.version, use.digest) for use in told] == [("status 404", None)]
    assert remoted.gaps == []


def test_an_answer_that_nobody_reads_is_no_gap(remoted: Remoted, server: str) -> None:
    with remoted.cell() as told:
        requests.get(f"{server}/bare", stream=True).close()
    assert [use.digest for use in told] == [None]
    assert remoted.gaps == []


def test_what_a_replay_needs_to_know_is_told_now(remoted: Remoted, server: str) -> None:
    with remoted.cell():
        requests.get(f"{server}/bare")
    with remoted.cell():
        requests.get(f"{server}/tagged")
        requests.get(f"{server}/bare")
    with remoted.cell():
        requests.put(f"{server}/put", data=b"")
    assert [(gap.cell, gap.blocks) for gap in remoted.gaps] == [(1, False), (2, False), (3, False)]
    assert f"read {server}/bare without a version" in remoted.gaps[0].message
    assert f"{server}/tagged" in remoted.gaps[1].message
    assert f"sent data to {server}/put" in remoted.gaps[2].message


def test_very_many_are_gathered_by_host(remoted: Remoted, server: str) -> None:
    def run() -> list[Any]:
        with remoted.cell() as told, requests.Session() as session:
            for number in range(1100):
                session.get(f"{server}/unchanged?{number}")
        return told

    first, second = run(), run()
    assert [use.url for use in first] == [f"{server} (1,100 uses)"]
    assert first == second
    assert first[0].digest is not None


def test_nothing_is_left_behind(tmp_path: Path, server: str) -> None:
    def looks() -> list[object]:
        kinds = (http.client.HTTPConnection, http.client.HTTPResponse, aiohttp.ClientResponse)
        return [
            (kind, name, value, getattr(value, "__code__", None))
            for kind in kinds
            for name, value in vars(kind).items()
        ]

    before = looks()
    probe = Remoted(tmp_path)
    assert looks() != before
    answer = requests.get(f"{server}/tagged")
    assert pickle.loads(pickle.dumps(answer)).content == BODY
    probe.stop()
    assert looks() == before


def test_two_watchers_of_one_import_are_both_told(tmp_path: Path) -> None:
    (tmp_path / "watched_twice.py").write_text("value = 1")
    script = """
import sys
from reprokit.capture.randomness.entropy import AfterImport
sys.path.insert(0, ".")
told = []
watchers = [AfterImport(["watched_twice"], lambda name, n=n: told.append((n, name))) for n in range(3)]
for watcher in watchers:
    watcher.install()
import watched_twice
assert sorted(told) == [(n, "watched_twice") for n in range(3)], told
assert "exec_module" not in vars(watched_twice.__loader__)
"""
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)


LATER = """
import sys
from pathlib import Path
from remoted import Remoted
assert not {"requests", "urllib3", "aiohttp", "fsspec", "sqlalchemy", "duckdb", "polars", "psycopg2"} & set(sys.modules)
probe = Remoted(Path(sys.argv[1]))
with probe.cell() as told:
    import asyncio, aiohttp, duckdb, fsspec, polars, psycopg2, requests, sqlalchemy
    async def get(url):
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            await answer.read()
    requests.get(sys.argv[2] + "/chunked")
    asyncio.run(get(sys.argv[2] + "/tagged"))
    with fsspec.open(sys.argv[2] + "/range") as file:
        file.read()
    polars.read_csv(sys.argv[2] + "/range?polars")
probe.stop()
for use in told:
    print(use.url.rpartition("/")[2], use.size, use.version)
"""


def test_libraries_that_the_cell_imports_first(tmp_path: Path, server: str) -> None:
    command = [sys.executable, "-c", LATER, str(tmp_path), server]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"chunked {len(BODY)} None",
        f'tagged {len(BODY)} ETag "one"',
        f'range {len(BODY)} ETag "one"',
        "range?polars None None",
    ]
