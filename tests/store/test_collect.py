"""What nobody needs goes; what somebody needs, or is about to need, stays, whenever the collector is killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from aged import DAY, Aged, age

from reprokit.digest import of_bytes
from reprokit.errors import StoreError
from reprokit.replay.upkeep import clean, removable
from reprokit.store.collect import Choice, Collection, choose, collecting
from reprokit.store.objects import Objects
from reprokit.store.store import Store
from reprokit.store.summary import Summary

NOTHING = Choice()


@pytest.fixture
def aged(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Aged:
    """An empty store; built environments and workspaces would lie in a folder of the test's own."""
    monkeypatch.setenv("REPROKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    return Aged(project)


def listed(name: str, days: float, **fields: object) -> Summary:
    started = time.time() - days * DAY
    told: dict[str, object] = {"name": None, "kind": "session", "status": "done", "reason": None, "ended": None}
    return Summary(id=name, started=started, notebook=None, **{**told, **fields})  # type: ignore[arg-type]


def test_which_runs_go() -> None:
    runs = [
        listed("open", 0, status="running"),
        listed("replay-of-old", 1, replay_of="old"),
        listed("new", 2),
        listed("replay-of-older", 99, replay_of="older"),
        listed("old", 100),
        listed("older", 200),
        listed("oldest", 300),
        listed("old-and-open", 400, status="running"),
    ]
    now = time.time()

    def gone(pins: tuple[str, ...] = (), **wanted: float | None) -> list[str]:
        return list(choose(runs, pins, Choice(**wanted), now))  # type: ignore[arg-type]

    assert gone() == []
    assert gone(older_than=90) == ["oldest", "older", "replay-of-older"], "what a kept replay repeats stays"
    assert gone(older_than=150) == ["oldest"], "and so does a replay, with what it repeats"
    assert gone(("oldest",), older_than=90) == ["older", "replay-of-older"]
    assert gone(keep=2) == ["oldest", "older", "old", "replay-of-older", "replay-of-old"]
    assert gone(keep=4) == ["oldest"], "replays do not count"
    assert gone(keep=4, older_than=1000) == []
    assert gone(keep=0, older_than=250) == ["oldest"]


def test_of_the_replays_that_checks_made_the_newest_stay() -> None:
    made = {"replay_of": "pinned", "kind": "replay"}
    runs = [listed(f"check-{day}", day, tags={"made-by": "check"}, **made) for day in range(8)]
    runs += [listed("by-hand", 9, **made), listed("pinned", 10)]
    assert list(choose(runs, ["pinned"], NOTHING, time.time())) == ["check-7", "check-6", "check-5"]
    assert list(choose(runs, [], NOTHING, time.time())) == []


def test_what_no_record_names_goes_when_it_is_old(aged: Aged) -> None:
    kept = aged.run(1, b"a", folder=(b"in a folder", b"another"))
    aged.store.objects.put_bytes(b"garbage")
    aged.store.objects.put_bytes(b"more")
    before = aged.names()
    assert clean(aged.store, NOTHING).removed == (), "it is young: a record may be about to name it"
    aged.old()
    planned = removable(aged.store, NOTHING)
    assert aged.names() == before, "planning changes nothing"
    swept = clean(aged.store, NOTHING)
    assert list(swept.removed) == planned
    assert {item.name for item in swept.removed} == {of_bytes(b"garbage"), of_bytes(b"more")}
    assert before - aged.names() == {of_bytes(b"garbage"), of_bytes(b"more")}
    assert [run.id for run in aged.store.runs()] == [kept]
    assert clean(aged.store, NOTHING).removed == ()


def test_while_a_run_is_open_what_came_since_it_began_stays(aged: Aged) -> None:
    aged.run(0.5, status="running")
    digest = aged.store.objects.put_bytes(b"written, and not named yet")
    age(aged.store.objects.path(digest), 0.4)
    older = aged.store.objects.put_bytes(b"older than the run")
    age(aged.store.objects.path(older), 0.7)
    assert [item.name for item in clean(aged.store, NOTHING).removed] == [older]


def test_an_object_that_is_wanted_again_just_now_stays(aged: Aged) -> None:
    aged.store.layout.create()
    first, second = (aged.store.objects.put_bytes(data) for data in (b"wanted", b"not wanted"))
    aged.old()
    with collecting(aged.store) as collection:
        found = collection.rest(())
        assert {item.name for item in found} == {first, second}
        Objects(aged.store.layout.objects).put_bytes(b"wanted")  # a writer who is about to name it
        assert {item.name: collection.remove(item) for item in found} == {first: False, second: True}
    assert aged.names() == {first}
    assert aged.store.objects.get_bytes(first) == b"wanted"


def test_a_run_goes_with_all_that_it_alone_has(aged: Aged) -> None:
    (aged.project / "new.py").write_text("x = 1\n")
    old = aged.run(100, b"shared", b"own", snapshot=True)
    shared_environment = aged.environment("0", b"wheel of both")
    other = aged.run(200, environment=aged.environment("1", b"wheel of one"))
    kept = aged.run(1, b"shared", snapshot=True, environment=shared_environment)
    aged.store.tag(old, {"a": "b"})
    assert sorted(aged.refs()) == sorted([old, kept])
    swept = clean(aged.store, Choice(older_than=30))
    assert [item.name for item in swept.removed if item.kind == "run"] == [other, old]
    assert [run.id for run in aged.store.runs()] == [kept]
    assert aged.refs() == [kept]
    assert not (aged.store.layout.marks / old).exists()
    assert {of_bytes(b"shared"), of_bytes(b"wheel of both")} <= aged.names()
    assert not {of_bytes(b"own"), of_bytes(b"wheel of one")} & aged.names()
    assert len(list(aged.store.layout.locks.glob("*.json"))) == 1


def test_a_run_that_is_just_being_made_stays(aged: Aged) -> None:
    made, journal = aged.store.new_run()  # nobody has written yet who writes it
    assert clean(aged.store, Choice(keep=0)).removed == ()
    journal.append({"set": {"name": "written"}})
    journal.close()
    assert aged.store.load(made).name == "written"


def test_a_run_that_is_pinned_meanwhile_stays_with_its_objects(aged: Aged) -> None:
    old = aged.run(100, b"data", snapshot=True)
    before = aged.names()
    with collecting(aged.store) as collection:
        (item,) = collection.runs(Choice(older_than=30))
        aged.store.pin(old, "kept")
        assert not collection.remove_run(item, lambda run: pytest.fail("it stays"))
        assert collection.rest(()) == []
    assert aged.store.load(old).cells
    assert aged.names() == before


def test_a_copy_of_the_project_leaves_the_snapshots_of_the_original_alone(aged: Aged, tmp_path: Path) -> None:
    run_id = aged.run(100, snapshot=True)
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-a", str(aged.project), str(copy)], check=True)
    assert [item.name for item in clean(Store.open(copy), Choice(older_than=30)).removed if item.kind == "run"] == [
        run_id
    ]
    assert aged.refs() == [run_id]
    aged.project = copy
    assert aged.refs() == []


def test_private_snapshots_are_given_back(aged: Aged) -> None:
    subprocess.run(["rm", "-rf", str(aged.project / ".git")], check=True)
    (aged.project / ".reprokit").mkdir()
    (aged.project / "big.txt").write_bytes(os.urandom(200_000))
    aged.run(100, snapshot=True)
    (aged.project / "big.txt").write_bytes(b"small now")
    kept = aged.run(1, snapshot=True)
    private = aged.store.layout.code_git
    age(private / "objects", 10)
    clean(aged.store, Choice(older_than=30))
    assert sum(path.stat().st_size for path in private.rglob("*.pack")) < 100_000
    snapshot = aged.store.load(kept).code
    assert snapshot is not None
    subprocess.run(["git", "fsck", "--strict"], cwd=private, check=True, capture_output=True)


def test_nothing_goes_when_a_record_cannot_be_read(aged: Aged) -> None:
    run_id = aged.run(1, b"a")
    garbage = aged.store.objects.put_bytes(b"garbage")
    aged.old()
    journal = aged.store.layout.journal(run_id)
    journal.rename(journal.with_name("kept"))
    journal.symlink_to(journal.name)  # leads to itself: a file that nobody can open, not even root
    with pytest.raises(StoreError, match="cannot be read"):
        clean(aged.store, NOTHING)
    assert garbage in aged.names()


def test_a_damaged_journal_still_names_its_objects(aged: Aged) -> None:
    run_id = aged.run(100, b"named after the damage")
    journal = aged.store.layout.journal(run_id)
    first, *rest = journal.read_bytes().split(b"\n")
    journal.write_bytes(b"\n".join([first.replace(b"session", b"sessiom"), *rest]))
    assert clean(aged.store, NOTHING).removed == ()


def test_two_collect_one_after_the_other(aged: Aged) -> None:
    aged.store.layout.create()
    for number in range(20):
        aged.store.objects.put_bytes(b"%d" % number)
    aged.old()
    code = "import sys; from pathlib import Path; from reprokit.replay.upkeep import clean; "
    code += "from reprokit.store.collect import Choice; from reprokit.store.store import Store; "
    code += "print(len(clean(Store.open(Path(sys.argv[1])), Choice()).removed))"
    command = [sys.executable, "-c", code, str(aged.project)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert sum(int(process.communicate()[0]) for process in both) == 20
    assert [process.returncode for process in both] == [0, 0]


HERE = Path(__file__).parent
_KILLED = """
import json, os, shutil, sys
from pathlib import Path

place, every = Path(sys.argv[1]), int(sys.argv[2])
sys.path[:0] = sys.argv[3:]
template = place.rename(f"{place}-as-it-was")
from killing import kill_at
from reprokit.replay import snapshots
from reprokit.replay.upkeep import clean
from reprokit.store.collect import Choice
from reprokit.store.fsck import damages, runs
from reprokit.store.store import Store


def sound(store):
    found = runs(store)
    told = [*damages(store, found), *snapshots.damages(found.values(), store.layout.project)]
    return [damage.to_dict() for damage in told]


def fresh():
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(template, place, symlinks=True)  # with its times
    return place


step = 1
while True:
    project = fresh()
    child = os.fork()
    if not child:
        kill_at(step)
        clean(Store.open(project), Choice(older_than=30))
        os._exit(0)
    killed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    store = Store.open(project)
    there = sorted(run.id for run in store.runs())
    told = sound(store)
    clean(store, Choice(older_than=30))
    after = sorted(run.id for run in store.runs())
    refs = sorted(ref.rpartition("/")[2] for ref in snapshots.refs(str(project / ".git"), "refs/reprokit"))
    objects = len(list(store.layout.objects.glob("??/*")))
    trash = [str(path) for path in store.layout.trash.rglob("*") if path.is_file()]
    told += sound(store)
    line = dict(step=step, there=there, damages=told, after=after, refs=refs, objects=objects, trash=trash)
    print(json.dumps(line), flush=True)
    if not killed:
        break
    step += every
"""


def _killed_at_steps(aged: Aged, every: int) -> None:
    gone = [aged.run(days, b"shared", b"own %d" % days, snapshot=True) for days in (100, 200)]
    aged.store.tag(gone[0], {"a": "b"})
    kept = aged.run(1, b"shared", folder=(b"x", b"y"), snapshot=True, environment=aged.environment("0", b"wheel"))
    aged.environment("1", b"a wheel that nobody needs")
    aged.store.objects.put_bytes(b"garbage")
    aged.old()
    expected = len(aged.names()) - 7  # two own, two outputs, the wheel, the garbage and an empty one
    command = [sys.executable, "-c", _KILLED, str(aged.project), str(every), os.getcwd(), str(HERE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines[-1]["step"] > 20
    for line in lines:
        assert kept in line["there"], line
        assert line["damages"] == [], line
        assert (line["after"], line["refs"], line["trash"]) == ([kept], [kept], []), line
        assert line["objects"] == expected, line


def test_killed_at_some_steps_it_leaves_a_sound_store(aged: Aged) -> None:
    _killed_at_steps(aged, every=13)


@pytest.mark.soak
def test_killed_at_each_step_it_leaves_a_sound_store(aged: Aged) -> None:
    _killed_at_steps(aged, every=1)


def test_the_file_that_tells_the_time_is_the_stores_own(aged: Aged) -> None:
    aged.store.layout.create()
    with collecting(aged.store) as collection:
        assert isinstance(collection, Collection)
        assert abs(collection.now - time.time()) < 3600
    assert Store.open(aged.project).runs() == []
