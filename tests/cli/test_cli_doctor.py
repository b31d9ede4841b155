"""What the doctor finds on this machine, and on worse ones."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from reprokit.capture import preload
from reprokit.cli import main
from reprokit.cli.doctor import Check, examine, has_wal_reset_bug

EXPECTED = {
    "python",
    "git",
    "store",
    "space",
    "capture",
    "uv",
    "pip-tools",
    "papermill",
    "ipython",
    "ipykernel",
    "sqlite",
    "kernel python3",
    "hash seed",
}


def found(folder: Path) -> dict[str, Check]:
    return {check.check: check for check in examine(folder)}


def test_json_lists_every_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code = main(["doctor", "--json"])
    checks = json.loads(capsys.readouterr().out)
    assert {check["check"] for check in checks} >= EXPECTED
    assert all(check.keys() == {"check", "status", "detail", "remedy"} for check in checks)
    assert code == (2 if any(check["status"] == "block" for check in checks) else 0)
    assert all(check["remedy"] for check in checks if check["status"] != "ok")


def test_text_has_a_line_per_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["doctor"])
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("ok    python ")]


def test_the_tools_beside_the_interpreter_are_found_without_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    checks = found(tmp_path)
    assert checks["git"].status == "warn"
    assert "install git" in checks["git"].remedy
    assert checks["uv"].status == "ok"


def test_a_git_that_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "git").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert found(tmp_path)["git"] == Check(
        check="git", status="warn", detail=f"{tmp_path}/git does not run", remedy="install git anew"
    )


def test_a_kernel_without_its_interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = tmp_path / "kernels" / "gone" / "kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text(json.dumps({"argv": ["/no/such/python", "-m", "ipykernel"], "display_name": "Gone"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    check = found(tmp_path)["kernel gone"]
    assert (check.status, check.detail) == ("warn", "/no/such/python is not there")
    assert "kernelspec remove gone" in check.remedy


def test_a_wrong_setting_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text("[tool.reprokit]\nstor = 'x'\n")
    assert main(["doctor"]) == 2
    assert "block store" in capsys.readouterr().out


def test_hash_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    assert found(tmp_path)["hash seed"].detail == "PYTHONHASHSEED=7"
    monkeypatch.delenv("PYTHONHASHSEED")
    monkeypatch.setattr(preload, "LIBRARY", str(tmp_path / "recorder.so"))
    assert "PYTHONHASHSEED=0" in found(tmp_path)["hash seed"].remedy


@pytest.mark.skipif(not preload.is_available(), reason="the recorder is not built here")
def test_a_recorder_that_is_missing_or_does_not_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONHASHSEED", raising=False)
    checks = found(tmp_path)
    assert "complete" in checks["capture"].detail
    assert "given back in a replay" in checks["hash seed"].detail
    monkeypatch.setattr(preload, "LIBRARY", str(tmp_path / "recorder.so"))
    assert "not built" in found(tmp_path)["capture"].detail
    (tmp_path / "recorder.so").write_bytes(b"no library")
    assert found(tmp_path)["capture"].status == "warn"
    assert "does not load" in found(tmp_path)["capture"].detail


@pytest.mark.parametrize(
    ("version", "has_it"),
    [
        ((3, 6, 23), False),
        ((3, 7, 0), True),
        ((3, 40, 1), True),
        ((3, 44, 5), True),
        ((3, 44, 6), False),
        ((3, 45, 0), True),
        ((3, 50, 6), True),
        ((3, 50, 7), False),
        ((3, 51, 2), True),
        ((3, 51, 3), False),
        ((4, 0, 0), False),
    ],
)
def test_wal_reset_bug(version: tuple[int, int, int], has_it: bool) -> None:
    assert has_wal_reset_bug(version) is has_it
