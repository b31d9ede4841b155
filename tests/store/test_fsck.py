"""What is damaged is found and named, with the runs that need it; what follows from the rest is mended."""

from __future__ import annotations

import random
import sqlite3
import subprocess
from pathlib import Path

import pytest
from aged import Aged

from reprokit.digest import hex_of, of_bytes
from reprokit.records.upkeep import Damage
from reprokit.replay import snapshots
from reprokit.store.fsck import damages, runs
from reprokit.store.store import Store


def look(store: Store, *, quick: bool = False, repair: bool = False) -> list[Damage]:
    found = runs(store)
    told = list(damages(store, found, quick=quick, repair=repair))
    return [*told, *snapshots.damages(found.values(), store.layout.project, quick=quick, repair=repair)]


def flip(path: Path, bit: int) -> None:
    """Change one bit of a file."""
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << (bit % 8)
    path.chmod(0o644)
    path.write_bytes(data)


@pytest.fixture
def aged(project: Path) -> Aged:
    """A store with one run of everything."""
    aged = Aged(project)
    (project / "new.py").write_text("x = 1\n" * 50)
    aged.run(1, b"data" * 100, folder=(b"x" * 50, b"y" * 50), snapshot=True, environment=aged.environment("0", b"whl"))
    return aged


def test_a_sound_store_is_sound(aged: Aged) -> None:
    assert look(aged.store) == []
    assert look(aged.store, quick=True) == []


def test_every_flipped_bit_is_found(aged: Aged) -> None:
    store, chance = aged.store, random.Random(7)
    (run_id,) = runs(store)
    files = [path for path in store.layout.root.rglob("*") if path.is_file()]
    chosen = [path for path in files if path.suffix == ".jsonl" or path.parent.parent == store.layout.objects]
    assert len(chosen) > 6
    for path in chosen:
        whole = path.read_bytes()
        if not whole:  # the empty object has none
            continue
        for _ in range(4):
            flip(path, chance.randrange((len(whole) - 1) * 8))  # the last newline aside: a torn tail is no damage
            found = look(store)
            assert found, path
            kinds = {damage.kind for damage in found}
            assert kinds & ({"journal"} if path.suffix == ".jsonl" else {"object-corrupt"}), (path, kinds)
            named = {run for damage in found for run in damage.runs}
            assert named == {run_id} or b"wh" in whole, (path, found)
            path.write_bytes(whole)
    store.index.refresh(run_id)
    assert look(store) == []


def test_a_damaged_object_is_moved_aside_and_kept_again(aged: Aged) -> None:
    data = b"data" * 100
    digest = of_bytes(data)
    flip(aged.store.objects.path(digest), 9)
    assert look(aged.store, quick=True) == [], "nothing is read"
    (damage,) = look(aged.store)
    assert (damage.kind, damage.where, damage.runs) == ("object-corrupt", digest, tuple(runs(aged.store)))
    assert "data/0.bin" in damage.message
    found = look(aged.store, repair=True)
    assert [(one.kind, bool(one.repaired)) for one in found] == [("object-corrupt", True), ("object-missing", False)]
    assert (aged.store.layout.damaged / hex_of(digest)).is_file()
    (missing,) = look(aged.store, quick=True)
    assert (missing.kind, missing.where) == ("object-missing", digest)
    (aged.project / "data").mkdir()
    (aged.project / "data" / "0.bin").write_bytes(data)
    (missing,) = look(aged.store)
    assert "still has these bytes" in missing.remedy
    (missing,) = look(aged.store, repair=True)
    assert missing.repaired
    assert look(aged.store) == []


def test_a_member_of_a_dataset_that_is_gone_is_missed(aged: Aged) -> None:
    aged.store.objects.path(of_bytes(b"y" * 50)).unlink()
    (damage,) = look(aged.store, quick=True)
    assert (damage.kind, damage.where) == ("object-missing", of_bytes(b"y" * 50))
    assert "set/1.bin" in damage.message


def test_a_wheel_that_is_gone_and_a_lock_that_cannot_be_read(aged: Aged) -> None:
    aged.store.objects.path(of_bytes(b"whl")).unlink()
    (damage,) = look(aged.store)
    assert damage.kind == "lock"
    assert "the wheel of own" in damage.message
    (path,) = aged.store.layout.locks.glob("*.json")
    path.write_text("{")
    (damage,) = look(aged.store)
    assert "cannot be read" in damage.message


def test_an_index_that_tells_other_things_is_built_again(aged: Aged) -> None:
    (run_id,) = runs(aged.store)
    aged.store.runs()
    with sqlite3.connect(aged.store.layout.index) as connection:
        connection.execute("UPDATE runs SET summary = replace(summary, 'done', 'failed')")
    connection.close()
    (damage,) = look(Store.open(aged.project))
    assert (damage.kind, damage.runs) == ("index", (run_id,))
    (damage,) = look(Store.open(aged.project), repair=True)
    assert damage.repaired
    assert look(Store.open(aged.project)) == []


def test_a_ref_that_is_gone_is_made_again(aged: Aged) -> None:
    (run_id,) = runs(aged.store)
    subprocess.run(["git", "update-ref", "-d", f"refs/reprokit/{run_id}"], cwd=aged.project, check=True)
    (damage,) = look(aged.store, quick=True)
    assert (damage.kind, damage.runs) == ("ref", (run_id,))
    assert look(aged.store, repair=True)[0].repaired
    assert aged.refs() == [run_id]
    assert look(aged.store) == []


def test_a_file_of_a_snapshot_that_git_lost_is_told(aged: Aged) -> None:
    (run_id,) = runs(aged.store)
    code = aged.store.load(run_id).code
    assert code is not None
    name = subprocess.run(
        ["git", "rev-parse", f"{code.snapshot}:new.py"], cwd=aged.project, capture_output=True, text=True, check=True
    ).stdout.strip()
    blob = aged.project / ".git" / "objects" / name[:2] / name[2:]
    whole = blob.read_bytes()
    for spoil in (lambda: flip(blob, len(whole) * 4), blob.unlink):
        spoil()
        assert look(aged.store, quick=True) == []
        (damage,) = look(aged.store)
        assert (damage.kind, damage.where, damage.runs) == ("snapshot", code.snapshot, (run_id,))
        assert name in damage.message
    subprocess.run(["git", "update-ref", "-d", f"refs/reprokit/{run_id}"], cwd=aged.project, check=True)
    loose = aged.project / ".git" / "objects" / code.snapshot[:2] / code.snapshot[2:]
    loose.unlink()
    (damage,) = look(aged.store, quick=True)
    assert "is gone" in damage.message
