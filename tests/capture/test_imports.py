"""Modules from outside environment and project are kept with their packages, once, and again when they changed."""

from __future__ import annotations

import importlib
import importlib.util
import json
import subprocess
import sys
import types
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from git_states import write
from observed import Observed

from reprokit.capture.code import imports as module
from reprokit.capture.code import listing
from reprokit.capture.code.code import snapshot
from reprokit.capture.code.edits import Edits
from reprokit.capture.code.imports import Imports, Origin, Stored, environment_folders, origin
from reprokit.capture.probe import Replayed
from reprokit.records import FileUse, Module


class Imported:
    """Both probes at work in a project; what is imported is forgotten afterwards."""

    def __init__(self, project: Path, *, code: bool = True) -> None:
        self.said = Observed(project, project.parent / "store")
        self.edits = Edits(self.said.context)
        self.probe = Imports(self.said.context, self.edits)
        self._seq = 0
        self._seen = 0
        if code:
            state, _ = snapshot(
                project, "run", private=project.parent / "store" / "code.git", store_large=_refuse, limit=10**6
            )
            assert state is not None
            self.edits.knows(state, listing.of(state), lambda name: None)
        self.cell()  # what this process imported long ago, these tests among it
        self.said.gaps.clear()

    def cell(self, *names: str) -> list[Module]:
        """Import modules in a cell and return what was said of it."""
        self._seq += 1
        self.edits.before_cell(self._seq)
        self.probe.before_cell(self._seq)
        for name in names:
            importlib.import_module(name)
        self.probe.after_cell(self._seq)
        self.said.settle()
        told = [Module.from_dict(one) for one in self.said.cells.get(None, {}).get("modules", [])]
        new, self._seen = told[self._seen :], len(told)
        return new


