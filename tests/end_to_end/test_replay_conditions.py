"""What a replay is run under: each condition really holds, in the kernel and in the programs it starts."""

from __future__ import annotations

import json

import pytest
from workbench import Bench

from reprokit.capture import preload
from reprokit.records import Run
from reprokit.store.store import Store

needs_recorder = pytest.mark.skipif(not preload.is_available(), reason="the recorder is not built here")


def recorded(bench: Bench, *sources: str) -> Run:
    """Run a notebook of these cells and return its record."""
    bench.notebook("work.ipynb", *sources)
    bench.commit()
    bench.reprokit("run", "work.ipynb")
    return bench.latest()


def replayed(bench: Bench, *options: str, code: int = 0) -> Run:
    """Replay the latest run in today's environment and return the replay's record."""
    found = bench.verdict("latest", "--env", "current", *options, code=code)
    return Store.open(bench.project).load(found["replay"])


def printed(bench: Bench, run: Run, cell: int) -> str:
    """Return what a cell printed."""
    outputs = json.loads(Store.open(bench.project).objects.get_bytes(run.cells[cell - 1].outputs or ""))
    return "".join(output["text"] for output in outputs if output["output_type"] == "stream")


CLOCKS = """
import datetime, time, subprocess, threading, asyncio, numpy, pandas
times = {
    "time": time.time(), "time_ns": time.time_ns() / 1e9, "datetime": datetime.datetime.now().timestamp(),
    "utc": datetime.datetime.now(datetime.timezone.utc).timestamp(), "gmtime": time.mktime(time.localtime()),
    "pandas": pandas.Timestamp.now("UTC").timestamp(), "pandas now": pandas.to_datetime("now", utc=True).timestamp(),
    "numpy": float(numpy.datetime64("now").astype("int64")), "clock": time.clock_gettime(time.CLOCK_REALTIME),
    "date": float(subprocess.run(["date", "+%s"], capture_output=True, text=True).stdout),
    "child": float(subprocess.run(["python3", "-c", "import time; print(time.time())"], capture_output=True).stdout),
}
def waits(what):
    began = time.monotonic()
    what()
    return time.monotonic() - began
lock = threading.Lock()
lock.acquire()
waited = {
    "lock": waits(lambda: lock.acquire(timeout=0.3)), "event": waits(lambda: threading.Event().wait(0.3)),
    "sleep": waits(lambda: time.sleep(0.3)),
}
began = time.time()
await asyncio.sleep(0.3)
waited["asyncio"] = time.time() - began
print(__import__("json").dumps([times, waited]))
"""


@needs_recorder
def test_each_cell_begins_at_its_recorded_time(bench: Bench) -> None:
    run = recorded(bench, CLOCKS, "import datetime\nprint(datetime.datetime.now().strftime('%Y-%m-%d %H'))")
    again = replayed(bench, "--freeze-time", code=1)
    assert again.conditions["clock"] == "recorded"
    times, waited = json.loads(printed(bench, again, 1))
    began = run.cells[0].started or 0
    assert {name: at for name, at in times.items() if not -1.5 <= at - began <= 60} == {}
    assert (again.cells[0].started or 0) > began + 1, "the record tells the real time"
    assert {name: took for name, took in waited.items() if took < 0.29} == {}
    assert printed(bench, again, 2) == printed(bench, run, 2)


ASK = """
import socket, subprocess, sys
def ask(host):
    try:
        socket.create_connection((host, 9), timeout=5).close()
    except OSError as error:
        return type(error).__name__, error.errno
"""
LOCAL = """
server = socket.create_server(('127.0.0.1', 0))
print(socket.create_connection(server.getsockname(), timeout=5).getpeername()[0])
"""
CHILD = """
code = "import socket; socket.create_connection(('192.0.2.7', 9), 5)"
print(subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stderr.splitlines()[-1])
"""


@needs_recorder
def test_without_network_nothing_leaves_and_the_cell_is_named(bench: Bench) -> None:
    run = recorded(bench, ASK, LOCAL, "print(ask('192.0.2.7'), ask('no.such.example'))", CHILD)
    options = ("latest", "--env", "current", "--no-network")
    # Where these tests have no network themselves, the run was refused as well.
    same = "unreachable" in printed(bench, run, 4) and "'gaierror', -3" in printed(bench, run, 3)
    told = bench.reprokit("replay", *options, code=0 if same else 1)
    assert "refused in cell 3: 192.0.2.7" in told
    found = bench.verdict(*options, code=0 if same else 1)
    again = Store.open(bench.project).load(found["replay"])
    assert again.conditions["network"] == "closed"
    assert printed(bench, again, 2) == "127.0.0.1\n"
    assert printed(bench, again, 3).startswith("('OSError', 101) ('gaierror', -3)")
    assert "Network is unreachable" in printed(bench, again, 4)
    assert [bool(cell.network) for cell in again.cells] == [False, False, True, True]


def test_threads_and_the_prefix(bench: Bench) -> None:
    show = "import os, numpy\nprint(os.environ.get('OMP_NUM_THREADS'), os.environ.get('OPENBLAS_NUM_THREADS'))"
    recorded(bench, "x = 1", show, "import random\nprint(random.random())")
    again = replayed(bench, "--threads", "1", "--until", "2", code=1)
    assert printed(bench, again, 2) == "1 1\n"
    assert [cell.seq for cell in again.cells] == [1, 2]
    assert again.conditions["threads"] == 1
    assert again.conditions["until"] == 2
    plan = bench.reprokit("replay", "latest", "--threads", "1", "--until", "2", "--dry-run")
    assert "condition    threads 1" in plan
    assert "cells        2" in plan
    assert "no cell" not in bench.reprokit("replay", "latest", "--until", "9", "--dry-run")


def test_conditions_that_have_no_meaning(bench: Bench) -> None:
    recorded(bench, "print(1)")
    bench.reprokit("replay", "latest", "--threads", "0", code=2)
    bench.reprokit("replay", "latest", "--compare", "exact", "--rtol", "0.1", code=2)
    assert bench.verdict("latest", "--env", "current", "--rtol", "0.1")["verdict"] == "identical"
