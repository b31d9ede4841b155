"""What is read from and written to object stores: one use for each file, with its version, however it is fetched."""

from __future__ import annotations

import asyncio
import inspect
import io
import pickle
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import duckdb
import fsspec
import pandas as pd
import polars as pl
import pyarrow.dataset
import pyarrow.fs
import pyarrow.parquet as pq
import pytest
import s3fs
from moto.server import ThreadedMotoServer
from remoted import BODY, Remoted, served, sha256

from reprokit.capture.remote.foreign import Foreign, sources
from reprokit.capture.remote.hooks import Hooks
from reprokit.capture.remote.ledger import Use

ACCESS = {"key": "hidden-key", "secret": "hidden-secret"}
BOTO = {"aws_access_key_id": "hidden-key", "aws_secret_access_key": "hidden-secret", "region_name": "us-east-1"}
FRAME = pd.DataFrame({"x": range(1000)})
CSV = FRAME.to_csv(index=False).encode()
PARQUET = FRAME.to_parquet()


class Bucket:
    """A bucket with versions, and the clients of it."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.boto = boto3.client("s3", endpoint_url=endpoint, **BOTO)
        self.boto.create_bucket(Bucket="bucket")
        self.boto.put_bucket_versioning(Bucket="bucket", VersioningConfiguration={"Status": "Enabled"})
        self.versions = {name: self.put(name, data) for name, data in (("d/x.csv", CSV), ("d/x.parquet", PARQUET))}
        self.options = {**ACCESS, "endpoint_url": endpoint}
        self.fs = s3fs.S3FileSystem(**self.options)
        self.arrow = pyarrow.fs.S3FileSystem(
            endpoint_override=endpoint,
            region="us-east-1",
            access_key="hidden-key",
            secret_key="hidden-secret",
        )

    def put(self, name: str, data: bytes) -> str:
        """Write an object without being watched; return its version."""
        return f"version {self.boto.put_object(Bucket='bucket', Key=name, Body=data)['VersionId']}"

    def version(self, name: str) -> str:
        """Return an object's version now."""
        return f"version {self.boto.head_object(Bucket='bucket', Key=name)['VersionId']}"

    def get(self, name: str) -> bytes:
        """Return an object's bytes."""
        return bytes(self.boto.get_object(Bucket="bucket", Key=name)["Body"].read())


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    bucket = Bucket(f"http://127.0.0.1:{port}")
    yield bucket
    bucket.boto.close()
    server.stop()


@pytest.fixture
def remoted(tmp_path: Path) -> Iterator[Remoted]:
    probe = Remoted(tmp_path)
    yield probe
    probe.stop()


def opened(bucket: Bucket) -> bytes:
    with bucket.fs.open("bucket/d/x.csv") as file:
        return bytes(file.read())


def opened_in_pieces(bucket: Bucket) -> bytes:
    with bucket.fs.open("s3://bucket/d/x.csv", block_size=500) as file:
        return b"".join(iter(lambda: file.read(99), b""))


def opened_as_text(bucket: Bucket) -> bytes:
    with bucket.fs.open("bucket/d/x.csv", "r") as file:
        return str(file.read()).encode()


def peeked_first(bucket: Bucket) -> bytes:
    with bucket.fs.open("bucket/d/x.csv") as file:
        file.read(10)
        file.seek(0)
        return bytes(file.read())


def by_fsspec(bucket: Bucket) -> bytes:
    with fsspec.open("s3://bucket/d/x.csv", **bucket.options) as file:
        return bytes(file.read())


def by_cache(bucket: Bucket) -> bytes:
    with fsspec.open("simplecache::s3://bucket/d/x.csv", s3=bucket.options) as file:
        return bytes(file.read())


def copied(bucket: Bucket) -> bytes:
    bucket.fs.get("bucket/d/x.csv", "copy.csv")
    return Path("copy.csv").read_bytes()


def copied_as_folder(bucket: Bucket) -> bytes:
    bucket.fs.get("bucket/d/", "copies/", recursive=True)
    return Path("copies/x.csv").read_bytes()


def by_pandas(bucket: Bucket) -> bytes:
    return pd.read_csv("s3://bucket/d/x.csv", storage_options=bucket.options).to_csv(index=False).encode()


