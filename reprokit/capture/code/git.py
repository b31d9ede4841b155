"""The one door to the ``git`` binary.

It knows how to run git so that nothing of a repository is executed (hooks, filters, monitors, credential
or transport helpers) and nothing of the caller's environment leaks in. It does not know what a run is.

Looking at someone's working tree needs more than switches: a ``clean`` filter runs whenever git compares
a file's contents. So the tree is looked at through a :class:`Scratch`, a throw-away git directory with a
configuration and attributes of ours, the user's objects, and a copy of the user's index.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from os import urandom  # as it is now: a user may replace `os.urandom`
from pathlib import Path

from reprokit.errors import GitError

__all__ = ["RAW_ATTRIBUTES", "Scratch", "available", "git", "quoted", "scratch", "start"]

# What may be inherited of GIT_*: where git and its configuration are, how far up it looks for a repository.
_INHERITED = {
    "GIT_CEILING_DIRECTORIES",
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_NOSYSTEM",
    "GIT_CONFIG_SYSTEM",
    "GIT_DISCOVERY_ACROSS_FILESYSTEM",
    "GIT_EXEC_PATH",
}
_PRELOADS = {"LD_PRELOAD", "DYLD_INSERT_LIBRARIES"}  # a recorder of the user's files must not record git's

_FIXED = {
    "GIT_ALLOW_PROTOCOL": "none",  # a partial clone must not fetch (and so run ssh) behind our back
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
    "MALLOC_TRIM_THRESHOLD_": str(2**25),  # bytes; glibc else gives memory back, and takes it, for each object
}

_HARDENED = {
    "core.fsmonitor": "false",
    "core.hooksPath": os.devnull,
    "core.logAllRefUpdates": "false",
    "core.untrackedCache": "false",
    "core.pager": "cat",
    "credential.helper": "",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "submodule.recurse": "false",
}
_SWITCHES = [part for key, value in _HARDENED.items() for part in ("-c", f"{key}={value}")]

_MEMORY = "/dev/shm"
_FEW = 20  # objects; more of them that are new stay one pack

RAW_ATTRIBUTES = b"* -text -eol -filter -ident -working-tree-encoding -crlf -diff -merge\n"


def available() -> bool:
    """Return whether there is a ``git`` to run."""
    return shutil.which("git") is not None


def git(*args: str, cwd: Path, env: Mapping[str, str] | None = None, stdin: bytes | None = None) -> bytes:
    """Run git and return what it printed.

    Args:
        args: the command and its arguments; ``-c key=value`` may come first.
        cwd: the folder to run in.
        env: variables to set; inherited ``GIT_*`` variables that select a repository are not passed on.
        stdin: bytes to feed; nothing by default.

    Raises:
        GitError: git ended with a non-zero status, or there is no git.
    """
    return start(*args, cwd=cwd, env=env, stdin=stdin)()


def start(
    *args: str, cwd: Path, env: Mapping[str, str] | None = None, stdin: bytes | None = None
) -> Callable[[], bytes]:
    """Start git, so that several can work at once; call what is returned, once, for what it printed.

    Raises:
        GitError: there is no git; or, from the call, git ended with a non-zero status.
    """
    try:
        process = subprocess.Popen(
            [_program(), *_SWITCHES, *args],
            cwd=cwd,
            env={**_environment(), **_placed(env or {}, cwd)},
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    except OSError as error:
        raise GitError(args, -1, str(error)) from error

    def finish() -> bytes:
        with process:
            out, complaints = process.communicate(stdin)
        if process.returncode:
            raise GitError(args, process.returncode, complaints.decode("utf-8", "replace"))
        return out

    return finish


def _placed(env: Mapping[str, str], cwd: Path) -> Mapping[str, str]:
    """Let a git directory that is named have its work tree here: where a submodule's says, there may be nothing."""
    return env if "GIT_DIR" not in env else {"GIT_WORK_TREE": str(cwd), **env}


def _program() -> str:
    """Return where git is: for a bare name the standard library sets the user's warning filters aside meanwhile."""
    found = shutil.which("git")
    if found is None:
        raise FileNotFoundError("there is no git")
    return found


def _environment() -> dict[str, str]:
    kept = {
        key: value
        for key, value in os.environ.items()
        if key not in _PRELOADS and (not key.startswith("GIT_") or key in _INHERITED)
    }
    return {**kept, **_FIXED}


