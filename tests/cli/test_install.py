"""``reprokit install`` and ``uninstall``: a kernel that really starts, and no trace afterwards."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

from reprokit.capture.files import recorder
from reprokit.cli import main


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    folder = tmp_path / "environment"
    folder.mkdir()
    return folder


def tree(folder: Path) -> dict[str, str]:
    """Return what lies below a folder: name → digest, or what kind of thing it is and its rights."""
    found = {}
    for path in sorted(folder.rglob("*")):
        content = "folder" if path.is_dir() else hashlib.sha256(path.read_bytes()).hexdigest()
        found[str(path.relative_to(folder))] = f"{path.lstat().st_mode:o} {content}"
    return found


def config(prefix: Path, content: bytes) -> Path:
    path = prefix / "etc" / "ipython" / "ipython_config.py"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        b"c.InteractiveShell.colors = 'NoColor'\n",
        b"# no end of line",
        b"# dos\r\nc = get_config()\r\n",
        b"\xff\xfe\n",
    ],
)
def test_uninstall_leaves_no_trace(prefix: Path, content: bytes | None) -> None:
    if content is not None:
        config(prefix, content).chmod(0o640)
    before = tree(prefix)
    assert main(["install", "--prefix", str(prefix)]) == 0
    installed = tree(prefix)
    assert "share/jupyter/kernels/reprokit/kernel.json" in installed
    assert main(["install", "--prefix", str(prefix)]) == 0
    assert tree(prefix) == installed
    assert main(["uninstall", "--prefix", str(prefix)]) == 0
    assert tree(prefix) == before
    assert main(["uninstall", "--prefix", str(prefix)]) == 0


def test_what_the_user_adds_meanwhile_stays(prefix: Path) -> None:
    path = config(prefix, b"first = 1")
    assert main(["install", "--prefix", str(prefix)]) == 0
    path.write_bytes(path.read_bytes() + b"last = 1\n")
    (path.parent / "mine.txt").write_text("mine")
    assert main(["uninstall", "--prefix", str(prefix)]) == 0
    assert path.read_bytes() == b"first = 1\nlast = 1\n"
    assert (path.parent / "mine.txt").read_text() == "mine"


def test_a_dry_run_says_and_does_nothing(prefix: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["install", "--prefix", str(prefix), "--dry-run", "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert tree(prefix) == {}
    assert planned["dry_run"] is True
    assert main(["install", "--prefix", str(prefix), "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert done == planned | {"dry_run": False}
    assert {action["path"] for action in done["actions"]} == {str(prefix / name) for name in tree(prefix)} - {
        str(prefix / "share/jupyter/kernels/reprokit/reprokit-install.json")
    }
    main(["uninstall", "--prefix", str(prefix), "--dry-run"])
    assert capsys.readouterr().out.startswith("would remove")
    assert tree(prefix) != {}


def test_a_kernel_of_somebody_else_is_left_alone(prefix: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = prefix / "share" / "jupyter" / "kernels" / "other"
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text("{}")
    before = tree(prefix)
    assert main(["install", "--prefix", str(prefix), "--name", "other"]) == 2
    assert "--name" in capsys.readouterr().err
    assert main(["uninstall", "--prefix", str(prefix), "--name", "other"]) == 2
    assert tree(prefix) == before


@pytest.mark.parametrize(("arguments", "says"), [(["--name", "no name"], "no kernel name"), (["--user"], "two places")])
def test_options_that_make_no_sense(
    prefix: Path, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["install", "--prefix", str(prefix), *arguments]) == 2
    assert says in capsys.readouterr().err
    assert tree(prefix) == {}


def test_a_place_that_cannot_be_written_is_left_as_it_was(prefix: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (prefix / "share").mkdir()
    (prefix / "share" / "jupyter").write_text("a file where a folder has to be")
    before = tree(prefix)
    assert main(["install", "--prefix", str(prefix)]) == 2
    message = capsys.readouterr().err
    assert "cannot be written" in message
    assert "--user" in message
    assert tree(prefix) == before


def test_for_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    before = tree(tmp_path)
    assert main(["install", "--user", "--name", "Mine"]) == 0
    assert {"jupyter/kernels/mine/kernel.json", "ipython/profile_default/ipython_config.py"} <= tree(tmp_path).keys()
    assert main(["uninstall", "--user", "--name", "Mine"]) == 0
    assert tree(tmp_path) == before


LOOK = """
import os, json
from reprokit.capture.files import recorder
print(json.dumps({
    "loaded": "repro" in get_ipython().magics_manager.magics["line"],
    "carried": recorder.is_carried(),
    "left": sorted(name for name in os.environ if name == "LD_PRELOAD" or name == "REPROKIT_LAUNCHED"),
    "pid": os.getpid(),
}))
"""


def ask(manager: KernelManager) -> dict[str, object]:
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    printed: list[str] = []
    reply = client.execute_interactive(
        LOOK, timeout=60, output_hook=lambda message: printed.append(message["content"].get("text", ""))
    )
    client.stop_channels()
    assert reply["content"]["status"] == "ok", reply["content"]
    answer: dict[str, object] = json.loads("".join(printed))
    return answer


@pytest.fixture
def installed(prefix: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KernelManager]:
    """The kernel that was installed, started in a place of its own."""
    assert main(["install", "--prefix", str(prefix)]) == 0
    for name in [name for name in os.environ if name.startswith("REPROKIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    specs = KernelSpecManager(kernel_dirs=[str(prefix / "share" / "jupyter" / "kernels")])
    manager = KernelManager(kernel_name="reprokit", kernel_spec_manager=specs)
    assert manager.kernel_spec.display_name == "Python (reprokit)"
    manager.start_kernel(cwd=str(tmp_path), stderr=subprocess.DEVNULL)
    yield manager
    manager.shutdown_kernel(now=True)


@pytest.mark.skipif(not recorder.is_available(), reason="the recorder is not built here")
def test_its_kernels_carry_the_recorder_after_a_restart_too(installed: KernelManager) -> None:
    first = ask(installed)
    installed.restart_kernel()
    second = ask(installed)
    for answer in (first, second):
        assert answer["loaded"] is True
        assert answer["carried"] is True
        assert answer["left"] == []
        assert answer["pid"] != os.getpid()


def test_every_kernel_of_the_environment_loads_the_extension(prefix: Path, tmp_path: Path) -> None:
    path = config(prefix, b"c.InteractiveShellApp.exec_lines = ['x = 1']\n")
    assert main(["install", "--prefix", str(prefix)]) == 0
    profile = tmp_path / "ipython" / "profile_default"
    profile.mkdir(parents=True)
    (profile / "ipython_config.py").write_text("c.InteractiveShellApp.extensions = ['autoreload']\n")  # the user's own
    script = tmp_path / "look.py"
    script.write_text("print(sorted({'repro', 'autoreload'} & set(get_ipython().magics_manager.magics['line'])), x)\n")
    source = (
        "import sys, IPython.core.application as a; "
        f"a.ENV_CONFIG_DIRS[:] = [{str(path.parent)!r}]; "
        f"import IPython; IPython.start_ipython([{str(script)!r}])"
    )
    environ = {**os.environ, "IPYTHONDIR": str(tmp_path / "ipython")}
    done = subprocess.run([sys.executable, "-c", source], env=environ, capture_output=True, text=True, check=False)
    assert done.stdout.strip().endswith("['autoreload', 'repro'] 1"), done.stdout + done.stderr