def _refuse(path: Path) -> FileUse:
    raise AssertionError(f"{path} is not large")


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on ``sys.path``, outside of everything."""
    folder = tmp_path / "shared"
    folder.mkdir()
    known = set(sys.modules)
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield folder
    for name in set(sys.modules) - known:
        del sys.modules[name]
    importlib.invalidate_caches()


@pytest.fixture
def imported(project: Path, outside: Path) -> Iterator[Imported]:
    one = Imported(project)
    yield one
    one.edits.stop()
    one.probe.stop()


def files(said: Module, imported: Imported) -> dict[str, bytes]:
    return {use.path: imported.said.objects.get_bytes(use.digest or "") for use in said.files}


def test_a_module_and_what_it_imports(imported: Imported, outside: Path) -> None:
    write(outside, "rk_helpers.py", "import rk_constants\n")
    write(outside, "rk_constants.py", "C = 1\n")
    constants, helpers = imported.cell("rk_helpers")
    assert (constants.name, constants.place, constants.cell) == ("rk_constants", str(outside), 2)
    assert files(helpers, imported) == {"rk_helpers.py": b"import rk_constants\n"}
    (gap,) = imported.said.gaps
    assert f"rk_constants, rk_helpers came from {outside}" in gap.message
    assert (gap.settled, gap.blocks) == ("the source is kept", False)
    assert imported.cell("rk_helpers", "json") == []


def test_all_of_a_package_is_kept(imported: Imported, outside: Path) -> None:
    write(outside, "rk_tools/__init__.py", "")
    write(outside, "rk_tools/late.py", "1")
    write(outside, "rk_tools/data/table.csv", "1,2")
    write(outside, "rk_tools/__pycache__/late.pyc", "x")
    (tools,) = imported.cell("rk_tools")
    assert set(files(tools, imported)) == {
        "rk_tools/__init__.py",
        "rk_tools/late.py",
        "rk_tools/data/table.csv",
    }
    assert imported.cell("rk_tools.late") == []


def test_a_namespace_package(imported: Imported, outside: Path) -> None:
    write(outside, "rk_space/part.py", "1")
    (space,) = imported.cell("rk_space.part")
    assert files(space, imported) == {"rk_space/part.py": b"1"}


def test_an_archive(imported: Imported, outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = outside / "rk.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("rk_zipped.py", "Z = 1")
    monkeypatch.setattr(sys, "path", [str(archive), *sys.path])
    (zipped,) = imported.cell("rk_zipped")
    assert (zipped.place, files(zipped, imported)) == (str(archive), {"rk.zip": archive.read_bytes()})


def test_the_project_and_the_environment_are_kept_elsewhere(
    imported: Imported, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(project, "rk_mine.py", "1")
    monkeypatch.setattr(sys, "path", [str(project), *sys.path])
    assert imported.cell("rk_mine", "this", "wheel" if importlib.util.find_spec("wheel") else "json") == []


def test_without_a_snapshot_the_projects_own_modules_are_kept(
    project: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Imported(project, code=False)
    write(project, "rk_mine.py", "1")
    monkeypatch.setattr(sys, "path", [str(project), *sys.path])
    (mine,) = one.cell("rk_mine")
    assert (mine.name, mine.place) == ("rk_mine", str(project))


def test_an_edit_between_cells_is_kept_as_well(imported: Imported, outside: Path) -> None:
    write(outside, "rk_edited.py", "x = 1\n")
    imported.cell("rk_edited")
    write(outside, "rk_edited.py", "x = 2\n")
    write(outside, "unrelated.py", "y = 2\n")
    (again,) = imported.cell()
    assert (again.cell, files(again, imported)) == (3, {"rk_edited.py": b"x = 2\n"})
    assert len(imported.said.gaps) == 1, "it is told once"


def test_what_changed_before_it_could_be_kept_is_a_gap(imported: Imported, outside: Path) -> None:
    write(outside, "rk_hasty.py", "x = 1\n")
    imported.edits.before_cell(2)
    importlib.import_module("rk_hasty")
    imported.probe.after_cell(2)
    write(outside, "rk_hasty.py", "x = 2\n")
    imported.said.settle()
    (gap,) = imported.said.gaps
    assert gap.blocks
    assert "rk_hasty changed" in gap.message


def test_a_package_that_is_too_large_is_a_gap(
    imported: Imported, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_BYTES", 10)
    write(outside, "rk_huge/__init__.py", "x = 'twelve characters'")
    imported.cell("rk_huge")
    (gap,) = imported.said.gaps
    assert gap.blocks
    assert "too large" in gap.message


def editable(site: Path, name: str, source: Path) -> None:
    """Leave the traces of ``pip install -e``."""
    info = site / f"{name}-1.0.dist-info"
    write(info, "METADATA", f"Name: {name}\nVersion: 1.0\n")
    write(info, "RECORD", "")
    write(info, "direct_url.json", json.dumps({"url": source.as_uri(), "dir_info": {"editable": True}}))
    sys.path.append(str(site))


@pytest.mark.parametrize(("git", "state"), [(False, ""), (True, " with uncommitted changes")])
def test_an_editable_installation_is_named(
    imported: Imported, outside: Path, tmp_path: Path, git: bool, state: str
) -> None:
    if git:
        subprocess.run(["git", "init", "-q"], cwd=outside, check=True)
    editable(tmp_path / "site-packages", "rk_dist", outside)
    write(outside, "rk_dist.py", "1")
    (kept,) = imported.cell("rk_dist")
    assert kept.distribution == "rk-dist"
    (gap,) = imported.said.gaps
    assert gap.message == f"rk-dist is editable{state}, outside the project"
    assert gap.settled == "what was imported of it is kept"


def test_a_lazy_module_is_not_loaded_by_being_looked_at(outside: Path) -> None:
    path = write(outside, "rk_lazy.py", "raise SystemExit('loaded')")
    spec = importlib.util.spec_from_file_location("rk_lazy", path)
    assert spec is not None
    assert spec.loader is not None
    spec.loader = importlib.util.LazyLoader(spec.loader)
    lazy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(lazy)
    assert origin("rk_lazy", lazy) == Origin(str(outside), str(path))


@pytest.mark.parametrize("name", ["__main__", "sys", "rk_made_up"])
def test_modules_without_a_file_have_no_origin(name: str) -> None:
    assert origin(name, sys.modules.get(name) or types.ModuleType(name)) is None


def test_the_interpreters_own_folders() -> None:
    folders = environment_folders()
    for file in (pytest.__file__, json.__file__):
        assert file.startswith(folders)


def test_a_replay_finds_what_was_put_back_before_what_lies_on_the_path(
    project: Path, outside: Path, tmp_path: Path
) -> None:
    write(outside, "rk_both.py", "x = 'today'")
    write(outside, "rk_other.py", "x = 'today'")
    write(tmp_path, "kept/rk_both.py", "x = 'then'")
    write(tmp_path, "kept/rk_other.py", "x = 'not asked for'")
    replayed = Replayed({}, (), {"rk_both": str(tmp_path / "kept")})
    said = Observed(project, tmp_path / "store", replayed)
    probe = Imports(said.context, Edits(said.context))
    before = list(sys.meta_path)
    probe.start()
    assert importlib.import_module("rk_both").x == "then"
    assert importlib.import_module("rk_other").x == "today"
    probe.after_cell(1)
    said.settle()
    assert said.cells == {}, "a replay keeps nothing again"
    probe.stop()
    assert sys.meta_path == before


def test_an_archive_that_was_put_back(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("rk_zipped.py", "Z = 1")
    spec = Stored({"rk_zipped": str(tmp_path / "a.zip")}).find_spec("rk_zipped")
    assert spec is not None
    assert (spec.origin or "").endswith("a.zip/rk_zipped.py")
