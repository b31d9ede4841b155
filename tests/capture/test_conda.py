"""What conda says of its packages; its files are made here as conda 24 writes them, since there is no conda."""

from __future__ import annotations

import json
from pathlib import Path

from reprokit.capture.environment.conda import distributions, packages
from reprokit.records import Distribution

BASE = "https://conda.anaconda.org/conda-forge"


def put(prefix: Path, name: str, version: str, build: str, files: list[str], **fields: object) -> None:
    """Write a package's file as conda does: sorted keys, two spaces."""
    record = {
        "arch": "x86_64",
        "auth": None,
        "build": build,
        "build_number": 0,
        "channel": f"{BASE}/linux-64",
        "constrains": [],
        "depends": ["libblas >=3.9.0,<4.0a0", "python >=3.11,<3.12.0a0"],
        "extracted_package_dir": f"/opt/conda/pkgs/{name}-{version}-{build}",
        "files": files,
        "fn": f"{name}-{version}-{build}.conda",
        "license": "BSD-3-Clause",
        "link": {"source": f"/opt/conda/pkgs/{name}-{version}-{build}", "type": 1},
        "md5": "d5a0ae1b8d4b1b5f0d5bb7bd8a6a5a11",
        "name": name,
        "paths_data": {"paths": [{"_path": file, "sha256": "ab" * 32, "size_in_bytes": 3} for file in files]},
        "requested_spec": name,
        "sha256": "cd" * 32,
        "size": 7484186,
        "subdir": "linux-64",
        "timestamp": 1707225570061,
        "url": f"{BASE}/linux-64/{name}-{version}-{build}.conda",
        "version": version,
        **fields,
    }
    meta = prefix / "conda-meta"
    meta.mkdir(exist_ok=True)
    text = json.dumps({key: value for key, value in record.items() if value != ""}, indent=2, sort_keys=True)
    (meta / f"{name}-{version}-{build}.json").write_text(text)


def environment(prefix: Path) -> None:
    site = "lib/python3.11/site-packages"
    put(prefix, "numpy", "1.26.4", "py311h64a7726_0", ["bin/f2py", f"{site}/numpy-1.26.4.dist-info/METADATA"])
    put(prefix, "pytorch", "2.1.2", "cpu_mkl_py311hc5c8824_100", [f"{site}/torch-2.1.2-py3.11.egg-info/PKG-INFO"])
    put(prefix, "mkl", "2023.2.0", "h84fe81f_50496", ["lib/libmkl_rt.so.2"])
    (prefix / "conda-meta" / "history").write_text("==> 2024-02-06 <==\n")


def test_channel_build_and_checksum_are_known(tmp_path: Path) -> None:
    environment(tmp_path)
    found = {package.name: package for package in packages(tmp_path)}
    assert sorted(found) == ["mkl", "numpy", "pytorch"]
    numpy = found["numpy"]
    assert (numpy.version, numpy.build, numpy.channel) == ("1.26.4", "py311h64a7726_0", f"{BASE}/linux-64")
    assert numpy.url == f"{BASE}/linux-64/numpy-1.26.4-py311h64a7726_0.conda"
    assert (numpy.checksum, numpy.info) == ("sha256:" + "cd" * 32, "numpy-1.26.4.dist-info")
    assert found["mkl"].info is None


def test_distributions_say_that_conda_installed_them(tmp_path: Path) -> None:
    environment(tmp_path)
    scanned = [
        (Distribution(name="numpy", version="1.26.4", origin="unknown"), "numpy-1.26.4.dist-info"),
        (Distribution(name="torch", version="2.1.2", origin="unknown"), "torch-2.1.2-py3.11.egg-info"),
        (Distribution(name="rich", version="13.0"), "rich-13.0.dist-info"),
    ]
    found = {d.name: d for d in distributions(scanned, tmp_path)}
    assert {name: d.origin for name, d in found.items()} == {
        "conda:mkl": "conda",
        "numpy": "conda",
        "rich": "index",
        "torch": "conda",
    }
    assert found["torch"].url == f"{BASE}/linux-64/pytorch-2.1.2-cpu_mkl_py311hc5c8824_100.conda"
    assert list(found) == sorted(found)


def test_what_pip_put_over_a_package_of_condas_is_pips(tmp_path: Path) -> None:
    environment(tmp_path)
    ours = Distribution(name="numpy", version="1.26.4", origin="editable", url="file:///numpy")
    found = {d.name: d for d in distributions([(ours, "numpy-1.26.4.dist-info")], tmp_path)}
    assert found["numpy"] == ours


def test_old_and_broken_files(tmp_path: Path) -> None:
    put(tmp_path, "old", "1.0", "0", [], sha256="", url="", channel="https://repo.anaconda.com/pkgs/main/linux-64")
    put(tmp_path, "secret", "1.0", "0", [], url="https://me:pw@host/t/to-ken/chan/linux-64/secret-1.0-0.conda")
    (tmp_path / "conda-meta" / "torn-1.0-h1_0.json").write_text('{\n  "arch": ')
    found = {d.name: d for d in distributions([], tmp_path)}
    assert found["conda:old"].url == "https://repo.anaconda.com/pkgs/main/linux-64/old-1.0-0"
    assert found["conda:old"].content == "md5:d5a0ae1b8d4b1b5f0d5bb7bd8a6a5a11"
    assert found["conda:secret"].url == "https://host/chan/linux-64/secret-1.0-0.conda"
    assert (found["conda:torn"].version, found["conda:torn"].content) == ("1.0", None)


def test_an_environment_that_is_none_of_condas_stays_as_it_is(tmp_path: Path) -> None:
    ours = Distribution(name="rich", version="13.0")
    assert distributions([(ours, "rich-13.0.dist-info")], tmp_path) == (ours,)
