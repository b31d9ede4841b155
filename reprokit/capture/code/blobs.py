"""The bytes of working files as git blobs, exactly as they are on disk.

It knows how to name files in bulk, remembers names by file status so that an unchanged file is not read
twice, and finds the files whose bytes differ from what git's index holds for them. Blobs that git lacks are
held for the ``fast-import`` that makes the commit; it writes them with the trees. It does not know trees.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from time import time_ns
from typing import Any

from reprokit import digest
from reprokit.capture.code.git import Scratch, git, quoted
from reprokit.capture.code.repository import Repository
from reprokit.capture.code.tree import Listing, lstat
from reprokit.errors import GitError

__all__ = ["Blobs"]

_SETTLED_NS = 2_000_000_000  # a file changed this recently may change again without a new time stamp
_FORMAT = 1
_MANY = 500  # files; fewer are loose objects, which git packs when it likes
_BATCH = 2**25  # bytes of files held, or read at a time
_REWRITING = b"filter", b"working-tree-encoding"
_RESIZING = b"text", b"eol", b"crlf", b"ident"


class Blobs:
    """Stores files as blobs in the objects of a scratch git directory.

    Args:
        scratch: where git runs.
        memory: the file that remembers names between snapshots; a cache, safe to delete.
        trust: whether a remembered name will do; not where git cannot check that its object is there.
        kind: how the repository names its objects, "sha1" or "sha256".
    """

    def __init__(self, scratch: Scratch, memory: Path, *, trust: bool = True, kind: str = "sha1") -> None:
        self._scratch = scratch
        self._memory = memory
        self._known = _load(memory) if trust else {}
        self._used: dict[str, Any] = {}
        self._converted: list[Any] = self._known.get("converted", [])
        self._index: dict[str, Any] = {}
        self._commit: list[str] = []
        self._kind = kind
        self._held: dict[str, bytes] = {}
        self._room = _BATCH

    def store(self, files: dict[bytes, os.stat_result]) -> tuple[dict[bytes, str], dict[bytes, str]]:
        """Name files (path → its status just now); git has their blobs once it has read ``stream``.

        Returns:
            Blob ids by path, and why a path has none.
        """
        began = time_ns()
        remembered = self._known.get("files", {})
        ids: dict[bytes, str] = {}
        for path, status in files.items():
            entry = remembered.get(os.fsdecode(path))
            if entry is not None and entry[:-1] == _key(status):
                ids[path] = entry[-1]
        missing = [path for path in files if path not in ids]
        new, failed = self._hold(missing, files)
        ids.update(new)
        left = [path for path in missing if path not in new and path not in failed]
        new, unwritten = self._write(left, files) if left else ({}, {})
        ids.update(new)
        failed.update(unwritten)
        for path, oid in ids.items():
            status = files[path]
            if began - max(status.st_mtime_ns, status.st_ctime_ns) > _SETTLED_NS:
                self._used[os.fsdecode(path)] = [*_key(status), oid]
        return ids, failed

    def stream(self) -> list[bytes]:
        """The blobs that git is still to write, as lines for ``git fast-import``."""
        return [b"blob\ndata %d\n%s" % (len(data), data) for data in self._held.values()]

    def _hold(
        self, paths: list[bytes], files: dict[bytes, os.stat_result]
    ) -> tuple[dict[bytes, str], dict[bytes, str]]:
        """Read and name as many files as there is room for."""
        ids: dict[bytes, str] = {}
        failed: dict[bytes, str] = {}
        for path in paths:
            if files[path].st_size > self._room:
                continue
            try:
                data = _contents(self._scratch.full(path), files[path])
            except OSError as error:
                failed[path] = error.strerror or str(error)
                continue
            ids[path] = digest.git_blob(data, self._kind)
            self._held[ids[path]] = data
            self._room -= len(data)
        return ids, failed

    def _write(
        self, paths: list[bytes], files: dict[bytes, os.stat_result]
    ) -> tuple[dict[bytes, str], dict[bytes, str]]:
        """Let git write the blobs: all at once, or one by one when one of them stops it."""
        try:
            ids = [oid for batch in _batches(paths, files) for oid in self._hash_batch(batch, files)]
            return dict(zip(paths, ids, strict=True)), {}
        except (GitError, OSError, ValueError):
            self._scratch.git("hash-object", "-w", "--stdin", stdin=b"")  # fails when none can be written
        found: dict[bytes, str] = {}
        failed: dict[bytes, str] = {}
        for path in paths:
            try:
                (found[path],) = self._hash([path], files)
            except (GitError, OSError) as error:
                failed[path] = _why(self._scratch.full(path), error)
        return found, failed

    def _hash_batch(self, paths: list[bytes], files: dict[bytes, os.stat_result]) -> list[str]:
        """Store many small files as one pack: a file system takes far longer to make a file for each."""
        if len(paths) < _MANY:
            return self._hash(paths, files)
        stream = bytearray()
        for number, path in enumerate(paths, 1):
            data = _contents(self._scratch.full(path), files[path])
            stream += b"blob\nmark :%d\ndata %d\n%s\nget-mark :%d\n" % (number, len(data), data, number)
        options = ("-c", "fastimport.unpackLimit=1")
        return self._scratch.git(*options, "fast-import", "--quiet", stdin=bytes(stream)).decode().split()

    def _hash(self, paths: list[bytes], files: dict[bytes, os.stat_result]) -> list[str]:
        if not paths:
            return []
        sources = [
            self._link(number, path) if stat.S_ISLNK(files[path].st_mode) else path for number, path in enumerate(paths)
        ]
        lines = b"".join(quoted(source) + b"\n" for source in sources)
        out = self._scratch.git("hash-object", "-w", "--no-filters", "--stdin-paths", stdin=lines)
        return out.decode().split()

    def _link(self, number: int, path: bytes) -> bytes:
        """Put a symlink's target, which is its blob, where git can read it."""
        text = self._scratch.folder / f"link-{number}"
        text.write_bytes(os.readlink(self._scratch.full(path)))
        return os.fsencode(text)

    def converted(self, listing: Listing, repository: Repository) -> list[bytes]:
        """Return the unchanged tracked files whose bytes may not be those that git's index names.

        Args:
            listing: what there is.
            repository: whose attributes and settings say what git converts.
        """
        texts = _attributes(repository, listing)
        resizing = _on(repository.settings.get("core.autocrlf", "false"))
        resizing = resizing or any(word in text for text in texts for word in _RESIZING)
        rewriting = any(word in text for text in texts for word in _REWRITING)
        if not resizing and not rewriting:
            return []
        key = digest.checksum(b"\0".join((listing.index, b"%d" % resizing, *texts)))
        if not listing.index or self._converted[:1] != [key]:
            entries = listing.present()
            found = self._resized(entries)
            if rewriting:
                found |= _filtered(repository, list(entries))
            self._converted = [key, sorted(os.fsdecode(path) for path in found)]
        return [path for path in map(os.fsencode, self._converted[1]) if path not in listing.changed]

    def _resized(self, entries: dict[bytes, tuple[str, str]]) -> set[bytes]:
        """Line ends and ``$Id$`` change a file's length, so lengths tell which files they changed."""
        regular = {path: oid for path, (mode, oid) in entries.items() if mode.startswith("100")}
        ids = "".join(f"{oid}\n" for oid in regular.values()).encode()
        sizes = self._scratch.git("cat-file", "--batch-check=%(objectsize)", stdin=ids).split(b"\n")
        found = set()
        for path, size in zip(regular, sizes, strict=False):
            status = lstat(self._scratch.full(path))
            if status is None or size != b"%d" % status.st_size:
                found.add(path)
        return found

    def index(self, checksum: bytes) -> tuple[str, list[bytes]] | None:
        """Return the tree of an index and its attributes files, if it was noted."""
        entry = self._known.get("index")
        if not entry or entry["checksum"] != checksum.hex():
            return None
        return entry["tree"], [os.fsencode(path) for path in entry["attributes"]]

    def note_index(self, listing: Listing, tree: str) -> None:
        """Remember an index, so that it need not be read again while it is the same."""
        if listing.index and listing.plain:
            attributes = [os.fsdecode(path) for path in listing.attributes]
            self._index = {"checksum": listing.index.hex(), "tree": tree, "attributes": attributes}

    def commit(self, key: str) -> tuple[str, str, str] | None:
        """Return what the last snapshot that was remembered came to, if it was asked for the same."""
        entry = self._known.get("commit", [])
        return (entry[1], entry[2], entry[3]) if entry[:1] == [key] else None

    def note_commit(self, key: str, found: tuple[str, str, str]) -> None:
        """Remember what a snapshot came to."""
        self._commit = [key, *found]

    def remember(self) -> None:
        """Keep the names for the next snapshot; whoever comes last wins."""
        known = {
            "format": _FORMAT,
            "files": self._used,
            "converted": self._converted,
            "index": self._index,
            "commit": self._commit,
        }
        if known == self._known:
            return
        part = self._memory.with_name(f"{self._memory.name}.{os.getpid()}")
        try:
            self._memory.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(digest.canonical_json(known))
            part.replace(self._memory)
        except OSError:  # a cache that cannot be kept costs time, nothing else
            part.unlink(missing_ok=True)


