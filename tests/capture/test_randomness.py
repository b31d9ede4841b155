"""Capturing randomness changes nothing, and what it records gives the same draws in a new process."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from recording import latest, process

# Each cell leaves what it drew in `result`; a group runs in one process, in order.
GROUPS = {
    "python": [
        "import random\nresult = [random.random() for _ in range(3)]",
        "result = random.gauss(0, 1)",
        "result = random.gauss(0, 1)",  # the second of a pair is kept in the state
        "own = random.Random()\nresult = own.random()",
        "result = own.sample(range(1000), 5)",
        "random.seed()\nresult = random.random()",
        "result = [random.Random().random() for _ in range(3)]",
        "class Mine(random.Random):\n    pass\nmine = Mine()\nresult = mine.random()",
        "result = mine.random()",
        "import random as r\nx = list(range(50))\nr.shuffle(x)\nresult = x",
        "from random import choice\nresult = [choice('abcdefgh') for _ in range(10)]",
    ],
    "numpy": [
        "import numpy as np\nresult = np.random.rand(3).tolist()",  # imported and used in the same cell
        "result = np.random.randn(3).tolist()",
        "result = np.random.randn(2).tolist()",
        "rng = np.random.default_rng()\nresult = rng.random(3).tolist()",
        "result = rng.integers(1000, size=4).tolist()",
        "result = np.random.default_rng().random(2).tolist()",
        "state = np.random.RandomState()\nresult = state.rand(2).tolist()",
        "result = state.normal(size=3).tolist()",
        "bits = np.random.Philox()\nresult = np.random.Generator(bits).random(2).tolist()",
        "result = int(bits.random_raw())",
        "np.random.seed()\nresult = np.random.rand(2).tolist()",
        "result = np.random.SeedSequence().entropy",
        "result = [np.random.default_rng(s).random() for s in np.random.SeedSequence().spawn(2)]",
        "result = np.random.Generator(np.random.SFC64()).normal(size=2).tolist()",
        "_hidden = np.random.default_rng()\nresult = float(_hidden.random())",
        "result = float(_hidden.random())",
    ],
    "late import": [
        "result = None",
        "def draw():\n    import numpy.random\n    return numpy.random.rand(2).tolist()\nresult = draw()",
        "import numpy\nresult = numpy.random.default_rng().random(2).tolist()",
    ],
    "libraries": [
        "import pandas as pd\nframe = pd.DataFrame({'x': range(100)})\nresult = frame.sample(5).x.tolist()",
        "from sklearn.model_selection import train_test_split\nresult = train_test_split(list(range(20)))",
        "from sklearn.ensemble import RandomForestRegressor\n"
        "model = RandomForestRegressor(n_estimators=3).fit(frame, frame.x ** 2)\n"
        "result = model.predict(frame).tolist()",
    ],
    "forks": [
        "import multiprocessing, os, random\nimport numpy as np\nfork = multiprocessing.get_context('fork')\n"
        "def draw(_):\n"
        "    return random.random(), np.random.rand(), np.random.default_rng().random(), random.Random().random()\n"
        "pool = fork.Pool(1)\nresult = pool.map(draw, range(3))\npool.close()\npool.join()",
        "pool = fork.Pool(1)\nresult = pool.map(draw, range(3))\npool.close()\npool.join()",
        "def child():\n"
        "    ends = os.pipe()\n"
        "    if os.fork() == 0:\n"
        "        os.write(ends[1], repr(draw(0)).encode())\n"
        "        os._exit(0)\n"
        "    os.wait()\n"
        "    return os.read(ends[0], 1000)\n"
        "result = child(), child()",
    ],
}


@pytest.mark.parametrize("group", GROUPS)
def test_a_new_process_draws_the_same(group: str, project: Path) -> None:
    cells = GROUPS[group]
    first = process("record", cells, project)
    assert process("replay", cells, project) == first
    other = process("record", cells, project)
    same = [cell for cell, one, two in zip(cells, first, other, strict=True) if one == two and one != "None"]
    assert same == []  # else the replay proved nothing about that cell


def test_the_children_of_one_run_draw_differently(project: Path) -> None:
    result = eval(process("record", GROUPS["forks"], project)[-1])
    assert result[0] != result[1]


def test_what_may_be_a_key_is_never_repeated(project: Path) -> None:
    cells = [
        "import uuid\nresult = uuid.uuid4()",
        "import secrets\nresult = secrets.token_hex()",
        "import random\nresult = random.SystemRandom().random()",
        "import os\nresult = os.urandom(8)",
        "system = random.SystemRandom()\nresult = system.random()",
        "result = system.random()",
    ]
    first = process("record", cells, project)
    again = process("replay", cells, project)
    assert not set(first) & set(again)


def test_what_each_cell_drew_is_counted(project: Path) -> None:
    """In words: a number between 0 and 1 takes two of a Mersenne Twister, one of a 64-bit generator."""
    cells = [
        "import random\nimport numpy as np\nrng = np.random.default_rng()",
        "random.random()",
        "np.random.rand(1000)",
        "rng.random(7)\nrandom.getrandbits(32)",
        "random.seed(1)",
        "pass",
    ]
    process("record", cells, project)
    ends = [[state.draws for state in cell.random if state.at == "end"] for cell in latest(project).cells]
    expected: list[dict[str, int]] = [
        {},
        {"random": 2},
        {"numpy": 2000},
        {"random": 1, "variable rng": 7},
        {"random": -1},
        {},
    ]
    assert ends == [[draws] for draws in expected]


SEEDED = [
    "import random\nrandom.seed(7)\nresult = [random.random() for _ in range(3)]",
    "import numpy as np\nnp.random.seed(7)\nresult = np.random.rand(3).tolist(), np.random.randn(1).tolist()",
    "result = np.random.default_rng(7).random(3).tolist(), np.random.RandomState(7).rand(2).tolist()",
    "result = random.Random(7).random(), random.Random('text').random(), random.random()",
    "random.seed('text', version=1)\nresult = random.random()",
    "rng = np.random.default_rng([1, 2])\nresult = rng.random()",
    "result = rng.random(), np.random.rand(), random.random()",
    "import pickle\nresult = pickle.loads(pickle.dumps(random.Random(1))).random()",
]


def test_seeded_draws_are_what_they_are_without_capture(project: Path) -> None:
    namespace: dict[str, Any] = {}
    bare = []
    state = random.getstate()
    try:
        for cell in SEEDED:
            exec(cell, namespace)
            bare.append(repr(namespace["result"]))
    finally:
        random.setstate(state)
    assert process("record", SEEDED, project) == bare


def test_everything_is_put_back(project: Path) -> None:
    code = """
