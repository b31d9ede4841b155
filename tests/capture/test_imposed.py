"""The clock and the network that the native recorder imposes: on the process and on its children, and on no others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from reprokit.capture import preload

pytestmark = pytest.mark.skipif(not preload.is_available(), reason="the recorder is not built here")

START = """
import ctypes, json, os, socket, struct, subprocess, sys, threading, time
from pathlib import Path
from reprokit.capture import preload
from reprokit.capture.files.recorder import Recorder
recorder = Recorder.begin(Path(sys.argv[1]), [], [])
assert preload.has_conditions() and recorder.mode == "preload"
library = ctypes.PyDLL(preload.loadable())
library.rk_shift.argtypes = [ctypes.c_int64]
told = {}
"""
END = """
recorder.stop()
print(json.dumps(told))
"""
# A network of the test's own, in which every address of 198.51.100.0/24 answers, though no interface has it.
ROUTE = """
import fcntl
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
fcntl.ioctl(one, 0x8914, struct.pack("16sh22x", b"lo", 0x41))
link = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
where = struct.pack("HH4sHHi", 8, 1, socket.inet_aton("198.51.100.0"), 8, 4, socket.if_nametoindex("lo"))
route = struct.pack("BBBBBBBBI", socket.AF_INET, 24, 0, 0, 255, 3, 254, 2, 0) + where
link.send(struct.pack("IHHII", 16 + len(route), 24, 0x605, 1, 0) + route)
assert link.recv(4096)[16:20] == bytes(4)
"""


def told_by(body: str, folder: Path, *before: str) -> dict[str, Any]:
    """Run a program that carries the recorder with conditions, and return what it tells."""
    code = START + textwrap.dedent(body) + END
    environ = {**os.environ, "PYTHONPATH": str(Path(preload.LIBRARY).parents[2])}
    environ |= preload.carried(environ, conditions=True)
    command = [*before, sys.executable, "-c", code, str(folder / "copies")]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def has_own_network() -> bool:
    """Return whether a process can have a network of its own here."""
    try:
        return subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def test_the_clock_is_shifted_and_goes_on(tmp_path: Path) -> None:
    told = told_by(
        """
        real, steady = time.time(), time.monotonic()
        told["shifted"] = library.rk_shift(-10 * 365 * 86400 * 10**9)
        told["years"] = round((real - time.time()) / 86400 / 365, 3)
        child = [sys.executable, "-c", "import time; print(time.time())"]
        told["child"] = round((real - float(subprocess.run(child, capture_output=True).stdout)) / 86400 / 365, 3)
        told["date"] = subprocess.run(["date", "-u", "+%Y"], capture_output=True, text=True, env={}).stdout.strip()
        told["steady"] = time.monotonic() - steady < 60
        before = time.time()
        time.sleep(0.05)
        told["goes on"] = 0.04 < time.time() - before < 30
        held = threading.Lock()
        held.acquire()
        began = time.monotonic()
        held.acquire(timeout=0.2)
        told["waits"] = time.monotonic() - began >= 0.19
        told["year"] = time.gmtime().tm_year
        library.rk_shift(0)
        told["back"] = abs(time.time() - real) < 60
        told["now"] = time.gmtime().tm_year
        """,
        tmp_path,
    )
    year = told.pop("now") - told.pop("year")
    assert year in (9, 10)
    assert int(told.pop("date")) > 2000
    assert told == {
        "shifted": 1, "years": 10.0, "child": 10.0, "steady": True, "goes on": True, "waits": True, "back": True,
    }  # fmt: skip


@pytest.mark.parametrize("call", ["sem_timedwait", "pthread_cond_timedwait", "pthread_mutex_timedlock"])
def test_a_moment_to_wait_for_is_one_of_the_shifted_clock(call: str, tmp_path: Path) -> None:
    told = told_by(
        f"""
        libc = ctypes.CDLL(None)
        own = (ctypes.c_char * 128)()
        other = (ctypes.c_char * 128)()
        libc.sem_init(other, 0, 0) if "{call}" == "sem_timedwait" else libc.pthread_mutex_lock(own)
        library.rk_shift(-10 * 365 * 86400 * 10**9)
        until = time.time() + 0.3
        at = struct.pack("ll", int(until), int(until % 1 * 1e9))
        given = {{"sem_timedwait": (other,), "pthread_cond_timedwait": (other, own), "pthread_mutex_timedlock": (own,)}}
        began = time.monotonic()
        getattr(ctypes.CDLL(preload.loadable()), "{call}")(*given["{call}"], at)
        told["took"] = time.monotonic() - began
        """,
        tmp_path,
    )
    assert told["took"] >= 0.25, "it did not wait"


@pytest.mark.skipif(not has_own_network(), reason="no network namespaces here")
def test_other_machines_are_refused_and_this_one_is_not(tmp_path: Path) -> None:
    body = """
    far, near = socket.create_server(("198.51.100.7", 0)), socket.create_server(("127.0.0.1", 0))
    inner = socket.create_server(("::1", 0), family=socket.AF_INET6)
    mapped = ("::ffff:198.51.100.7", far.getsockname()[1])
    datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    def ask(name, call):
        try:
            call()
        except OSError as error:
            told[name] = error.errno
        else:
            told[name] = 0
    child = "import socket, sys; sys.exit(socket.socket().connect_ex((sys.argv[1], int(sys.argv[2]))))"
    def look(when):
        for name, server in (("far", far), ("near", near), ("inner", inner)):
            ask(f"{when} {name}", lambda: socket.create_connection(server.getsockname()[:2], 5))
        ask(f"{when} mapped", lambda: socket.socket(socket.AF_INET6).connect(mapped))
        ask(f"{when} datagram", lambda: datagram.sendto(b"x", far.getsockname()))
        ask(f"{when} localhost", lambda: socket.getaddrinfo("localhost", 80))
        ask(f"{when} name", lambda: socket.getaddrinfo("no.such.example", 80))
        done = subprocess.run([sys.executable, "-c", child, *map(str, far.getsockname())], env={})
        told[f"{when} child"] = done.returncode
    look("open")
    library.rk_network(1)
    look("closed")
    told["wanted"] = sorted({event.path for event in recorder.drain() if "example" in event.path})
    """
    told = told_by(ROUTE + textwrap.dedent(body), tmp_path, "unshare", "-rn")
    assert told.pop("open name") != 0, "there is no such name"
    assert told.pop("wanted") == ["no.such.example"]
    unreachable = {"far", "mapped", "datagram", "child"}
    expected = {f"open {name}": 0 for name in ("far", "near", "inner", "mapped", "datagram", "localhost", "child")}
    expected |= {f"closed {name}": 101 if name in unreachable else 0 for name in (n[5:] for n in dict(expected))}
    assert told == {**expected, "closed name": -3}
