"""The wheel: with the recorder where it can be compiled, installable everywhere else."""

from __future__ import annotations

import importlib.util
import os
import shutil
import struct
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
FILES = ("pyproject.toml", "hatch_build.py", ".gitignore", "README.md", "CHANGELOG.md", "LICENSE")
COMPILER = shutil.which("cc") or shutil.which("gcc")
with_compiler = pytest.mark.skipif(COMPILER is None or sys.platform != "linux", reason="there is no C compiler")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The repository as it is checked out."""
    folder = tmp_path / "source"
    ignored = shutil.ignore_patterns("__pycache__", "*.so", ".mypy_cache")
    for name in ("reprokit", "templates"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=ignored)
    for name in FILES:
        shutil.copy(REPOSITORY / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def hook() -> ModuleType:
    """The build hook as a module."""
    spec = importlib.util.spec_from_file_location("hatch_build", REPOSITORY / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def built(source: Path, what: str = "wheel", **variables: str) -> tuple[Path, str]:
    """Build as pip does; return the file and what was said."""
    code = f"from hatchling.build import build_{what} as build; print(build('dist'))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=source,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return source / "dist" / done.stdout.splitlines()[-1], done.stdout + done.stderr


def names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


@with_compiler
def test_a_wheel_with_the_recorder(source: Path, tmp_path: Path) -> None:
    wheel, _ = built(source)
    assert "py3-none-manylinux_2_17_" in wheel.name  # no function that came later is used
    assert {"reprokit/native/recorder.so", "reprokit/native/conditions.so"} <= set(names(wheel))
    place = tmp_path / "place"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place)
    code = (
        "from reprokit.capture.files import recorder as r; import pathlib; "
        "print(r.Recorder.begin(pathlib.Path('k'), [], []))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=place, capture_output=True, text=True, check=True)
    assert "Recorder object" in done.stdout


@with_compiler
def test_an_editable_wheel_compiles_in_place(source: Path) -> None:
    built(source, "editable")
    assert (source / "reprokit" / "native" / "recorder.so").exists()


@pytest.mark.parametrize(("what", "missing"), [("wheel", "compiler"), ("wheel", "success"), ("editable", "compiler")])
def test_without_a_compiler_the_wheel_is_for_every_system(
    source: Path, tmp_path: Path, what: str, missing: str
) -> None:
    (tmp_path / "bin").mkdir()
    (source / "reprokit" / "native" / "recorder.so").write_bytes(b"of another version")
    variables = {"PATH": str(tmp_path / "bin"), "CC": "" if missing == "compiler" else shutil.which("false") or ""}
    wheel, said = built(source, what, **variables)
    assert wheel.name.endswith("-py3-none-any.whl")
    assert not [name for name in names(wheel) if name.endswith(".so")]
    assert "without its native recorder" in said


def test_the_sdist_holds_the_source_and_the_hook(source: Path) -> None:
    (source / "reprokit" / "native" / "recorder.so").write_bytes(b"built here")
    archive, _ = built(source, "sdist")
    with tarfile.open(archive) as content:
        found = {name.partition("/")[2] for name in content.getnames()}
    assert {"hatch_build.py", "reprokit/native/recorder.c", "reprokit/native/linkage.h"} <= found
    assert "reprokit/native/recorder.so" not in found


def test_the_tag_says_what_the_library_needs(hook: ModuleType) -> None:
    def library(machine: int, *versions: bytes) -> bytes:
        return b"\x7fELF" + bytes(14) + struct.pack("<H", machine) + b"\0".join(versions)

    assert hook.platform_tag(library(62, b"GLIBC_2.2.5", b"GLIBC_2.14")) == "manylinux_2_17_x86_64"
    assert hook.platform_tag(library(183, b"GLIBC_2.17", b"GLIBC_2.34")) == "manylinux_2_34_aarch64"
    assert hook.machine_of(library(243)) is None
    assert hook.machine_of(b"no library at all ...") is None
