"""Runs to a remote and back: whole or not at all, whoever else is at it and whenever it is cut off."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from aged import Aged, age
from moto.server import ThreadedMotoServer

from reprokit.digest import hex_of, of_bytes
from reprokit.errors import ConsentNeeded, StoreError, UsageError
from reprokit.replay import exchange, snapshots, workspace
from reprokit.replay.upkeep import clean
from reprokit.store import origin
from reprokit.store.collect import Choice
from reprokit.store.fsck import damages, runs
from reprokit.store.store import Store
from reprokit.store.transport import connect, is_remote

BIG = os.urandom(50_000)


@pytest.fixture
def aged(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Aged:
    """A run of everything, and a later one of nearly the same code."""
    monkeypatch.setenv("REPROKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    aged = Aged(project)
    (project / "code.bin").write_bytes(BIG)
    aged.run(3, b"data", folder=(b"x" * 50, b"y" * 50), snapshot=True, environment=aged.environment("0", b"wheel"))
    (project / "new.py").write_text("x = 1\n")
    aged.run(2, b"data", b"more", snapshot=True)
    return aged


@pytest.fixture
def other(tmp_path: Path) -> Store:
    """The store of another project, which is no repository and is empty."""
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / "pyproject.toml").write_text("")
    return Store.open(folder)


def there(tmp_path: Path) -> exchange.Remote:
    return connect(str(tmp_path / "remote"), tmp_path)


def damaged(store: Store) -> list[str]:
    found = runs(store)
    told = [*damages(store, found), *snapshots.damages(found.values(), store.layout.project)]
    return [damage.message for damage in told]


def test_all_of_a_run_arrives(aged: Aged, other: Store, tmp_path: Path) -> None:
    ids = list(runs(aged.store))
    aged.store.tag(ids[0], {"team": "ml"})
    moved = exchange.push(aged.store, there(tmp_path), ids)
    assert [(one.run, bool(one.files), one.lacking) for one in moved] == [(run_id, True, ()) for run_id in ids]
    assert moved[1].bytes < len(BIG), "the code that was there already did not travel again"
    assert [one.files for one in exchange.push(aged.store, there(tmp_path), ids)] == [0, 0]
    assert exchange.listed(there(tmp_path)) == ids
    exchange.pull(other, there(tmp_path))
    assert [run.id for run in other.runs()] == ids[::-1]
    assert damaged(other) == []
    mine, yours = aged.store.load(ids[0]), other.load(ids[0])
    assert (yours.origin, yours.root, yours.tags) == (
        str(tmp_path / "remote"),
        str(other.layout.project),
        {"team": "ml"},
    )
    assert yours.cells == mine.cells
    (lock,) = other.layout.locks.glob("*.json")
    told = json.loads(lock.read_bytes())
    assert told.pop("pulled") == str(tmp_path / "remote")
    assert told == json.loads((aged.store.layout.locks / lock.name).read_bytes())
    assert other.objects.get_bytes(of_bytes(b"wheel")) == b"wheel"
    assert [one.files for one in exchange.pull(other, there(tmp_path))] == [0, 0]
    assert list(other.layout.incoming.iterdir()) == []


def test_marks_that_come_later_are_taken_both_ways(aged: Aged, other: Store, tmp_path: Path) -> None:
    run_id, _ = runs(aged.store)
    exchange.push(aged.store, there(tmp_path), [run_id])
    exchange.pull(other, there(tmp_path))
    other.tag(run_id, {"checked": "yes"})
    exchange.push(other, there(tmp_path), [run_id])
    exchange.pull(aged.store, there(tmp_path))
    assert aged.store.load(run_id).tags == {"checked": "yes"}
    assert aged.store.load(run_id).origin is None, "it was made here"
    assert aged.store.runs(query="checked=yes")[0].id == run_id


def test_of_what_came_nothing_is_lost_to_gc_and_all_goes_with_it(aged: Aged, other: Store, tmp_path: Path) -> None:
    exchange.push(aged.store, there(tmp_path), runs(aged.store))
    exchange.pull(other, there(tmp_path))
    assert clean(other, Choice()).removed == ()
    assert damaged(other) == []
    clean(other, Choice(keep=0))
    assert other.runs() == []
    assert snapshots.refs(str(other.layout.pulled_git()), "refs/reprokit") == []
    assert list(other.layout.origins.iterdir()) == []


def test_it_is_not_run_before_somebody_trusts_it_as_it_is(aged: Aged, other: Store, tmp_path: Path) -> None:
    run_id, _ = runs(aged.store)
    exchange.push(aged.store, there(tmp_path), [run_id])
    exchange.pull(other, there(tmp_path))
    origin.require(aged.store.layout, aged.store.load(run_id))
    run = other.load(run_id)
    with pytest.raises(ConsentNeeded, match="reprokit trust"):
        origin.require(other.layout, run)
    origin.trust(other.layout, run)
    origin.require(other.layout, run)
    journal, (lock,) = other.layout.journal(run_id), other.layout.locks.glob("*.json")
    for path in (journal, lock):
        whole = path.read_bytes()
        path.write_bytes(whole + b" ")
        with pytest.raises(ConsentNeeded):
            origin.require(other.layout, run)
        path.write_bytes(whole)
        origin.require(other.layout, run)
    (other.layout.origins / f"{run_id}.json").write_text("{")
    assert other.load(run_id).origin == "somewhere else"
    origin.trust(other.layout, run, trusted=False)
    with pytest.raises(ConsentNeeded):
        origin.require(other.layout, run)


def test_other_bytes_are_not_taken(aged: Aged, other: Store, tmp_path: Path) -> None:
    run_id, _ = runs(aged.store)
    exchange.push(aged.store, there(tmp_path), [run_id])
    remote = tmp_path / "remote"
    files = [path for path in remote.rglob("*") if path.is_file() and path.parent.name not in ("tips",)]
    assert {path.relative_to(remote).parts[0] for path in files} == {"objects", "packs", "runs"}
    for path in files:
        whole = path.read_bytes()
        path.chmod(0o644)
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]) if whole else b"!")
        shutil.rmtree(other.layout.root, ignore_errors=True)  # what came whole is not fetched again
        other = Store.open(other.layout.project)
        with pytest.raises(StoreError, match="has other bytes"):
            exchange.pull(other, there(tmp_path))
        assert other.runs() == []
        path.write_bytes(whole)
    exchange.pull(other, there(tmp_path))
    assert damaged(other) == []


def test_what_is_gone_there_is_put_there_again(aged: Aged, other: Store, tmp_path: Path) -> None:
    run_id, _ = runs(aged.store)
    exchange.push(aged.store, there(tmp_path), [run_id])
    name = hex_of(of_bytes(b"data"))
    (tmp_path / "remote" / "objects" / name[:2] / name[2:]).unlink()
    with pytest.raises(StoreError, match="cannot be read"):
        exchange.pull(other, there(tmp_path))
    assert [one.files for one in exchange.push(aged.store, there(tmp_path), [run_id])] == [1]
    exchange.pull(other, there(tmp_path))
    assert damaged(other) == []


def test_another_run_of_the_same_id_is_left_alone(aged: Aged, other: Store, tmp_path: Path) -> None:
    run_id, _ = runs(aged.store)
    exchange.push(aged.store, there(tmp_path), [run_id])
    _, journal = other.new_run(run_id=run_id)
    journal.append({"set": {"name": "mine", "status": "done"}})
    journal.close()
    with pytest.raises(StoreError, match="is not the one here"):
        exchange.pull(other, there(tmp_path))
    assert other.load(run_id).name == "mine"


def test_an_open_run_and_a_run_that_is_not_there_are_refused(aged: Aged, tmp_path: Path) -> None:
    open_run = aged.run(1, status="running")
    with pytest.raises(UsageError, match="still open"):
        exchange.push(aged.store, there(tmp_path), [open_run])
    with pytest.raises(UsageError, match="has no run called"):
        exchange.pull(aged.store, there(tmp_path), ["nobody"])
    with pytest.raises(UsageError, match="cannot be reached"):
        connect("nowhere://at/all", tmp_path)


def test_what_a_run_lacks_is_told(aged: Aged, tmp_path: Path) -> None:
    run_id, _ = runs(aged.store)
    aged.store.objects.path(of_bytes(b"data")).unlink()
    (moved,) = exchange.push(aged.store, there(tmp_path), [run_id])
    assert moved.lacking == ("data/0.bin",)


def test_a_damaged_object_does_not_leave(aged: Aged, tmp_path: Path) -> None:
    run_id, _ = runs(aged.store)
    path = aged.store.objects.path(of_bytes(b"data"))
    path.chmod(0o644)
    path.write_bytes(b"date")
    with pytest.raises(StoreError, match="is damaged"):
        exchange.push(aged.store, there(tmp_path), [run_id])
    assert exchange.listed(there(tmp_path)) == []


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "protocol.file.allow=always", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


def shallow(project: Path, folder: Path) -> Path:
    """A clone without its history, as machines that build have it."""
    (project / "second.py").write_text("y = 2\n")
    git(project, "add", ".")
    git(project, "commit", "--quiet", "-m", "second")
    git(folder, "clone", "--quiet", "--depth", "1", f"file://{project}", str(folder / "made"))
    return folder / "made"


def sha256(_: Path, folder: Path) -> Path:
    """A repository that names its objects by SHA-256."""
    made = folder / "made"
    git(folder, "init", "--quiet", "--object-format=sha256", str(made))
    (made / "code.py").write_text("x = 1\n")
    git(made, "add", ".")
    git(made, "commit", "--quiet", "-m", "first")
    return made


def submodule(project: Path, folder: Path) -> Path:
    """A repository with another in it, whose changes were not committed."""
    made = folder / "made"
    git(folder, "init", "--quiet", str(made))
    git(made, "submodule", "--quiet", "add", str(project), "lib")
    git(made, "commit", "--quiet", "-m", "first")
    (made / "lib" / "analysis.py").write_text("print('changed')\n")
    return made


def work_tree(project: Path, folder: Path) -> Path:
    """A second work tree of a repository."""
    git(project, "worktree", "add", "--quiet", str(folder / "made"))
    return folder / "made"


@pytest.mark.parametrize("make", [shallow, sha256, submodule, work_tree])
def test_snapshots_of_odd_repositories_arrive(
    make: Callable[[Path, Path], Path], project: Path, other: Store, tmp_path: Path
) -> None:
    aged = Aged(make(project, tmp_path))
    (aged.project / "fresh.py").write_text("word = 'untracked'\n")
    run_id = aged.run(1, snapshot=True)
    exchange.push(aged.store, there(tmp_path), [run_id])
    recorded = list(snapshots.states(aged.store.load(run_id)))
    shutil.rmtree(aged.project)
    exchange.pull(other, there(tmp_path))
    assert damaged(other) == []
    run = other.load(run_id)
    assert [code.tree for code in snapshots.states(run)] == [code.tree for code in recorded]
    assert run.code is not None
    restored = workspace.create(run.code, tmp_path / "restored", objects=other.objects)
    assert (restored.root / "fresh.py").read_text() == "word = 'untracked'\n"
    assert workspace.verify(run.code, restored) == []
    assert git(restored.path, "log", "--format=%H").split()[:1] == [run.code.commit]
    if make is submodule:
        assert (restored.root / "lib" / "analysis.py").read_text() == "print('changed')\n"


def test_a_remote_of_dvcs_has_its_name_there(aged: Aged, other: Store, tmp_path: Path) -> None:
    for store in (aged.store, other):
        (store.layout.project / ".dvc").mkdir()
        config = f"['remote \"team\"']\n    url = {tmp_path}/remote\n"
        (store.layout.project / ".dvc" / "config").write_text(config)
    assert is_remote("team", aged.project)
    assert not is_remote("others", aged.project)
    run_id, _ = runs(aged.store)
    exchange.push(aged.store, connect("team", aged.project), [run_id])
    exchange.pull(other, connect("team", other.layout.project))
    assert other.load(run_id).origin == "team"


def test_what_was_pulled_in_part_goes_after_a_week(aged: Aged, other: Store, tmp_path: Path) -> None:
    run_id, _ = runs(aged.store)
    exchange.push(aged.store, there(tmp_path), [run_id])
    for pack in (tmp_path / "remote" / "packs").iterdir():
        pack.chmod(0o644)
        pack.write_bytes(b"other")
    with pytest.raises(StoreError):
        exchange.pull(other, there(tmp_path))
    kept = other.objects.path(of_bytes(b"data"))
    age(other.layout.objects, 2)
    assert clean(other, Choice()).removed == ()
    assert kept.exists(), "the list of what is on its way names it"
    age(other.layout.incoming, 8)
    clean(other, Choice())
    clean(other, Choice())
    assert not kept.exists()
    assert list(other.layout.incoming.iterdir()) == []


def test_words_that_mean_a_remote(tmp_path: Path) -> None:
    for word in ("s3://bucket/x", "../there", "/mnt/runs", ".", "~/runs"):
        assert is_remote(word, tmp_path), word
    for word in ("latest", "20240101-000000-aaaaaaaa", "nb/train.ipynb@yesterday", "baseline"):
        assert not is_remote(word, tmp_path), word


def test_several_push_and_pull_at_the_same_time(aged: Aged, tmp_path: Path) -> None:
    ids = list(runs(aged.store))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: exchange.push(Store.open(aged.project), there(tmp_path), ids), range(4)))
    assert list((tmp_path / "remote").rglob("*.part")) == []
    folder = tmp_path / "crowd"
    folder.mkdir()
    (folder / "pyproject.toml").write_text("")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: exchange.pull(Store.open(folder), there(tmp_path)), range(4)))
    assert sorted(run.id for run in Store.open(folder).runs()) == ids
    assert damaged(Store.open(folder)) == []


_KILLED = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[5])
from killing import kill_at
from reprokit.replay import exchange
from reprokit.store.store import Store
from reprokit.store.transport import connect

verb, project, remote, every = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])


def work():
    store = Store.open(project)
    if verb == "push":
        exchange.push(store, connect(remote, project), sorted(store.layout.run_names()))
    else:
        exchange.pull(store, connect(remote, project))


step = 1
while True:
    child = os.fork()
    if not child:
        kill_at(step)
        work()
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 9:
        break
    print(step, *sorted(exchange.listed(connect(remote, project)) if verb == "push" else
                        (run.id for run in Store.open(project).runs())), flush=True)
    step += every
"""


