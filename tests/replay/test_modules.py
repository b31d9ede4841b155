"""What code a replay puts where, and before which cell; and what it says of code that was not kept."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reprokit.errors import StoreError
from reprokit.records import Cell, CodeState, FileUse, Module, Run
from reprokit.replay import modules
from reprokit.replay.plan import Facts, Plan, plan
from reprokit.store.objects import Objects

CODE = CodeState(
    kind="git",
    repository="/old/p/.git",
    ref="refs/reprokit/x",
    snapshot="1" * 40,
    tree="2" * 40,
    top="/old/p",
    commit="3" * 40,
    branch="main",
)


def edit(path: str, digest: str | None = "sha256:1", state: str = "stable") -> FileUse:
    return FileUse(path=path, access="read", digest=digest, stored="object", state=state, source="edit")


def cell(seq: int, *edits: FileUse, status: str = "done", head: tuple[str, ...] = ()) -> Cell:
    return Cell(seq=seq, source="x", status=status, edits=edits, head=head)


def module(name: str, place: str, *paths: str, digest: str = "sha256:1", seq: int | None = 1) -> Module:
    files = tuple(FileUse(path=path, access="read", digest=digest, stored="object") for path in paths)
    return Module(name=name, place=place, files=files, cell=seq)


def test_an_edit_is_made_before_the_next_cell_that_is_repeated() -> None:
    cells = (cell(1), cell(2, edit("a.py"), status="interrupted"), cell(3, edit("b.py")), cell(4, edit("c.py")))
    run = Run(id="run", cells=(*cells, cell(5, edit("d.py"), status="interrupted")))
    assert [(seq, use.path) for seq, use in modules.edits(run)] == [(3, "a.py"), (3, "b.py"), (4, "c.py")]


def planned(run: Run, *held: str) -> Plan:
    return plan(run, Facts(objects=frozenset(held)))


def test_the_plan_names_edits_and_removals() -> None:
    run = Run(id="run", cells=(cell(1), cell(2, edit("a.py"), edit("b.py", None, "missing"))))
    made = planned(run, "sha256:1")
    assert made.reasons == ()
    assert [(r.path, r.source, r.before) for r in made.restores] == [("a.py", "edit", 2), ("b.py", "removed", 2)]
    assert "code         a.py edited before cell 2" in made.text()
    assert "code         b.py removed before cell 2" in made.text()


def test_code_that_was_not_kept_prevents_a_replay() -> None:
    cells = (cell(1), cell(2, edit("a.py"), edit("b.py", None, "unstable")))
    run = Run(id="run", cells=cells, modules=(module("helpers", "/shared", "helpers.py"),))
    assert [reason.why for reason in planned(run).reasons] == [
        "a.py was edited before cell 2, and the edit was not kept",
        "b.py was edited before cell 2, and the edit was not kept",
        "helpers was imported from /shared, and its source was not kept",
    ]
    assert [reason.why[:4] for reason in planned(run, "sha256:1").reasons] == ["b.py"]


def test_another_commit_is_checked_out_before_its_cell() -> None:
    run = Run(id="run", code=CODE, cells=(cell(1), cell(2, head=("4" * 40, "side")), cell(3, head=("5" * 40,))))
    found = modules.commits(run)
    assert {seq: (code.commit, code.branch) for seq, code in found.items()} == {
        2: ("4" * 40, "side"),
        3: ("5" * 40, None),
    }
    assert modules.commits(Run(id="run", cells=run.cells)) == {}


def test_modules_lie_together_as_they_did(tmp_path: Path) -> None:
    one, two = module("one", "/shared", "one.py"), module("two", "/shared", "two.py")
    archive = module("zipped", "/libs/all.zip", "all.zip")
    run = Run(id="run", cells=(cell(1),), modules=(one, archive, two))
    assert modules.places(run, tmp_path) == {
        "one": str(tmp_path / "1"),
        "two": str(tmp_path / "1"),
        "zipped": str(tmp_path / "0" / "all.zip"),
    }


def test_what_was_imported_first_is_there_from_the_start(tmp_path: Path) -> None:
    objects = Objects(tmp_path / "objects")
    objects.root.mkdir()
    first, second = objects.put_bytes(b"x = 1\n"), objects.put_bytes(b"x = 2\n")
    late = module("a", "/shared", "a.py", digest=first, seq=2)
    run = Run(
        id="run",
        cells=(cell(1), cell(2), cell(3)),
        modules=(late, module("a", "/shared", "a.py", digest=second, seq=3)),
    )
    modules.put(run, 0, tmp_path / "new", objects)
    path = tmp_path / "new" / "0" / "a.py"
    before = path.stat().st_mtime
    assert path.read_text() == "x = 1\n"
    modules.put(run, 2, tmp_path / "new", objects)
    assert path.read_text() == "x = 1\n"
    modules.put(run, 3, tmp_path / "new", objects)
    assert path.read_text() == "x = 2\n"
    assert path.stat().st_mtime >= before + 2, "or Python would take what it compiled of the first"


def test_a_record_cannot_put_files_elsewhere(tmp_path: Path) -> None:
    objects = Objects(tmp_path / "objects")
    objects.root.mkdir()
    digest = objects.put_bytes(b"x")
    for path in ("../../evil.py", "/etc/evil.py"):
        run = Run(id="run", cells=(cell(1),), modules=(module("a", "/shared", path, digest=digest),))
        with pytest.raises(StoreError):
            modules.put(run, 0, tmp_path / "new", objects)
    assert not os.path.exists(tmp_path / "evil.py")


def test_what_a_module_read_of_itself_is_no_data() -> None:
    data = FileUse(path="/data/table.csv", access="read", digest="sha256:2")
    own = FileUse(path="/shared/tools/d.txt", access="read", digest="sha256:3")
    read = Cell(seq=1, source="x", reads=(own, data))
    run = Run(id="run", cells=(read,), modules=(module("tools", "/shared", "tools/__init__.py", "tools/d.txt"),))
    assert modules.without_reads(run).cells[0].reads == (data,)


def test_a_moved_project_is_where_it_is_now(tmp_path: Path) -> None:
    run = Run(id="run", root="/old/p", cwd="/old/p/sub", code=CODE)
    here = modules.located(run, tmp_path)
    assert (here.root, here.cwd) == (str(tmp_path), str(tmp_path / "sub"))
    assert here.code is not None
    assert (here.code.repository, here.code.top) == (str(tmp_path / ".git"), str(tmp_path))
    there = Run(id="run", root=str(tmp_path), cwd=str(tmp_path), code=CODE)
    assert modules.located(there, tmp_path / "other") is there, "it is still there"
