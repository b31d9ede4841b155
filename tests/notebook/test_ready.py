"""A notebook begins when its kernel has answered all that it was asked while it started."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from queue import Empty

import pytest

from reprokit.notebook.kernel import AgentKernelManager

_SLOW = "import os, time\nwhile not os.path.exists({go!r}):\n    time.sleep(0.01)\n"


async def begun_slowly(go: Path) -> tuple[int, bool]:
    """Return how often a kernel that starts slowly was asked, and whether it still owed an answer when it was ready."""
    manager = AgentKernelManager(kernel_name="python3")
    manager.use_ipc()
    await manager.start_kernel()
    client = manager.client()
    client.start_channels()
    try:
        waiting = asyncio.ensure_future(client.wait_for_ready(timeout=60))
        while len(client._asked) < 3:
            await asyncio.sleep(0.01)
        go.touch()
        await waiting
        try:
            await client.get_shell_msg(timeout=0.5)
        except Empty:
            return len(client._asked), False
        return len(client._asked), True
    finally:
        client.stop_channels()
        await manager.shutdown_kernel(now=True)


def test_no_answer_of_the_start_is_owed_when_the_first_cell_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it is, ipykernel 7.0 to 7.3 can overlook the request that runs the cell, for ever."""
    go = tmp_path / "go"
    startup = tmp_path / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "00-slow.py").write_text(_SLOW.format(go=os.fspath(go)))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    asked, owed = asyncio.run(begun_slowly(go))
    assert asked >= 3
    assert not owed
