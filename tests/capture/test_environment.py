"""The agent's view of what is installed: complete, by contents, and cheap to check."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import timeit
from pathlib import Path

import psutil
import pytest

from reprokit.capture.environment import environment
from reprokit.digest import of_json
from reprokit.records import Distribution
from reprokit.store.layout import Layout

ROOT = Path(__file__).parents[2]


def put(site: Path, name: str, version: str, direct_url: dict[str, object] | None = None, **files: str) -> Path:
    """Put the metadata of a distribution into a folder, as an installer does."""
    info = site / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nName: Other\n")
    contents = {"RECORD": f"{name}.py,sha256=abc,3\n{info.name}/METADATA,sha256=def,1\n", **files}
    for file, text in contents.items():
        (info / file).write_text(text)
    if direct_url is not None:
        (info / "direct_url.json").write_text(json.dumps(direct_url))
    return info


def only(site: Path) -> Distribution:
    (found,) = environment.scan([str(site)])
    return found.distribution


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "lib" / "site-packages"
    folder.mkdir(parents=True)
    return folder


def test_observe_lists_what_importlib_metadata_lists() -> None:
    found = {d.name: d.version for d in environment.observe().distributions}
    folders = list(environment.site_folders())
    expected: dict[str, str] = {}
    for one in importlib.metadata.distributions(path=folders):
        expected.setdefault(environment.normalised(one.metadata["Name"]), one.version)
    assert found == expected
    assert list(found) == sorted(found)


def test_observe_describes_this_interpreter() -> None:
    found = environment.observe()
    assert found.python == ".".join(map(str, sys.version_info[:3]))
    assert (found.executable, found.prefix) == (sys.executable, sys.prefix)
    assert found.fingerprint == environment.fingerprint(found.python, found.implementation, found.distributions)


@pytest.mark.parametrize(
    ("direct_url", "expected"),
    [
        (None, {"origin": "index"}),
        (
            {"url": "https://me:secret@host/r.git", "vcs_info": {"vcs": "git", "commit_id": "c" * 40}},
            {"origin": "vcs", "url": "git+https://host/r.git", "commit": "c" * 40},
        ),
        (
            {
                "url": "ssh://git:pw@host/r",
                "vcs_info": {"vcs": "git", "commit_id": "d"},
                "subdirectory": "sub/p",
            },
            {"origin": "vcs", "url": "git+ssh://git@host/r#subdirectory=sub/p", "commit": "d"},
        ),
        (
            {"url": "file:///home/x", "dir_info": {"editable": True}},
            {"origin": "editable", "url": "file:///home/x"},
        ),
    ],
)
def test_origin(site: Path, direct_url: dict[str, object] | None, expected: dict[str, str]) -> None:
    put(site, "My_Package", "1.0", direct_url)
    assert only(site) == Distribution(name="my-package", version="1.0", **expected)


@pytest.mark.parametrize("kind", [{"archive_info": {}}, {"dir_info": {}}])
def test_local_origin_has_contents_and_no_secrets(site: Path, kind: dict[str, object]) -> None:
    put(site, "pkg", "1.0", {"url": "https://user:pw@host/a.whl?X-Token=abc#sha256=0", **kind})
    found = only(site)
    assert (found.origin, found.url) == ("local", "https://host/a.whl")
    assert found.content == of_json([["pkg-1.0.dist-info/METADATA", "sha256=def"], ["pkg.py", "sha256=abc"]])


def test_contents_leave_out_what_installers_write(site: Path, tmp_path: Path) -> None:
    direct = {"url": "file:///a.whl", "archive_info": {}}
    put(site, "pkg", "1.0", direct)
    other = tmp_path / "other" / "site-packages"
    noise = (
        "pkg.py,sha256=abc,3\npkg-1.0.dist-info/METADATA,sha256=def,1\n../../../bin/pkg,sha256=zzz,9\n"
        "pkg-1.0.dist-info/INSTALLER,sha256=i,2\npkg.pyc,sha256=p,2\npkg-1.0.dist-info/direct_url.json,sha256=u,1\n"
    )
    put(other, "pkg", "1.0", direct, RECORD=noise)
    assert only(site).content == only(other).content


@pytest.mark.parametrize("files", [{"INSTALLER": "conda\n"}, {}])
def test_unknown_origin(site: Path, files: dict[str, str]) -> None:
    info = put(site, "pkg", "1.0", {"url": "file:///croot/x", "dir_info": {}}, **files)
    if not files:
        (info / "RECORD").unlink()
    assert only(site).origin == "unknown"


def test_old_installations_are_found(site: Path, tmp_path: Path) -> None:
    (site / "old-1.egg-info").write_text("Metadata-Version: 1.0\nName: old\nVersion: 1\n")
    source = tmp_path / "dev"
    (source / "dev.egg-info").mkdir(parents=True)
    (source / "dev.egg-info" / "PKG-INFO").write_text("Name: dev\nVersion: 2\n")
    (site / "dev.egg-link").write_text(f"{source}\n.")
    dev, old = (found.distribution for found in environment.scan([str(site)]))
    assert (old.name, old.version, old.origin) == ("old", "1", "unknown")
    assert (dev.name, dev.origin, dev.url) == ("dev", "editable", source.as_uri())


def test_left_overs_are_passed_over(site: Path, tmp_path: Path) -> None:
    put(site, "~kg", "1.0")
    (site / "broken-1.0.dist-info").mkdir()
    development = tmp_path / "project"
    (development / "x.egg-info").mkdir(parents=True)
    (development / "x.egg-info" / "PKG-INFO").write_text("Name: x\nVersion: 2\n")
    assert environment.scan([str(site), str(development), "/nonexistent"]) == ()


def test_the_first_folder_wins(site: Path, tmp_path: Path) -> None:
    put(site, "pkg", "1.0")
    later = tmp_path / "later" / "site-packages"
    put(later, "pkg", "2.0")
    (found,) = environment.scan([str(site), str(later)])
    assert found.distribution.version == "1.0"


def test_fingerprint_is_by_contents() -> None:
    a = Distribution(name="a", version="1")
    b = Distribution(name="b", version="1", origin="editable", url="file:///b")
    own = Distribution(name="reprokit", version="9")

    def named(*distributions: Distribution, python: str = "3.11.7") -> str:
        return environment.fingerprint(python, "cpython", distributions)

    same = named(a, b)
    assert named(b, a, own) == same
    others = [
        named(a),
        named(a, b, python="3.11.8"),
        named(a, Distribution(name="b", version="2", origin="editable", url="file:///b")),
        named(a, Distribution(name="b", version="1", origin="editable", url="file:///c")),
        named(a, Distribution(name="b", version="1", origin="local", content="sha256:1")),
        named(a, Distribution(name="b", version="1", origin="local", content="sha256:2")),
        named(a, Distribution(name="b", version="1", origin="vcs", commit="c")),
    ]
    assert len({same, *others}) == len(others) + 1
    moved = Distribution(name="b", version="1", origin="local", content="sha256:1", url="file:///elsewhere")
    assert named(a, moved) == others[4]


def test_token_tells_an_installation(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, str(site)])
    before = environment.token()
    assert not environment.changed(before)
    put(site, "pkg", "1.0")
    assert environment.changed(before)


def test_token_tells_a_new_path(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = environment.token()
    monkeypatch.setattr(sys, "path", [*sys.path, str(site)])
    assert environment.changed(before)


def test_quick_fingerprint_tells_the_same_version_installed_again(site: Path) -> None:
    info = put(site, "pkg", "1.0")
    folders = [str(site)]
    before = environment.quick_fingerprint(folders)
    assert environment.quick_fingerprint(folders) == before
    replacement = site / "draft"
    replacement.write_bytes((info / "RECORD").read_bytes())
    replacement.replace(info / "RECORD")
    assert environment.quick_fingerprint(folders) != before


def test_token_is_cheap() -> None:
    assert min(timeit.repeat(environment.token, number=200, repeat=5)) / 200 <= 20e-6


def test_runs_without_any_package() -> None:
    code = (
        "import sys; sys.path.append(sys.argv[1]); from reprokit.capture.environment import environment as e; "
        "e.quick_fingerprint(); e.token(); print(e.observe().fingerprint)"
    )
    command = [sys.executable, "-I", "-S", "-c", code, str(ROOT)]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    assert done.stdout.startswith("sha256:")


def test_background_process_is_nobodys_child_and_makes_the_lock(tmp_path: Path) -> None:
    layout, _ = Layout(tmp_path, tmp_path / ".reprokit").create()
    observed = environment.Environment(
        fingerprint=of_json("none"),
        python="3.11.7",
        implementation="cpython",
        executable="",
        prefix="/nonexistent",
    )
    source = tmp_path / "environment.json"
    source.write_text(json.dumps(observed.to_dict()))
    log = layout.locks / "background.log"
    os.mkfifo(log)  # the process holds it open until it ends, so reading to the end waits for that
    before = psutil.Process().children()
    environment.start_in_background(layout, source)
    assert psutil.Process().children() == before
    assert log.read_text() == ""
    lock = json.loads((layout.locks / f"{observed.fingerprint.removeprefix('sha256:')}.json").read_text())
    assert (lock["fingerprint"], lock["gaps"]) == (observed.fingerprint, [])


def test_background_process_finds_the_package_by_path(tmp_path: Path) -> None:
    """The project may hold a module with the name of one that the process needs."""
    (tmp_path / "json.py").write_text("raise RuntimeError('imported')\n")
    layout, _ = Layout(tmp_path, tmp_path / ".reprokit").create()
    log = layout.locks / "background.log"
    os.mkfifo(log)
    environment.start_in_background(layout, tmp_path / "missing.json")
    assert "No such file or directory" in log.read_text()