@dataclass(frozen=True, slots=True)
class Scratch:
    """A throw-away git directory.

    Attributes:
        folder: the git directory itself.
        worktree: the folder whose files it looks at.
        objects: the object directory that it reads and writes.
    """

    folder: Path
    worktree: Path
    objects: Path
    _env: Mapping[str, str] = field(repr=False, default_factory=dict)

    @property
    def index(self) -> Path:
        """The index that commands read and write."""
        return self.folder / "index"

    def full(self, path: bytes) -> bytes:
        """Return where a path of the work tree is."""
        return b"%s/%s" % (os.fsencode(self.worktree), path)

    def git(self, *args: str, stdin: bytes | None = None, env: Mapping[str, str] | None = None) -> bytes:
        """Run git on this directory, from the top of the work tree.

        Raises:
            GitError: git ended with a non-zero status.
        """
        return git(*args, cwd=self.worktree, env={**self._env, **(env or {})}, stdin=stdin)

    def start(self, *args: str) -> Callable[[], bytes]:
        """Start git on this directory; the call that is returned waits for what it prints.

        Raises:
            GitError: from that call, git ended with a non-zero status.
        """
        return start(*args, cwd=self.worktree, env=self._env)


@contextmanager
def scratch(
    worktree: Path,
    objects: Path,
    *,
    config: Mapping[str, str] | None = None,
    exclude: bytes = b"",
    room: int = 0,
) -> Iterator[Scratch]:
    """Make a scratch git directory that is gone when the block ends.

    Args:
        worktree: the folder whose files are looked at.
        objects: the object directory to read and write.
        config: settings beside the hardened ones, as ``section.key``; they cannot weaken those.
        exclude: patterns of files to leave out, as in ``.git/info/exclude``.
        room: how many bytes will be put into it.
    """
    folder = _new_folder(room)
    try:
        for part in ("info", "refs", "objects"):
            (folder / part).mkdir()
        (folder / "HEAD").write_bytes(b"ref: refs/heads/none\n")
        (folder / "config").write_bytes(_config_text(config or {}))
        (folder / "info" / "attributes").write_bytes(RAW_ATTRIBUTES)
        (folder / "info" / "exclude").write_bytes(exclude)
        yield Scratch(folder, worktree, objects, _scratch_environment(folder, worktree, objects))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _new_folder(room: int) -> Path:
    """Make a folder of our own, in memory if there is room: a disk takes longer than git does.

    ``tempfile`` would draw its name from a generator, and capture watches generators.
    """
    base = os.environ.get("TMPDIR") or os.environ.get("TEMP") or "/tmp"
    if os.access(_MEMORY, os.W_OK | os.X_OK):
        status = os.statvfs(_MEMORY)
        if status.f_bavail * status.f_frsize > 4 * room + 2**24:
            base = _MEMORY
    folder = Path(base).absolute() / f"reprokit-git-{urandom(8).hex()}"
    folder.mkdir(mode=0o700)
    return folder


def _scratch_environment(folder: Path, worktree: Path, objects: Path) -> dict[str, str]:
    return {
        "GIT_DIR": str(folder),
        "GIT_WORK_TREE": str(worktree),
        "GIT_OBJECT_DIRECTORY": str(objects),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_ATTR_NOSYSTEM": "1",
    }


def _config_text(config: Mapping[str, str]) -> bytes:
    """Return a git configuration file: raw bytes need no ``autocrlf``, odd names no ``protectNTFS``.

    ``fast-import`` writes a pack that it need not sync. It keeps the pack of many objects, because a file
    system takes far longer to make a file for each; few become loose, as ``hash-object`` makes them.
    """
    raw = {
        "checkout.workers": "0",
        "core.autocrlf": "false",
        "core.fsync": "none",
        "core.protectNTFS": "false",
        "fastimport.unpackLimit": str(_FEW),
        "pack.compression": "1",
    }
    lines = ["[core]", "\trepositoryformatversion = 1", "\tbare = false"]
    for key, value in {**config, **raw}.items():
        section, _, name = key.rpartition(".")
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        lines += [f"[{section}]", f'\t{name} = "{escaped}"']
    return os.fsencode("\n".join(lines) + "\n")


def quoted(path: bytes) -> bytes:
    """Return a path as git reads it from a line of input, whatever bytes it holds.

    >>> quoted(b'a "b"')
    b'"a \\\\"b\\\\""'
    """
    plain = all(32 < byte < 127 and byte not in b'"\\' for byte in path)
    if plain:
        return path
    return b'"%s"' % b"".join(_escaped(byte) for byte in path)


def _escaped(byte: int) -> bytes:
    if byte in b'"\\':
        return b"\\%c" % byte
    return b"%c" % byte if 32 <= byte < 127 else b"\\%03o" % byte
