"""Object stores and other remote file systems, through fsspec (s3fs, gcsfs, adlfs, sftp, …).

What is read is one use for each file that was opened, or each path that was fetched, however many requests it
took; the requests only tell which version it was. No request is added to those that the cell makes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

from reprokit.capture.remote import addresses
from reprokit.capture.remote.hooks import Hooks, Marks
from reprokit.capture.remote.ledger import Use

__all__ = ["Storage"]

# File systems that hold nothing themselves, or nothing that is remote.
_NOT_REMOTE = frozenset(
    (
        "file", "local", "memory", "data", "zip", "tar", "libarchive", "reference", "dir", "simplecache", "filecache",
        "blockcache", "cached", "chained", "asyncwrapper", "async_wrapper",
    )
)  # fmt: skip
_HTTP = frozenset(("http", "https"))
_GOT = frozenset(("_get", "_get_file"))
_PUT = frozenset(("_put", "_put_file"))
_REMOVED = frozenset(("_rm", "_rm_file"))
# They bring no data.
_QUESTIONS = frozenset(
    (
        "_info", "_ls", "_find", "_exists", "_glob", "_walk", "_du", "_isdir", "_isfile", "_size", "_sizes",
        "_checksum", "_modified", "_created", "_lsbuckets", "_lsdir", "_mkdir", "_makedirs",
    )
)  # fmt: skip
_DATA = _GOT | _PUT | _REMOVED | {"_cat", "_cat_file", "_cat_ranges", "_pipe", "_pipe_file"}


class Storage:
    """Hooks that record what is read from and written to remote file systems."""

    def __init__(self, hooks: Hooks, note: Callable[[Use], None]) -> None:
        self.hooks = hooks
        self._note = note
        self._marks = Marks()  # uses by file

    def installers(self) -> dict[str, Callable[[Any], None]]:
        """Return what hooks which module."""
        return {"fsspec.spec": self._spec, "fsspec.asyn": self._asyn, "fsspec.implementations.http": self._http}

    # -- files ----------------------------------------------------------------------------------

    def _spec(self, module: Any) -> None:
        self._buffered = module.AbstractBufferedFile
        self.hooks.wrap(module.AbstractFileSystem, "open", self._open)
        self.hooks.wrap(module.AbstractBufferedFile, "read", self._read)
        self.hooks.wrap(module.AbstractBufferedFile, "write", self._write)
        self.hooks.wrap(module.AbstractBufferedFile, "flush", self._flush)
        self.hooks.wrap(module.AbstractBufferedFile, "close", self._close)

    def _http(self, module: Any) -> None:
        self.hooks.wrap(module.HTTPFile, "read", self._read)

    def _open(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def opened(fs: Any, path: Any, mode: str = "rb", *args: Any, **options: Any) -> Any:
            __tracebackhide__ = True
            use = self.hooks.safely(self._opening, fs, path, mode) if "b" in mode and self.hooks.whole is None else None
            if use is None:
                return original(fs, path, mode, *args, **options)
            with self.hooks.within(use):
                file = original(fs, path, mode, *args, **options)
            self.hooks.safely(self._opened, use, file)
            return file

        return opened

    def _opening(self, fs: Any, path: Any, mode: str) -> Use | None:
        if not _is_remote(fs):
            return None
        use = _use(fs, "read" if "r" in mode else "write", path)
        use.hears = []
        return use

    def _opened(self, use: Use, file: Any) -> None:
        requests, use.hears = use.hears or [], None
        if isinstance(file, self._buffered) and (use.access == "write" or file.size is not None):
            self._marks.put(file, use)
            use.belongs_to(file)
            use.is_whole = False  # until all of it was read
            self._note(use)
        elif requests:  # a file of another kind: the requests are all there is to see
            for request in requests:
                self._note(request)
        else:
            use.over = True
            self._note(use)

    def _read(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def read(file: Any, length: Any = -1) -> Any:
            __tracebackhide__ = True
            use = self._marks.get(file)
            if use is None or use.busy:
                return original(file, length)
            place, use.busy = file.loc, True
            try:
                with self.hooks.within(use):
                    data = original(file, length)
            finally:
                use.busy = False
            self.hooks.safely(_was_read, use, file, place, data)
            return data

        return read

    def _write(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def write(file: Any, data: Any) -> Any:
            __tracebackhide__ = True
            use = self._marks.get(file)
            if use is None or use.busy:
                return original(file, data)
            with self.hooks.within(use):
                written = original(file, data)
            self.hooks.safely(use.feed, data)
            return written

        return write

    def _flush(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def flush(file: Any, force: bool = False) -> Any:
            __tracebackhide__ = True
            use = self._marks.get(file)
            if use is None:
                return original(file, force)
            with self.hooks.within(use):
                return original(file, force)

        return flush

    def _close(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def close(file: Any) -> Any:
            __tracebackhide__ = True
            use = self._marks.get(file)
            if use is None:
                return original(file)
            with self.hooks.within(use):
                result = original(file)
            if use.access == "write" and "a" not in file.mode:
                self.hooks.safely(use.finish)
            use.over = True
            return result

        return close

    # -- whole paths ----------------------------------------------------------------------------

    def _asyn(self, module: Any) -> None:
        self.hooks.wrap(module, "sync", self._sync)

    def _sync(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def sync(loop: Any, func: Any, *args: Any, **options: Any) -> Any:
            __tracebackhide__ = True
            call = self.hooks.safely(_operation, func, args) if self.hooks.whole is None else None
            if call is None:
                return original(loop, func, *args, **options)
            whole = Use("storage", "read", "")
            whole.hears = []
            with self.hooks.within(whole):
                result = original(loop, func, *args, **options)
            self.hooks.safely(self._done, *call, options, result, whole.hears)
            return result

        return sync

    def _done(self, fs: Any, name: str, args: Any, options: Any, result: Any, requests: list[Use]) -> None:
        requests = [request for request in requests if not request.failed and not _is_listing(request)]
        place = 1 if name in _PUT else 0
        given = args[place] if len(args) > place else next((options[key] for key in _PATHS if key in options), None)
        if name not in _DATA:
            self._asked(name, requests)
        elif name in _GOT | _PUT:
            self._transferred(fs, "read" if name in _GOT else "write", given, requests)
        else:
            for use in _uses(fs, name, given, args, options, result):
                named = [request for request in requests if _named(request.url, [use.url])]
                use.version = next((request.version for request in reversed(named) if request.version), None)
                self._note(use)

    def _asked(self, name: str, requests: list[Use]) -> None:
        """Let the requests of an operation that this module does not know speak for themselves."""
        for request in requests if name not in _QUESTIONS else []:
            if request.access == "write" or not request.empty:
                self._note(request)

    def _transferred(self, fs: Any, access: str, given: Any, requests: list[Use]) -> None:
        """Record what was copied to or from files, which the requests have the digests of."""
        paths = [fs.unstrip_protocol(path) for path in _stripped(fs, given)]
        for request in requests:
            name = _named(request.url, paths)
            if request.record().access == access and not (access == "read" and request.empty):
                request.kind, request.url = ("http" if request.url == name else "storage"), name or request.url
                self._note(request)


_PATHS = ("path", "rpath", "paths")


def _operation(func: Any, args: tuple[Any, ...]) -> tuple[Any, str, tuple[Any, ...]] | None:
    """Return the remote file system that a coroutine function is of, the function's name, and its arguments."""
    fs = getattr(func, "__self__", None)
    if fs is None and args:  # not bound: the first argument is what it is of
        fs, args = args[0], args[1:]
    return (fs, func.__name__, args) if _is_remote(fs) and hasattr(fs, "unstrip_protocol") else None


