"""Puts files and folders in the place of others, for this process and its children alone (Linux).

A replay's kernel enters a mount namespace before it begins: its workspace then lies where the project was, and
restored files where the run had read them. Nothing changes for anybody else, and all of it is gone with the last
process. It needs the right to mount, or user namespaces; it is asked for with ``python namespace.py``, which says
why not.

Run by itself, before anything of reprokit is imported (see ``launch``): so it imports next to nothing.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress

__all__ = ["PARENT", "VARIABLE", "can_be", "die_with", "enter", "enter_if_asked"]

VARIABLE = "REPROKIT_NAMESPACE"  # names the file that says what to mount
PARENT = "REPROKIT_PARENT"  # the process that this one is not to outlive

_NEW_MOUNTS, _NEW_USER = 0x00020000, 0x10000000
_BIND, _RECURSIVE, _SLAVE, _MOVE = 4096, 16384, 1 << 19, 8192  # slave: what others mount later is seen, ours is not
_DETACH = 2
_SET_PARENT_DEATH_SIGNAL = 1
_CAPABILITIES = 0x20080522  # the version of the call that takes two words for each set
_ENTRIES = 4000  # of a folder that is made anew to hold one more


def enter_if_asked() -> None:
    """Enter the namespace that the parent process described, if it did.

    Raises:
        OSError: it cannot be done here.
    """
    path = os.environ.pop(VARIABLE, None)
    if path is not None:
        with open(path, encoding="utf-8") as file:
            asked = json.load(file)
        enter(asked["mounts"], asked["stage"], asked["covers"], asked.get("kept", ()))
        os.chdir(asked["cwd"])


def enter(mounts: list[list[str]], stage: str, covers: Sequence[list[str]] = (), kept: Sequence[str] = ()) -> None:
    """Mount each source over its target, in their order, where only this process and its children see it.

    Args:
        covers: folders in which what is written is for this process and its children alone, each with two empty
            folders of one filesystem that take it; they come first.
        kept: folders and files in them that stay what they are for everybody.
        mounts: source and target, absolute: two folders, or two files. A target that is not there is made, in a
            copy of its folder that holds what that holds.
        stage: an empty folder where such copies are put together.

    Raises:
        OSError: it cannot be done here.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    as_user = _leave(libc)
    real = [(os.open(path, os.O_PATH | os.O_CLOEXEC), path) for path in kept]
    for folder, upper, work in covers:
        _cover(libc, folder, upper, work)
    for fd, path in real:  # covered by now: only a descriptor still leads to it
        _bind(libc, f"/proc/self/fd/{fd}", path)
        os.close(fd)
    ours: list[str] = []  # folders that are there in copies only
    for source, target in mounts:
        if not os.path.lexists(target):
            if any(target.startswith(f"{folder}/") for folder in ours):
                _touch(source, target)
            else:
                ours.append(_make_room(libc, source, target, os.path.join(stage, str(len(ours)))))
        _bind(libc, source, target)
    if as_user:
        _drop_rights(libc)


def can_be(folder: str) -> bool:
    """Return whether something can be mounted at a folder, as far as it can be told without trying."""
    if os.path.lexists(folder):
        return os.path.isdir(folder)
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return len(os.listdir(folder)) <= _ENTRIES and not folder.startswith(("/proc", "/sys", "/dev"))


def die_with(parent: int) -> None:
    """Have this process killed when the one that started it is; if that is dead already, end at once."""
    ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    try:
        os.kill(parent, 0)
    except ProcessLookupError:
        os._exit(1)
    except PermissionError:  # it is there, and another user's
        pass


def _leave(libc: ctypes.CDLL) -> bool:
    """Leave the namespace of mounts that others have; return whether it took a user namespace."""
    as_user = bool(libc.unshare(_NEW_MOUNTS) != 0)
    if as_user:
        user, group = os.geteuid(), os.getegid()
        _call(libc.unshare, _NEW_USER | _NEW_MOUNTS)
        for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(text)
    _call(libc.mount, b"none", b"/", None, _RECURSIVE | _SLAVE, None)
    return as_user


def _drop_rights(libc: ctypes.CDLL) -> None:
    """Give up the rights of who makes a user namespace: the run had none of them."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES, 0)
    _call(libc.capset, header, (ctypes.c_uint32 * 6)())


def _bind(libc: ctypes.CDLL, source: str, target: str) -> None:
    _call(libc.mount, os.fsencode(source), os.fsencode(target), None, _BIND | _RECURSIVE, None)


def _cover(libc: ctypes.CDLL, folder: str, upper: str, work: str) -> None:
    """Let a folder be as it is, and take what is written into it elsewhere (Linux 5.11 for who is not root)."""
    options = f"lowerdir={folder},upperdir={upper},workdir={work}"
    place = os.fsencode(folder)
    if libc.mount(b"overlay", place, b"overlay", 0, os.fsencode(f"{options},userxattr")) != 0:
        _call(libc.mount, b"overlay", place, b"overlay", 0, os.fsencode(options))


def _make_room(libc: ctypes.CDLL, source: str, target: str, stage: str) -> str:
    """Put a copy of the nearest folder that is there in its place, with the target in it; return what is new in it."""
    folder = os.path.dirname(target)
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    entries = list(os.scandir(folder))
    if len(entries) > _ENTRIES:
        raise OSError(f"{folder} holds too many files to be put together anew")
    os.mkdir(stage)
    _call(libc.mount, b"tmpfs", os.fsencode(stage), b"tmpfs", 0, b"mode=%o" % (os.stat(folder).st_mode & 0o7777))
    for entry in entries:
        _copy(libc, entry, os.path.join(stage, entry.name))
    inside = target[len(folder.rstrip("/")) :]
    _touch(source, stage + inside)
    if folder == "/":
        _become_root(libc, stage)
    else:
        _call(libc.mount, os.fsencode(stage), os.fsencode(folder), None, _MOVE, None)
    return folder.rstrip("/") + "/" + inside.split("/")[1]


def _copy(libc: ctypes.CDLL, entry: os.DirEntry[str], target: str) -> None:
    if entry.is_symlink():
        os.symlink(os.readlink(entry.path), target)
        return
    _touch(entry.path, target)
    _bind(libc, entry.path, target)


def _touch(source: str, target: str) -> None:
    """Make an empty file, or folder, of the source's kind."""
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT, 0o644))


def _become_root(libc: ctypes.CDLL, stage: str) -> None:
    old = os.path.join(stage, ".reprokit-old")
    os.mkdir(old)
    _call(libc.pivot_root, os.fsencode(stage), os.fsencode(old))
    os.chdir("/")
    _call(libc.umount2, b"/.reprokit-old", _DETACH)
    os.rmdir("/.reprokit-old")


def _call(function: ctypes._NamedFuncPointer, *arguments: object) -> None:
    if function(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{function.__name__}: {os.strerror(number)}")


def _try(covers: list[list[str]]) -> None:
    """Mount a folder over itself, and say why that cannot be done; write which of the covers can be made."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        as_user = _leave(libc)
        _bind(libc, "/", "/")
        for cover in covers:
            with suppress(OSError):  # not every filesystem can lie below another
                _cover(libc, *cover)
                sys.stdout.write(f"{cover[0]}\n")
        if as_user:
            _drop_rights(libc)
    except (OSError, AttributeError) as error:
        sys.exit(f"{error}")


if __name__ == "__main__":
    _try(json.loads(sys.argv[1]) if sys.argv[1:] else [])
