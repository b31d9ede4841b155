"""A remote that means harm: what it says can neither change what is run here without consent, nor stop anybody."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aged import Aged

from reprokit.cli import main
from reprokit.digest import canonical_json, hex_of, of_bytes
from reprokit.errors import ConsentNeeded, StoreError
from reprokit.records import Environment, Run
from reprokit.replay import exchange, lock
from reprokit.replay.extract.tags import tags_of
from reprokit.replay.facts import plan_replay
from reprokit.replay.upkeep import clean
from reprokit.store import journal, origin
from reprokit.store.collect import Choice
from reprokit.store.fsck import damages, runs
from reprokit.store.layout import new_run_id
from reprokit.store.liveness import this_process
from reprokit.store.transport import connect

Table = dict[str, Any]


class Hostile:
    """A remote, and whoever may write to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.remote = connect(str(folder), folder)

    def keep(self, data: bytes) -> str:
        """Put an object there and return its digest."""
        digest = of_bytes(data)
        name = hex_of(digest)
        self.write(f"objects/{name[:2]}/{name[2:]}", data)
        return digest

    def write(self, name: str, data: bytes) -> None:
        """Put a file there."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def listing(self, run_id: str, told: object) -> None:
        """Say what belongs to a run."""
        data = canonical_json(told)
        self.write(f"runs/{run_id}/{hex_of(of_bytes(data))}.json", data)

    def run(self, *patches: Table, locks: Table | None = None, objects: tuple[str, ...] = ()) -> str:
        """Put a run there and return its id."""
        run_id = new_run_id(1e9)
        path = self.folder / "draft"
        lines = journal.Journal(path)
        for patch in patches:
            lines.append(patch)
        lines.close()
        journals = {"journal": self.keep(path.read_bytes())}
        path.unlink()
        self.listing(run_id, {"run": run_id, "journals": journals, "locks": locks or {}, "objects": objects})
        return run_id


@pytest.fixture
def hostile(tmp_path: Path) -> Hostile:
    """The remote, which is a folder."""
    (tmp_path / "remote").mkdir()
    return Hostile(tmp_path / "remote")


@pytest.fixture
def aged(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Aged:
    """A project with a run of its own."""
    monkeypatch.setenv("REPROKIT_CACHE", str(tmp_path / "cache"))
    return Aged(project)


CODE = {
    "kind": "git", "repository": "/r", "ref": "refs/reprokit/a", "snapshot": "0" * 40, "tree": "1" * 40, "top": "/r",
}  # fmt: skip


def test_marks_of_my_own_runs_change_nothing_that_is_run(aged: Aged, hostile: Hostile) -> None:
    run_id = aged.run(3, b"data")
    exchange.push(aged.store, hostile.remote, [run_id])
    before = aged.store.load(run_id)
    lines = journal.Journal(hostile.folder / "mark")
    lines.append({"cell": 1, "set": {"source": "import os; os.abort()"}})
    lines.append({"set": {"root": "/", "tags": {"team": "theirs"}}})
    lines.close()
    hostile.write(f"marks/{run_id}/99999999999999999999-00000000.jsonl", (hostile.folder / "mark").read_bytes())
    exchange.pull(aged.store, hostile.remote)
    after = aged.store.load(run_id)
    assert after.tags == {"team": "theirs"}
    assert (after.cells, after.root, after.origin) == (before.cells, before.root, None)


@pytest.mark.parametrize("name", [".jsonl", "a b.jsonl", "x" * 200 + ".jsonl", "a\nb.jsonl", "x.json"])
def test_files_that_are_no_marks_are_left_there(name: str, aged: Aged, hostile: Hostile) -> None:
    run_id = aged.run(3, b"data")
    exchange.push(aged.store, hostile.remote, [run_id])
    hostile.write(f"marks/{run_id}/{name}", b"x")
    exchange.pull(aged.store, hostile.remote)
    assert not (aged.store.layout.marks / run_id).exists()


def test_a_lock_that_came_is_not_used_for_my_own_runs_without_consent(aged: Aged, hostile: Hostile) -> None:
    """Whoever writes to the remote can name the environment of my runs, and a lock that installs other things."""
    environment = aged.environment("0", b"wheel")
    mine = aged.run(3, environment=environment)
    place = aged.store.layout.locks / f"{hex_of(environment.fingerprint)}.json"
    place.unlink()  # it is made in the background, and was not yet
    origin.require(aged.store.layout, aged.store.load(mine))
    evil = {"fingerprint": environment.fingerprint, "python": "3.12.1", "requirements": "evil==1", "pulled": None}
    hostile.run({"set": {"status": "done"}}, locks={environment.fingerprint: hostile.keep(canonical_json(evil))})
    exchange.pull(aged.store, hostile.remote)
    run = aged.store.load(mine)
    with pytest.raises(ConsentNeeded, match=str(hostile.folder)):
        origin.require(aged.store.layout, run)
    origin.trust(aged.store.layout, run)
    origin.require(aged.store.layout, run)


def test_a_capture_here_makes_a_lock_of_its_own(aged: Aged, hostile: Hostile) -> None:
    fingerprint = "sha256:" + "a" * 64
    environment = Environment(
        fingerprint=fingerprint, python="3.12.1", implementation="cpython", executable="/x", prefix="/"
    )
    evil = {"fingerprint": fingerprint, "python": "3.12.1", "requirements": "evil==1"}
    hostile.run({"set": {"status": "done"}}, locks={fingerprint: hostile.keep(canonical_json(evil))})
    exchange.pull(aged.store, hostile.remote)
    layout, objects = aged.store.layout, aged.store.objects
    assert lock.ensure(layout, environment, objects).pulled == str(hostile.folder)
    made = lock.ensure(layout, environment, objects, own=True)  # nothing is installed in it, so no index is asked
    assert (made.requirements, made.pulled) == ("", None)


def test_no_lock_is_made_of_what_came_before_it_is_trusted(aged: Aged, hostile: Hostile, tmp_path: Path) -> None:
    """That would build a folder that the record names, with an interpreter that it names."""
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "setup.py").write_text(f"open({str(tmp_path / 'built')!r}, 'w')")
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\ntouch {tmp_path / 'started'}\n")
    python.chmod(0o755)
    distribution = {"name": "p", "version": "1", "origin": "editable", "url": f"file://{tmp_path / 'package'}"}
    environment = {
        "fingerprint": "sha256:" + "b" * 64, "python": "3.12.1", "implementation": "cpython",
        "executable": str(python), "prefix": "/", "distributions": [distribution],
    }  # fmt: skip
    run_id = hostile.run(
        {"set": {"status": "done", "environments": [environment]}},
        {"cell": 1, "set": {"source": "1", "status": "done"}},
    )
    exchange.pull(aged.store, hostile.remote)
    planned = plan_replay(aged.store, aged.store.load(run_id))
    assert any("lock" in reason.why for reason in planned.reasons)
    assert not (tmp_path / "built").exists()
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize(
    "patch",
    [
        {"set": {"code": {**CODE, "snapshot": "--output=pwned"}}},
        {"set": {"code": {**CODE, "commit": "--upload-pack=x"}}},
        {"set": {"code": {**CODE, "tree": "HEAD"}}},
        {"set": {"code": {**CODE, "submodules": [{**CODE, "snapshot": "-x"}]}}},
        {"set": {"environments": [{"fingerprint": "../../x", "python": "", "implementation": "", "executable": "",
                                   "prefix": ""}]}},
        {"set": {"started": 10**400}},
        {"set": {"tags": [[]]}},
    ],
)  # fmt: skip
def test_a_run_that_names_what_is_no_name_is_shown_as_unreadable(
    patch: Table, aged: Aged, hostile: Hostile, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    mine = aged.run(1, b"data")
    theirs = hostile.run({"set": {"status": "done"}}, patch)
    exchange.pull(aged.store, hostile.remote)
    assert {run.id for run in aged.store.runs()} == {mine, theirs}
    with pytest.raises(StoreError, match="cannot be read"):
        aged.store.load(theirs)


@pytest.mark.parametrize(
    "told",
    [
        [],
        {"run": 1},
        {"journals": []},
        {"journals": {"journal": "sha256:../../../x"}},
        {"journals": {"../journal": "sha256:" + "0" * 64}},
        {"journals": {"journal": "sha256:" + "0" * 64}, "code": {"--help": ["sha256:" + "0" * 64]}},
        {"journals": {"journal": "\x1b[2J"}},
        {"version": "new"},
        {"version": 99},
    ],
)
def test_a_list_that_lies_is_one_message(told: object, aged: Aged, hostile: Hostile) -> None:
    run_id = new_run_id()
    hostile.listing(run_id, {"run": run_id, **told} if isinstance(told, dict) else told)
    with pytest.raises(StoreError):
        exchange.pull(aged.store, hostile.remote)
    assert not aged.store.layout.run_folder(run_id).exists()


def test_a_list_that_never_ends_is_refused(aged: Aged, hostile: Hostile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "_LIST_SIZE", 1000)
    hostile.write(f"runs/{new_run_id()}/{'0' * 64}.json", b"[" * 1001)
    with pytest.raises(StoreError, match="larger"):
        exchange.pull(aged.store, hostile.remote)


def test_a_list_that_is_too_deep_is_refused(aged: Aged, hostile: Hostile) -> None:
    data = b"[" * 100_000
    hostile.write(f"runs/{new_run_id()}/{hex_of(of_bytes(data))}.json", data)
    with pytest.raises(StoreError, match="cannot be read"):
        exchange.pull(aged.store, hostile.remote)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.symlink("/dev/zero", path)], ids=["pipe", "device"])
@pytest.mark.parametrize("what", ["list", "object", "mark"])
def test_a_file_that_never_ends_is_not_waited_for(
    what: str, make: Callable[[Path], None], aged: Aged, hostile: Hostile
) -> None:
    run_id = hostile.run({"set": {"status": "done"}})
    (listed,) = (hostile.folder / "runs" / run_id).iterdir()
    (kept,) = (hostile.folder / "objects").glob("*/*")
    mark = hostile.folder / "marks" / run_id / "1.jsonl"
    mark.parent.mkdir(parents=True)
    path = {"list": listed, "object": kept, "mark": mark}[what]
    path.unlink(missing_ok=True)
    make(path)
    with pytest.raises(StoreError, match="is no file"):
        exchange.pull(aged.store, hostile.remote)


def test_a_record_that_names_a_device_is_only_looked_at(aged: Aged, hostile: Hostile) -> None:
    use = {"path": "/dev/zero", "access": "read", "digest": "sha256:" + "0" * 64, "stored": "object"}
    run_id = hostile.run(
        {"set": {"status": "done", "root": "/project", "notebook": "/dev/zero"}},
        {"cell": 1, "set": {"source": "1", "status": "done", "reads": [use], "outputs": "\x00"}},
    )
    exchange.pull(aged.store, hostile.remote)
    run: Run = aged.store.load(run_id)
    assert plan_replay(aged.store, run).reasons
    assert tags_of(run) == {}


def test_text_that_is_none_hides_no_other_run(aged: Aged, hostile: Hostile, monkeypatch: pytest.MonkeyPatch) -> None:
    """The index takes what is in the records of all runs: one that it cannot hold must not be the end of it."""
    mine = aged.run(1, b"data")
    use = {"path": "\ud800", "access": "\ud800", "digest": "\ud800", "stored": "none"}
    theirs = hostile.run(
        {"set": {"status": "done", "name": "\ud800", "sweep": "\ud800", "point": 10**30, "started": float("inf")}},
        {"cell": 10**30, "set": {"source": "\ud800", "status": "done", "reads": [use]}},
    )
    exchange.pull(aged.store, hostile.remote)
    assert {run.id for run in aged.store.runs()} == {mine, theirs}
    monkeypatch.chdir(aged.project)
    assert main(["runs"]) == 0


def test_a_run_that_never_ends_holds_up_no_collection(aged: Aged, hostile: Hostile) -> None:
    """An open run keeps all that is younger than its beginning: one from elsewhere could be open since ever."""
    writer = this_process().to_dict() | {"host": "elsewhere", "boot": "another"}
    run_id = hostile.run({"set": {"status": "running", "started": 0.0}, "add": {"writers": [writer]}})
    exchange.pull(aged.store, hostile.remote)
    assert aged.store.load(run_id).status == "interrupted"
    garbage = aged.store.objects.put_bytes(b"garbage")
    aged.old()
    removed = clean(aged.store, Choice()).removed
    assert garbage in [item.name for item in removed], removed


@pytest.mark.parametrize("listed", [b"[1]", b"{}", b"7", b"[" * 100_000, b'[{"path": 1}]', b"\xff"])
def test_a_dataset_whose_list_is_none_stops_nobody(listed: bytes, aged: Aged, hostile: Hostile) -> None:
    digest = hostile.keep(listed)
    use = {"path": "set/", "access": "read", "digest": digest, "stored": "object", "files": 3}
    patch = {"cell": 1, "set": {"source": "1", "reads": [use]}}
    run_id = hostile.run({"set": {"status": "done"}}, patch, objects=(digest,))
    exchange.pull(aged.store, hostile.remote)
    assert aged.store.objects.get_bytes(digest) == listed
    clean(aged.store, Choice())
    assert list(damages(aged.store, runs(aged.store))) == []
    assert plan_replay(aged.store, aged.store.load(run_id)).run == run_id
    exchange.push(aged.store, connect(str(aged.project / "on"), aged.project), [run_id])
