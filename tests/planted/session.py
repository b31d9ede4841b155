"""A session as a user has it: an ordinary kernel, cells sent by hand, and what reaches the kernel without a cell."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import start_new_kernel

from reprokit.records import Run
from reprokit.store.store import Store

__all__ = ["START", "by_hand"]

START = "%load_ext reprokit\n%repro start"
_TIMEOUT_S = 120


def by_hand(project: Path, before: Sequence[str], cells: Sequence[str], behind: Mapping[int, Any]) -> Run:
    """Work in a notebook, and return the run that was captured.

    Args:
        project: where the kernel is started.
        before: cells run before ``%repro start``.
        cells: those run after it.
        behind: number of a cell → what happens before it: code that a debugger or an inspector of variables runs,
            or (name of a widget, value) when the user moves it.
    """
    manager, client = start_new_kernel(kernel_name="python3", cwd=str(project), env=dict(os.environ))
    try:
        for source in (*before, START):
            _cell(client, source)
        for number, source in enumerate(cells, start=len(before) + 2):
            if number in behind:
                _without_a_cell(client, behind[number])
            _cell(client, source)
        _cell(client, "%repro stop")
    finally:
        client.stop_channels()
        manager.shutdown_kernel()
    store = Store.open(project)
    return store.load(store.resolve("latest"))


def _cell(client: BlockingKernelClient, source: str) -> None:
    reply = client.execute_interactive(source, timeout=_TIMEOUT_S, output_hook=lambda _: None)
    assert reply["content"]["status"] == "ok", reply["content"]


def _without_a_cell(client: BlockingKernelClient, what: str | tuple[str, Any]) -> None:
    if isinstance(what, str):
        client.execute(what, silent=True, reply=True, timeout=_TIMEOUT_S)
        return
    name, value = what
    asked = {"id": f"{name}.comm.comm_id"}
    reply = client.execute("", silent=True, user_expressions=asked, reply=True, timeout=_TIMEOUT_S)
    found = reply["content"]["user_expressions"]["id"]["data"]["text/plain"].strip("'")
    content = {"comm_id": found, "data": {"method": "update", "state": {"value": value}, "buffer_paths": []}}
    client.shell_channel.send(client.session.msg("comm_msg", content))
    client.kernel_info(reply=True, timeout=_TIMEOUT_S)  # handled after the message before it
