"""Packages that were changed by hand are found, and named by what they hold."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from reprokit.capture.environment import environment
from reprokit.capture.environment.installed import as_it_is, edited
from reprokit.records import Distribution, Environment


def install(site: Path, name: str, **files: str) -> Path:
    """Put a package there as an installer does, with its hashes."""
    info = site / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (site / name).mkdir()
    contents = {f"{name}/{file}.py": text for file, text in files.items()}
    contents[f"{info.name}/METADATA"] = f"Name: {name}\nVersion: 1.0\n"
    lines = []
    for path, text in contents.items():
        (site / path).write_text(text)
        raw = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        lines.append(f"{path},sha256={raw},{len(text)}")
    (info / "RECORD").write_text("\n".join([*lines, f"{info.name}/RECORD,,", f"{name}/x.pyc,sha256=abc,1"]) + "\n")
    (info / "INSTALLER").write_text("pip\n")
    return info


def described(*folders: Path) -> tuple[Environment, tuple[environment.Found, ...]]:
    found = environment.scan([str(folder) for folder in folders])
    distributions = tuple(one.distribution for one in found)
    named = environment.fingerprint("3.11.7", "cpython", distributions)
    observed = Environment(
        fingerprint=named,
        python="3.11.7",
        implementation="cpython",
        executable="",
        prefix="",
        distributions=distributions,
    )
    return observed, found


def test_an_environment_as_it_was_installed_stays_what_it_is(tmp_path: Path) -> None:
    install(tmp_path / "site-packages", "mine", a="x = 1\n", empty="")
    observed, found = described(tmp_path / "site-packages")
    assert as_it_is(observed, found) == (observed, {})


def test_changed_and_removed_files_are_named(tmp_path: Path) -> None:
    site = tmp_path / "site-packages"
    install(site, "mine", a="x = 1\n", b="y = 1\n", c="")
    install(site, "other", a="x = 1\n")
    (site / "mine/a.py").write_text("x = 2\n")
    (site / "mine/b.py").unlink()
    (site / "mine/new.py").write_text("not installed by anybody")
    observed, found = described(site)
    told, changes = as_it_is(observed, found)
    assert changes == {"mine": ("mine/a.py", "mine/b.py")}
    assert told.fingerprint != observed.fingerprint
    contents = {d.name: d.content for d in told.distributions}
    assert contents["other"] is None
    assert contents["mine"] is not None
    assert told.fingerprint == environment.fingerprint("3.11.7", "cpython", told.distributions)
    (site / "mine/a.py").write_text("x = 3\n")
    again, _ = as_it_is(observed, found)
    assert again.fingerprint != told.fingerprint, "other contents are another environment"


def test_only_what_is_asked_for_is_read(tmp_path: Path) -> None:
    site = tmp_path / "site-packages"
    for name in ("mine", "other"):
        install(site, name, a="x = 1\n")
        (site / name / "a.py").write_text("x = 2\n")
    observed, found = described(site)
    assert as_it_is(observed, found, frozenset({"other"}))[1] == {"other": ("other/a.py",)}


def test_another_version_by_now_says_nothing_of_the_recorded_one(tmp_path: Path) -> None:
    site = tmp_path / "site-packages"
    install(site, "mine", a="x = 1\n")
    (site / "mine/a.py").write_text("x = 2\n")
    observed, found = described(site)
    old = Distribution(name="mine", version="0.9")
    recorded = Environment.from_dict({**observed.to_dict(), "distributions": [old.to_dict()]})
    assert as_it_is(recorded, found) == (recorded, {})


def test_a_record_that_cannot_be_read_is_no_change(tmp_path: Path) -> None:
    site = tmp_path / "site-packages"
    info = install(site, "mine", a="x = 1\n")
    (info / "RECORD").write_text("mine/a.py,sha256=§§§,3\nmine/a.py,md5=abc,3\n../../bin/tool,sha256=abc,1\nshort\n")
    (found,) = environment.scan([str(site)])
    assert edited(found) == {}
    (info / "RECORD").unlink()
    assert edited(found) == {}


def test_this_environment_was_not_changed_by_hand() -> None:
    observed = environment.observe()
    names = frozenset({"ipykernel", "traitlets", "packaging"})
    assert as_it_is(observed, environment.scan(environment.site_folders()), names) == (observed, {})