@pytest.mark.parametrize("every", [3, pytest.param(1, marks=pytest.mark.soak)])
def test_killed_again_and_again_it_goes_on_where_it_was(aged: Aged, other: Store, tmp_path: Path, every: int) -> None:
    """Each attempt is killed a few steps later than the one before it, until one comes through."""
    ids = list(runs(aged.store))
    for verb, store in (("push", aged.store), ("pull", other)):
        project = str(store.layout.project)
        command = [sys.executable, "-c", _KILLED, verb, project, tmp_path / "remote", str(every), Path(__file__).parent]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        lines = [line.split() for line in done.stdout.splitlines()]
        assert len(lines) > 5
        assert all(line[1:] in ([], ids[:1], ids) for line in lines), lines
        if verb == "push":
            fresh = tmp_path / "fresh"
            fresh.mkdir()
            (fresh / "pyproject.toml").write_text("")
            exchange.pull(Store.open(fresh), there(tmp_path))
            assert damaged(Store.open(fresh)) == [], "what is seen there is whole"
    assert damaged(other) == []
    assert [run.id for run in other.runs()] == ids[::-1]


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket on a server of this test's own."""
    import boto3

    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    told = {"ENDPOINT_URL": f"http://127.0.0.1:{port}", "DEFAULT_REGION": "us-east-1"}
    for name, value in {**told, "ACCESS_KEY_ID": "testing", "SECRET_ACCESS_KEY": "testing"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    client = boto3.client("s3")
    client.create_bucket(Bucket="runs")
    client.close()
    yield "s3://runs/team"
    server.stop()


def test_over_s3_as_users_do(aged: Aged, other: Store, bucket: str) -> None:
    def reprokit(store: Store, *arguments: str) -> dict[str, object]:
        command = [sys.executable, "-m", "reprokit", *arguments, "--json"]
        done = subprocess.run(command, cwd=store.layout.project, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    assert reprokit(aged.store, "push", bucket)["bytes"]
    reprokit(other, "pull", bucket)
    assert sorted(run.id for run in other.runs()) == list(runs(aged.store))
    assert damaged(other) == []