def _batches(paths: list[bytes], files: dict[bytes, os.stat_result]) -> list[list[bytes]]:
    """Split files into batches that fit into memory."""
    batches: list[list[bytes]] = [[]]
    size = 0
    for path in paths:
        size += files[path].st_size
        if size > _BATCH:
            batches.append([])
            size = files[path].st_size
        batches[-1].append(path)
    return batches


def _contents(path: bytes, status: os.stat_result) -> bytes:
    if stat.S_ISLNK(status.st_mode):
        return os.readlink(path)
    with open(path, "rb") as stream:
        return stream.read()


def _load(memory: Path) -> dict[str, Any]:
    try:
        known = json.loads(memory.read_bytes())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) and known.get("format") == _FORMAT else {}


def _key(status: os.stat_result) -> list[int]:
    where = [status.st_dev, status.st_ino, status.st_mode]
    return [*where, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _why(path: bytes, error: Exception) -> str:
    try:
        with open(path, "rb"):
            return str(error)
    except OSError as reason:
        return reason.strerror or str(reason)


def _on(value: str) -> bool:
    return value.lower() not in ("false", "no", "off", "0", "")


def _attributes(repository: Repository, listing: Listing) -> list[bytes]:
    """Return the text of every attributes file that can apply."""
    inside = {b".gitattributes", *listing.attributes}
    inside.update(path for path in listing.untracked if path.endswith(b".gitattributes"))
    paths = [repository.top / os.fsdecode(path) for path in sorted(inside)]
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    named = repository.settings.get("core.attributesfile")
    paths += [Path(named).expanduser() if named else config / "git" / "attributes"]
    paths += [Path("/etc/gitattributes"), repository.common / "info" / "attributes"]
    return [path.read_bytes() for path in paths if path.is_file()]


def _filtered(repository: Repository, paths: list[bytes]) -> set[bytes]:
    """Return the files with a filter or an encoding: git's answer, which runs neither."""
    out = git(
        *("check-attr", "-z", "--stdin", "filter", "working-tree-encoding"),
        cwd=repository.top,
        env={"GIT_DIR": str(repository.directory), "GIT_WORK_TREE": str(repository.top)},
        stdin=b"".join(path + b"\0" for path in paths),
    )
    fields = out.split(b"\0")
    return {
        path for path, value in zip(fields[0::3], fields[2::3], strict=False) if value not in (b"unspecified", b"unset")
    }