READS: dict[str, Callable[[Bucket], bytes]] = {
    "open": opened,
    "open, in pieces": opened_in_pieces,
    "open as text": opened_as_text,
    "open, peeked first": peeked_first,
    "fsspec.open": by_fsspec,
    "a cache before it": by_cache,
    "cat": lambda bucket: bytes(bucket.fs.cat("bucket/d/x.csv")),
    "cat many": lambda bucket: bytes(bucket.fs.cat(["bucket/d/x.csv", "bucket/d/x.parquet"])["bucket/d/x.csv"]),
    "get": copied,
    "get a folder": copied_as_folder,
    "pandas": by_pandas,
}


@pytest.mark.parametrize("way", READS)
def test_one_use_with_version_and_digest(
    remoted: Remoted, bucket: Bucket, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    bucket.fs.invalidate_cache()
    with remoted.cell() as told:
        assert READS[way](bucket) == CSV
    (use,) = [use for use in told if use.url == "s3://bucket/d/x.csv"]
    assert (use.kind, use.access, use.size, use.digest) == ("storage", "read", len(CSV), sha256(CSV))
    assert use.version == bucket.versions["d/x.csv"]
    assert {use.url for use in told} <= {"s3://bucket/d/x.csv", "s3://bucket/d/x.parquet"}
    assert not any(gap.blocks for gap in remoted.gaps)
    assert "hidden" not in repr(told) + repr(remoted.gaps)


def test_a_part_says_which_part(remoted: Remoted, bucket: Bucket) -> None:
    with remoted.cell() as told:
        assert bucket.fs.cat_file("bucket/d/x.csv", start=3, end=9) == CSV[3:9]
        with bucket.fs.open("bucket/d/x.csv") as file:
            file.seek(100)
            assert file.read(50) == CSV[100:150]
    assert [(use.url, use.digest) for use in told] == [
        ("s3://bucket/d/x.csv#bytes=3-8", sha256(CSV[3:9])),
        ("s3://bucket/d/x.csv#bytes=100-149", sha256(CSV[100:150])),
    ]


def test_parquet_read_here_and_there(remoted: Remoted, bucket: Bucket) -> None:
    with remoted.cell() as told:
        table = pyarrow.dataset.dataset("bucket/d/x.parquet", filesystem=bucket.fs).to_table()
    assert table.num_rows == 1000
    assert {use.url.partition("#")[0] for use in told} == {"s3://bucket/d/x.parquet"}
    assert {use.version for use in told} == {bucket.versions["d/x.parquet"]}


def written(bucket: Bucket) -> None:
    with bucket.fs.open("bucket/w", "wb") as file:
        file.write(b"abc")
        file.write(b"def")


def written_by_pandas(bucket: Bucket) -> None:
    pd.DataFrame({"abc": [1]}).to_csv("s3://bucket/w", storage_options=bucket.options)


WRITES: dict[str, Callable[[Bucket], object]] = {
    "open": written,
    "pipe": lambda bucket: bucket.fs.pipe("bucket/w", b"abc"),
    "pandas": written_by_pandas,
}


@pytest.mark.parametrize("way", WRITES)
def test_what_is_written_has_its_version_and_digest(remoted: Remoted, bucket: Bucket, way: str) -> None:
    with remoted.cell() as told:
        WRITES[way](bucket)
    (use,) = told
    assert (use.kind, use.access, use.url) == ("storage", "write", "s3://bucket/w")
    assert (use.digest, use.version) == (sha256(bucket.get("w")), bucket.version("w"))
    assert [gap.message for gap in remoted.gaps] == ["sent data to s3://bucket/w: a replay sends it again"]


def test_files_copied_there_and_things_removed(remoted: Remoted, bucket: Bucket, tmp_path: Path) -> None:
    (tmp_path / "local").write_bytes(b"local")
    with remoted.cell() as told:
        bucket.fs.put(str(tmp_path / "local"), "bucket/put")
        bucket.fs.rm("bucket/put")
    assert [(use.access, use.url) for use in told] == [("write", "s3://bucket/put")] * 2


def test_questions_are_no_data(remoted: Remoted, bucket: Bucket) -> None:
    bucket.fs.invalidate_cache()
    with remoted.cell() as told:
        assert len(bucket.fs.ls("bucket/d")) == 2
        assert bucket.fs.glob("bucket/d/*.csv") == ["bucket/d/x.csv"]
        assert bucket.fs.exists("bucket/d/x.csv")
        assert not bucket.fs.exists("bucket/nothing")
    assert told == []


def test_errors_are_as_without(remoted: Remoted, bucket: Bucket) -> None:
    with remoted.cell() as told:
        for read in (bucket.fs.cat, lambda path: bucket.fs.open(path).read()):
            with pytest.raises(FileNotFoundError):
                read("bucket/nothing")
    assert told == []


def test_boto(remoted: Remoted, bucket: Bucket) -> None:
    with remoted.cell() as told:
        assert bucket.get("d/x.csv") == CSV
        bucket.boto.download_fileobj("bucket", "d/x.parquet", there := io.BytesIO())
        assert there.getvalue() == PARQUET
        signed = bucket.boto.generate_presigned_url("get_object", Params={"Bucket": "bucket", "Key": "d/x.csv"})
        assert pd.read_csv(signed).shape == (1000, 1)
    assert [(use.url.rpartition("/")[2], use.version, use.digest) for use in told if use.size] == [
        ("x.csv", bucket.versions["d/x.csv"], sha256(CSV)),
        ("x.parquet", bucket.versions["d/x.parquet"], sha256(PARQUET)),
    ]
    assert "hidden" not in repr(told) + repr(remoted.gaps)
    assert "Signature" not in repr(told)


def by_arrow(bucket: Bucket) -> Any:
    return pq.read_table("bucket/d/x.parquet", filesystem=bucket.arrow)


def by_arrow_dataset(bucket: Bucket) -> Any:
    return pyarrow.dataset.dataset("bucket/d/x.parquet", filesystem=bucket.arrow).to_table()


def by_polars(bucket: Bucket) -> Any:
    options = {f"aws_{key}": value for key, value in (("access_key_id", "hidden-key"), ("region", "us-east-1"))}
    options |= {"aws_secret_access_key": "hidden-secret", "aws_allow_http": "true"}
    return pl.read_parquet("s3://bucket/d/x.parquet", storage_options={**options, "aws_endpoint_url": bucket.endpoint})


@pytest.mark.parametrize("way", [by_arrow, by_arrow_dataset, by_polars])
def test_what_is_fetched_outside_python_is_told_to_be_unseen(
    remoted: Remoted, bucket: Bucket, way: Callable[[Bucket], Any]
) -> None:
    with remoted.cell() as told:
        assert len(way(bucket)) == 1000
    assert [(use.kind, use.url, use.version, use.digest) for use in told] == [
        ("storage", "s3://bucket/d/x.parquet", None, None)
    ]
    (gap,) = remoted.gaps
    assert gap.blocks
    assert gap.cell == 1
    assert "hidden" not in repr(told) + repr(remoted.gaps)


def test_duckdb_through_fsspec_is_seen(remoted: Remoted, bucket: Bucket) -> None:
    # Two of its threads may open the file at once: then one of them asks the server for nothing, and knows no version.
    with remoted.cell() as told, duckdb.connect(config={"threads": 1}) as connection:
        connection.register_filesystem(bucket.fs)
        assert connection.sql("SELECT count(*) FROM 's3://bucket/d/x.parquet'").fetchall() == [(1000,)]
    assert {use.url.partition("#")[0] for use in told} == {"s3://bucket/d/x.parquet"}
    assert {use.version for use in told} == {bucket.versions["d/x.parquet"]}


def test_duckdb_on_files_and_on_text_that_names_a_host_is_not_remote(remoted: Remoted, tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(PARQUET)
    with remoted.cell() as told:
        assert duckdb.sql(f"SELECT count(*) FROM '{tmp_path}/x.parquet'").fetchall() == [(1000,)]
        assert duckdb.sql("SELECT 'https://example.org' AS link").fetchall() == [("https://example.org",)]
    assert told == []


def test_what_duckdb_is_told_to_fetch_is_found_in_its_sql() -> None:
    assert sources("COPY (SELECT 1) TO 's3://b/out.parquet'") == ["s3://b/out.parquet"]
    assert sources("CREATE VIEW v AS FROM read_parquet(['https://h/a', 'gs://b/c'])") == ["https://h/a", "gs://b/c"]
    assert sources("SELECT * FROM t WHERE url = 'https://h/a'") == []


STATEMENTS = {
    "ATTACH 'host=db user=me password=hidden dbname=sales' AS pg (TYPE postgres)": [],
    "SELECT * FROM pg.public.t": [("sql", "read", "postgresql://db/sales")],
    "INSERT INTO pg.t VALUES (1)": [("sql", "write", "postgresql://db/sales")],
    "ATTACH 'postgresql://me:hidden@db:5432/sales' AS two (TYPE postgres)": [],
    "SELECT * FROM two.t": [("sql", "read", "postgresql://db:5432/sales")],
    "FROM postgres_scan('host=db password=hidden dbname=x', 'public', 't')": [("sql", "read", "postgresql://db/x")],
    "COPY t TO 's3://b/out.parquet?token=hidden'": [("storage", "write", "s3://b/out.parquet?token=[redacted]")],
    "SELECT * FROM 'https://me:hidden@h/x.parquet'": [("http", "read", "https://[redacted]@h/x.parquet")],
    "ATTACH 'local.duckdb' AS l": [],
    "SELECT * FROM l.t": [],
}


def test_duckdb_on_servers_and_hosts_that_only_its_extensions_reach() -> None:
    told: list[Use] = []
    foreign = Foreign(Hooks(lambda work: work()), told.append)
    for statement, expected in STATEMENTS.items():
        told.clear()
        foreign._asked([statement])
        uses = [use.record() for use in told]
        assert [(use.kind, use.access, use.url) for use in uses] == expected, statement
        assert "hidden" not in repr(uses)
        assert all(use.standing == "none" for use in told if use.access == "read")


def test_http_through_fsspec_is_one_use(remoted: Remoted) -> None:
    with served() as address, remoted.cell() as told:
        with fsspec.open(f"{address}/range") as file:
            assert file.read(100) + file.read() == BODY
        with fsspec.open(f"{address}/bare", block_size=0) as file:
            assert file.read() == BODY
        assert fsspec.filesystem("http").cat(f"{address}/dated") == BODY
    assert [(use.kind, use.url.rpartition("/")[2], use.digest) for use in told if use.size] == [
        ("http", "range", sha256(BODY)), ("http", "bare", sha256(BODY)), ("http", "dated", sha256(BODY)),
    ]  # fmt: skip


def test_memory_and_local_files_are_not_remote(remoted: Remoted, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    with remoted.cell() as told:
        fsspec.filesystem("memory").pipe("/x", b"abc")
        assert fsspec.filesystem("memory").cat("/x") == b"abc"
        with fsspec.open(str(tmp_path / "x")) as file:
            assert file.read() == b"abc"
    assert told == []


def test_async_code(remoted: Remoted, bucket: Bucket) -> None:
    async def fetch() -> list[bytes]:
        fs = s3fs.S3FileSystem(**bucket.options, asynchronous=True, skip_instance_cache=True)
        session = await fs.set_session()
        found = await asyncio.gather(fs._cat_file("bucket/d/x.csv"), fs._cat_file("bucket/d/x.parquet"))
        await session.close()
        return list(found)

    with remoted.cell() as told:
        assert asyncio.run(fetch()) == [CSV, PARQUET]
    assert {(use.kind, use.digest) for use in told if use.size} == {("http", sha256(CSV)), ("http", sha256(PARQUET))}


def test_files_are_pickled_and_looked_at_as_before(remoted: Remoted, bucket: Bucket) -> None:
    with remoted.cell(), bucket.fs.open("bucket/d/x.csv") as file:
        again = pickle.loads(pickle.dumps(file))
        assert again == file
        assert "reprokit" not in repr(vars(file)) + repr(vars(bucket.fs))
        again.close()
    assert list(inspect.signature(fsspec.AbstractFileSystem.open).parameters)[:4] == [
        "self",
        "path",
        "mode",
        "block_size",
    ]
    assert inspect.iscoroutinefunction(s3fs.S3FileSystem._cat_file)


def test_nothing_is_left_behind(tmp_path: Path, bucket: Bucket) -> None:
    def looks() -> list[object]:
        owners = (
            fsspec.AbstractFileSystem, fsspec.spec.AbstractBufferedFile, fsspec.asyn, duckdb.DuckDBPyConnection, pl, pq,
        )  # fmt: skip
        found = [(owner, name, value) for owner in owners for name, value in list(vars(owner).items())]
        codes = {name: value.__code__ for _, name, value in found if isinstance(value, types.FunctionType)}
        return [[(owner, name, id(value)) for owner, name, value in found], codes]

    before, finders = looks(), list(sys.meta_path)
    remoted = Remoted(tmp_path)
    assert looks() != before
    with remoted.cell() as told:
        opened(bucket)
    remoted.stop()
    assert looks() == before
    assert sys.meta_path == finders
    opened(bucket)
    assert len(told) == 1


def test_a_run_within_a_run_records_for_itself(tmp_path: Path, bucket: Bucket) -> None:
    outer, inner = Remoted(tmp_path), Remoted(tmp_path)
    with outer.cell() as first, inner.cell() as second:
        opened(bucket)
    outer.stop()
    with inner.cell() as third:
        opened(bucket)
    inner.stop()
    assert first == second == third
    assert len(third) == 1
