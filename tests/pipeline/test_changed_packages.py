"""A package that was changed by hand, and is so still, makes no result out of date; another change does."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest

from reprokit.capture.environment.installed import as_it_is
from reprokit.pipeline import reuse, stale
from reprokit.records import Environment, Run
from reprokit.replay import environment, wheels
from reprokit.settings import Settings
from reprokit.store.layout import Layout
from reprokit.store.store import Store

KEY = {"notebook": "a.ipynb", "params": {}}


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The one file of a package that is installed for this interpreter, and was changed since."""
    site = tmp_path / "site-packages"
    info = site / "handmade-1.0.dist-info"
    info.mkdir(parents=True)
    digest = base64.urlsafe_b64encode(hashlib.sha256(b"x = 1\n").digest()).rstrip(b"=").decode()
    (info / "METADATA").write_text("Name: handmade\nVersion: 1.0\n")
    (info / "RECORD").write_text(f"handmade.py,sha256={digest},6\n")
    (info / "INSTALLER").write_text("pip\n")
    (site / "handmade.py").write_text("x = 2\n")
    monkeypatch.syspath_prepend(str(site))
    return site / "handmade.py"


def looked_at() -> Environment:
    """The environment as the background knows it once it has read every file."""
    observed = environment.current()
    found, changed = as_it_is(observed, wheels.installed(observed).values(), frozenset({"handmade"}))
    assert changed == {"handmade": ("handmade.py",)}
    return found


def pinned(project: Path, recorded: Environment) -> Store:
    """A store with a pinned step that ran in an environment."""
    store = Store(Layout(project, project / ".reprokit"), Settings())
    run_id, journal = store.new_run()
    run = Run(id=run_id, kind="batch", status="done", notebook="a.ipynb", root=str(project), step=KEY)
    told = {name: value for name, value in run.to_dict().items() if name not in ("id", "cells", "pin")}
    journal.append({"set": {**told, "environments": [recorded.to_dict()], "started": 1.0, "ended": 2.0}})
    journal.close()
    store.pin(run_id, "base")
    return store


def outdated(store: Store) -> tuple[list[str], list[str]]:
    """Return why the run is not taken over, and why it is out of date."""
    candidate = reuse.Candidate(
        what="a.ipynb",
        is_script=False,
        key=KEY,
        sources=(),
        environment=environment.current(),
        cwd=store.layout.project,
    )
    (item,) = stale.look(store)
    told = [reason.text for reason in item.reasons if reason.cause == "environment"]
    return list(reuse.choose(store, candidate, anyway=True).reasons), told


def test_what_was_changed_then_and_still_is_is_no_change(project: Path, module: Path) -> None:
    store = pinned(project, looked_at())
    assert environment.current().fingerprint != looked_at().fingerprint, "it is only found by reading its files"
    assert outdated(store) == ([], [])


@pytest.mark.parametrize("text", ["x = 1\n", "x = 3\n"], ids=["as it was installed", "changed again"])
def test_what_was_changed_since_is_told(project: Path, module: Path, text: str) -> None:
    store = pinned(project, looked_at())
    module.write_text(text)
    assert outdated(store) == (["handmade 1.0 with other contents"], ["handmade 1.0 with other contents"])


def test_nothing_is_said_of_a_package_that_nobody_changed(project: Path) -> None:
    assert outdated(pinned(project, environment.current())) == ([], [])
