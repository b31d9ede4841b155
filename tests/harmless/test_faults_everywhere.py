"""Every function of the agent is made to fail, at each place where a session calls it: no cell notices.

The sessions run in processes of their own (``faulty``), two or more side by side; here it is said what may come of it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

FAULTY = Path(__file__).with_name("faulty.py")
EXCEPTIONS = ("RuntimeError", "OSError", "MemoryError")

PROBES = (
    "capture.code.edits:Edits",
    "capture.code.imports:Imports",
    "capture.config.configuration:Configuration",
    "capture.environment.libraries:Libraries",
    "capture.environment.packages:Packages",
    "capture.environment.threads:Threads",
    "capture.files.files:Files",
    "capture.randomness.randomness:Randomness",
    "capture.remote.remote:Remote",
    "capture.resources:Usage",
)
# Where Python or IPython itself calls in: there is nothing of ours around these that could catch what they raise.
# Each is one guarded step, so that only a fault at its very first instruction would be felt.
OUTERMOST = frozenset(
    {
        "capture.files.audit:_hook",
        "capture.fronts:ScriptFront.stop",
        "capture.fronts:TerminalFront.stop",
        "capture.interrupts:Held.__call__",
        "capture.interrupts:Held.__enter__",
        "capture.notebook:Notebook._after",
        "capture.notebook:Notebook._before",
        "capture.notebook:Notebook._end",
        "capture.notebook:Notebook._guard",
        "capture.notebook:Notebook.stop",
        "capture.randomness.entropy:AfterImport.find_spec",
        "capture.randomness.unrepeatable:_Urandom.__call__",
        "capture.session:Session.failed",
        "capture.swallowed:described",
        "capture.worker:Worker._serve",
        "capture.worker:_after_fork",
        "capture.worker:_before_fork",
    }
)
# Lines that answer a verb of the user's: no warnings.
ANSWERS = (
    "capturing run",
    "reprokit: done",
    "could not be written to",
    "reprokit: failed",
    "no run is open",
    "could not be done",
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small project under git."""
    root = tmp_path_factory.mktemp("faults") / "project"
    root.mkdir()
    (root / "in.csv").write_text("a,b\n1,2\n")
    (root / "helpers.py").write_text("VALUE = 1\n")
    (root / "conf.yaml").write_text("lr: 0.1\n")
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "start"]):
        subprocess.run(["git", *command], cwd=root, env=environ(str(root.parent)), check=True, capture_output=True)
    return root


