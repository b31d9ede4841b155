"""Builders of the states a git repository can be in; each takes a clean repository and says what to snapshot."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

State = Callable[[Path], Path]
STATES: dict[str, State] = {}


def git(*args: str, cwd: Path) -> str:
    """Run git as a user would."""
    done = subprocess.run(["git", *args], cwd=cwd, capture_output=True, check=True)
    return done.stdout.decode("utf-8", "surrogateescape").rstrip("\n")


def state(build: State) -> State:
    """Add a builder to the states."""
    STATES[build.__name__] = build
    return build


def write(root: Path, name: str, data: bytes | str = b"x\n") -> Path:
    """Write a file and the folders above it."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def commit(root: Path, message: str = "more") -> None:
    """Commit everything."""
    git("add", "-A", cwd=root)
    git("commit", "-q", "--allow-empty", "-m", message, cwd=root)


def filled(root: Path) -> Path:
    """Commit a small tree of every kind of file."""
    write(root, "src/model.py", "a = 1\n")
    write(root, "src/deep/er/data.bin", bytes(range(256)))
    write(root, "run.sh", "#!/bin/sh\n").chmod(0o755)
    write(root, "notes.txt", "one\ntwo\n")
    write(root, "gone.txt", "will be deleted\n")
    (root / "link").symlink_to("notes.txt")
    write(root, ".gitignore", "ignored/\n*.ign\n")
    commit(root)
    return root


def dirtied(root: Path) -> Path:
    """Change a filled tree in every way."""
    write(root, "src/model.py", "a = 2\n")
    write(root, "notes.txt", "staged\n")
    git("add", "notes.txt", cwd=root)
    write(root, "notes.txt", "staged, then changed\n")
    write(root, "src/deep/er/data.bin", bytes(reversed(range(256))))
    (root / "gone.txt").unlink()
    (root / "run.sh").chmod(0o644)
    (root / "link").unlink()
    (root / "link").symlink_to("src")
    write(root, "new/untracked file.txt", "new\n")
    write(root, "new/tool.sh", "#!/bin/sh\n").chmod(0o755)
    (root / "new" / "dangling").symlink_to("nowhere")
    write(root, "staged.txt", "added\n")
    git("add", "staged.txt", cwd=root)
    write(root, "ignored/large.bin", b"never")
    write(root, "a.ign", b"never")
    return root


@state
def clean(root: Path) -> Path:
    return filled(root)


@state
def dirty(root: Path) -> Path:
    return dirtied(filled(root))


@state
def only_a_mode(root: Path) -> Path:
    (filled(root) / "notes.txt").chmod(0o755)
    return root


@state
def only_times(root: Path) -> Path:
    os.utime(filled(root) / "notes.txt", (1, 1))
    return root


@state
def unborn(root: Path) -> Path:
    shutil.rmtree(root / ".git")
    git("init", "-q", "-b", "trunk", cwd=root)
    write(root, "a/b.py", "b\n")
    return root


@state
def unborn_staged(root: Path) -> Path:
    unborn(root)
    git("add", "-A", cwd=root)
    return root


@state
def empty(root: Path) -> Path:
    shutil.rmtree(root / ".git")
    (root / "analysis.py").unlink()
    git("init", "-q", "-b", "trunk", cwd=root)
    return root


@state
def detached(root: Path) -> Path:
    filled(root)
    git("checkout", "-q", "--detach", "HEAD~1", cwd=root)
    write(root, "new.py")
    return root


@state
def shallow(root: Path) -> Path:
    commit(filled(root), "third")
    clone = root.parent / "clone"
    git("clone", "-q", "--depth", "1", root.as_uri(), str(clone), cwd=root.parent)
    return dirtied(clone)


