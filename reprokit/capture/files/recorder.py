"""The native recorder's side in the kernel: switches it on, and reads what it noted.

The library (``native/recorder.c``) sees every open, rename, removal and start of a program, in C
libraries and in children too. It puts events into a ring in shared memory; this module takes them
out. It decides nothing about them: which of them are data is the files probe's affair.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import stat
import struct
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from reprokit.capture import swallowed
from reprokit.capture.preload import carried, is_available, is_carried, loadable

__all__ = ["Event", "Recorder", "carried", "is_available", "is_carried", "is_opaque", "why_not"]

_SHARED = "/dev/shm"
_PREFIX = "reprokit-ring-"
_ROOM = 1 << 20  # bytes taken from the ring at once
_PLENTY = 8  # times the ring's size that must be free in shared memory: others need it too
_HEAD = struct.Struct("<IIBBHHH")  # with the size of the rest in front
_SIZE = 4  # bytes of that size itself
_WHAT = {
    ord("r"): "read",
    ord("w"): "write",
    ord("u"): "update",
    ord("a"): "append",
    ord("n"): "rename",
    ord("l"): "link",
    ord("d"): "remove",
    ord("o"): "list",
    ord("x"): "exec",
    ord("c"): "connect",
}
_EXEC, _HELLO, _FAILED = ord("x"), ord("h"), ord("f")
_STARTING = frozenset((_EXEC, _HELLO, _FAILED))


class Event(NamedTuple):
    """Something that a process did; a tuple, because a cell may have 100,000 of them.

    Attributes:
        pid: the process.
        what: "read", "write" (the old bytes are cut off, or there were none), "update" (the old bytes matter:
            opened to append or to change), "rename", "link", "remove", "list" (a folder), "exec" or "connect".
        path: absolute and normalised, with links kept; for "connect" the address as "host:port".
        target: the new name, for "rename" and "link".
        existed: whether the file (for "rename" and "link": the target) was there before.
        before: a copy of the bytes that were lost, when there is one; the reader owns and removes it.
    """

    pid: int
    what: str
    path: str
    target: str = ""
    existed: bool = True
    before: str | None = None


_reason = ""


def why_not() -> str:
    """Return why the last ``Recorder.begin`` gave None."""
    return _reason


class Recorder:
    """The recorder, switched on in this process and in every child it starts from now on.

    Attributes:
        mode: "preload" (this process carried it from its start) or "patched" (put in later: calls through
            addresses that were looked up before are not seen).
    """

    def __init__(self, library: ctypes.PyDLL, slow: ctypes.CDLL, folder: str) -> None:
        self.mode = "preload" if library.rk_preloaded() else "patched"
        self._library = library  # keeps the interpreter's lock: for what takes less than giving it back
        self._slow = slow
        self._folder = folder
        self._pid = os.getpid()
        self._lock = threading.RLock()  # as in `Tap`
        self._buffer: Any = ctypes.create_string_buffer(_ROOM)
        self._chunks: list[bytes] = []
        self._starts = _Starts()
        take = swallowed.guarded("files", self._take_in_time)  # a ring that nobody empties says that events are lost
        self._thread = threading.Thread(target=take, name="reprokit-recorder", daemon=True)
        self._thread.start()

    @classmethod
    def begin(cls, folder: Path, noise: Sequence[str], suffixes: Sequence[str]) -> Recorder | None:
        """Switch the recorder on.

        Args:
            folder: where copies of lost bytes are put; made here.
            noise: beginnings of paths that are never noted; without a leading slash, names of folders
                anywhere whose contents are not.
            suffixes: ends of paths that are never noted.

        Returns:
            None when this system has no recorder: ``why_not`` tells why.
        """
        global _reason
        try:
            library, slow = _load()
            folder.mkdir(parents=True, exist_ok=True)
            _begin(library, str(folder), _packed(noise, suffixes))
        except (OSError, AttributeError) as error:
            _reason = str(error)
            return None
        try:
            return cls(library, slow, str(folder))
        except BaseException:
            library.rk_end()
            _remove_segment()
            raise

    def drain(self) -> list[Event]:
        """Return what happened since the last call, in its order; a new cell begins for the recorder."""
        if os.getpid() != self._pid:
            return []
        library = self._library
        if not library.rk_pending() and not self._chunks:
            library.rk_new_epoch()
            return []
        with self._lock:
            self._take()
            library.rk_new_epoch()
            chunks, self._chunks = self._chunks, []
        with self.hushed():
            return self._events(chunks)

    def take_lost(self) -> int:
        """Return how many events were lost since the last call: they did not fit, or their writer was killed."""
        return int(self._library.rk_take_lost()) if os.getpid() == self._pid else 0

    def protect(self, path: str, on: bool) -> None:
        """Tell whether the bytes of a file are still owed.

        A file that anybody reads is protected by itself: before it is changed, replaced or removed its bytes
        are copied. Once its digest is known and its content stored, say ``on=False``: the copy is saved.
        """
        self._library.rk_protect(os.fsencode(path), on)

    def quiet(self) -> None:
        """Leave out what this thread does from now on, and what it starts."""
        self._library.rk_hush(1)

    @contextmanager
    def hushed(self) -> Iterator[None]:
        """Leave out what this thread does in a block, and what it starts."""
        self._library.rk_hush(1)
        try:
            yield
        finally:
            self._library.rk_hush(-1)

    def opaque(self) -> list[str]:
        """Return the programs started since the last call that the recorder cannot see into."""
        if not self._starts:
            return []
        with self.hushed():
            return self._starts.take()

    def stop(self) -> None:
        """Switch the recorder off; children that run on are not recorded any more."""
        if os.getpid() == self._pid:
            try:
                self._library.rk_end()
                self._thread.join()
            finally:
                _remove_segment()

    def _take_in_time(self) -> None:
        while self._slow.rk_wait() and os.getpid() == self._pid:
            with self._lock:
                self._take()

    def _take(self) -> None:
        # Its own for the time being: garbage that is collected meanwhile may come here again.
        buffer, self._buffer = self._buffer or ctypes.create_string_buffer(_ROOM), None
        while size := self._slow.rk_take(buffer, _ROOM):
            self._chunks.append(ctypes.string_at(buffer, size))
        self._buffer = buffer

    def _events(self, chunks: Iterable[bytes]) -> list[Event]:
        events = []
        encoding, errors = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()
        for chunk in chunks:
            at, end = 0, len(chunk)
            while at < end:
                size, pid, what, existed, path, target, before = _HEAD.unpack_from(chunk, at)
                start = at + _HEAD.size
                at += _SIZE + size
                name = chunk[start : start + path].decode(encoding, errors)
                new, copy = "", None
                if target:
                    new = chunk[start + path : start + path + target].decode(encoding, errors)
                if before:
                    copy = os.path.join(self._folder, chunk[at - before : at].decode(encoding, errors))
                if what in _STARTING:
                    self._starts.note(pid, what, name)
                if what in _WHAT:
                    events.append(Event(pid, _WHAT[what], name, new, existed != 0, copy))
        return events


class _Starts:
    """Programs that were started, until the recorder in them was heard of."""

    def __init__(self) -> None:
        self._silent: dict[int, int] = {}  # by process: starts without a word
        self._paths: dict[int, str] = {}
        self._early: set[int] = set()  # that ended, and whose start we may yet hear of
        self._opaque: list[str] = []

    def __bool__(self) -> bool:
        return bool(self._silent or self._opaque)

    def note(self, pid: int, what: int, path: str) -> None:
        if what == _EXEC:
            self._paths[pid] = path
            if is_opaque(path):
                self._opaque.append(path)
        silent = self._silent.get(pid, 0) + (1 if what == _EXEC else -1)
        if silent:
            self._silent[pid] = silent
        else:
            self._silent.pop(pid, None)
            self._paths.pop(pid, None)

    def take(self) -> list[str]:
        found, self._opaque = self._opaque, []
        for pid in [pid for pid in self._silent if not _runs(pid)]:
            if self._silent[pid] < 0 and pid not in self._early:
                self._early.add(pid)
                continue
            self._early.discard(pid)
            path = self._paths.pop(pid, None)
            if self._silent.pop(pid) > 0 and path is not None and path not in found:
                found.append(path)
        return found


def _runs(pid: int) -> bool:
    """Return whether a process is still there, and so may still be on its way to its first word."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False