@cache
def environ(home: str) -> dict[str, str]:
    """Return the variables of every process of this test."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("REPROKIT_", "GIT_", "XDG_"))}
    names = {f"GIT_{role}_{what}": "tester" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    return {**kept, **names, "HOME": home, "IPYTHONDIR": f"{home}/ipython", "REPROKIT_LOCK": "never"}


def faulty(place: Path, what: str, orders: Sequence[str] = ()) -> Iterator[Any]:
    """Run ``faulty.py`` and return what it tells."""
    done = subprocess.run(
        [sys.executable, str(FAULTY), str(place), what],
        input="\n".join(orders),
        env=environ(str(place.parent)),
        capture_output=True,
        text=True,
        check=True,
    )
    return (json.loads(line) for line in done.stdout.splitlines())


@pytest.fixture(scope="module")
def plain(place: Path) -> dict[str, Any]:
    """What the cells do without reprokit."""
    return next(faulty(place, "plain"))


@pytest.fixture(scope="module")
def sound(place: Path) -> dict[str, Any]:
    """What a session does in which nothing fails, and how often it calls each function."""
    return next(faulty(place, "record"))


def complaints(what: Sequence[Any], told: dict[str, Any], plain: dict[str, Any]) -> Iterator[str]:
    """Yield what went wrong in a session in which functions failed."""
    name = " ".join(map(str, what[:3]))
    if "cells" not in told and "turns" not in told:
        yield f"{name}: the session broke: {told.get('broken')}"
        return
    for function, cells in told.get("turns", {what[0]: told.get("cells")}).items():
        for number, (expected, found) in enumerate(zip(plain["cells"], cells, strict=True), start=1):
            if expected != found:
                yield f"{function}: cell {number} gave {found} in place of {expected}"
    for verb in told["verbs"]:
        if verb[1] != "None":
            yield f"{name}: a verb gave {verb}"
    warnings = [line for line in told["own"] if not any(mark in line for mark in ANSWERS)]
    if len(warnings) > 1:
        yield f"{name}: {len(warnings)} lines of warning: {warnings[:3]}"
    spoken = warnings or any("could not be done" in line for line in told["own"])
    if told["left"] or told["input"] != plain["input"]:
        yield f"{name}: left behind {told['left']} {told['input']}"
    record = told["record"]
    if record["runs"]:
        if record["damage"] is not None:
            yield f"{name}: the journal is damaged at line {record['damage']}"
        if told["failures"] and not spoken and not _tells(record, plain["sound"]):
            yield f"{name}: the record does not tell it"


def _tells(record: dict[str, Any], sound: dict[str, Any]) -> bool:
    """Return whether a record says that something failed, when for it anything is missing in it."""
    more = set(record["gaps"]) - set(sound["gaps"]) or record["kept"]["capture"] != sound["kept"]["capture"]
    unread = json.dumps(record["kept"]).count('"missing"') - json.dumps(sound["kept"]).count('"missing"')
    return bool(more) or unread > 0 or record["status"] != "done" or record["kept"] == sound["kept"]


def check(place: Path, plain: dict[str, Any], how: str, orders: Sequence[str]) -> None:
    found = [line for what, told in faulty(place, how, orders) for line in complaints(what, told, plain)]
    assert not found, "\n".join(line[:600] for line in found)


def shifts(orders: Sequence[str]) -> list[str]:
    """Return orders for sessions in each of which some functions take turns to fail."""
    return [" ".join(orders[start : start + 40]) for start in range(0, len(orders), 40)]


def lot(name: str, count: int) -> int:
    """Draw a number below ``count`` for a function: the same everywhere, whichever other functions are called."""
    return crc32(f"{count} {name}".encode()) % count


def test_a_sound_session_changes_nothing(plain: dict[str, Any], sound: dict[str, Any]) -> None:
    assert sound["cells"] == plain["context"]
    assert list(complaints(["nothing"], {**sound, "cells": plain["cells"], "failures": 0}, plain)) == []
    assert len(sound["calls"]) > 300
    assert sound["record"]["status"] == "done"


def test_functions_take_turns_to_fail(place: Path, plain: dict[str, Any], sound: dict[str, Any]) -> None:
    names = [name for name in sorted(set(sound["in_cells"]) - OUTERMOST) if lot(name, 4) == 0]
    assert len(names) > 80
    check(place, plain, "turns", shifts([f"{name} {EXCEPTIONS[lot(name, 3)]} 0" for name in names]))


def test_some_fail_from_the_start_to_the_end(place: Path, plain: dict[str, Any], sound: dict[str, Any]) -> None:
    names = [name for name in sorted(set(sound["calls"]) - OUTERMOST) if lot(name, 25) == 0]
    assert len(names) > 15
    check(place, plain, "each", [f"{name} {EXCEPTIONS[lot(name, 3)]} 0" for name in names])


@pytest.mark.parametrize(
    "world",
    [
        "no-threads",
        "few-descriptors",
        "store-is-a-file",
        "store-is-read-only",
        "store-is-full",
        "store-is-small",
        "store-fills-up",
        "no-shared-memory",
        "shared-memory-is-full",
        "home-is-a-file",
        "home-is-unknown",
        "disk-full",
        "store-deleted",
        "objects-blocked",
        "descriptors-used-up",
    ],
)
def test_a_machine_on_which_something_is_the_matter(world: str, place: Path, plain: dict[str, Any]) -> None:
    check(place, plain, "worlds", [world])


def test_the_verb_says_why_a_run_has_no_end(place: Path, plain: dict[str, Any]) -> None:
    _, told = next(faulty(place, "worlds", ["store-fills-up"]))
    last = told["own"][-1]
    assert "could not be written to" in last
    assert "journal.jsonl: OSError: [Errno 28]" in last
    assert "reprokit: running" not in "\n".join(told["own"])


def test_a_run_goes_without_a_probe_that_cannot_be_made(place: Path, plain: dict[str, Any]) -> None:
    orders = [f"{probe}.__init__ RuntimeError 0" for probe in PROBES]
    for what, told in faulty(place, "each", orders):
        assert list(complaints(what, told, plain)) == []
        assert told["failures"] == 1
        assert (told["record"]["runs"], told["record"]["status"]) == (1, "done"), what
        assert any("could not be observed" in gap for gap in told["record"]["gaps"]), what


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("how", ["turns", "each"])
@pytest.mark.parametrize("exception", EXCEPTIONS)
@pytest.mark.parametrize("nth", [0, 1, 2, 3, 7])
def test_each_function_fails_at_its_nth_call(
    nth: int, exception: str, how: str, place: Path, plain: dict[str, Any], sound: dict[str, Any]
) -> None:
    called = sound["calls"] if how == "each" else sound["in_cells"]
    names = sorted(name for name in called if sound["calls"][name] >= nth and name not in OUTERMOST)
    orders = [f"{name} {exception} {nth}" for name in names]
    check(place, plain, how, orders if how == "each" else shifts(orders))
