"""Immutable blobs named by their SHA-256: written once, whole or not at all, and never trusted unread.

Knows bytes and files; it does not know runs. The bytes that are hashed are the bytes that are stored:
a file is read once, and what was read is what its name tells, whatever happens to the file meanwhile.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from os import urandom  # as it is now: a user may replace `os.urandom`
from pathlib import Path
from time import time  # as it is now: a user may replace `time.time`

from reprokit.descriptor import borrow, give_back, release
from reprokit.digest import BLOCK, Hasher, hex_of, of_bytes
from reprokit.errors import ObjectCorrupt, ObjectMissing

__all__ = ["FRESH_S", "Objects", "Stored", "Writing"]

FRESH_S = 600.0  # an object that is wanted again is at most so much older, in seconds, than it was wanted last

_FICLONE = 0x40049409  # linux/fs.h: share the blocks of one file with another
_MANY = 200  # objects: forced to the disk one by one they would take longer than all there is to write


@dataclass(frozen=True, slots=True)
class Stored:
    """A file as it was taken.

    Attributes:
        digest: of the bytes that were read.
        size: how many bytes that were.
        git_blob: the id git gives to them, when asked for and the file was stable.
        md5: the digest that DVC names them by, likewise.
        kept: whether the store holds them.
        state: "stable", or "unstable" when the file changed while it was read, twice.
    """

    digest: str
    size: int
    git_blob: str | None
    kept: bool
    state: str
    md5: str | None = None


class Writing:
    """An object on its way: hashed as it is written.

    Args:
        fd: the file to fill.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._hasher = Hasher()

    @property
    def digest(self) -> str:
        """The digest of what was written so far."""
        return self._hasher.digest()

    @property
    def size(self) -> int:
        """How many bytes were written so far."""
        return self._hasher.size

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Add bytes and return how many."""
        block = memoryview(data).cast("B")
        self._hasher.update(block)
        _write_all(self._fd, block)
        return len(block)


class Objects:
    """The objects below one folder, which is made when the first object comes.

    Args:
        root: the folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self._unsynced: set[str] = set()
        self._anchored: set[str] = set()  # folders whose own name is known to be on the disk
        self._no_clone: set[int] = set()  # devices that cannot share blocks with the store
        self._sync_lock = threading.Lock()
        self._pid = os.getpid()

    def put_bytes(self, data: bytes, *, durable: bool = True) -> str:
        """Keep ``data`` and return its digest.

        Args:
            durable: on return the object survives a power cut; else only after ``sync()``.

        Raises:
            OSError: it could not be written; nothing is left of it.
        """
        digest = of_bytes(data)
        if self._holds(digest, len(data), durable):
            return digest
        with self._draft() as (out, draft):
            _write_all(out, data)
            self._publish(out, draft, digest, durable)
        return digest

    def put_file(
        self,
        path: str | os.PathLike[str],
        *,
        limit: int | None = None,
        git: bool = False,
        md5: bool = False,
        durable: bool = True,
    ) -> Stored:
        """Keep a file's bytes: shared blocks where the filesystem can, else a copy hashed on its way.

        Args:
            path: a regular file; anything else (a pipe, a socket, a device) is refused without waiting.
            limit: the largest size that is kept, in bytes; larger files are hashed only.
            git: also compute the id that git gives to the bytes.
            md5: also compute the digest that DVC names them by.
            durable: as in ``put_bytes``.

        Raises:
            OSError: the file is not regular, cannot be read, or the object could not be written.
        """
        source = _open_regular(path)
        try:
            hasher = Hasher(os.fstat(source).st_size if git else None, md5=md5)
            taken = self._take(source, limit, hasher, durable, last=False)
            if taken.state == "stable":
                return taken
            hasher = Hasher(os.fstat(source).st_size if git else None, md5=md5)
            return self._take(source, limit, hasher, durable, last=True)
        finally:
            give_back(source)

    @contextlib.contextmanager
    def writing(self) -> Iterator[Writing]:
        """Yield what takes an object's bytes piece by piece; once the block has ended well, they are durable.

        Raises:
            OSError: it could not be written; nothing is left of it, nor when the block raises.
        """
        with self._draft() as (out, draft):
            yield (taken := Writing(out))
            os.fchmod(out, 0o400)  # what comes like this is a program's memory: nobody else's
            self._publish(out, draft, taken.digest, durable=True)

    def has(self, digest: str) -> bool:
        """Return whether an object of this name is here (its bytes are checked when they are read)."""
        try:
            return self.path(digest).is_file()
        except ValueError:  # a record from elsewhere can name anything
            return False

    def path(self, digest: str) -> Path:
        """Return where the object lies or would lie.

        Raises:
            ValueError: ``digest`` is not a digest.
        """
        return Path(self._where(digest))

    def get_bytes(self, digest: str) -> bytes:
        """Return an object's bytes, having checked them.

        Raises:
            ObjectMissing: it is not here.
            ObjectCorrupt: its bytes do not match its name.
        """
        try:
            data = self.path(digest).read_bytes()
        except (FileNotFoundError, ValueError):
            raise ObjectMissing(digest) from None
        if (found := of_bytes(data)) != digest:
            raise ObjectCorrupt(digest, found)
        return data

    def restore(self, digest: str, target: Path, *, verify: bool = True) -> None:
        """Put an object's bytes at ``target``, as a file of its own that may be written; whole or not at all.

        Raises:
            ObjectMissing: it is not here.
            ObjectCorrupt: its bytes do not match its name; ``target`` is left as it was.
            OSError: ``target`` cannot be written.
        """
        try:
            source = os.open(self._where(digest), os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, ValueError):
            raise ObjectMissing(digest) from None
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with _temporary(f"{target.parent}/.reprokit-{urandom(8).hex()}", 0o666) as (out, draft):
                hasher = Hasher()
                self._copy(source, os.fstat(source), out, hasher if verify else None)
                if verify and hasher.digest() != digest:
                    raise ObjectCorrupt(digest, hasher.digest())
                os.replace(draft, target)  # noqa: PTH105
        finally:
            os.close(source)

    def sync(self) -> None:
        """Make every object put with ``durable=False`` survive a power cut: the files, then their folders.

        Raises:
            OSError: the disk did not take one; that object is removed, since its bytes cannot be believed.
        """
        if os.getpid() != self._pid:  # a lock held by another thread at a fork stays held for ever
            self._pid, self._sync_lock = os.getpid(), threading.Lock()
        release()
        with self._sync_lock:
            if len(self._unsynced) > _MANY and self._sync_all():
                return
            folders = set()
            while self._unsynced:
                target = self._unsynced.pop()
                with contextlib.suppress(FileNotFoundError):  # removed since: nothing to keep
                    _sync_object(target)
                folders.add(target.rpartition("/")[0])
            self._sync_folders(folders)

    def _sync_all(self) -> bool:
        """Force the whole filesystem to the disk: for thousands of files a hundred times faster than one by one."""
        done = set(self._unsynced)
        try:
            fd = os.open(self.root, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            synced = bool(ctypes.CDLL(None, use_errno=True).syncfs(fd) == 0)
        except (AttributeError, OSError):  # another system
            return False
        finally:
            os.close(fd)
        if synced:
            self._unsynced -= done
        return synced

    def _where(self, digest: str) -> str:
        name = hex_of(digest)
        return f"{self.root}/{name[:2]}/{name[2:]}"

    def _holds(self, digest: str, size: int, durable: bool) -> bool:
        """Return whether the object is here; one of the wrong size (left by a power cut) is not."""
        target = self._where(digest)
        try:
            found = os.stat(target)  # noqa: PTH116
            whole = found.st_size == size
            if whole and time() - found.st_mtime > FRESH_S:  # so that `gc` sees that somebody is about to name it
                os.utime(target)
        except OSError:
            return False
        if whole and durable and target in self._unsynced:
            self.sync()
        return whole

    def _draft(self) -> contextlib.AbstractContextManager[tuple[int, str]]:
        return _temporary(f"{self.root}/tmp-{urandom(8).hex()}", 0o444)

    def _publish(self, out: int, draft: str, digest: str, durable: bool) -> None:
        """Give a finished draft its name: never before its bytes are on the disk, when that is asked for."""
        target = self._where(digest)
        folder = target.rpartition("/")[0]
        if durable:
            os.fsync(out)
        try:
            os.rename(draft, target)  # noqa: PTH104
        except FileNotFoundError:
            os.makedirs(folder, exist_ok=True)  # noqa: PTH103
            os.rename(draft, target)  # noqa: PTH104
        if durable:
            self._sync_folders({folder})
        else:
            self._unsynced.add(target)

    def _sync_folders(self, folders: set[str]) -> None:
        for folder in sorted(folders):
            _sync(folder)
        if not folders <= self._anchored:  # once for all that are new
            _sync(str(self.root))
            self._anchored |= folders

    def _take(self, source: int, limit: int | None, hasher: Hasher, durable: bool, *, last: bool) -> Stored:
        """Read the file once; what was read is kept when it was stable, or when this is the last try."""
        before = os.fstat(source)
        beyond = limit is not None and before.st_size > limit
        if beyond or before.st_size < BLOCK:
            blocks: list[bytes] = []
            hasher.feed(_reader(source, before.st_size), None if beyond else blocks.append)
            stable = _is_same(before, os.fstat(source), hasher.size)
            if not beyond and (stable or last):  # small: from memory, with no draft when it is known already
                self.put_bytes(b"".join(blocks), durable=durable)
            return _stored(hasher, stable, kept=not beyond and (stable or last))
        with self._draft() as (out, draft):
            after = self._copy(source, before, out, hasher)
            stable = _is_same(before, after, hasher.size)
            if (stable or last) and not self._holds(hasher.digest(), hasher.size, durable):
                self._publish(out, draft, hasher.digest(), durable)
        return _stored(hasher, stable, kept=stable or last)

    def _copy(self, source: int, before: os.stat_result, out: int, hasher: Hasher | None) -> os.stat_result:
        """Fill ``out``, feed the hasher with what it now holds, and return how the source is after."""
        if self._clone(source, before, out):
            after = os.fstat(source)
            if hasher is not None:
                hasher.feed(_reader(out, os.fstat(out).st_size))
            return after
        passing = Hasher() if hasher is None else hasher
        passing.feed(_reader(source, before.st_size), lambda block: _write_all(out, block))
        return os.fstat(source)

    def _clone(self, source: int, before: os.stat_result, out: int) -> bool:
        """Return whether ``out`` now shares the blocks of ``source``."""
        if before.st_dev in self._no_clone or not before.st_size:
            return False
        try:
            fcntl.ioctl(out, _FICLONE, source)
        except OSError:  # another filesystem, or one that cannot: copy, from now on without asking
            self._no_clone.add(before.st_dev)
            return False
        return True


def _stored(hasher: Hasher, stable: bool, *, kept: bool) -> Stored:
    return Stored(
        digest=hasher.digest(),
        size=hasher.size,
        git_blob=hasher.git_blob() if stable else None,
        kept=kept,
        state="stable" if stable else "unstable",
        md5=hasher.md5() if stable else None,
    )


def _is_same(before: os.stat_result, after: os.stat_result, size: int) -> bool:
    """Return whether nothing was written meanwhile, as far as the filesystem's clock can tell."""
    return size == before.st_size and (before.st_size, before.st_mtime_ns, before.st_ctime_ns) == (
        after.st_size,
        after.st_mtime_ns,
        after.st_ctime_ns,
    )


def _open_regular(path: str | os.PathLike[str]) -> int:
    """Open for reading without ever waiting; the look before spares devices that act when opened."""
    if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116
        raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
    fd = borrow(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        give_back(fd)
        raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
    return fd


def _reader(fd: int, size: int) -> Callable[[int], bytes]:
    """Return a ``read`` from the start, ending one byte after ``size``: a growing file has no end."""
    os.lseek(fd, 0, os.SEEK_SET)
    left = size + 1

    def read(count: int) -> bytes:
        nonlocal left
        block = os.read(fd, min(count, left))
        left -= len(block)
        return block

    return read


def _write_all(fd: int, data: bytes | memoryview) -> None:
    done = os.write(fd, data)
    while done < len(data):
        done += os.write(fd, memoryview(data)[done:])


@contextlib.contextmanager
def _temporary(path: str, mode: int) -> Iterator[tuple[int, str]]:
    """Yield a new file that is gone afterwards unless it was renamed."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        fd = os.open(path, flags, mode)
    except FileNotFoundError:
        os.makedirs(path.rpartition("/")[0], exist_ok=True)  # noqa: PTH103
        fd = os.open(path, flags, mode)
    try:
        yield fd, path
    finally:
        os.close(fd)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)  # noqa: PTH108


def _sync_object(path: str) -> None:
    """Force one object to the disk; a failed attempt is never repeated and believed."""
    try:
        _sync(path)
    except FileNotFoundError:
        raise
    except OSError:
        os.unlink(path)  # noqa: PTH108
        raise


def _sync(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