@state
def partial_clone(root: Path) -> Path:
    filled(root)
    git("rm", "-q", "gone.txt", cwd=root)
    commit(root, "third")
    git("config", "uploadpack.allowFilter", "true", cwd=root)
    clone = root.parent / "clone"
    git("clone", "-q", "--filter=blob:none", root.as_uri(), str(clone), cwd=root.parent)
    write(clone, "new.py")
    return clone


@state
def linked_worktree(root: Path) -> Path:
    filled(root)
    other = root.parent / "other"
    git("worktree", "add", "-q", "-b", "side", str(other), cwd=root)
    return dirtied(other)


@state
def below_the_top(root: Path) -> Path:
    return dirtied(filled(root)) / "src"


@state
def shared_objects(root: Path) -> Path:
    clone = root.parent / "clone"
    git("clone", "-q", "--shared", str(filled(root)), str(clone), cwd=root.parent)
    return dirtied(clone)


def diverged(root: Path) -> Path:
    """Make two branches that cannot be merged."""
    filled(root)
    git("checkout", "-q", "-b", "side", cwd=root)
    write(root, "notes.txt", "theirs\n")
    commit(root, "theirs")
    git("checkout", "-q", "main", cwd=root)
    write(root, "notes.txt", "ours\n")
    commit(root, "ours")
    return root


@state
def merge_conflict(root: Path) -> Path:
    subprocess.run(["git", "merge", "-q", "side"], cwd=diverged(root), capture_output=True, check=False)
    assert git("ls-files", "-u", cwd=root)
    return root


@state
def rebase_in_progress(root: Path) -> Path:
    subprocess.run(["git", "rebase", "-q", "side"], cwd=diverged(root), capture_output=True, check=False)
    assert (root / ".git" / "rebase-merge").exists()
    return root


@state
def intent_to_add(root: Path) -> Path:
    write(filled(root), "later.py", "later\n")
    git("add", "-N", "later.py", cwd=root)
    return root


@state
def index_locked(root: Path) -> Path:
    dirtied(filled(root))
    write(root, ".git/index.lock", b"")
    return root


@state
def sparse(root: Path) -> Path:
    filled(root)
    git("sparse-checkout", "set", "--no-cone", "/*", "!/src/deep/", cwd=root)
    write(root, "src/model.py", "changed\n")
    assert not (root / "src" / "deep").exists()
    return root


@state
def sparse_index(root: Path) -> Path:
    filled(root)
    git("sparse-checkout", "set", "--cone", "--sparse-index", "new", cwd=root)
    write(root, "new/a.py", "new\n")
    assert not (root / "src").exists()
    return root


@state
def skip_worktree_yet_changed(root: Path) -> Path:
    filled(root)
    git("update-index", "--skip-worktree", "src/model.py", "notes.txt", cwd=root)
    write(root, "src/model.py", "local settings\n")
    return root


@state
def assume_unchanged_yet_changed(root: Path) -> Path:
    filled(root)
    git("update-index", "--assume-unchanged", "src/model.py", cwd=root)
    write(root, "src/model.py", "local settings\n")
    return root


@state
def autocrlf(root: Path) -> Path:
    filled(root)
    git("config", "core.autocrlf", "true", cwd=root)
    for path in ("notes.txt", "src/model.py"):
        (root / path).unlink()
        git("checkout", "--", path, cwd=root)
    assert b"\r\n" in (root / "notes.txt").read_bytes()
    write(root, "mixed.txt", "a\r\nb\n")
    return root


@state
def text_attribute(root: Path) -> Path:
    write(root, ".gitattributes", "* text=auto\n*.bat eol=crlf\n")
    write(root, "mixed.txt", "a\r\nb\r\n")
    write(root, "a.bat", "a\r\nb\r\n")
    commit(filled(root))
    git("status", cwd=root)
    return root


@state
def ident_attribute(root: Path) -> Path:
    write(root, ".gitattributes", "*.py ident\n")
    write(root, "version.py", "# $Id$\n")
    commit(filled(root))
    (root / "version.py").unlink()
    git("checkout", "--", "version.py", cwd=root)
    assert b"$Id: " in (root / "version.py").read_bytes()
    return root