def _is_listing(request: Use) -> bool:
    return "list-type=" in request.url or "prefix=" in request.url.partition("?")[2]


def _is_remote(fs: Any) -> bool:
    protocol = getattr(fs, "protocol", ())
    names = {protocol} if isinstance(protocol, str) else set(protocol)
    return bool(names) and not names & _NOT_REMOTE


def _use(fs: Any, access: str, path: Any) -> Use:
    url = str(fs.unstrip_protocol(fs._strip_protocol(path)))
    return Use("http" if addresses.scheme_of(url) in _HTTP else "storage", access, addresses.of_url(url))


def _stripped(fs: Any, given: Any) -> list[str]:
    paths = given if isinstance(given, (list, tuple, set)) else [given]
    return [str(fs._strip_protocol(path)) for path in paths]


def _uses(fs: Any, name: str, given: Any, args: Any, options: Any, result: Any) -> Iterator[Use]:
    """Return the uses of an operation that had the bytes in its hands, or none to have."""
    if name in _REMOVED:
        for path in _stripped(fs, given):
            yield _use(fs, "write", path)
        return
    access = "write" if name.startswith("_pipe") else "read"
    for path, start, data in _contents(name, given, args, options, result):
        if isinstance(data, (bytes, bytearray, memoryview)):
            use = _use(fs, access, path)
            use.start, use.is_whole = max(start or 0, 0), start is None
            use.feed(data if isinstance(data, bytes) else bytes(data))
            use.finish()
            yield use


def _contents(name: str, given: Any, args: Any, options: Any, result: Any) -> Iterable[tuple[Any, int | None, Any]]:
    """Return path, first byte (None: it is the whole) and bytes."""
    if name.startswith("_pipe"):
        value = args[1] if len(args) > 1 else options.get("value", options.get("data"))
        return [(path, None, data) for path, data in (given if isinstance(given, dict) else {given: value}).items()]
    if name == "_cat_ranges":
        starts = args[1] if len(args) > 1 else options.get("starts")
        starts = starts if isinstance(starts, (list, tuple)) else [starts] * len(given)
        return list(zip(given, [start or 0 for start in starts], result, strict=False))
    if isinstance(result, dict):
        return [(path, None, data) for path, data in result.items()]
    path = given[0] if isinstance(given, (list, tuple)) else given
    start, end = options.get("start"), options.get("end")
    return [(path, None if start is None and end is None else start or 0, result)]


def _was_read(use: Use, file: Any, place: int, data: bytes) -> None:
    """Take what was read at a place of a file; one that begins again from the start is read anew."""
    if use.over or not data:
        return
    if use.size is None or place == 0:
        use.again(place)
    elif place != use.end:
        use.in_order = False
    use.feed(data)
    use.end = place + len(data)
    if use.in_order and use.start == 0 and use.end == file.size:
        use.is_whole = True
        use.finish()


def _named(url: str, paths: Iterable[str]) -> str | None:
    """Return which of the paths, or what below one of them, a request was for."""
    asked = unquote(urlsplit(url).path)
    for path in paths:
        if addresses.scheme_of(path) in _HTTP:
            if url.startswith(path):
                return url
            continue
        key = path.partition("://")[2].partition("/")[2].partition("?")[0]
        found = asked.find(f"/{key}") if key else -1
        tail = asked[found + 1 + len(key) :]
        if found >= 0 and tail[:1] in ("", "/"):
            return path + tail
    return None
