"""What strace saw a tree of processes do to files: its lines, as values. It knows nothing of reprokit."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["MARK", "Event", "command", "events", "why_not"]

MARK = "/__cell__"  # a call of access() on it begins the next cell; nothing is there

_READS = ["read", "pread64", "readv", "preadv", "preadv2"]
_WRITES = ["write", "pwrite64", "writev", "pwritev", "pwritev2", "fallocate"]
_COPIES = ["sendfile", "copy_file_range", "splice"]
_OPENS = ["open", "openat", "openat2", "creat"]
_NAMES = ["rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat", "unlink", "unlinkat", "truncate"]
_TRACED = [*_READS, *_WRITES, *_COPIES, *_OPENS, *_NAMES, "mmap", "ftruncate", "ioctl", "chdir", "fchdir", "access"]

_LINE = re.compile(r"^(\d+) +(.*)$")
_RESUMED = re.compile(r"^<\.\.\. \w+ resumed>(.*)$")
_CALL = re.compile(r"^(\w+)\((.*)\) += (-?\d+|0x[0-9a-f]+)(?:<((?:[^\\>]|\\.)*)>(\(deleted\))?)?")
_FD = re.compile(r"(?<![\w\"/])(\d+|AT_FDCWD)<((?:[^\\>]|\\.)*)>(\(deleted\))?")
_TEXT = re.compile(r'"((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(rb"\\([0-7]{1,3}|x[0-9a-f]{2}|.)")
_PLAIN = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"v": b"\v", b"f": b"\f"}


@dataclass(frozen=True, slots=True)
class Event:
    """One call that succeeded.

    Attributes:
        what: "cell", "open", "read", "write", "map", "rename", "link", "symlink", "unlink", "truncate".
        path: absolute; of an open file as the system names it, with all links followed.
        target: of a rename or a link, the new name.
        flags: of an opening and a mapping, the words of its flags.
        size: of a truncation.
    """

    what: str
    path: str = ""
    target: str = ""
    flags: frozenset[str] = frozenset()
    size: int = 0


def why_not() -> str | None:
    """Return why nothing can be traced here although strace is there, or None."""
    tried = subprocess.run([*command(Path(os.devnull)), "true"], capture_output=True, text=True, check=False)
    return tried.stderr.strip() or "strace failed" if tried.returncode else None


def command(log: Path) -> list[str]:
    """Return what goes before a command to have all its processes traced into ``log``.

    Raises:
        FileNotFoundError: there is no strace.
    """
    found = shutil.which("strace")
    if found is None:
        raise FileNotFoundError("strace is not installed (Debian, Ubuntu: `apt-get install strace`)")
    return [
        found,
        "-f",
        "-y",
        "-qq",
        "-s",
        "0",
        "--seccomp-bpf",
        "-e",
        f"trace={','.join(_known(_TRACED))}",
        "-e",
        "signal=none",
        "-o",
        str(log),
    ]


def _known(names: Iterable[str]) -> list[str]:
    """Return the names with a mark that lets strace pass over those this machine does not have."""
    return [f"?{name}" for name in names]


def events(log: Path, cwd: Path) -> Iterator[Event]:
    """Return what happened, in order.

    Args:
        log: what strace wrote.
        cwd: where the first process worked.
    """
    folders: dict[str, str] = {}
    with log.open(encoding="utf-8", errors="surrogateescape") as lines:
        for pid, name, arguments, result, opened in _calls(lines):
            for what, path, _ in _FD.findall(arguments):
                if what == "AT_FDCWD":
                    folders[pid] = _plain(path)
            folder = folders.get(pid, str(cwd))
            if name == "chdir":
                folders[pid] = os.path.realpath(os.path.join(folder, _texts(arguments)[0]))
            elif name == "fchdir":
                folders[pid] = _fds(arguments)[0]
            else:
                yield from _events_of(name, arguments, result, opened, folder)


def _calls(lines: Iterable[str]) -> Iterator[tuple[str, str, str, int, str]]:
    """Return pid, name, arguments, result and opened file of each call that succeeded, or that is a mark."""
    unfinished: dict[str, str] = {}
    for line in lines:
        found = _LINE.match(line)
        if found is None:
            continue
        pid, text = found.groups()
        resumed = _RESUMED.match(text)
        if resumed is not None:
            text = unfinished.pop(pid, "") + resumed[1]
        elif text.endswith("<unfinished ...>"):
            unfinished[pid] = text[: -len("<unfinished ...>")]
            continue
        call = _CALL.match(text)
        if call is not None and (not call[3].startswith("-") or MARK in call[2]):
            yield pid, call[1], call[2], int(call[3], 0), _plain(call[4] or "")


def _events_of(name: str, arguments: str, result: int, opened: str, folder: str) -> Iterator[Event]:
    if name == "access":
        if MARK in arguments:
            yield Event("cell")
    elif name in _OPENS:
        flags = "O_WRONLY|O_CREAT|O_TRUNC" if name == "creat" else arguments
        yield Event("open", opened, flags=_words(flags))
    elif name in _READS:
        yield from (Event("read", path) for path in _fds(arguments)[:1])
    elif name in _WRITES:
        yield from (Event("write", path) for path in _fds(arguments)[:1])
    elif name in _COPIES or (name == "ioctl" and "FICLONE" in arguments):
        given = _fds(arguments)
        source, target = (given[0], given[1]) if name in ("splice", "copy_file_range") else (given[1], given[0])
        yield Event("read", source)
        if result or name == "ioctl":
            yield Event("write", target)
    elif name == "mmap":
        yield from (Event("map", path, flags=_words(arguments)) for path in _fds(arguments)[:1])
    elif name == "ftruncate":
        yield from (Event("truncate", path, size=int(arguments.rsplit(",", 1)[1])) for path in _fds(arguments)[:1])
    elif name == "truncate":
        yield Event("truncate", _named(arguments, folder)[0], size=int(arguments.rsplit(",", 1)[1]))
    elif name in _NAMES:
        yield _naming(name, arguments, folder)


def _naming(name: str, arguments: str, folder: str) -> Event:
    what = re.sub("at2?$", "", name)
    if what == "symlink":
        return Event("symlink", _named(arguments, folder)[-1])
    paths = _named(arguments, folder)
    return Event(what, paths[0], paths[1] if len(paths) > 1 else "")


def _named(arguments: str, folder: str) -> list[str]:
    """Return the paths in arguments, each after the open folder it is relative to, if one is given."""
    found, base = [], folder
    for part in re.finditer(f"{_FD.pattern}|{_TEXT.pattern}", arguments):
        if part[2] is not None:
            base = _plain(part[2])
        else:
            path = os.path.join(base, _plain(part[4]))
            found.append(os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path)))
            base = folder
    return found


def _fds(arguments: str) -> list[str]:
    return [_plain(path) for _, path, _ in _FD.findall(arguments)]


def _texts(arguments: str) -> list[str]:
    return [_plain(text) for text in _TEXT.findall(arguments)]


def _words(flags: str) -> frozenset[str]:
    return frozenset(re.findall(r"\b(?:O|PROT|MAP)_[A-Z]+\b", flags))


def _plain(text: str) -> str:
    """Return a path without strace's escapes."""
    if "\\" not in text:
        return text

    def byte(found: re.Match[bytes]) -> bytes:
        code = found[1]
        if code[:1].isdigit():
            return bytes([int(code, 8)])
        return bytes([int(code[1:], 16)]) if code[:1] == b"x" and len(code) == 3 else _PLAIN.get(code, code)

    return os.fsdecode(_ESCAPE.sub(byte, os.fsencode(text)))