@state
def encoding_attribute(root: Path) -> Path:
    write(root, ".gitattributes", "*.u16 text working-tree-encoding=UTF-16\n")
    write(root, "sub/a.u16", "text\n".encode("utf-16"))
    commit(filled(root))
    return root


@state
def smudge_filter(root: Path) -> Path:
    """What git-lfs does: a pointer in git, the contents on disk; the clean filter keeps the length."""
    git("config", "filter.swap.clean", "tr a-z A-Z", cwd=root)
    git("config", "filter.swap.smudge", "tr A-Z a-z", cwd=root)
    write(root, ".gitattributes", "*.dat filter=swap\n")
    write(root, "kept.dat", "lower case\n")
    commit(filled(root))
    write(root, "changed.dat", "more\n")
    assert git("show", "HEAD:kept.dat", cwd=root) == "LOWER CASE"
    return root


@state
def odd_names(root: Path) -> Path:
    filled(root)
    names = [
        b"new\nline",
        b'quo"te',
        b"back\\slash",
        b"\xff\xfe",
        b" lead",
        b"trail ",
        b"-dash",
        "ünï/c".encode(),
    ]
    for tracked in (True, False):
        for name in names:
            path = os.path.join(os.fsencode(root), b"t" if tracked else b"u", name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as stream:
                stream.write(name)
        if tracked:
            commit(root)
    for name in names[:4]:
        with open(os.path.join(os.fsencode(root), b"t", name), "wb") as stream:
            stream.write(b"changed")
    os.unlink(os.path.join(os.fsencode(root), b"t", names[0]))
    return root


@state
def symlink_loops(root: Path) -> Path:
    filled(root)
    (root / "self").symlink_to("self")
    (root / "up").symlink_to("..")
    (root / "src" / "round").symlink_to("../src")
    return root


@state
def not_files(root: Path) -> Path:
    filled(root)
    os.mkfifo(root / "pipe")
    (root / "empty folder").mkdir()
    return root


@state
def folder_became_link(root: Path) -> Path:
    filled(root)
    (root / "src").rename(root / "elsewhere")
    (root / "src").symlink_to("elsewhere")
    return root


@state
def folder_became_file(root: Path) -> Path:
    shutil.rmtree(filled(root) / "src")
    write(root, "src", "a file\n")
    return root


@state
def file_became_folder(root: Path) -> Path:
    (filled(root) / "notes.txt").unlink()
    write(root, "notes.txt/inside.py", "a folder\n")
    return root


@state
def link_became_folder(root: Path) -> Path:
    (filled(root) / "link").unlink()
    write(root, "link/inside.py", "a folder\n")
    return root


@state
def tracked_yet_ignored(root: Path) -> Path:
    write(filled(root), "ignored/kept.py", "kept\n")
    git("add", "-f", "ignored/kept.py", cwd=root)
    git("rm", "-q", "--cached", "notes.txt", cwd=root)
    return root


@state
def split_index(root: Path) -> Path:
    filled(root)
    git("update-index", "--split-index", cwd=root)
    return dirtied(root)


@state
def index_version_4(root: Path) -> Path:
    filled(root)
    git("update-index", "--index-version", "4", cwd=root)
    return dirtied(root)


@state
def untracked_cache(root: Path) -> Path:
    filled(root)
    git("update-index", "--force-untracked-cache", cwd=root)
    git("status", cwd=root)
    return dirtied(root)


@state
def no_executable_bit(root: Path) -> Path:
    filled(root)
    git("config", "core.fileMode", "false", cwd=root)
    write(root, "run.sh", "#!/bin/sh\necho changed\n")
    return root


@state
def sha256(root: Path) -> Path:
    shutil.rmtree(root / ".git")
    git("init", "-q", "-b", "main", "--object-format=sha256", cwd=root)
    commit(root)
    return dirtied(filled(root))


def with_submodule(root: Path) -> Path:
    """Commit a submodule ``lib``."""
    library = root.parent / "library"
    library.mkdir()
    git("init", "-q", "-b", "main", cwd=library)
    commit(filled(library))
    filled(root)
    git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library), "lib", cwd=root)
    commit(root, "with lib")
    return root


