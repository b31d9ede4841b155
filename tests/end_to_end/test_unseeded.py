"""Unseeded randomness of every kind, captured in one kernel and replayed in a new one: identical, or flagged.

Each cell runs twice in the recorded session and prints something else each time, so that the replay proves
something about each of them.
"""

from __future__ import annotations

import importlib.util
import json

import pytest
from workbench import Bench

from reprokit.records import Gap, Run

SETUP = [
    "%load_ext reprokit",
    "%repro start",
    "import copy, os, pickle, random, secrets, threading, uuid\n"
    "import numpy as np\n"
    "import pandas as pd\n"
    "numbers = np.arange(60.0).reshape(30, 2)",
]

DRAWS = {
    "random": "print([random.random() for _ in range(3)])",
    "random.gauss, half a pair": "print(random.gauss(0, 1))",
    "shuffle": "cards = list(range(30))\nrandom.shuffle(cards)\nprint(cards)",
    "choices": "print(random.choices('abcdefgh', k=12))",
    "random.seed()": "random.seed()\nprint(random.random())",
    "random.Random()": "print(random.Random().random())",
    "a kept random.Random": "kept = random.Random()\nprint(kept.sample(range(1000), 4))",
    "used in another cell": "print(kept.random())",
    "a subclass of random.Random": "class Mine(random.Random):\n    pass\nmine = Mine()\nprint(mine.random())",
    "numpy's global": "print(np.random.rand(3))",
    "numpy's global normal, half a pair": "print(np.random.randn(1))",
    "np.random.seed()": "np.random.seed()\nprint(np.random.rand())",
    "default_rng()": "print(np.random.default_rng().random(2))",
    "a kept Generator": "rng = np.random.default_rng()\nprint(rng.integers(1000, size=3))",
    "a Generator used in another cell": "print(rng.normal(size=2))",
    "RandomState()": "state = np.random.RandomState()\nprint(state.normal(size=3))",
    "Philox": "philox = np.random.Generator(np.random.Philox())\nprint(philox.random(2))",
    "SFC64": "print(np.random.Generator(np.random.SFC64()).random(2))",
    "MT19937": "twister = np.random.MT19937()\nprint(np.random.Generator(twister).random(2))",
    "a bit generator": "print(twister.random_raw(2))",
    "Generator.spawn": "print([child.random() for child in rng.spawn(2)])",
    "SeedSequence.spawn": "print([np.random.default_rng(s).random() for s in np.random.SeedSequence().spawn(2)])",
    "inside an object": "class Model:\n    def __init__(self):\n        self.rng = np.random.default_rng()\n"
    "model = Model()\nprint(model.rng.random())",
    "inside an object, another cell": "print(model.rng.random())",
    "inside a closure": "def maker():\n    own = random.Random()\n    return lambda: own.random()\n"
    "draw = maker()\nprint(draw())",
    "inside a list": "several = [np.random.default_rng() for _ in range(3)]\nprint([one.random() for one in several])",
    "pickled": "print(pickle.loads(pickle.dumps(np.random.default_rng())).random())",
    "copied": "print(copy.deepcopy(kept).random(), copy.deepcopy(rng).random())",
    "pandas sample": "print(pd.Series(range(100)).sample(5).tolist())",
    "scipy.stats": "from scipy import stats\nprint(stats.norm.rvs(size=2), stats.gamma(2.0).rvs())",
    "scipy bootstrap": "print(stats.bootstrap((np.arange(9.0),), np.mean, n_resamples=50).standard_error)",
    "sklearn split": "from sklearn.model_selection import train_test_split\n"
    "print(train_test_split(list(range(20)))[1])",
    "sklearn forest": "from sklearn.ensemble import RandomForestRegressor\n"
    "forest = RandomForestRegressor(5, n_jobs=2).fit(numbers, np.random.rand(30))\nprint(forest.predict(numbers[:2]))",
    "sklearn k-means": "from sklearn.cluster import KMeans\n"
    "print(KMeans(3, n_init=1, max_iter=1).fit(np.random.rand(40, 2)).labels_)",
    "sklearn randomized PCA": "from sklearn.decomposition import PCA\n"
    "print(PCA(1, svd_solver='randomized', iterated_power=0).fit(np.random.rand(30, 20)).components_[0][:3])",
    "a library imported in the cell": "from faker_of_mine import draw as later\nprint(later())",
    "polars": "import polars as pl\nprint(pl.Series(range(100)).sample(4).to_list())",
    "threads": "def draw_in_thread(into):\n    into.append(np.random.default_rng().random())\n"
    "slots = [[] for _ in range(3)]\nthreads = [threading.Thread(target=draw_in_thread, args=(s,)) for s in slots]\n"
    "[t.start() for t in threads]\n[t.join() for t in threads]\nprint(slots)",
    "a fork pool": "import multiprocessing\nfork = multiprocessing.get_context('fork')\n"
    "def child(_):\n    return random.random(), np.random.default_rng().random(), random.Random().random()\n"
    "pool = fork.Pool(1)\nprint(pool.map(child, range(3)))\npool.close()\npool.join()",
    "a fork": "ends = os.pipe()\nif os.fork() == 0:\n    os.write(ends[1], repr(child(0)).encode())\n    os._exit(0)\n"
    "os.wait()\nprint(os.read(ends[0], 1000))",
    "joblib with a drawn task": "from joblib import Parallel, delayed\n"
    "print(Parallel(n_jobs=2, prefer='threads')(delayed(np.random.default_rng(s).random)() for s in\n"
    "      np.random.randint(1000, size=3)))",
    "an exception in the middle": "print(random.random())\nrng.random()\nraise ValueError(random.random())",
    "after the exception": "print(random.random(), rng.random())",
    "a key from a drawn number": "key = np.random.randint(2**31)\nprint(key, np.random.default_rng(key).random())",
}

