"""What cannot be repeated is told at the cell that used it, and only where the user's own code did."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from recording import latest, process

from reprokit.records import Gap


def flags(cells: Sequence[str], project: Path) -> list[list[str]]:
    """Record the cells in a process of their own; return for each the messages about randomness."""
    process("record", cells, project)
    run = latest(project)
    told: dict[int | None, list[Gap]] = {}
    for gap in run.gaps:
        if gap.aspect == "randomness":
            assert gap.remedy
            told.setdefault(gap.cell, []).append(gap)
    return [[gap.message for gap in told.get(cell.seq, [])] for cell in run.cells]


USED = {
    "uuid.uuid4": "import uuid\nx = uuid.uuid4()",
    "uuid.uuid1": "import uuid\nx = uuid.uuid1()",
    "secrets.token_hex": "import secrets\nx = secrets.token_hex(4)",
    "secrets.randbelow": "import secrets\nx = secrets.randbelow(9)",
    "secrets.token_bytes": "from secrets import token_bytes\nx = token_bytes()",
    "random.SystemRandom": "import random\nx = random.SystemRandom().randint(1, 6)",
    "os.urandom": "import os\nx = os.urandom(4)",
}


def test_each_is_told_by_the_name_the_user_called(project: Path) -> None:
    told = flags(list(USED.values()), project)
    assert [len(messages) for messages in told] == [1] * len(USED)
    for (message,), name in zip(told, USED, strict=True):
        assert f"`{name}`" in message


def test_however_it_is_called(project: Path) -> None:
    """Held under another name, by a function of a module of the user's, from comprehensions, maps, threads."""
    (project / "mine.py").write_text("import uuid\ndef name():\n    return str(uuid.uuid4())\n")
    cells = [
        "from uuid import uuid4 as fresh\nfrom os import urandom\nimport random\nsystem = random.SystemRandom()",
        "x = fresh()",
        "x = urandom(2)",
        "x = system.random()",
        "import sys\nsys.path.insert(0, '')\nfrom mine import name\nx = name()",
        "x = [fresh() for _ in range(3)] + list(map(lambda _: fresh(), range(3)))",
        "import dataclasses\n@dataclasses.dataclass\nclass Row:\n"
        "    id: object = dataclasses.field(default_factory=fresh)\nRow()",
        "import threading\nthread = threading.Thread(target=fresh)\nthread.start()\nthread.join()",
        "thread = threading.Thread(target=lambda: fresh())\nthread.start()\nthread.join()",
        "x = 1",
    ]
    told = flags(cells, project)
    assert [len(messages) for messages in told] == [0, 1, 1, 1, 1, 1, 1, 0, 1, 0]


def test_libraries_are_not_told_of(project: Path) -> None:
    cells = [
        "import tempfile\nwith tempfile.NamedTemporaryFile() as f, tempfile.TemporaryDirectory() as d:\n    pass",
        "import random, numpy as np\nx = random.Random().random(), np.random.default_rng().random()",
        "from jupyter_client.session import Session\nSession(key=b'').msg('hello')",
        "import email.utils, ssl\nx = email.utils.make_msgid()",
        "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'import random'], check=True)",
        "import joblib\nx = joblib.Parallel(2, 'threading')(joblib.delayed(np.sum)([i]) for i in range(4))",
        "from sklearn.ensemble import RandomForestClassifier as F\n"
        "F(4, n_jobs=2).fit(np.random.rand(20, 2), np.arange(20) % 2)",
        "import multiprocessing\nwith multiprocessing.get_context('fork').Pool(1) as pool:\n    pool.map(abs, [1])",
        "process = multiprocessing.get_context('fork').Process(target=abs, args=(1,))\nprocess.start()\nprocess.join()",
        "with multiprocessing.Manager() as manager:\n    manager.list([1])",
    ]
    assert flags(cells, project) == [[]] * len(cells)


def test_workers_that_cannot_be_controlled_are_told_of_once(project: Path) -> None:
    cells = [
        "import joblib, multiprocessing\nx = joblib.Parallel(n_jobs=2)(joblib.delayed(abs)(i) for i in range(4))",
        "x = joblib.Parallel(n_jobs=2)(joblib.delayed(abs)(i) for i in range(4))",
        "with multiprocessing.get_context('spawn').Pool(1) as pool:\n    pool.map(abs, [1])",
        "from concurrent.futures import ProcessPoolExecutor\n"
        "with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context('fork')) as pool:\n"
        "    list(pool.map(abs, [1, 2]))",
        "x = 1",
    ]
    loky, again, spawn, pool, nothing = flags(cells, project)
    assert (len(loky), again, len(spawn), len(pool), nothing) == (1, [], 1, 1, [])
    assert "loky" in loky[0]
    assert "spawn" in spawn[0]
    assert "fork" in pool[0]


def test_nothing_of_it_is_left_behind(project: Path) -> None:
    code = """
import copy, multiprocessing.process, os, pickle, posix, random, threading, uuid
import numpy
from reprokit.capture.request import Request
from reprokit.capture.session import Session
functions = [uuid.uuid4, uuid.uuid1, random.SystemRandom.random, random.SystemRandom.getrandbits,
             random.SystemRandom.randbytes, threading.Thread.start, multiprocessing.process.BaseProcess.start]
before = [function.__code__ for function in functions]
session = Session(Request(), dict, print)
session.open_cell("x")
held = os.urandom
assert all(function.__code__ is not code for function, code in zip(functions, before))
assert functions[0] is uuid.uuid4
assert pickle.loads(pickle.dumps(held)) is held and copy.deepcopy(held) is held
assert repr(held) == repr(posix.urandom) and held.__name__ == "urandom" and held.__module__ == "posix"
assert isinstance(held, type(len)) and repr(type(held)) == repr(type(len)) and held.__self__ is posix
assert len(held(5)) == 5
try:
    held("x")
except TypeError:
    pass
else:
    raise AssertionError
session.close_cell("done")
session.stop()
assert [function.__code__ for function in functions] == before
assert os.urandom is posix.urandom
assert len(held(5)) == 5 and pickle.loads(pickle.dumps(held)) is posix.urandom
"""
    environ = {**os.environ, "REPROKIT_LOCK": "never"}
    subprocess.run([sys.executable, "-c", code], cwd=project, env=environ, check=True, timeout=60)


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_process_of_a_fresh_interpreter_still_runs(method: str, project: Path) -> None:
    cells = [
        f"import multiprocessing\ncontext = multiprocessing.get_context('{method}')\n"
        "queue = context.Queue()\nprocess = context.Process(target=queue.put, args=(5,))\n"
        "process.start()\nassert queue.get(timeout=60) == 5\nprocess.join()\nassert process.exitcode == 0"
    ]
    ((message,),) = flags(cells, project)
    assert method in message
