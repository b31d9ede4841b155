"""The background process checks what is installed: what was changed by hand is kept as it is, and said."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from made_environments import install, make_venv, observed, says, tiny_wheel

from reprokit.capture.environment.installed import as_it_is
from reprokit.records import Distribution, Environment
from reprokit.replay import wheels
from reprokit.replay.lock import Lock, ensure, main, make
from reprokit.replay.lock_gaps import of_another_origin
from reprokit.store.layout import Layout
from reprokit.store.objects import Objects
from reprokit.store.store import Store
from reprokit.views.status import status_text


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


def test_a_package_of_no_known_origin_is_told_at_capture(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without waiting for a replay: the run itself says so."""
    monkeypatch.chdir(project)
    store = Store.open(project)
    known = observed(make_venv(tmp_path / "venv", "six==1.16.0"))
    lost = Distribution(name="nobody-has-this-one", version="1.0")
    run_id, status = checked(store, replace(known, fingerprint="sha256:" + "1" * 64, distributions=(lost,)))
    assert status == 1
    (gap,) = store.load(run_id).gaps
    assert gap.blocks
    assert gap.message.startswith("nobody-has-this-one 1.0 (index) cannot be installed again: no index has it")
    text = status_text(store.load(run_id))
    assert text.startswith("Would this run replay? Not exactly: 1 thing prevents it.")
    assert "nobody-has-this-one 1.0" in text


def test_an_index_out_of_reach_prevents_nothing_for_good(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    store = Store.open(project)
    environment = observed(make_venv(tmp_path / "venv", "six==1.16.0"))
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "empty"))
    run_id, status = checked(store, environment)
    assert status == 1
    (gap,) = store.load(run_id).gaps
    assert not gap.blocks
    assert gap.message.startswith("the lock could not be made")
    assert "once while the package index can be reached" in gap.remedy


def test_a_wheel_that_the_store_lost_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine that does not have the package any more."""
    layout, _ = Layout(tmp_path, tmp_path / ".reprokit").create()
    objects = Objects(layout.objects)
    environment = observed(make_venv(tmp_path / "venv", tiny_wheel(tmp_path / "wheels", "1.0")))
    (extra,) = ensure(layout, environment, objects).extras
    assert extra.digest is not None
    shutil.rmtree(tmp_path / "venv")
    shutil.rmtree(tmp_path / "wheels")
    objects.path(extra.digest).unlink()
    (gap,) = ensure(layout, environment, objects).gaps
    assert gap.blocks
    assert gap.message == f"the wheel of tiny 1.0 is not in the store any more ({extra.digest})"


def test_many_packages_of_condas_are_told_in_one_line() -> None:
    found = [Distribution(name=f"p{number}", version="1", origin="conda") for number in range(300)]
    (gap,) = of_another_origin(found)
    assert gap.message.startswith("p0 1, p1 1, p2 1 and 297 more are conda's; the index's builds")
    assert not gap.blocks


def test_the_points_of_a_sweep_are_told_what_was_found_for_one(
    venv: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that ran in the same environment; one that ran in another is not."""
    monkeypatch.chdir(project)
    store = Store.open(project)
    before = observed(venv)
    same, other, first = (store.new_run() for _ in range(3))
    for (_, journal), environment in ((same, before), (other, replace(before, fingerprint="sha256:" + "0" * 64))):
        journal.append({"set": {"status": "done"}, "add": {"environments": [environment.to_dict()]}})
    order = store.layout.run_folder(first[0]) / "environment-0.json"
    order.write_text(json.dumps(before.to_dict()))
    order.with_suffix(".runs").write_text(f"{first[0]}\n{same[0]}\n{other[0]}\nmissing")
    main([str(store.layout.root), str(store.layout.project), str(order)])
    told = {run_id: [gap.message for gap in store.load(run_id).gaps] for run_id, _ in (first, same, other)}
    said = ["six 1.16.0 was changed by hand after it was installed: six.py"]
    assert told == {first[0]: said, same[0]: said, other[0]: []}
    for _, journal in (first, same, other):
        journal.close()