if importlib.util.find_spec("torch") is not None:
    DRAWS |= {
        "torch, imported in the cell": "import torch\nprint(torch.rand(2))",
        "torch layers": "layer = torch.nn.Linear(3, 2)\nprint(layer.weight.tolist())",
        "torch dropout": "print(torch.nn.functional.dropout(torch.ones(30)).tolist())",
        "torch.seed()": "torch.seed()\nprint(torch.rand(1).item())",
    }

FLAGGED = {
    "uuid.uuid4": "name = uuid.uuid4()",
    "uuid.uuid1": "name = uuid.uuid1()",
    "secrets.token_hex": "name = secrets.token_hex()",
    "random.SystemRandom": "name = random.SystemRandom().random()",
    "os.urandom": "name = os.urandom(8)",
    "threads of a pool": "from concurrent.futures import ThreadPoolExecutor\nbarrier = threading.Barrier(2)\n"
    "def made(_):\n    barrier.wait(60)\n    return np.random.default_rng()\n"
    "with ThreadPoolExecutor(2) as pool:\n    list(pool.map(made, range(2)))",
    "spawn processes": "with multiprocessing.get_context('spawn').Pool(1) as pool:\n    pool.map(abs, [1])",
    "a pool of forked processes": "with fork.Pool(2) as pool:\n    pool.map(abs, [1, 2])",
}


@pytest.fixture
def run(bench: Bench) -> Run:
    """All cells, each of ``DRAWS`` twice, captured in one kernel."""
    (bench.project / "faker_of_mine.py").write_text("import random\nown = random.Random()\ndraw = own.random\n")
    errors = bench.run_cells([*SETUP, *DRAWS.values(), *DRAWS.values(), *FLAGGED.values()], PYTHONHASHSEED="0")
    unexpected = [error for error in errors if error not in ("", "ValueError")]
    assert unexpected == []
    return bench.latest()


def test_every_kind_replays_or_is_flagged(bench: Bench, run: Run) -> None:
    """At least 25 kinds of randomness give in a new process what they gave when they were recorded."""
    assert len(DRAWS) >= 25
    verdict = bench.verdict(run.id, "--env", "current")
    apart = [cell for cell in verdict["cells"] if cell["verdict"] != "identical"]
    assert apart == []
    assert verdict["verdict"] == "identical"
    outputs = printed(bench, run)[len(SETUP) :]
    first, second = outputs[: len(DRAWS)], outputs[len(DRAWS) : 2 * len(DRAWS)]
    same = [name for name, one, two in zip(DRAWS, first, second, strict=True) if one == two]
    assert same == [], "these cells drew nothing by chance: the replay proved nothing about them"
    assert_flagged(run)


def printed(bench: Bench, run: Run) -> list[str]:
    """Return the outputs of each cell."""
    shown = json.loads(bench.reprokit("show", run.id, "--json"))
    return [json.dumps(cell["outputs"]) for cell in shown["cells"]]


def assert_flagged(run: Run) -> None:
    """What cannot be repeated has a gap at its own cell, and nothing else has one."""
    gaps: dict[int | None, list[Gap]] = {}
    for gap in run.gaps:
        if gap.aspect == "randomness":
            gaps.setdefault(gap.cell, []).append(gap)
    begin = len(run.cells) - len(FLAGGED)
    for cell, name in zip(run.cells[begin:], FLAGGED, strict=True):
        (gap,) = gaps.pop(cell.seq)
        assert name in gap.message
        assert gap.remedy
    assert gaps == {}
