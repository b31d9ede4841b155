"""A step that is forked from a server is a process of its own, and needs the server no longer than that lives."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from placing import is_gone, until

from reprokit.pipeline.sweep import warm

SHOW = "import json, os, sys\njson.dump([dict(os.environ), os.getsid(0), os.getppid()], open(sys.argv[1], 'w'))\n"
WAIT = "import sys, time\nopen(sys.argv[1], 'w').write('[]')\ntime.sleep(600)\n"


@pytest.fixture
def lifeline() -> Iterator[int]:
    theirs, ours = os.pipe()
    yield theirs
    os.close(ours)
    os.close(theirs)


def started(project: Path, lifeline: int, source: str) -> tuple[warm.Started, Path]:
    """Start the step of a script, and return it with the file that the script writes."""
    (project / "pyproject.toml").write_text('[tool.reprokit]\nlock = "never"\n')
    (project / "step.py").write_text(source)
    out = project.parent / "out.json"
    out.unlink(missing_ok=True)
    document: dict[str, Any] = {"script": "step.py", "arguments": [str(out)], "project": str(project), "inherit": ["*"]}
    environ = {"PATH": os.environ["PATH"], "HOME": str(project.parent), "ONLY": "this"}
    log = project.parent / "log.txt"
    return warm.start(document, environ=environ, namespace=None, lifeline=lifeline, log=log), out


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.parametrize("how", ["forked", "plain"])
def test_a_step_has_what_it_is_given_and_nothing_else(
    how: str, project: Path, lifeline: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if how == "plain":
        monkeypatch.setenv("REPROKIT_WARM", "never")
    monkeypatch.setenv("OF_THE_WORKER", "1")
    step, out = started(project, lifeline, SHOW)
    assert step.wait(120) == 0
    environ, session, parent = json.loads(out.read_text())
    assert environ["ONLY"] == "this"
    assert not {"OF_THE_WORKER", "REPROKIT_LIFELINE", "REPROKIT_NAMESPACE"} & environ.keys()
    assert session == parent == step.pid, "the step is the first of its session"


def test_a_killed_server_takes_its_steps_along_and_another_one_comes(project: Path, lifeline: int) -> None:
    step, out = started(project, lifeline, WAIT)
    until(out.exists, "the script")
    server = parent_of(step.pid)
    assert server != os.getpid()
    os.kill(server, signal.SIGKILL)
    assert step.wait(120) == -signal.SIGKILL
    until(lambda: is_gone(step.pid), "the end of the step")
    step, out = started(project, lifeline, WAIT)
    until(out.exists, "the script")
    assert parent_of(step.pid) not in (server, os.getpid())
    step.send_signal(signal.SIGTERM)
    assert step.wait(120) == 143
