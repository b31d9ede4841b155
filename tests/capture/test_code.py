"""Every state of a git repository is captured as it is, and nothing of it is touched or run."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from git_states import STATES, State, commit, dirtied, filled, git, write
from snapshots import LIMIT, RUN, traces

from reprokit.capture.code import blobs, tree
from reprokit.capture.code.code import snapshot
from reprokit.capture.code.repository import without_secrets
from reprokit.records import CodeState, FileUse, Gap
from reprokit.store.objects import Objects


def take(project: Path, run: str = RUN, limit: int = LIMIT) -> tuple[CodeState, tuple[Gap, ...]]:
    """Snapshot into stores beside the project, as a session does."""
    store = next(folder for folder in project.parents if (folder / "home").is_dir()) / "store"
    objects = Objects(store / "objects")

    def keep(path: Path) -> FileUse:
        kept = objects.put_file(path, limit=10 * LIMIT)
        stored = "object" if kept.kept else "none"
        return FileUse(path=str(path), access="read", size=kept.size, digest=kept.digest, stored=stored)

    state, gaps = snapshot(project, run, private=store / "code.git", store_large=keep, limit=limit)
    assert state is not None, gaps
    return state.validate(), gaps


@pytest.mark.parametrize("build", STATES.values(), ids=STATES.keys())
def test_a_snapshot_touches_nothing(project: Path, build: State) -> None:
    where = build(project)
    keep = [folder for folder in project.parent.iterdir() if folder.name != "home"]
    before = {folder: traces(folder) for folder in keep}
    take(where)
    assert {folder: traces(folder) for folder in keep} == before


@pytest.mark.parametrize("build", STATES.values(), ids=STATES.keys())
def test_a_second_snapshot_is_the_same(project: Path, build: State) -> None:
    where = build(project)
    first, _ = take(where)
    second, _ = take(where, "20260101-000001-aaaaaaaa")
    assert second.tree == first.tree
    assert git("rev-parse", first.ref, second.ref, cwd=Path(first.repository)).split() == [
        first.snapshot,
        second.snapshot,
    ]


def settle(root: Path) -> None:
    """Make files look older than the index, which else is not sure of them."""
    for path in root.rglob("*"):
        if path.is_file() and ".git" not in path.relative_to(root).parts:
            os.utime(path, (10**9, 10**9), follow_symlinks=False)
    git("status", cwd=root)


@pytest.mark.parametrize(
    "name", ["clean", "only_times", "submodule_clean", "text_attribute", "ident_attribute", "sparse_index"]
)
def test_raw_bytes_are_not_changes(project: Path, name: str) -> None:
    where = STATES[name](project)
    if name == "sparse_index":
        shutil.rmtree(where / "new")
    settle(where)
    assert git("status", "--porcelain", cwd=where) == ""
    assert not take(where)[0].dirty


@pytest.mark.parametrize("name", ["dirty", "only_a_mode", "intent_to_add", "merge_conflict", "submodule_dirty"])
def test_changes_are_seen(project: Path, name: str) -> None:
    assert take(STATES[name](project))[0].dirty


def test_what_is_recorded_beside_the_tree(project: Path) -> None:
    dirtied(filled(project))
    state, gaps = take(project / "src")
    assert gaps == ()
    assert (state.kind, state.repository, state.top) == ("git", str(project / ".git"), str(project))
    assert (state.prefix, state.branch, state.commit) == (
        "src",
        "main",
        git("rev-parse", "HEAD", cwd=project),
    )
    assert git("log", "-1", "--format=%an %P %s", state.ref, cwd=project) == f"reprokit {state.commit} {RUN}"


def test_it_survives_garbage_collection(project: Path) -> None:
    dirtied(filled(project))
    first, _ = take(project)
    git("reset", "-q", "--hard", "HEAD~1", cwd=project)
    git("reflog", "expire", "--expire=now", "--all", cwd=project)
    git("-c", "gc.pruneExpire=now", "prune", "--expire=now", cwd=project)
    git("fsck", "--full", "--strict", cwd=project)
    assert git("rev-parse", f"{first.ref}^{{tree}}", f"{first.ref}^", cwd=project).split() == [
        first.tree,
        first.commit,
    ]


def test_what_was_remembered_may_have_been_collected(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs, "_SETTLED_NS", -(10**18))  # remember what changed just now
    dirtied(filled(project))
    first, _ = take(project)
    take(project)
    git("update-ref", "-d", first.ref, cwd=project)
    git("prune", "--expire=now", cwd=project)
    again, gaps = take(project)
    assert (again.tree, again.kind, gaps) == (first.tree, "git", ())
    git("fsck", "--full", "--strict", cwd=project)


def test_what_is_remembered_is_not_believed_of_a_changed_file(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs, "_SETTLED_NS", -(10**18))
    path = write(project, "data.csv", "1,2\n")
    before = path.stat()
    take(project)
    path.write_text("3,4\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    state, _ = take(project)
    assert git("show", f"{state.snapshot}:data.csv", cwd=project) == "3,4"


def test_a_change_at_the_moment_of_git_add_is_seen(project: Path) -> None:
    moment = (10**18, 10**18)
    git("config", "core.trustctime", "false", cwd=project)
    path = write(project, "data.csv", "1,2\n")
    os.utime(path, ns=moment)
    git("add", "data.csv", cwd=project)
    os.utime(project / ".git" / "index", ns=moment)
    path.write_text("3,4\n")
    os.utime(path, ns=moment)
    state, _ = take(project)
    assert git("show", f"{state.snapshot}:data.csv", cwd=project) == "3,4"


def test_many_new_files_are_one_pack(project: Path) -> None:
    for number in range(600):
        write(project, f"data/{number}.csv", f"{number}\n" * number)
        (project / "data" / f"{number}.link").symlink_to(f"{number}.csv")
    state, gaps = take(project)
    assert (state.kind, gaps) == ("git", ())
    assert len(list((project / ".git" / "objects").glob("??/*"))) < 20
    listed = git("ls-tree", "-r", state.tree, cwd=project).splitlines()
    git("add", "-A", cwd=project)
    assert listed == git("ls-tree", "-r", git("write-tree", cwd=project), cwd=project).splitlines()
    assert len(listed) == 1201


def test_files_beyond_the_room_in_memory_are_kept_too(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dirtied(filled(project))
    expected = take(project)[0].tree
    shutil.rmtree(project / ".git" / "refs" / "reprokit")
    git("prune", "--expire=now", cwd=project)
    monkeypatch.setattr(blobs, "_BATCH", 20)
    shutil.rmtree(project.parent / "store")
    state, gaps = take(project)
    assert (state.tree, gaps) == (expected, ())
    git("fsck", "--full", "--strict", cwd=project)


def test_a_few_edits_stay_loose_and_many_are_a_pack(project: Path) -> None:
    def packs() -> int:
        return len(list((project / ".git" / "objects" / "pack").glob("*.pack")))

    files = [write(project, f"part/{number}.py") for number in range(30)]
    commit(project)
    before = packs()
    files[0].write_bytes(b"edited\r\n")
    take(project)
    assert packs() == before
    for number, path in enumerate(files):
        path.write_bytes(b"edited %d\r\n\0" % number)
    state, gaps = take(project, "20260101-000001-aaaaaaaa")
    assert (packs(), gaps) == (before + 1, ())
    for number in (0, 29):
        shown = subprocess.check_output(["git", "cat-file", "blob", f"{state.tree}:part/{number}.py"], cwd=project)
        assert shown == b"edited %d\r\n\0" % number
    git("fsck", "--full", "--strict", cwd=project)


def test_the_same_tree_of_the_same_commit_is_one_commit(project: Path) -> None:
    dirtied(filled(project))
    first, _ = take(project)
    second, _ = take(project, "20260101-000001-aaaaaaaa")
    assert (second.snapshot, second.dirty) == (first.snapshot, first.dirty)
    assert git("rev-parse", first.ref, second.ref, cwd=project).split() == [first.snapshot] * 2
    git("commit", "-q", "--allow-empty", "-m", "later", cwd=project)
    third, _ = take(project, "20260101-000002-aaaaaaaa")
    assert third.snapshot != first.snapshot
    assert git("rev-parse", f"{third.ref}^", "HEAD", cwd=project).split() == [third.commit] * 2
    write(project, "src/model.py", "other")
    fourth, _ = take(project, "20260101-000003-aaaaaaaa")
    assert fourth.tree != third.tree
    assert git("show", f"{fourth.ref}:src/model.py", cwd=project) == "other"


def test_large_files_are_objects(project: Path) -> None:
    filled(project)
    write(project, "tracked.bin", b"1" * (LIMIT + 1))
    commit(project)
    write(project, "changed.bin", b"small")
    commit(project)
    write(project, "changed.bin", b"2" * (LIMIT + 1))
    write(project, "new.bin", b"3" * (LIMIT + 1))
    write(project, "huge.bin", b"4" * (10 * LIMIT + 1))
    state, gaps = take(project)
    kept = {use.path: (use.size, use.stored) for use in state.large}
    assert kept == {
        "changed.bin": (LIMIT + 1, "object"),
        "new.bin": (LIMIT + 1, "object"),
        "huge.bin": (10 * LIMIT + 1, "none"),
    }
    assert [gap.blocks for gap in gaps] == [False]
    assert "huge.bin" in gaps[0].message
    names = git("ls-tree", "-r", "--name-only", state.tree, cwd=project).split()
    assert "tracked.bin" in names  # git has it anyway
    assert not {"changed.bin", "new.bin", "huge.bin"} & set(names)


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://user:s3cret@example.org/a.git", "https://example.org/a.git"),
        (
            "https://s3cret@example.org:8443/a.git?private_token=s3cret#s3cret",
            "https://example.org:8443/a.git",
        ),
        ("ssh://git:s3cret@example.org/a.git", "ssh://git@example.org/a.git"),
        ("git@example.org:team/a.git", "git@example.org:team/a.git"),
        ("git:s3cret@example.org:team/a.git", "git@example.org:team/a.git"),
        ("/srv/git/a.git", "/srv/git/a.git"),
        ("https://[s3cret", ""),
    ],
)
def test_remotes_are_recorded_without_secrets(project: Path, url: str, kept: str) -> None:
    git("remote", "add", "origin", url, cwd=project)
    assert take(project)[0].remote == (kept or None)
    assert without_secrets(url) == kept


def test_the_branchs_own_remote_is_recorded(project: Path) -> None:
    git("remote", "add", "origin", "/one", cwd=project)
    git("remote", "add", "fork", "/two", cwd=project)
    git("config", "branch.main.remote", "fork", cwd=project)
    assert take(project)[0].remote == "/two"


def hostile(project: Path, canary: Path) -> None:
    """Configure everything that git runs, each to leave a trace."""
    touch = f"touch {canary}; cat"
    script = write(project.parent, "script", f"#!/bin/sh\n{touch}\n")
    script.chmod(0o755)
    hooks = project / ".git" / "hooks"
    names = (
        "reference-transaction",
        "post-index-change",
        "pre-commit",
        "post-checkout",
        "post-commit",
        "pre-auto-gc",
    )
    for name in names:
        write(hooks, name, f"#!/bin/sh\n{touch}\n").chmod(0o755)
    for key in [
        "core.fsmonitor",
        "core.pager",
        "core.editor",
        "core.sshCommand",
        "core.askPass",
        "core.gitProxy",
        "core.alternateRefsCommand",
        "diff.external",
        "diff.x.textconv",
        "diff.x.command",
        "filter.x.clean",
        "filter.x.smudge",
        "filter.x.process",
        "merge.x.driver",
        "gpg.program",
        "credential.helper",
        "sequence.editor",
        "interactive.diffFilter",
        "uploadpack.packObjectsHook",
    ]:
        git("config", key, str(script), cwd=project)
    git("config", "core.hooksPath", str(hooks), cwd=project)
    git("config", "filter.x.required", "true", cwd=project)
    git("config", "commit.gpgSign", "true", cwd=project)
    git("config", "alias.rev-parse", f"!{touch}", cwd=project)
    write(project, ".gitattributes", "* filter=x diff=x merge=x\n")


def test_nothing_of_the_repository_is_run(project: Path) -> None:
    dirtied(filled(project))
    canary = project.parent / "canary"
    hostile(project, canary)
    os.utime(project / "src" / "model.py", (1, 1))
    state, gaps = take(project)
    assert not canary.exists()
    assert (state.kind, gaps) == ("git", ())
    subprocess.run(["git", "status"], cwd=project, capture_output=True, check=False)
    assert canary.exists()  # so it would have been noticed


def test_the_callers_git_variables_do_not_lead_astray(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dirtied(filled(project))
    expected = take(project)[0].tree
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"):
        monkeypatch.setenv(name, str(project.parent / "elsewhere"))
    monkeypatch.setenv("LD_PRELOAD", "/nonexistent/recorder.so")
    assert take(project)[0].tree == expected


def test_no_git_at_all(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(project))
    state, (gap,) = snapshot(project, RUN, private=project / "p" / "c", store_large=refuse, limit=LIMIT)
    assert state is None
    assert (gap.aspect, gap.blocks, gap.remedy) == ("code", False, "install git")


def refuse(path: Path) -> FileUse:
    raise PermissionError(13, "Permission denied", str(path))


def test_a_folder_without_git_has_a_private_repository(project: Path) -> None:
    shutil.rmtree(project / ".git")
    write(project, ".gitignore", "*.ign\nsecret/\n")
    write(project, "src/a.py")
    for junk in (
        "venv/lib/x.py",
        "node_modules/x.js",
        "src/__pycache__/a.pyc",
        "a.ign",
        "secret/b",
        "env/pyvenv.cfg",
    ):
        write(project, junk)
    write(project, "env/lib/python.py")
    write(project, ".store/objects/x")
    private = project / ".store" / "code.git"
    state, gaps = snapshot(project, RUN, private=private, store_large=refuse, limit=LIMIT)
    assert state is not None
    assert (gaps, state.kind, state.repository) == ((), "private", str(private))
    assert (state.prefix, state.commit, state.branch, state.dirty) == ("", None, None, False)
    names = git("ls-tree", "-r", "--name-only", state.tree, cwd=private).split()
    assert names == [".gitignore", "analysis.py", "src/a.py"]
    assert not (project / ".git").exists()


def test_a_folder_too_full_keeps_its_sources(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(project / ".git")
    monkeypatch.setattr(tree, "MAX_FILES", 50)
    write(project, "near.ipynb", "{}")
    for number in range(60):
        write(project, f"data/{number}.csv")
        write(project, f"data/more/{number}.csv")
    state, gaps = take(project)
    assert [gap.blocks for gap in gaps] == [False]
    assert "too many" in gaps[0].message
    names = git("ls-tree", "-r", "--name-only", state.tree, cwd=Path(state.repository)).split()
    assert names == ["analysis.py", "near.ipynb"]


def test_too_many_untracked_bytes_keep_the_sources(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "MAX_BYTES", 1000)
    write(project, "data.csv", b"1" * 2000)
    write(project, "new.py")
    state, gaps = take(project)
    assert "too many" in gaps[0].message
    assert git("ls-tree", "-r", "--name-only", state.tree, cwd=project).split() == ["analysis.py", "new.py"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_somebody_elses_repository_is_left_alone(project: Path) -> None:
    dirtied(filled(project))
    for folder, _, names in os.walk(project):
        for name in (".", *names):
            os.chown(os.path.join(folder, name), 12345, 12345, follow_symlinks=False)
    before = sorted(str(path) for path in project.rglob("*"))
    state, gaps = take(project)
    assert (state.kind, state.branch, state.dirty) == ("private", "main", True)
    assert state.commit is not None
    assert "another user" in gaps[0].message
    assert sorted(str(path) for path in project.rglob("*")) == before


def test_a_repository_that_cannot_be_written_to(project: Path) -> None:
    dirtied(filled(project))
    expected = take(project)[0].tree
    shutil.rmtree(project / ".git" / "refs" / "reprokit")
    write(project, ".git/refs/reprokit", b"in the way")
    state, gaps = take(project)
    assert (state.kind, state.branch, state.tree) == ("private", "main", expected)
    assert [gap.blocks for gap in gaps] == [False]


def test_a_damaged_repository_is_a_plain_folder(project: Path) -> None:
    (project / ".git" / "HEAD").unlink()
    state, gaps = take(project)
    assert state.kind == "private"
    assert "git does not accept the repository" in gaps[0].message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_a_gap(project: Path) -> None:
    write(project, "closed.txt").chmod(0)
    _, gaps = take(project)
    assert "closed.txt could not be read" in gaps[0].message


def test_a_large_file_that_cannot_be_read_is_a_gap(project: Path) -> None:
    write(project, "closed.bin", b"1" * (LIMIT + 1))
    state, (gap,) = snapshot(project, RUN, private=project / ".s" / "c", store_large=refuse, limit=LIMIT)
    assert state is not None
    assert "closed.bin could not be read (Permission denied)" in gap.message


def test_a_repository_inside_is_told(project: Path) -> None:
    _, gaps = take(STATES["repository_inside"](project))
    assert ["vendored/ is a repository of its own" in gap.message for gap in gaps] == [True]


def test_a_name_that_git_refuses_is_told(project: Path) -> None:
    write(project, ".GIT/config", "x")
    state, gaps = take(project)
    assert state.kind == "git"
    assert ".GIT/config" in gaps[0].message


def test_submodules_are_snapshots_of_their_own(project: Path) -> None:
    where = STATES["submodule_dirty"](project)
    state, gaps = take(where)
    (module,) = state.submodules
    assert gaps == ()
    assert (module.top, module.branch, module.dirty) == (str(where / "lib"), "main", True)
    linked = git("ls-tree", state.tree, "lib", cwd=where).split()
    assert linked[2] == module.commit == git("rev-parse", "HEAD", cwd=where / "lib")
