"""Differences in what is around a process: network, threads, processor, packages, what the session held already."""

from __future__ import annotations

import json

from planting import Case
from worlds import fewer_processors, other_architecture, other_processor, packages, started_with

__all__ = ["ENVIRONMENT", "HARDWARE", "HIDDEN_STATE", "NETWORK", "PARALLELISM"]


def _rates(_path: str, _count: int, later: bool) -> str:
    return json.dumps({"EUR": 1.0, "USD": 1.21 if later else 1.08})


def _counted(_path: str, count: int, _later: bool) -> str:
    return json.dumps({"visitors": 1000 + 37 * count})


def _table(_path: str, _count: int, later: bool) -> str:
    return "day,price\n1,10\n2,12\n" + ("3,15\n" if later else "")


NETWORK = (
    Case(
        name="network a service says something else today",
        cause="network",
        cell=2,
        answers=_rates,
        cells=(
            "import requests",
            "rates = requests.get('<url>/rates').json()",
            "print(round(100 * rates['USD'], 2))",
            "print(sorted(rates))",
        ),
        folded={3: 2},
    ),
    Case(
        name="network a service says something else each time",
        cause="network",
        cell=2,
        answers=_counted,
        cells=(
            "import json, urllib.request",
            "seen = json.load(urllib.request.urlopen('<url>/visitors'))['visitors']",
            "print(seen)",
        ),
        folded={3: 2},
    ),
    Case(
        name="network pandas reads a table from a server",
        cause="network",
        cell=2,
        answers=_table,
        cells=(
            "import pandas as pd",
            "prices = pd.read_csv('<url>/prices.csv')\nprices",
            "print(prices.price.mean())",
            "print('ok')",
        ),
        folded={3: 2},
    ),
    Case(
        name="network it is closed",
        cause="network",
        cell=2,
        conditions={"network": "closed"},
        cells=(
            "import socket\nprobe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
            "probe.connect(('192.0.2.7', 9))\nown = probe.getsockname()[0]",  # sends nothing
            "print(own.count('.'))",
            "probe.close()",
        ),
        folded={3: 2},
    ),
    Case(
        name="network a plain connection",
        cause="network",
        cell=2,
        answers=_counted,
        cells=(
            "import socket\nport = int('<url>'.rpartition(':')[2])",
            "with socket.create_connection(('localhost', port)) as s:\n    s.sendall(b'GET /n HTTP/1.0\\r\\n\\r\\n')\n"
            "    answer = s.makefile().read().splitlines()[-1]\nprint(answer)",
            "print(len(answer) > 3)",
        ),
    ),
)

_POOL = (
    "import random, time\nfrom concurrent.futures import ThreadPoolExecutor, as_completed\n"
    "def work(n):\n    time.sleep(random.SystemRandom().random() / 20)\n    return n * n"
)

PARALLELISM = (
    Case(
        name="parallelism another number of threads",
        cause="parallelism",
        cell=2,
        conditions={"threads": 1},
        cells=(
            "import numpy as np\nfrom threadpoolctl import threadpool_info",
            "threads = max(pool['num_threads'] for pool in threadpool_info())\nprint(threads)",
            "parts = np.array_split(np.linspace(0, 1, 1001), threads)\nprint([len(p) for p in parts])",
            "print('done')",
        ),
        folded={3: 2},
    ),
    Case(
        name="parallelism sums of as many parts as threads",
        cause="parallelism",
        cell=3,
        conditions={"threads": 7},
        cells=(
            "import os\nimport numpy as np\nx = np.random.default_rng(5).normal(size=100_003) * 1e6",
            "parts = int(os.environ.get('OMP_NUM_THREADS', '2'))",
            "total = sum(part.sum() for part in np.array_split(x, parts))\nprint(repr(float(total)))",
            "print(total / 3)",
        ),
        folded={4: 3},
    ),
    Case(
        name="parallelism results in the order in which workers end",
        cause="parallelism",
        cell=2,
        cells=(
            _POOL,
            "with ThreadPoolExecutor(8) as pool:\n    futures = [pool.submit(work, n) for n in range(24)]\n"
            "    results = [f.result() for f in as_completed(futures)]\nprint(results)",
            "print(results[:3])",
        ),
        folded={3: 2},
    ),
    Case(
        name="parallelism threads write to one list",
        cause="parallelism",
        cell=2,
        cells=(
            "import threading, time, os\nlog = []\n"
            "def work(n):\n    time.sleep(os.urandom(1)[0] / 5000)\n    log.append(n)",
            "threads = [threading.Thread(target=work, args=(n,)) for n in range(24)]\n"
            "for t in threads: t.start()\nfor t in threads: t.join()\nprint(log)",
            "print(log[0], log[-1])",
        ),
        folded={3: 2},
    ),
)

HARDWARE = (
    Case(
        name="hardware the machine is another architecture",
        cause="hardware",
        cell=2,
        around=other_architecture,
        cells=("import platform", "wheel = f'linux_{platform.machine()}'\nprint(wheel)", "print(wheel.upper())"),
        folded={3: 2},
    ),
    Case(
        name="hardware BLAS computes for another processor",
        cause="hardware",
        cell=2,
        around=other_processor(OPENBLAS_CORETYPE="Prescott"),
        cells=(
            "import numpy as np\nrng = np.random.default_rng(3)\nA = rng.normal(size=(120, 120))",
            "B = A @ A @ A\nprint(repr(float(B.sum())), repr(float(B[3, 5])))",
            "print(repr(float(np.linalg.det(B / 1000))))",
            "print(B.shape)",
        ),
        folded={3: 2},
    ),
    Case(
        name="hardware there are fewer processors",
        cause="hardware",
        cell=2,
        around=fewer_processors,
        cells=(
            "import os\nrows = list(range(100))",
            "workers = len(os.sched_getaffinity(0))\nprint(workers)",
            "print([len(rows[i::workers]) for i in range(workers)])",
        ),
        folded={3: 2},
    ),
    Case(
        name="hardware equations are solved for another processor",
        cause="hardware",
        cell=3,
        around=other_processor(OPENBLAS_CORETYPE="Prescott"),
        cells=(
            "import numpy as np\nrng = np.random.default_rng(8)\n"
            "A = rng.normal(size=(200, 200))\nb = rng.normal(size=200)",
            "x = np.linalg.solve(A, b)",
            "print([repr(float(v)) for v in x[:3]])",
            "print(repr(float(x.sum())))",
            "print(A.shape)",
        ),
        folded={4: 3},
    ),
)

