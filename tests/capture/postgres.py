"""A PostgreSQL server of the test's own: a new cluster in a temporary folder, by the binaries of the system."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from glob import glob
from pathlib import Path

import pytest

PASSWORD = "hidden-password"


def binaries() -> Path | None:
    """Return the folder of the server's programs, if it is installed."""
    found = shutil.which("initdb")
    if found:
        return Path(found).parent
    folders = sorted(glob("/usr/lib/postgresql/*/bin"))
    return Path(folders[-1]) if folders else None


@contextmanager
def running() -> Iterator[dict[str, str]]:
    """Start a server; what to connect with is given.

    The server refuses to run as root: there it runs as the user that its package, or the system, has for it.
    """
    programs = binaries()
    if programs is None:
        if os.environ.get("CI"):
            pytest.fail("PostgreSQL is not installed: apt-get install postgresql")
        pytest.skip("PostgreSQL is not installed")
    user = [] if os.getuid() else ["runuser", "-u", "nobody", "--"]
    folder = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))  # short: a socket's path has a limit
    secret = folder / "secret"
    secret.write_text(PASSWORD)
    if user:
        for path in (folder, secret):
            shutil.chown(path, "nobody")

    def call(*command: str) -> None:
        environ = {**os.environ, "LC_ALL": "C"}
        done = subprocess.run([*user, *command], cwd=folder, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    data = str(folder / "data")
    options = ["--auth=scram-sha-256", "--username=tester", f"--pwfile={secret}", "--no-sync", "--encoding=UTF8"]
    call(str(programs / "initdb"), "-D", data, *options)
    port = _free_port()
    listening = f"-k {folder} -c listen_addresses=127.0.0.1 -p {port} -F"
    call(str(programs / "pg_ctl"), "-D", data, "-w", "-o", listening, "-l", str(folder / "log"), "start")
    try:
        yield {"host": "127.0.0.1", "port": port, "user": "tester", "password": PASSWORD, "dbname": "postgres"}
    finally:
        call(str(programs / "pg_ctl"), "-D", data, "-w", "-m", "immediate", "stop")
        shutil.rmtree(folder)


def _free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])