# -- switching on -----------------------------------------------------------------------------------


def _load() -> tuple[ctypes.PyDLL, ctypes.CDLL]:
    if not sys.platform.startswith("linux"):
        raise OSError("the recorder exists for Linux only")
    if not is_available():
        raise OSError("the recorder was not built: no C compiler was there when reprokit was installed")
    path = loadable()
    library, slow = ctypes.PyDLL(path), ctypes.CDLL(path)
    library.rk_size.restype = slow.rk_take.restype = library.rk_take_lost.restype = ctypes.c_ulong
    library.rk_begin.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong]
    library.rk_protect.argtypes = [ctypes.c_char_p, ctypes.c_int]
    slow.rk_take.argtypes = [ctypes.c_char_p, ctypes.c_ulong]
    return library, slow


def _packed(noise: Sequence[str], suffixes: Sequence[str]) -> bytes:
    entries = [(b"p", os.fsencode(text)) for text in noise if text.startswith("/")]
    entries += [(b"n", b"/" + os.fsencode(text) + b"/") for text in noise if not text.startswith("/")]
    entries += [(b"s", os.fsencode(text)) for text in suffixes]
    # Ends first: they are told fastest. Then what is opened most.
    entries.sort(key=lambda entry: b"spn".index(entry[0]))
    return b"".join(kind + struct.pack("<H", len(text)) + text for kind, text in entries)


