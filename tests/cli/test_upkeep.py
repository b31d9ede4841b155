"""``gc``, ``fsck`` and ``reindex`` as a user calls them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from reprokit.cli import main
from reprokit.digest import canonical_json, of_bytes
from reprokit.replay import built
from reprokit.store.layout import new_run_id
from reprokit.store.store import Store


@pytest.fixture
def store(project: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Two runs that are over, one of them long ago, and an object that nobody names."""
    monkeypatch.chdir(project)
    store = Store.open()
    for days in (100, 1):
        began = time.time() - days * 86400
        _, journal = store.new_run(run_id=new_run_id(began))
        outputs = store.objects.put_bytes(canonical_json([days]))
        journal.append({"set": {"name": f"run of {days}", "started": began, "status": "done"}})
        journal.append({"cell": 1, "set": {"source": "x", "status": "done", "outputs": outputs}})
        journal.close()
    store.objects.put_bytes(b"garbage")
    for path in store.layout.objects.glob("??/*"):
        os.utime(path, (1e9, 1e9))
    return store


def shown(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert main(arguments) == code
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def test_gc_says_what_it_would_do_and_does_it(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    old = store.runs()[-1].id
    planned = json.loads(shown(capsys, "gc", "--dry-run", "--older-than", "90d", "--json"))
    assert [item["kind"] for item in planned["would_remove"]] == ["run", "object", "object"]
    assert planned["bytes"] > 0
    assert "nothing" not in shown(capsys, "gc", "--dry-run")
    assert len(store.runs()) == 2
    text = shown(capsys, "gc")
    assert "object  1" in text
    assert "no record names it" in text
    text = shown(capsys, "gc", "--older-than", "12w")
    assert old in text
    assert "100 days old" in text
    assert [run.name for run in Store.open().runs()] == ["run of 1"]
    assert shown(capsys, "gc") == "nothing to remove\n"
    assert shown(capsys, "gc", "--dry-run") == "nothing would be removed\n"


def test_gc_keeps_the_newest(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    removed = json.loads(shown(capsys, "gc", "--keep", "1", "--json"))["removed"]
    assert [item["kind"] for item in removed].count("run") == 1
    assert [run.name for run in Store.open().runs()] == ["run of 1"]


@pytest.mark.parametrize("span", ["", "soon", "9 months", "-3d", "1e9999d"])
def test_a_span_that_is_none_is_refused(store: Store, capsys: pytest.CaptureFixture[str], span: str) -> None:
    assert main(["gc", "--older-than", span]) == 2
    assert "write it like 90d" in capsys.readouterr().err
    assert len(store.runs()) == 2


def test_without_a_store_there_is_nothing_to_do(
    project: Path, cache: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    assert shown(capsys, "gc") == "nothing to remove\n"
    for command in ("fsck", "reindex"):
        assert main([command]) == 2
        assert "there is no store" in capsys.readouterr().err
    assert not (project / ".reprokit").exists()


def test_fsck_and_reindex(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, "fsck") == "looked at 2 runs, 3 objects\nthe store is sound\n"
    path = store.objects.path(of_bytes(canonical_json([1])))
    path.chmod(0o644)
    path.write_bytes(b"[2]")
    newest = store.runs()[0].id
    text = shown(capsys, "fsck", code=1)
    assert f"needed by {newest}" in text
    assert "outputs of cell 1" in text
    assert "1 damaged" in text
    assert "the store is sound" in shown(capsys, "fsck", "--quick")
    told = json.loads(shown(capsys, "fsck", "--json", code=1))
    assert (told["sound"], [damage["kind"] for damage in told["damages"]]) == (False, ["object-corrupt"])
    told = json.loads(shown(capsys, "fsck", "--repair", "--json", code=1))
    assert [bool(damage["repaired"]) for damage in told["damages"]] == [True, False]
    assert json.loads(shown(capsys, "reindex", "--json")) == {"runs": 2}
    assert shown(capsys, "reindex") == "indexed 2 runs\n"


# -- environments ----------------------------------------------------------------------------------


def environment(folder: Path, name: str, days: float) -> Path:
    """Make what looks like a built environment that was last used so many days ago."""
    target = folder / name
    site = target / "lib" / "python3" / "site-packages"
    site.mkdir(parents=True)
    (target / "bin").mkdir()
    (target / "bin" / "python").symlink_to(sys.executable)
    (site / "package.py").write_text("x = 1\n" * 100)
    built.finish(target, "sha256:0", ())
    then = time.time() - days * 86400
    os.utime(target / "reprokit-complete.json", (then, then))
    return target


_USER = """
import sys
from pathlib import Path
from reprokit.replay import built
print(built.find(Path(sys.argv[1]), sys.argv[2]).how, flush=True)
sys.stdin.readline()
"""


def test_environments_that_nobody_used_for_long_go(
    store: Store, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = cache / "environments"
    used, again, held, old = (environment(folder, f"{name}-linux-x86_64", 40 * n) for n, name in enumerate("abcd"))
    (folder / "e-linux-x86_64" / "bin").mkdir(parents=True)  # a build that was killed
    assert built.find(folder, again.name) is not None, "used today"
    command = [sys.executable, "-c", _USER, str(folder), held.name]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as user:
        assert user.stdout is not None
        assert user.stdin is not None
        assert user.stdout.readline() == "cached\n"
        os.utime(held / "reprokit-complete.json", (1e9, 1e9))  # a user who works for months
        shown(capsys, "gc")
        assert [path.is_dir() for path in (used, again, held, old)] == [True, True, True, False]
        assert not (folder / "e-linux-x86_64").exists()
        user.stdin.write("done\n")
    os.utime(held / "reprokit-complete.json", (1e9, 1e9))
    assert f"environment  {held}" in shown(capsys, "gc")
    assert [path.is_dir() for path in (used, again, held)] == [True, True, False]
