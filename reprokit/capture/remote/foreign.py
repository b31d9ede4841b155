"""Libraries that fetch remote data in C++ or Rust: DuckDB, polars, pyarrow.

The bytes never pass through Python, so that all there is to see is what they are told to fetch. Such a use has
no digest, and no version: the record says so, and so does a gap.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from reprokit.capture.remote import addresses
from reprokit.capture.remote.hooks import Hooks
from reprokit.capture.remote.ledger import Use
from reprokit.capture.remote.queries import kind_of

__all__ = ["Foreign", "sources"]

_HTTP = frozenset(("http", "https"))
_DUCKDB_SQL = ("execute", "executemany", "sql", "query", "from_query")
_DUCKDB_READS = (
    "read_parquet", "from_parquet", "read_csv", "from_csv_auto", "read_csv_auto", "read_json", "parquet_scan",
)  # fmt: skip
_POLARS = re.compile(r"(?:read|scan)_(?:parquet|csv|ipc|ndjson|delta|avro|ipc_stream|json|iceberg|lines)")
_POLARS_WRITES = re.compile(r"(?:write|sink)_(?:parquet|csv|ipc|ndjson|delta|avro|json)")
_ATTACH = re.compile(r"\bATTACH\b.*?'((?:[^']|'')*)'(?:\s+AS\s+\"?(\w+))?", re.IGNORECASE | re.DOTALL)
_SERVERS = re.compile(r"\bTYPE\s*=?\s*'?(postgres|mysql)|^(postgres|mysql)\w*:|\b(postgres|mysql)_(?:scan|query)", re.I)
_CONNECTION = re.compile(r"(?:postgres|mysql)_(?:scan|query)\w*\s*\(\s*'((?:[^']|'')*)'", re.IGNORECASE)
_SOURCE = re.compile(  # where a statement takes data from or puts it; any other text is just text
    r"\b(?:FROM|JOIN|TO|ATTACH|ATTACH\s+IF\s+NOT\s+EXISTS)\s+('[^']+')"
    r"|\b(?:read_\w+|\w+_scan|sniff_csv|st_read|parquet_\w+)\s*\(\s*(\[[^\]]*\]|'[^']*')",
    re.IGNORECASE,
)
_COPY_TO = re.compile(r"\bCOPY\b.*?\bTO\s+'[a-z0-9]+://", re.IGNORECASE | re.DOTALL)


class Foreign:
    """Hooks that record what these libraries are told to fetch."""

    def __init__(self, hooks: Hooks, note: Callable[[Use], None]) -> None:
        self.hooks = hooks
        self._note = note
        self._registered: set[str] = set()  # schemes that DuckDB reads through fsspec, where the bytes are seen
        self._attached: dict[str, str] = {}  # DuckDB's name of a database → its address

    def installers(self) -> dict[str, Callable[[Any], None]]:
        """Return what hooks which module."""
        return {
            "duckdb": self._duckdb,
            "polars": self._polars,
            "pyarrow.parquet": self._parquet,
            "pyarrow.dataset": lambda module: self._reads(module, "dataset", _arrow_source),
        }

    def _tell(self, access: str, url: str, query: str | None = None) -> None:
        scheme = addresses.scheme_of(url)
        kind = "sql" if scheme in _DATABASES else "http" if scheme in _HTTP else "storage"
        use = Use(kind, access, addresses.of_url(url), query=None if query is None else addresses.of_query(query))
        use.spoil()
        use.empty, use.over = access == "write", True
        self._note(use)

    def _reads(self, owner: Any, name: str, source: Callable[[Any, Any], list[str]], access: str = "read") -> None:
        """Record the addresses that a function is called with, once it succeeded."""

        def make(original: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **options: Any) -> Any:
                __tracebackhide__ = True
                result = original(*args, **options)
                self.hooks.safely(self._called, access, source, args, options)
                return result

            return call

        self.hooks.wrap(owner, name, make)

    def _called(self, access: str, source: Callable[[Any, Any], list[str]], args: Any, options: Any) -> None:
        for url in source(args, options):
            if self.hooks.whole is None:
                self._tell(access, url)

    # -- DuckDB ---------------------------------------------------------------------------------

    def _duckdb(self, module: Any) -> None:
        for owner in (module, module.DuckDBPyConnection):
            for name in _DUCKDB_SQL:
                self.hooks.wrap(owner, name, self._asking)
            for name in _DUCKDB_READS:
                self._reads(owner, name, self._given_to_duckdb)
            self.hooks.wrap(owner, "register_filesystem", self._registering)

    def _given_to_duckdb(self, args: Any, options: Any) -> list[str]:
        return [url for url in _given(args, options) if addresses.scheme_of(url) not in self._registered]

    def _registering(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def register_filesystem(*args: Any, **options: Any) -> Any:
            __tracebackhide__ = True
            result = original(*args, **options)
            for item in (*args, *options.values()):
                protocol = getattr(item, "protocol", ())
                self._registered.update((protocol,) if isinstance(protocol, str) else protocol)
            return result

        return register_filesystem

    def _asking(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def ask(*args: Any, **options: Any) -> Any:
            __tracebackhide__ = True
            result = original(*args, **options)
            self.hooks.safely(self._asked, [*args, *options.values()])
            return result

        return ask

    def _asked(self, given: list[Any]) -> None:
        text = next((item for item in given if isinstance(item, str)), None)
        if text is None:
            return
        access = "write" if _COPY_TO.search(text) else "read"
        for url in sources(text):
            if addresses.scheme_of(url) not in _DATABASES | self._registered:
                self._tell(access, url, text)
        if _SERVERS.search(text):
            self._attach(text)
        for name, url in self._attached.items():
            if re.search(rf"\b{re.escape(name)}\.", text) and (kind := kind_of(text)):
                self._tell(kind, url, text)

    def _attach(self, text: str) -> None:
        if found := _CONNECTION.search(text):
            self._tell("read", _database(found.group(1), text), text)
        elif found := _ATTACH.search(text):
            url = _database(found.group(1), text)
            self._attached[found.group(2) or url.rpartition("/")[2] or "postgres"] = url

    # -- polars and pyarrow ---------------------------------------------------------------------

    def _polars(self, module: Any) -> None:
        for name in dir(module):
            if _POLARS.fullmatch(name):
                self._reads(module, name, _given)
        for frame in (module.DataFrame, module.LazyFrame):
            for name in dir(frame):
                if _POLARS_WRITES.fullmatch(name):
                    self._reads(frame, name, _given, "write")

    def _parquet(self, module: Any) -> None:
        self._reads(module, "read_table", _arrow_source)
        self._reads(module, "write_table", lambda args, options: _arrow_source(args[1:], options), "write")


_DATABASES = frozenset(("postgresql", "postgres", "mysql"))


def sources(text: str) -> list[str]:
    """Return the remote addresses that a statement takes data from, or writes it to.

    >>> sources("select 'https://h/no' from read_csv(['s3://b/x.csv', 's3://b/y.csv']) join 'https://h/z.parquet'")
    ['s3://b/x.csv', 's3://b/y.csv', 'https://h/z.parquet']
    """
    return [url for match in _SOURCE.finditer(text) for url in addresses.find(match.group(1) or match.group(2))]


def _given(args: Any, options: Any) -> list[str]:
    """Return the remote addresses among the arguments; a list of them may be one argument."""
    items = [item for given in (*args, *options.values()) for item in (given if isinstance(given, list) else [given])]
    texts = [item for item in items[:1000] if isinstance(item, str) and "://" in item]
    return [url for text in texts for url in addresses.find(text)[:1] if text.startswith(url)]


def _arrow_source(args: Any, options: Any) -> list[str]:
    """Return the address that pyarrow fetches from by itself: by a URI, or by a file system of its own."""
    found = _given(args[:1], {key: options[key] for key in ("source", "where") if key in options})
    kinds = (getattr(item, "type_name", None) for item in (*args, *options.values()))
    kind = next((kind for kind in kinds if isinstance(kind, str)), "")
    if found or kind not in ("s3", "gcs", "abfs", "hdfs"):
        return found
    source = args[0] if args else options.get("source", options.get("where"))
    return [f"{'gs' if kind == 'gcs' else kind}://{path}" for path in _list(source) if isinstance(path, str)]


def _list(source: Any) -> list[Any]:
    return source if isinstance(source, list) else [source]


def _database(text: str, query: str) -> str:
    """Return the address in what DuckDB connects to a server with: a URI, or words such as ``host=db``."""
    kind = "mysql" if re.search(r"\bmysql", query, re.IGNORECASE) else "postgresql"
    text = text.removeprefix("postgres:").removeprefix("mysql:")
    if "://" in text or text.startswith("//"):
        rest = text.partition("//")[2].rpartition("@")[2].partition("?")[0]
        return f"{kind}://{rest}"
    words = dict(re.findall(r"(\w+)\s*=\s*'?([^\s']+)", text))
    database = words.get("dbname") or words.get("database") or words.get("db")
    return addresses.data_source(kind, words.get("host"), words.get("port"), database)
