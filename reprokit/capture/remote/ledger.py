"""The remote data one cell used, as it comes in from any thread: what passed, hashed as it passes.

Knows nothing of libraries. A cell that uses very much is gathered by host, so that neither memory nor the
journal grows with it.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Any

from reprokit.capture.remote import addresses
from reprokit.digest import Hasher, canonical_json, of_bytes
from reprokit.records import RemoteUse

__all__ = ["Ledger", "Use"]

MOST = 1000  # uses of one cell that are told one by one
_HELD = 4 * MOST  # uses still open at once, beyond which they are gathered as they are


class Use:
    """One piece of remote data: what is known of it so far.

    ``version`` is what names its bytes, ``start`` the first byte's place in the whole (0, unless a range was
    asked for). ``empty`` says that no bytes of it are data (a redirection, a HEAD, an error); ``sends`` that
    it becomes a write when nothing came back (a POST).
    """

    __slots__ = (
        "_hasher", "_owner", "access", "busy", "drain", "empty", "end", "failed", "hears", "in_order", "is_whole",
        "kind", "over", "owed", "query", "rows", "sends", "size", "start", "url", "version",
    )  # fmt: skip

    def __init__(self, kind: str, access: str, url: str, *, version: str | None = None, query: str | None = None):
        self.kind = kind
        self.access = access
        self.url = url
        self.query = query
        self.version = version
        self.size: int | None = None
        self.rows: int | None = None
        self.start = 0
        self.end = 0  # where the last read part ended
        self.busy = False  # inside a call of ours: calls that it makes in turn are part of it
        self.empty = False
        self.failed = False
        self.sends = False
        self.over = False  # nothing more will come
        self.is_whole = True  # what is to pass is all there is, not a part of it
        self.in_order = True  # it passes byte after byte from ``start``
        self.hears: list[Use] | None = None
        self.owed = 0  # pieces that passed and are not hashed yet
        self.drain: Callable[[], None] | None = None  # hands over what waits to be hashed
        self._hasher: Hasher | None = None
        self._owner: Callable[[], Any] | None = None

    def feed(self, data: bytes | memoryview) -> None:
        """Add bytes that passed."""
        if not self.empty:
            self._hasher = self._hasher or Hasher()
            self._hasher.update(data if isinstance(data, bytes) else bytes(data))
            self.size = self._hasher.size

    def again(self, start: int) -> None:
        """Forget what passed: it begins anew, at the byte ``start``."""
        self._hasher, self.size = None, None
        self.start, self.end, self.in_order = start, start, True

    def finish(self) -> None:
        """All of it has passed, or nothing more will."""
        if not self.over:
            self.over = True
            if self._hasher is None and not self.empty:
                self.feed(b"")

    def nothing(self, *, failed: bool = False) -> None:
        """Say that none of its bytes are data."""
        self.feed(b"")
        self.empty = self.over = True
        self.failed = failed

    def spoil(self) -> None:
        """Give up the digest: something in it would be different each time."""
        self._hasher, self.size, self.empty = None, None, True

    def hear(self, other: Use) -> None:
        """Take over what a request made on behalf of this use told of the version."""
        if other.version and not other.failed and (self.version is None or self.access == "write"):
            self.version = other.version
        if self.hears is not None:
            self.hears.append(other)

    def belongs_to(self, owner: Any) -> None:
        """Say which object the bytes come from: when it is gone, nothing more comes."""
        self._owner = weakref.ref(owner)

    def is_settled(self) -> bool:
        """Return whether nothing more can come."""
        return self.over or (self._owner is not None and self._owner() is None)

    def stamp(self) -> tuple[Any, ...]:
        """Return something that changes when what is known does."""
        return self.size, self.rows, self.over, self.version, self.owed

    @property
    def digest(self) -> str | None:
        """The digest of what passed, if anything did."""
        if self._hasher is None or self.owed or not (self.over or self._hasher.size):
            return None
        return self._hasher.digest()

    @property
    def standing(self) -> str:
        """How well a replay can tell whether the data is the same: by "version", by "digest", not at all ("none").

        It is "" for what is no data that the cell got: what it sent, a refusal, an answer that nobody read.
        """
        if self.empty or self.failed or self.record().access == "write" or not (self.over or self.size):
            return ""
        return "version" if self.version else "digest" if self.digest else "none"

    def record(self) -> RemoteUse:
        """Return what is known now."""
        access = "write" if self.sends and not (self.size and not self.empty) else self.access
        return RemoteUse(
            kind=self.kind,
            access=access,
            url=self.url + self._part(),
            query=self.query,
            version=self.version,
            size=self.size if self.kind != "sql" and (access == "read" or not self.sends) else None,
            rows=self.rows,
            digest=self.digest if access == "read" or not self.sends else None,
        )

    def _part(self) -> str:
        """Return which part of the whole passed, where it was not all."""
        if self.kind == "sql" or self.access == "write" or self.empty or not self.size:
            return ""
        if self.is_whole and self.over:
            return ""
        return f"#bytes={self.start}-{self.start + self.size - 1}" if self.in_order else f"#{self.size} bytes of it"


class Ledger:
    """The uses of one cell."""

    def __init__(self, seq: int) -> None:
        self.seq = seq
        self.uses: list[Use] = []
        self._hosts: dict[tuple[str, str, str], _Gathered] = {}
        self._seen = 0  # of ``uses``, when it was last asked what changed
        self._loose: list[tuple[Use, Any]] = []  # those of which more may come, with what was known
        self._lock = threading.RLock()

    def add(self, use: Use) -> None:
        """Add a use; called from any thread."""
        self.uses.append(use)
        if len(self.uses) >= 2 * MOST and len(self.uses) % MOST == 0:
            self._gather()

    def is_empty(self) -> bool:
        """Return whether the cell used nothing so far."""
        return not self.uses and not self._hosts

    def is_settled(self) -> bool:
        """Return whether nothing more can come of what ``changed`` has seen."""
        return not self._loose

    def changed(self) -> bool:
        """Return whether anything became known since it was last asked."""
        with self._lock:
            uses = self.uses[self._seen :]
            self._seen = len(self.uses)
            for use in (*uses, *(use for use, _ in self._loose)):
                if use.drain is not None:
                    use.drain()
            known = [(use, before, use.stamp(), use.is_settled()) for use, before in self._loose]
            known += [(use, None, use.stamp(), use.is_settled()) for use in uses]
            self._loose = [(use, now) for use, _, now, settled in known if use.owed or not settled]
            return any(before != now for _, before, now, _ in known)

    def is_owing(self) -> bool:
        """Return whether something is on its way to being hashed."""
        return any(use.owed for use, _ in self._loose)

    def records(self) -> list[dict[str, Any]]:
        """Return all uses as they are now, equal ones once."""
        if self._hosts or len(self.uses) > MOST:
            self._gather(everything=True)
        uses = [use.record() for use in list(self.uses)]
        read = {(use.url, use.kind) for use in uses if use.size}
        told = [use for use in uses if use.size != 0 or (use.url, use.kind) not in read]  # a HEAD before a GET
        return [use.to_dict() for use in [gathered.record() for gathered in self._hosts.values()] + _once(told)]

    def standing(self, standing: str) -> list[str]:
        """Return the addresses that data of this standing came from, each once."""
        hosts = [host.url for host in self._hosts.values() if standing == "none" and host.uncertified]
        return list(dict.fromkeys(hosts + [use.url for use in list(self.uses) if use.standing == standing]))

    def sent(self) -> list[str]:
        """Return the addresses that data was sent to, each once."""
        return list(dict.fromkeys(record.url for use in list(self.uses) if (record := use.record()).access == "write"))

    def _gather(self, everything: bool = False) -> None:
        """Gather what is settled by host."""
        with self._lock:
            uses = list(self.uses)
            kept = [] if everything or len(uses) > _HELD else [use for use in uses if not use.is_settled()]
            names = set(map(id, kept))
            for use in uses:
                if id(use) not in names:
                    host = use.url if use.kind == "sql" else addresses.host_of(use.url)
                    record = use.record()
                    key = (use.kind, record.access, host)
                    self._hosts.setdefault(key, _Gathered(*key)).add(record, use.standing)
            self.uses[: len(uses)] = kept
            self._seen = 0 if self._seen < len(uses) else len(kept)
            self._loose = [(use, now) for use, now in self._loose if id(use) in names]


class _Gathered:
    """Very many uses of one host, as one: their digest does not hang on their order."""

    def __init__(self, kind: str, access: str, url: str) -> None:
        self.kind, self.access, self.url = kind, access, url
        self.count = self.size = self.uncertified = self._sum = 0

    def add(self, record: RemoteUse, standing: str) -> None:
        self.count += 1
        self.size += record.size or 0
        self.uncertified += standing == "none"
        self._sum += int(of_bytes(canonical_json(record.to_dict()))[-64:], 16)

    def record(self) -> RemoteUse:
        digest = of_bytes((self._sum % (1 << 256)).to_bytes(32, "big"))
        return RemoteUse(
            kind=self.kind,
            access=self.access,
            url=f"{self.url} ({self.count:,} uses)",
            size=self.size,
            digest=None if self.uncertified else digest,
        )


def _once(uses: list[RemoteUse]) -> list[RemoteUse]:
    keyed = {(use.kind, use.access, use.url, use.query, use.version, use.digest, use.rows): use for use in uses}
    return list(keyed.values())
