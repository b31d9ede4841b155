"""Requests over HTTP, each recorded once, at the lowest place that the libraries have in common.

``http.client`` is below urllib, urllib3, requests, botocore and pandas; aiohttp is below s3fs and fsspec;
httpcore is below httpx. The digest is of the body as it was sent: chunks put together, a Content-Encoding
(gzip) left as it is. aiohttp undoes the encoding before anybody sees the body: there it is of what it hands out.
"""

from __future__ import annotations

import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

from reprokit.capture.remote import addresses
from reprokit.capture.remote.hooks import Hooks, Marks
from reprokit.capture.remote.ledger import Use

__all__ = ["Http", "version_in"]

_READS = frozenset(("GET", "HEAD", "OPTIONS", "PROPFIND", "REPORT"))
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_VERSIONS = (  # what names bytes for good comes first
    ("x-amz-version-id", "version"),
    ("x-goog-generation", "generation"),
    ("x-ms-version-id", "version"),
    ("x-repo-commit", "commit"),
    ("etag", "ETag"),
    ("content-md5", "MD5"),
    ("last-modified", "Last-Modified"),
)


class Http:
    """Hooks that record requests.

    Args:
        hooks: wraps and unwraps.
        note: takes each use as soon as the answer's head is there.
    """

    def __init__(self, hooks: Hooks, note: Callable[[Use], None]) -> None:
        self.hooks = hooks
        self._note = note
        self._marks = Marks()  # requests by connection, uses by answer

    def installers(self) -> dict[str, Callable[[Any], None]]:
        """Return what hooks which module."""
        return {
            "http.client": self._client,
            "urllib3.response": self._urllib3,
            "aiohttp.client_reqrep": self._aiohttp,
            "httpcore._sync.connection_pool": lambda module: self._httpcore(module.ConnectionPool, module),
            "httpcore._async.connection_pool": lambda module: self._async_httpcore(module.AsyncConnectionPool, module),
        }

    def _begin(self, method: str, url: str, status: int, headers: Mapping[str, str]) -> Use:
        """Record that an answer began."""
        method = method.upper()
        use = Use("http", "read" if method in _READS or method == "POST" else "write", addresses.of_url(url))
        use.sends = method == "POST"
        good = 200 <= status < 300 or status == 304
        use.version = version_in(headers) if good else None
        if method == "HEAD" or status in _REDIRECTS or use.access == "write" or (use.sends and status >= 400):
            use.nothing(failed=status >= 400)
        if status >= 400:
            use.failed, use.version = True, f"status {status}"
        elif status in _REDIRECTS and headers.get("Location"):
            use.version = f"redirect to {addresses.of_url(headers['Location'])}"
        if use.access == "write":
            use.spoil()  # what came back is not what was sent
        if status == 206:
            use.is_whole = _is_whole(use, headers.get("Content-Range") or "")
        self._note(use)
        return use

    # -- http.client ----------------------------------------------------------------------------

    def _client(self, module: Any) -> None:
        self.hooks.wrap(module.HTTPConnection, "putrequest", self._putrequest)
        self.hooks.wrap(module.HTTPConnection, "getresponse", self._getresponse)
        for name in ("read", "read1", "readline"):
            self.hooks.wrap(module.HTTPResponse, name, self._reading)
        self.hooks.wrap(module.HTTPResponse, "readinto", self._reading_into)

    def _putrequest(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def putrequest(connection: Any, method: str, url: str, *args: Any, **options: Any) -> Any:
            __tracebackhide__ = True
            result = original(connection, method, url, *args, **options)
            self.hooks.safely(self._marks.put, connection, (method, url))
            return result

        return putrequest

    def _getresponse(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def getresponse(connection: Any, *args: Any, **options: Any) -> Any:
            __tracebackhide__ = True
            response = original(connection, *args, **options)
            self.hooks.safely(self._answered, connection, response)
            return response

        return getresponse

    def _answered(self, connection: Any, response: Any) -> None:
        request = self._marks.pop(connection)
        if request is None:
            return
        url = _address(connection, request[1])
        use = self._begin(request[0], url, response.status, response.headers)
        self._marks.put(response, use)
        use.belongs_to(response)
        if response.length == 0:
            use.finish()

    def _reading(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def read(response: Any, *args: Any, **options: Any) -> Any:
            __tracebackhide__ = True
            use = self._marks.get(response)
            if use is None or use.busy:
                return original(response, *args, **options)
            was_open, use.busy = response.fp is not None, True
            try:
                data = original(response, *args, **options)
            finally:
                use.busy = False
            self.hooks.safely(_passed, use, response, data, was_open)
            return data

        return read

    def _reading_into(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def readinto(response: Any, b: Any) -> Any:
            __tracebackhide__ = True
            use = self._marks.get(response)
            if use is None or use.busy:
                return original(response, b)
            was_open, use.busy = response.fp is not None, True
            try:
                count = original(response, b)
            finally:
                use.busy = False
            self.hooks.safely(lambda: _passed(use, response, memoryview(b).cast("B")[:count], was_open))
            return count

        return readinto

    # -- urllib3, which takes the chunks of a chunked body apart by itself ----------------------

    def _urllib3(self, module: Any) -> None:
        self.hooks.wrap(module.HTTPResponse, "_handle_chunk", self._chunk)
        self.hooks.wrap(module.HTTPResponse, "_update_chunk_length", self._chunk_length)

    def _chunk(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def _handle_chunk(response: Any, amt: Any) -> Any:
            __tracebackhide__ = True
            data = original(response, amt)
            self.hooks.safely(lambda: (use := self._marks.get(response._fp)) and use.feed(data))
            return data

        return _handle_chunk

    def _chunk_length(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def _update_chunk_length(response: Any) -> None:
            __tracebackhide__ = True
            original(response)
            if response.chunk_left == 0:
                self.hooks.safely(lambda: (use := self._marks.get(response._fp)) and use.finish())

        return _update_chunk_length

    # -- aiohttp --------------------------------------------------------------------------------

    def _aiohttp(self, module: Any) -> None:
        self.hooks.wrap(module.ClientResponse, "start", self._start)
        self.hooks.wrap(module.StreamReader, "_read_nowait_chunk", self._stream)

    def _start(self, original: Callable[..., Any]) -> Callable[..., Any]:
        async def start(response: Any, connection: Any) -> Any:
            __tracebackhide__ = True
            result = await original(response, connection)
            self.hooks.safely(self._started, response)
            return result

        return start

    def _started(self, response: Any) -> None:
        use = self._begin(response.method, str(response.url), response.status, response.headers)
        use.belongs_to(response)
        content = response.content
        self._marks.put(content, use, owner=response)
        if getattr(content, "total_bytes", None) is not None:
            alive = weakref.ref(response)
            content.on_eof(lambda: self.hooks.safely(_arrived, use, alive()))

    def _stream(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def _read_nowait_chunk(content: Any, n: int) -> Any:
            __tracebackhide__ = True
            data = original(content, n)
            use = self._marks.get(content)
            if use is not None:
                self.hooks.safely(_streamed, use, data)
            return data

        return _read_nowait_chunk

    # -- httpcore -------------------------------------------------------------------------------

    def _httpcore(self, pool: Any, module: Any) -> None:
        self.hooks.wrap(pool, "handle_request", self._handle)
        self.hooks.wrap(module.PoolByteStream, "__iter__", self._iterate)

    def _async_httpcore(self, pool: Any, module: Any) -> None:
        self.hooks.wrap(pool, "handle_async_request", self._handle_async)
        self.hooks.wrap(module.PoolByteStream, "__aiter__", self._iterate_async)

    def _handle(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def handle_request(pool: Any, request: Any) -> Any:
            __tracebackhide__ = True
            response = original(pool, request)
            self.hooks.safely(self._handled, request, response)
            return response

        return handle_request

    def _handle_async(self, original: Callable[..., Any]) -> Callable[..., Any]:
        async def handle_async_request(pool: Any, request: Any) -> Any:
            __tracebackhide__ = True
            response = await original(pool, request)
            self.hooks.safely(self._handled, request, response)
            return response

        return handle_async_request

    def _handled(self, request: Any, response: Any) -> None:
        headers = {name.decode("latin-1").title(): text.decode("latin-1") for name, text in response.headers}
        url = bytes(request.url).decode("latin-1")
        use = self._begin(request.method.decode("latin-1"), url, response.status, _AnyCase(headers))
        self._marks.put(response.stream, use)
        use.belongs_to(response.stream)

    def _iterate(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def iterate(stream: Any) -> Iterator[bytes]:
            use = self._marks.get(stream)
            parts: Iterator[bytes] = original(stream)
            return parts if use is None else self._through(use, parts)

        return iterate

    def _through(self, use: Use, parts: Any) -> Iterator[bytes]:
        __tracebackhide__ = True
        try:
            for part in parts:
                self.hooks.safely(use.feed, part)
                yield part
            self.hooks.safely(use.finish)
        finally:
            parts.close()

    def _iterate_async(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def iterate(stream: Any) -> AsyncIterator[bytes]:
            use = self._marks.get(stream)
            parts: AsyncIterator[bytes] = original(stream)
            return parts if use is None else self._through_async(use, parts)

        return iterate

    async def _through_async(self, use: Use, parts: Any) -> AsyncIterator[bytes]:
        __tracebackhide__ = True
        try:
            async for part in parts:
                self.hooks.safely(use.feed, part)
                yield part
            self.hooks.safely(use.finish)
        finally:
            await parts.aclose()


class _AnyCase(dict[str, str]):
    """Headers by name, however it is written."""

    def __getitem__(self, key: str) -> str:
        return super().__getitem__(key.title())

    def get(self, key: str, default: Any = None) -> Any:
        return super().get(key.title(), default)


def version_in(headers: Mapping[str, str]) -> str | None:
    """Return what the answer's head says names these bytes.

    >>> version_in({"etag": '"abc"', "last-modified": "Sat, 03 May 2025 14:02:11 GMT"})
    'ETag "abc"'
    """
    for name, word in _VERSIONS:
        value = headers.get(name)
        if value and value != "null":
            return f"{word} {value}"
    return None


def _address(connection: Any, target: str) -> str:
    """Return the address of a request: its target may be a path, or the whole when it goes to a proxy."""
    if "://" in target.partition("?")[0]:
        return target
    host = getattr(connection, "_tunnel_host", None)
    port = connection._tunnel_port if host else connection.port
    host = host or connection.host
    secure = connection.default_port == 443
    name = f"[{host}]" if ":" in host else host
    where = name if port in (None, 443 if secure else 80) else f"{name}:{port}"
    return f"{'https' if secure else 'http'}://{where}{target}"


def _is_whole(use: Use, content_range: str) -> bool:
    """Set where a part begins, and return whether it is all there is ("bytes 0-99/100")."""
    span, _, total = content_range.removeprefix("bytes").strip().partition("/")
    first, _, last = span.partition("-")
    if not (first.isdigit() and last.isdigit()):
        return False
    use.start = int(first)
    return use.start == 0 and total == str(int(last) + 1)


def _passed(use: Use, response: Any, data: bytes | memoryview, was_open: bool) -> None:
    if len(data):
        use.feed(data)
    # It closes itself when it comes to the end, wanted or not; a length that is left says that it was not.
    if was_open and not response.length and (response.fp is None or response.length == 0):
        use.finish()


def _streamed(use: Use, data: bytes) -> None:
    use.feed(data)
    if use.end and use.size == use.end:
        use.finish()


def _arrived(use: Use, response: Any) -> None:
    """All of it has arrived; it may not have been read yet."""
    if response is not None:
        use.end = response.content.total_bytes
        if (use.size or 0) == use.end:
            use.finish()
