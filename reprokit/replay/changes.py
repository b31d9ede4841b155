"""Which files of the project changed between two runs, from the snapshots of both.

Knows code snapshots and asks git, through GitPython, what is in them; it does not know runs or causes.
The user's repository is only read, and nothing that it or the caller's environment names is run. What was
too large for git is data, and is left out.
"""

from __future__ import annotations

import configparser
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from reprokit.errors import StoreError
from reprokit.records import CodeState

__all__ = ["changed_files", "code_changes"]

_LISTED = 50  # files named

# A comparison of two trees runs no hook, monitor or helper of a repository; this keeps it so.
_SWITCHES = {
    "core.attributesFile": os.devnull,
    "core.fsmonitor": "false",
    "core.hooksPath": os.devnull,
    "core.pager": "cat",
    "credential.helper": "",
}
_DIFF = ("-r", "-z", "--raw", "--numstat", "--no-abbrev", "--no-renames", "--no-ext-diff", "--no-textconv")
_VERBS = {"A": "added", "D": "removed"}
_LINK = "160000"  # the mode of a submodule's commit in a tree


@dataclass(frozen=True, slots=True, order=True)
class _Change:
    """One file that is not the same; ``note`` says how much of it."""

    path: str
    verb: str
    note: str = ""

    def __str__(self) -> str:
        return f"{self.verb} {self.path}" + (f" ({self.note})" if self.note else "")


def code_changes(a: CodeState, b: CodeState) -> tuple[str, ...]:
    """Return what differs between two snapshots: a line per file, or one that says why that is not known.

    Args:
        a: the code before.
        b: the code after.

    Returns:
        Lines such as "changed helper.py (+3 −1)", "added x.py" and "removed y.py", by path; () when the
        snapshots are the same.

    >>> state = CodeState(kind="git", repository="/p/.git", ref="", snapshot="", tree="ab" * 20, top="/p")
    >>> code_changes(state, state)
    ()
    """
    try:
        changes = sorted(_changes(a, b))
    except StoreError as error:
        return (error.message,)
    more = [f"… and {len(changes) - _LISTED} more"] if len(changes) > _LISTED else []
    return (*map(str, changes[:_LISTED]), *more)


def changed_files(a: CodeState | None, b: CodeState | None) -> tuple[str, ...] | None:
    """Return the paths of the files that differ in two snapshots, from their top; None when that cannot be known."""
    if a is None or b is None:
        return None
    try:
        return tuple(sorted(change.path for change in _changes(a, b)))
    except StoreError:
        return None


def _changes(a: CodeState, b: CodeState, folder: str = "") -> Iterator[_Change]:
    """Yield what differs in two trees, and in the submodules that both have.

    Raises:
        StoreError: it cannot be known; the message is the whole line to show.
    """
    if a.tree != b.tree:
        yield from _parsed(_raw_diff(a, b), folder)
    ours, theirs = _modules(a), _modules(b)
    for path in ours.keys() & theirs.keys():
        yield from _changes(ours[path], theirs[path], f"{folder}{path}/")


def _modules(code: CodeState) -> dict[str, CodeState]:
    """Return submodules by where they are in the tree."""
    return {os.path.relpath(module.top, code.top).replace(os.sep, "/"): module for module in code.submodules}


def _raw_diff(a: CodeState, b: CodeState) -> bytes:
    """Return what git says of two trees: what became of each file, then how many lines of each.

    Raises:
        StoreError: the trees are not in one repository, or cannot be read.
    """
    if a.repository != b.repository:
        raise StoreError(f"the snapshots are in different repositories: {a.repository} and {b.repository}")
    for name in (a.tree, b.tree):  # a record may come from elsewhere, and say an option here
        if not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", name):
            raise StoreError(f"the snapshots cannot be compared: {name!r} is no git object")
    try:
        status, out, complaints = _git_diff_tree(Path(a.repository), a.tree, b.tree)
    except (OSError, ValueError, configparser.Error, ImportError) as error:  # there is no git: an ImportError
        raise StoreError(f"the snapshots in {a.repository} cannot be read ({type(error).__name__})") from error
    if status:
        why = (complaints.strip().splitlines() or [f"status {status}"])[-1]
        raise StoreError(f"the snapshots in {a.repository} cannot be compared ({why})")
    return out


def _git_diff_tree(repository: Path, before: str, after: str) -> tuple[int, bytes, str]:
    """Run ``git diff-tree``; return its status, what it printed, and what it complained of."""
    from git import Repo
    from git.exc import GitError

    try:
        with Repo(repository, expand_vars=False) as repo:
            repo.git.set_persistent_git_options(c=[f"{key}={value}" for key, value in _SWITCHES.items()])
            repo.git.update_environment(**_environment(repository))
            status, out, complaints = repo.git.diff_tree(
                *_DIFF,
                before,
                after,
                with_extended_output=True,
                with_exceptions=False,
                stdout_as_string=False,
                strip_newline_in_stdout=False,
            )
    except GitError as error:
        raise OSError(str(error)) from error
    return status, out, complaints


def _environment(repository: Path) -> dict[str, str]:
    """Return variables that take the place of the caller's: GitPython can replace them, not leave them out."""
    return {
        "DYLD_INSERT_LIBRARIES": "",
        "GIT_ALLOW_PROTOCOL": "none",  # a partial clone must not fetch (and so run ssh) behind our back
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": "",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_COMMON_DIR": str(repository),
        "GIT_CONFIG_COUNT": "0",
        "GIT_CONFIG_PARAMETERS": "",
        "GIT_DIR": str(repository),
        "GIT_EXTERNAL_DIFF": "",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_OBJECT_DIRECTORY": str(repository / "objects"),
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_WORK_TREE": str(repository),  # so that no attributes of the user's files count
        "LD_PRELOAD": "",
    }


def _parsed(raw: bytes, folder: str) -> Iterator[_Change]:
    """Read ``--raw --numstat -z``: a record that begins with ":" is followed by its path."""
    fates: dict[bytes, list[str]] = {}
    lines: dict[bytes, str] = {}
    records = iter(raw.split(b"\0")[:-1])
    for record in records:
        if record.startswith(b":"):
            fates[next(records)] = record.decode("ascii")[1:].split()
        else:
            added, removed, path = record.split(b"\t", 2)
            lines[path] = "" if added == b"-" else f"+{added.decode()} −{removed.decode()}"
    for path, fate in fates.items():
        yield _change(folder + path.decode("utf-8", "backslashreplace"), fate, lines.get(path, ""))


def _change(path: str, fate: list[str], lines: str) -> _Change:
    before, after, old, new, letter = fate
    if letter in _VERBS:
        return _Change(path, _VERBS[letter])
    note = f"mode {before} → {after}" if old == new else "" if _LINK in (before, after) else lines
    return _Change(path, "changed", note)