_segment: tuple[int, str] | None = None  # of which process, and its file


def _begin(library: ctypes.PyDLL, folder: str, noise: bytes) -> None:
    """Use this process's segment, or make one: a process has one at most, because a thread may be writing into it."""
    global _segment
    path = None
    if _segment is None or _segment[0] != os.getpid():
        path = _make_segment(library.rk_size(), folder)
    given = None if path is None else os.fsencode(path)
    if not library.rk_begin(given, os.fsencode(folder), noise, len(noise)):
        raise OSError("the recorder's shared memory could not be used")
    if path is not None:
        _segment = (os.getpid(), path)
        atexit.register(_remove_segment)


def _remove_segment() -> None:
    """Give the segment up: the next run of this process makes one anew, in its place in memory."""
    global _segment
    if _segment is not None and _segment[0] == os.getpid():
        atexit.unregister(_remove_segment)
        with suppress(OSError):
            os.unlink(_segment[1])
        _segment = None


def _make_segment(size: int, folder: str) -> str:
    for place in (_SHARED, folder):
        try:
            _remove_stale(place)
            room = os.statvfs(place)
            if room.f_bavail * room.f_frsize < (_PLENTY if place == _SHARED else 1) * size:
                continue
            return _allocate(os.path.join(place, _PREFIX + _name_of(os.getpid())), size)
        except OSError:
            continue
    raise OSError("there is no room for the recorder's shared memory")


def _allocate(path: str, size: int) -> str:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(fd, 0, size)  # a page that cannot be had later would kill the process
    except OSError:
        os.unlink(path)
        raise
    finally:
        os.close(fd)
    return path


def _name_of(pid: int) -> str:
    """Return a name for a process that no other has, not even in another container."""
    return f"{os.stat('/proc/self/ns/pid').st_ino}-{pid}-{_started(pid)}"


def _started(pid: int) -> str:
    with open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()[19].decode()


def _remove_stale(place: str) -> None:
    """Remove segments of processes of this container that were killed."""
    space = str(os.stat("/proc/self/ns/pid").st_ino)
    for name in os.listdir(place):
        parts = name.removeprefix(_PREFIX).split("-")
        if name.startswith(_PREFIX) and len(parts) == 3 and parts[0] == space and not _is_alive(parts[1], parts[2]):
            try:
                os.unlink(os.path.join(place, name))
            except OSError:  # another user's
                pass


def _is_alive(pid: str, started: str) -> bool:
    try:
        return _started(int(pid)) == started
    except (OSError, ValueError, IndexError):
        return False


# -- programs that cannot be seen into ----------------------------------------------------------------

_PT_INTERP, _PT_NOTE = 3, 4
_ELF = struct.Struct("<16xHHIQQQIHHH")
_PROGRAM = struct.Struct("<IIQQQQQQ")
_opaque: dict[tuple[int, int, int], bool] = {}


def is_opaque(path: str) -> bool:
    """Return whether a program opens files in ways that no library sees: static, with other rights, or of Go."""
    try:
        status = os.stat(path)
    except OSError:  # there is no such program: it was only tried
        return False
    key = (status.st_dev, status.st_ino, status.st_mtime_ns)
    known = _opaque.get(key)
    if known is None:
        known = _opaque[key] = bool(status.st_mode & (stat.S_ISUID | stat.S_ISGID)) or _looks_opaque(path)
    return known


def _looks_opaque(path: str) -> bool:
    try:
        return _is_opaque_file(path)
    except (OSError, struct.error):  # it may be run and not read: who knows what it does
        return True


def _is_opaque_file(path: str) -> bool:
    with open(path, "rb") as file:
        head = file.read(_ELF.size)
        if not head.startswith(b"\x7fELF"):
            return False  # a script: what runs it is started next, and looked at then
        if head[4] != 2:
            return True  # of 32 bits
        _, _, _, _, table, _, _, _, size, count = _ELF.unpack(head)
        file.seek(table)
        programs = [_PROGRAM.unpack_from(file.read(size)) for _ in range(count)]
        return all(entry[0] != _PT_INTERP for entry in programs) or any(_go_note(file.read, file.seek, programs))


def _go_note(
    read: Callable[[int], bytes], seek: Callable[[int], int], programs: Iterable[tuple[int, ...]]
) -> Iterator[bool]:
    for kind, _, offset, _, _, size, _, _ in programs:
        if kind == _PT_NOTE:
            seek(offset)
            yield b"Go\0\0" in read(min(size, 4096))