import random, sys, numpy.random.bit_generator as bits
def places():
    return random.seed, random.Random.seed, bits.randbits, tuple(sys.meta_path), random.Random.__init__
before = places()
from reprokit.capture.request import Request
from reprokit.capture.session import Session
session = Session(Request(), dict, print)
session.open_cell("x")
import pandas
during = places()
session.close_cell("done")
session.stop()
after = tuple(finder for finder in sys.meta_path if "reprokit" in type(finder).__module__)
assert during[:3] != before[:3]
assert all(a is b for a, b in zip(places()[:3], before[:3])), places()
assert after == ()
"""
    subprocess.run(
        [sys.executable, "-c", code], cwd=project, env={**os.environ, "REPROKIT_LOCK": "never"}, check=True, timeout=60
    )


def test_a_patch_of_somebody_else_stays(project: Path) -> None:
    code = """
import random
from reprokit.capture.request import Request
from reprokit.capture.session import Session
session = Session(Request(), dict, print)
def mine(*args): pass
random.seed = mine
session.stop()
assert random.seed is mine
"""
    subprocess.run(
        [sys.executable, "-c", code], cwd=project, env={**os.environ, "REPROKIT_LOCK": "never"}, check=True, timeout=60
    )


def test_a_seed_seeds_what_is_imported_later_too(project: Path) -> None:
    code = """
import random
from reprokit.capture.request import Request
from reprokit.capture.session import Session
session = Session(Request(seed=5), dict, print)
session.open_cell("x")
import numpy
print(random.random(), numpy.random.rand(), numpy.random.default_rng().random(), random.Random().random())
session.close_cell("done")
session.stop()
"""
    environ = {**os.environ, "REPROKIT_LOCK": "never"}
    first, second = (
        subprocess.run(
            [sys.executable, "-c", code], cwd=project, env=environ, check=True, timeout=60, capture_output=True
        ).stdout
        for _ in range(2)
    )
    assert first == second
    assert first.split()[0] == repr(random.Random(5).random()).encode()


def test_variables_that_refuse_or_pretend_do_no_harm(project: Path) -> None:
    cells = [
        "import random\nclass Odd(random.Random):\n    def getstate(self):\n        raise RuntimeError('no')\n"
        "odd = Odd(3)\n"
        "class Proxy:\n    asked = 0\n    @property\n    def __class__(self):\n"
        "        Proxy.asked += 1\n        return random.Random\n"
        "proxy = Proxy()",
        "result = Proxy.asked, odd.random()",
        "result = Proxy.asked, random.random()",
    ]
    first = process("record", cells, project)
    assert first[1].startswith("(0, ")
    assert first[2].startswith("(0, ")
    assert process("replay", cells, project) == first
