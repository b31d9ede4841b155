"""A process is known by host, boot and start time."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys

import pytest

from reprokit.records import Process
from reprokit.store.liveness import is_alive, this_process

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="start times are read from /proc")


def test_this_process_lives() -> None:
    me = this_process()
    assert me.pid == os.getpid()
    assert is_alive(me) is True


def test_another_host_cannot_be_known() -> None:
    assert is_alive(dataclasses.replace(this_process(), host="elsewhere.example")) is None


@linux
def test_the_same_pid_of_another_time_or_boot_is_dead() -> None:
    me = this_process()
    assert is_alive(dataclasses.replace(me, started=me.started - 1)) is False
    assert is_alive(dataclasses.replace(me, boot="another")) is False


@linux
def test_a_killed_process_is_dead_before_it_is_reaped() -> None:
    code = (
        "import json, sys; from reprokit.store.liveness import this_process\n"
        "print(json.dumps(this_process().to_dict()), flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True) as child:
        assert child.stdout is not None
        process = Process.from_dict(json.loads(child.stdout.readline()))
        assert is_alive(process) is True
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, and still a zombie
        assert is_alive(process) is False
    assert is_alive(process) is False


@pytest.mark.parametrize("pid", [0, -1, 2**40])
def test_pids_that_name_no_process_are_dead(pid: int) -> None:
    assert is_alive(dataclasses.replace(this_process(), pid=pid, started=0)) is False
