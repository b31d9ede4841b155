"""The background process checks what is installed: what was changed by hand is kept as it is, and said."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from made_environments import install, make_venv, observed, says

from reprokit.capture.environment.installed import as_it_is
from reprokit.records import Distribution, Environment
from reprokit.replay import wheels
from reprokit.replay.lock import Lock, main, make
from reprokit.store.layout import Layout
from reprokit.store.objects import Objects
from reprokit.store.store import Store


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """An environment in which somebody changed a package by hand."""
    python = make_venv(tmp_path / "venv", "six==1.16.0", "tabulate==0.9.0")
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    six = site / "six.py"
    text = six.read_text() + "\nBY_HAND = 'yes'\n"
    six.unlink()  # it may be a hard link into the installer's cache
    six.write_text(text)
    return python


def checked(store: Store, environment: Environment) -> tuple[str, int]:
    """Do what is done in the background for a run."""
    run_id, journal = store.new_run()
    journal.append({"set": {"status": "done"}, "add": {"environments": [environment.to_dict()]}})
    journal.close()
    order = store.layout.run_folder(run_id) / "environment-0.json"
    order.write_text(json.dumps(environment.to_dict()))
    return run_id, main([str(store.layout.root), str(store.layout.project), str(order)])


def test_a_package_changed_by_hand_is_kept_as_a_wheel(
    venv: Path, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    store = Store.open(project)
    before = observed(venv)
    run_id, status = checked(store, before)
    run = store.load(run_id)
    assert status == 0
    assert [gap.message for gap in run.gaps] == ["six 1.16.0 was changed by hand after it was installed: six.py"]
    assert (run.gaps[0].blocks, run.gaps[0].settled) == (False, "it is stored as a wheel, as it is")
    assert run.environment is not None
    assert run.environment.fingerprint != before.fingerprint
    lock = Lock.from_dict(json.loads((store.layout.locks / f"{run.environment.fingerprint[7:]}.json").read_text()))
    (extra,) = lock.extras
    assert (extra.name, extra.kind, lock.pins) == ("six", "wheel", {"tabulate": "0.9.0"})
    assert extra.digest is not None
    wheel = tmp_path / (extra.filename or "")
    store.objects.restore(extra.digest, wheel)
    again = make_venv(tmp_path / "again", "--no-index", wheel)
    assert says(again, "import six; print(six.BY_HAND)") == "yes"


def test_an_environment_as_installed_gets_no_journal(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    store = Store.open(project)
    run_id, _ = checked(store, observed(make_venv(tmp_path / "venv", "six==1.16.0")))
    assert not store.layout.journal(run_id, "environment").exists()
    assert store.load(run_id).gaps == ()


def test_what_cannot_be_kept_prevents_a_replay(venv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheels, "LIMIT", 10)
    layout, _ = Layout(tmp_path, tmp_path / ".reprokit").create()
    environment = observed(venv)
    told, changes = as_it_is(environment, wheels.installed(environment).values())
    assert changes == {"six": ("six.py",)}
    (gap,) = make(told, Objects(layout.objects)).gaps
    assert gap.blocks
    assert "six 1.16.0" in gap.message


def test_what_conda_installed_is_named_as_condas(tmp_path: Path) -> None:
    python = make_venv(tmp_path / "venv")
    install(python, "six==1.16.0")
    layout, _ = Layout(tmp_path, tmp_path / ".reprokit").create()
    plain = observed(python)
    url = "https://conda.anaconda.org/conda-forge/{}.conda"
    six = replace(plain.distributions[0], origin="conda", url=url.format("noarch/six-1.16.0-pyh6c4a22f_0"))
    mkl = Distribution(name="conda:mkl", version="2023.2.0", origin="conda", url=url.format("mkl"), content="md5:ab")
    lock = make(replace(plain, distributions=(mkl, six)), Objects(layout.objects))
    assert lock.pins == {"six": "1.16.0"}
    assert lock.conda == (f"{mkl.url}#ab", str(six.url))
    first, second = (gap.message for gap in lock.gaps)
    assert "six 1.16.0 is conda's" in first
    assert "pyh6c4a22f_0" in first
    assert second == "conda installed mkl 2023.2.0: an environment built from the lock does not have them"
