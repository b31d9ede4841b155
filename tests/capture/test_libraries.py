"""The libraries that numbers hang on are read from the process's memory map; nothing is loaded or called."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from git_states import write
from observed import Observed

from reprokit.capture.environment.libraries import Libraries, distribution, loaded, system_packages

_SITE = f"{sys.prefix}/lib/python3.11/site-packages"
MAPS = f"""\
55d0c0000000-55d0c0001000 r--p 00000000 08:01 1234    /usr/bin/python3.11
7f0000000000-7f0000001000 r--p 00000000 08:01 11      /usr/lib/x86_64-linux-gnu/libcuda.so.535.104.05
7f0000001000-7f0000002000 r-xp 00001000 08:01 11      /usr/lib/x86_64-linux-gnu/libcuda.so.535.104.05
7f0000002000-7f0000003000 r--p 00000000 08:01 12      {_SITE}/nvidia/cuda_runtime/lib/libcudart.so.12
7f0000002000-7f0000003000 r--p 00000000 08:01 13      {_SITE}/nvidia/cudnn/lib/libcudnn_ops.so.9
7f0000002000-7f0000003000 r--p 00000000 08:01 14      /opt/cuda dir/libcublas-0a1b2c3d.so.12.1.3.1
7f0000002000-7f0000003000 r--p 00000000 08:01 15      {_SITE}/numpy/core/_multiarray_umath.so
7f0000002000-7f0000003000 r--p 00000000 08:01 16      {_SITE}/numpy.libs/libopenblas64_p-r0-0cf96a72.3.23.dev.so
7f0000002000-7f0000003000 r--p 00000000 08:01 17      /usr/lib/x86_64-linux-gnu/libgomp.so.1.0.0
7f0000002000-7f0000003000 r--p 00000000 08:01 18      /opt/gsl/lib/libgsl.so.27.0.0
7f0000002000-7f0000003000 r--p 00000000 08:01 19      /usr/lib/x86_64-linux-gnu/libz.so.1.2.13
7f0000002000-7f0000003000 r--p 00000000 08:01 20      /usr/lib/x86_64-linux-gnu/libm.so.6
7f0000002000-7f0000003000 r--p 00000000 08:01 21      /lib/x86_64-linux-gnu/libstdc++.so.6.0.30
7f0000002000-7f0000003000 rw-p 00000000 00:00 0
7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0       [stack]
"""
DRIVER = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023\nGCC version: 12\n"


def test_what_is_kept_of_a_map(tmp_path: Path) -> None:
    maps, driver = write(tmp_path, "maps", MAPS), write(tmp_path, "version", DRIVER)
    found = {library.name: (library.kind, library.version) for library in loaded(maps, driver)}
    glibc = os.confstr("CS_GNU_LIBC_VERSION")
    assert found == {
        "libcuda": ("cuda", "535.104.05"),
        "libcudart": ("cuda", "12"),
        "libcudnn_ops": ("cuda", "9"),
        "libcublas-0a1b2c3d": ("cuda", "12.1.3.1"),
        "libgsl": ("other", "27.0.0"),
        "libm": ("libc", glibc),
        "libstdc++": ("libc", "6.0.30"),
        "nvidia-driver": ("cuda", "535.104.05"),
    }


def test_the_driver_counts_where_cuda_is_used(tmp_path: Path) -> None:
    driver = write(tmp_path, "version", DRIVER)
    maps = write(tmp_path, "maps", "".join(line for line in MAPS.splitlines(True) if "libm.so" in line))
    assert [library.name for library in loaded(maps, driver)] == ["libm"]
    assert loaded(tmp_path / "no map", driver) == ()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is Linux's")
def test_this_process_has_a_libc() -> None:
    kinds = {library.kind: library for library in loaded()}
    assert "libc" in kinds
    assert Path(kinds["libc"].path).is_file()


def test_the_probe_tells_each_library_once(project: Path, tmp_path: Path) -> None:
    said = Observed(project, tmp_path / "store")
    probe = Libraries(said.context)
    probe.start()
    for seq in (1, 2):
        probe.before_cell(seq)
        probe.after_cell(seq)
    said.settle()
    names = [library["path"] for library in said.cells[None]["libraries"]]
    assert len(names) == len(set(names)) > 0
    assert not probe.stop()
    machine = said.cells[None]["machine"]
    assert machine["distribution"] == distribution()
    assert machine["system_packages"] == system_packages()
    assert machine["cores"] >= 1


def test_the_systems_packages_are_named_by_their_list(tmp_path: Path) -> None:
    installed = "Package: zlib\nStatus: install ok installed\nArchitecture: amd64\nVersion: {}\nDescription: x\n"
    removed = "Package: old\nStatus: deinstall ok config-files\nVersion: 1\n"
    write(tmp_path, "var/lib/dpkg/status", installed.format("1.2") + "\n" + removed)
    first = system_packages(tmp_path)["dpkg"]
    assert first.startswith("1 sha256:")
    write(tmp_path, "var/lib/dpkg/status", removed + "\n" + installed.format("1.2").replace("x\n", "other words\n"))
    assert system_packages(tmp_path)["dpkg"] == first
    write(tmp_path, "var/lib/dpkg/status", installed.format("1.3"))
    assert system_packages(tmp_path)["dpkg"] != first


def test_other_managers(tmp_path: Path) -> None:
    assert system_packages(tmp_path) == {}
    write(tmp_path, "lib/apk/db/installed", "C:Q1x=\nP:musl\nV:1.2.4-r2\n\nP:zlib\nV:1.3\n\n")
    write(tmp_path, "var/lib/rpm/rpmdb.sqlite", "x")
    found = system_packages(tmp_path)
    assert found["apk"].startswith("2 sha256:")
    assert found["rpm"].startswith("sha256:")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME="Debian"\n', "Debian GNU/Linux 12 (bookworm)"),
        ("NAME=Alpine\n# comment\n", "Alpine"),
        ("", ""),
    ],
)
def test_the_distributions_name(tmp_path: Path, text: str, name: str) -> None:
    assert distribution(write(tmp_path, "os-release", text)) == name
    assert distribution(tmp_path / "none") == ""