HIDDEN_STATE = (
    Case(
        name="hidden-state a file that IPython runs at the start was changed",
        by_hand=True,
        cause="hidden-state",
        cell=3,
        around=started_with("FACTOR = 2\n", "FACTOR = 3\n"),
        cells=("prices = [10, 20, 30]", "scaled = [p * FACTOR for p in prices]\nprint(scaled)", "print(sum(scaled))"),
        folded={4: 3},
    ),
    Case(
        name="hidden-state a value was put in by a debugger",
        by_hand=True,
        cause="hidden-state",
        cell=3,
        behind={3: "threshold = 15"},
        cells=("prices = [10, 20, 30]", "kept = [p for p in prices if p > threshold]\nprint(kept)", "print(len(kept))"),
        folded={4: 3},
    ),
    Case(
        name="hidden-state a value was changed by a debugger",
        by_hand=True,
        cause="hidden-state",
        cell=4,
        behind={4: "threshold = 25"},
        cells=(
            "prices = [10, 20, 30]",
            "threshold = 15",
            "kept = [p for p in prices if p > threshold]\nprint(kept)",
            "print(len(kept))",
        ),
        folded={5: 4},
    ),
    Case(
        name="hidden-state a widget was moved",
        by_hand=True,
        cause="hidden-state",
        cell=4,
        behind={4: ("slider", 7)},
        cells=(
            "import ipywidgets as widgets",
            "slider = widgets.IntSlider(value=3)",
            "chosen = list(range(slider.value))\nprint(chosen)",
            "print(len(chosen))",
        ),
        folded={5: 4},
    ),
    Case(
        name="hidden-state the clock was read before the run began",
        by_hand=True,
        cause="hidden-state",
        cell=3,
        before=("import time\nbatch = time.time_ns() // 1000 % 1_000_003",),
        cells=("print(batch)", "print(batch * 2)"),
        folded={4: 3},
    ),
    Case(
        name="hidden-state numbers were drawn before the run began",
        by_hand=True,
        cause="hidden-state",
        cell=3,
        before=("import numpy as np\nsample = np.random.normal(size=4)",),
        cells=("print(sample)", "print(sample.mean())", "print(sample.shape)"),
        folded={4: 3},
    ),
)

_OLDER = ("cycler==0.11.0", "six==1.15.0")

ENVIRONMENT = (
    Case(
        name="environment a package was upgraded",
        cause="environment",
        cell=2,
        around=packages(_OLDER, small=True),
        cells=(
            "import cycler, six",
            "print(cycler.__version__)",
            "width = len(cycler.__version__.split('.'))\nprint(width, cycler.__version__ > '0.11')",
        ),
        folded={3: 2},
    ),
    Case(
        name="environment a package is gone",
        cause="environment",
        cell=1,
        explained="",
        around=packages(made="1.5"),
        cells=("import acme", "rate = acme.RATE\nprint(rate)", "print(rate * 2)"),
        folded={2: 1, 3: 1},
    ),
    Case(
        name="environment another version was asked for",
        cause="environment",
        cell=2,
        around=packages(("six==1.16.0",), small=True),
        conditions={"environment": "locked", "packages": {"six": "1.15.0"}},
        cells=("import six", "tag = f'six-{six.__version__}'\nprint(tag)", "print(tag.upper())", "print('same')"),
        folded={3: 2},
    ),
    Case(
        name="environment two sessions with two versions",
        how="diff",
        cause="environment",
        cell=2,
        around=packages(("six==1.15.0",), ("six==1.16.0",)),
        cells=("from six import __version__ as version", "print(version)", "print(version.split('.')[1])"),
        folded={3: 2},
    ),
)

_ACME = packages(made="1.5")

ELSEWHERE = (
    Case(
        name="time and a package that nothing uses is another one",
        cause="time",
        cell=2,
        around=_ACME,
        cells=("import time", "stamp = time.time()\nprint(int(stamp * 1000) % 100_003)", "print(stamp)"),
        folded={3: 2},
    ),
    Case(
        name="randomness and a package that nothing uses is another one",
        cause="randomness",
        cell=2,
        explained="randomness",
        around=_ACME,
        conditions={"random": "fresh"},
        cells=("import numpy as np", "x = np.random.default_rng().normal(size=3)\nprint(x)", "print(x.max())"),
        folded={3: 2},
    ),
    Case(
        name="nondeterminism and a package that nothing uses is another one",
        cause="nondeterminism",
        cell=2,
        around=_ACME,
        cells=("class Node: pass\nnodes = [Node() for _ in range(8)]", "print([id(n) // 16 % 9973 for n in nodes])"),
    ),
    Case(
        name="config and a package that nothing uses is another one",
        cause="config",
        cell=2,
        files={"settings.yaml": "rate: 1\n"},
        changed={"settings.yaml": "rate: 2\n"},
        conditions={"data": "current"},
        around=_ACME,
        cells=("import yaml", "rate = yaml.safe_load(open('settings.yaml'))['rate']\nprint(rate)"),
    ),
)