@state
def submodule_clean(root: Path) -> Path:
    return with_submodule(root)


@state
def submodule_dirty(root: Path) -> Path:
    dirtied(with_submodule(root) / "lib")
    commit(root / "lib", "not published")
    write(root, "lib/src/model.py", "changed again\n")
    return dirtied(root)


@state
def submodule_uninitialised(root: Path) -> Path:
    with_submodule(root)
    git("submodule", "--quiet", "deinit", "-f", "lib", cwd=root)
    return root


@state
def submodule_gone(root: Path) -> Path:
    shutil.rmtree(with_submodule(root) / "lib")
    return root


@state
def repository_inside(root: Path) -> Path:
    filled(root)
    inner = root / "vendored"
    inner.mkdir()
    git("init", "-q", "-b", "main", cwd=inner)
    write(inner, "ignored/yet tracked.py")
    git("add", "-A", cwd=inner)
    dirtied(filled(inner))
    return root


@state
def hidden_by_info_exclude(root: Path) -> Path:
    write(filled(root), ".git/info/exclude", "*.local\n")
    write(root, "a.local", "never")
    return root


def lfs(root: Path, *, program: str) -> Path:
    """Track ``*.bin`` as git-lfs does: a pointer in git; ``program`` stands for git-lfs, which may be missing."""
    for what in ("clean", "smudge"):
        git("config", f"filter.lfs.{what}", f"{program} {what} %f", cwd=root)
    git("config", "filter.lfs.process", f"{program} filter-process", cwd=root)
    git("config", "filter.lfs.required", "true", cwd=root)
    write(root, ".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n")
    return root


POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 256\n"


def with_pointers(root: Path) -> Path:
    """Commit the pointer of a file, as it is in the repository of someone who uses git-lfs."""
    write(root, ".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n")
    write(root, "data/model.bin", POINTER)
    filled(root)
    assert git("show", "HEAD:data/model.bin", cwd=root) == POINTER.rstrip("\n")
    return root


@state
def lfs_pointer(root: Path) -> Path:
    """Cloned without git-lfs: the pointers are the files."""
    return with_pointers(root)


@state
def lfs_smudged(root: Path) -> Path:
    """Pulled by git-lfs: the contents are on disk, and git was told that they are what it has."""
    with_pointers(root)
    write(root, "data/model.bin", bytes(range(256)))
    git("update-index", "--assume-unchanged", "data/model.bin", cwd=root)
    return lfs(root, program="git-lfs-stand-in")


@state
def lfs_missing(root: Path) -> Path:
    """Configured for git-lfs, which is not installed: git itself cannot say what changed."""
    lfs(with_pointers(root), program="/nonexistent/git-lfs")
    write(root, "data/model.bin", bytes(range(256)))
    write(root, "data/new.bin", b"new")
    assert subprocess.run(["git", "add", "data"], cwd=root, capture_output=True, check=False).returncode != 0
    return root


@state
def separate_git_directory(root: Path) -> Path:
    git("init", "-q", "--separate-git-dir", str(root.parent / "kept.git"), cwd=filled(root))
    return dirtied(root)


@state
def with_a_stash(root: Path) -> Path:
    filled(root)
    write(root, "notes.txt", "put away\n")
    git("stash", "-q", cwd=root)
    return dirtied(root)


@state
def replaced_commit(root: Path) -> Path:
    filled(root)
    git("replace", "HEAD", "HEAD~1", cwd=root)
    return dirtied(root)
